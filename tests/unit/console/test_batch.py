"""The page of one batch: its figures, its first rows, and that it never reads a large table."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import quarantine_table
from winnow.console import batch, tables
from winnow.console.shell import NotFound, Site, document
from winnow.console.tables import SMALL_BYTES, first_rows
from winnow.errors import Corrupt
from winnow.ids import trace_id
from winnow.lake import FolderLake
from winnow.operate.standing import Run
from winnow.records import RESPONSES, Quarantined, to_table
from winnow.validate.verdict import Check

from ... import console_world
from ...console_world import BLOCKING, World, campaign, day

KEY = day(0)
HOSTILE = "<script>alert(1)</script>‮\x00 ﷽ <b>bold</b>"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(FolderLake(tmp_path / "lake"))


def shown(world: World, site: Site, key: str = KEY) -> str:
    return batch.page(world.lake, world.campaign, {"key": key}, site).body


def text(markup: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


def test_a_batch_that_is_done_tells_everything(world: World, site: Site) -> None:
    world.make(KEY)
    body = shown(world, site)
    seen = text(body)
    for said in (
        "prompts: 6",
        "Ingest: rows: 6 openai, 2 alpaca.",
        "pool: 24 4.0 a prompt",
        "pairs bought: 6 16.7 % of those scored",
        "rows: 5 83.3 % of the pairs bought",
        "rank 1, selected: 0.260 nats, 2 pairs",
        "80.0 %",
        "paid $0.80",
        "per prompt $0.13",
        "same prompt as",
        "a.jsonl:7",
        f"Trace {trace_id('nightly', KEY)}",
        "First · chosen",
        "2026-11-26 01:00 UTC, 11 hours ago",
    ):
        assert said in seen, said
    assert 'href="datasets?dataset=nightly&amp;version=v000001"' in body
    assert 'href="report?dataset=nightly&amp;version=v000001"' in body
    assert "/p/a.jsonl" not in body


@pytest.mark.parametrize("upto", ["ingest", "expand", "select", "label"])
def test_a_batch_is_shown_however_far_it_is(world: World, site: Site, upto: str) -> None:
    world.make(KEY, upto)
    seen = text(shown(world, site))
    assert "not published yet" in seen
    assert ("No vote yet." in seen) == (upto == "select")


def test_a_batch_of_the_ledger_alone_is_shown(world: World, site: Site) -> None:
    world.take(world.batch(KEY))
    assert "The batch was begun and not gone on with" in shown(world, site)


def test_what_is_stuck_stands_on_its_page_too(world: World, site: Site) -> None:
    world.judge(world.make(KEY, "label"), BLOCKING)
    assert "validation.min_agreement_block" in shown(world, site)


def test_what_a_suite_stopped_says_what_lets_it_go_on_and_shows_its_data_docs(
    world: World, site: Site
) -> None:
    batch = world.make(KEY, "label")
    assert "Data Docs" not in shown(world, site)
    check = Check("rules: price mean to be between", "block", "fail", 3.5, "max_value 2", "rules")
    world.judge(batch, check)
    batch.write_bytes("publish", "data_docs", "html", b"<p>met</p>")
    body = shown(world, Site(site.now))
    assert "rules: price mean to be between is 3.500, the limit max_value 2" in text(body)
    assert "What rules expects is no limit here: write `severity: warn`" in text(body)
    assert f'href="data_docs?key={KEY}"' in body


def test_votes_that_were_taken_over_are_not_told_as_bought(world: World, site: Site) -> None:
    world.taken_over = 6
    world.make(KEY)
    seen = text(shown(world, site))
    assert "per answer $0.40 votes taken over 6" in seen
    assert "pairs chosen" in seen and "pairs bought" not in seen


def test_annotations_are_told_from_votes_and_a_pair_by_its_whole_id(
    world: World, site: Site
) -> None:
    world.make(KEY)
    body = shown(world, site)
    # Of 8 annotations 6 are votes on the 6 pairs, one each.
    assert "8 annotations of 8 tasks; 6 are votes" in text(body)
    assert f"<code>p{KEY}0</code>" in body
    assert "8 votes" not in text(body)


def test_one_rank_and_one_figure_are_told_and_not_drawn(world: World, site: Site) -> None:
    class Small(World):
        def select(self, batch: Any, text: str) -> None:
            with pytest.MonkeyPatch.context() as patch:
                rows = [{**row, "rank": 0} for row in console_world._comparisons(batch.key)]
                patch.setattr(console_world, "_comparisons", lambda _: rows)
                super().select(batch, text)

    small = Small(world.lake)
    small.make(KEY, "select")
    body = shown(small, site)
    assert "Expected information gain of 4 selected pairs: 0.260 nats" in text(body)
    assert body.count("<svg") == 1, "the funnel"


def test_a_batch_that_ended_says_so(world: World, site: Site) -> None:
    world.end(KEY)
    seen = text(shown(world, site))
    assert "ended: nothing to hand on" in seen
    assert "has not begun" not in seen


def test_rows_are_those_of_the_very_batch_in_the_dataset_it_went_to(tmp_path: Path) -> None:
    def file(name: str, n: int) -> dict[str, Any]:
        return {f"data/reward/train/{name}.parquet": {"n_rows": n}}

    files = file("2026-11-22-0123abcd", 5) | file("2026-11-22-b-0123abcd", 7)
    told = json.dumps({"batches": ["2026-11-22-b", "2026-11-22"], "files": files}).encode()
    assert batch.parse_newest_rows(told) == 5


def test_a_batch_of_an_older_dataset_counts_its_rows(world: World, site: Site) -> None:
    world.make(KEY)
    renamed = World(world.lake, campaign(publish={"dataset": "weekly"}))
    assert "rows: 5 83.3 % of the pairs bought" in text(shown(renamed, site))


@pytest.mark.parametrize(
    ("stage", "name", "part"),
    [
        ("select", "comparisons", "Gain by rank"),
        ("ingest", "quarantine", "Quarantine"),
        ("expand", "responses", "Chosen pairs"),
    ],
)
@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_a_part_that_cannot_be_read_takes_no_other_with_it(
    world: World, site: Site, stage: str, name: str, part: str, harm: str
) -> None:
    path = Path(world.lake.uri) / world.make(KEY).require(stage).outputs[name].path
    path.unlink()
    if harm == "changed":
        path.write_bytes(b"no table")
    body = shown(world, site)
    section = text(body[body.index(f"<h2>{part}</h2>") :].partition("</section>")[0])
    assert "This part cannot be shown" in section and path.name in section
    assert "prompts: 6" in text(body) and "per answer $0.10" in text(body)


@pytest.mark.parametrize("harm", [None, b"", b"x" * 5000, b"page"])
def test_a_large_table_that_is_damaged_is_named(tmp_path: Path, harm: bytes | None) -> None:
    lake = FolderLake(tmp_path)
    rows = [{"response_id": str(i), "prompt_id": "q", "message": "m"} for i in range(5000)]
    table = World(lake).batch(KEY).write_table("expand", "responses", to_table(rows, RESPONSES))
    path = tmp_path / table.path
    whole = path.read_bytes()
    path.unlink()
    if harm is not None:
        half = len(whole) // 2
        path.write_bytes(b"PAR1" + b"\xff" * half + whole[4 + half :] if harm == b"page" else harm)
    large = replace(table, n_bytes=SMALL_BYTES + 1 if harm != b"page" else len(whole))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "SMALL_BYTES", 10)
        with pytest.raises(Corrupt, match=re.escape(path.name)):
            first_rows(lake, large, ("response_id",), 10)


def test_an_unknown_batch_is_not_found(world: World, site: Site) -> None:
    world.make(KEY, "ingest")
    for key in ("2020-01-01", "../../etc", "", "x" * 1_000_000):
        with pytest.raises(NotFound) as raised:
            shown(world, site, key)
        assert len(str(raised.value)) < 300


def test_a_batch_that_only_airflow_knows_shows_its_runs(world: World, site: Site) -> None:
    run = Run("nightly", "ingest", KEY, "r1", "failed", failures=(), waiting=())
    body = shown(world, replace(site, runs=lambda keys: {KEY: [run]}, ui="../"))
    assert "../dags/nightly.ingest_prompts/runs/r1" in body


def test_hostile_texts_are_plain_and_short(world: World, site: Site) -> None:
    world.make(KEY, text=HOSTILE + "x" * 1_000_000)
    found = batch.page(world.lake, world.campaign, {"key": KEY}, site)
    whole = document(found, "batch", site)
    assert "<script" not in whole
    assert "<b>bold" not in whole
    assert "&lt;script&gt;" in found.body
    assert "\u202e" not in whole
    assert "\x00" not in whole
    assert 'dir="auto"' in whole
    assert len(whole) < 60_000


def test_of_a_large_table_only_the_first_pieces_are_read(tmp_path: Path, site: Site) -> None:
    class Counted(FolderLake):
        n_bytes = 0

        def part(self, path: str, start: int, n_bytes: int) -> bytes:
            found = super().part(path, start, n_bytes)
            self.n_bytes += len(found)
            return found

    lake = Counted(tmp_path)
    made = World(lake).batch(KEY)
    noise = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(100_000)]
    rows = [{"response_id": each, "prompt_id": "q", "message": each * 4} for each in noise]
    table = made.write_table("expand", "responses", to_table(rows, RESPONSES))
    assert table.n_bytes > 4 * SMALL_BYTES
    found = first_rows(lake, table, ("response_id", "prompt_id", "absent"), 1000)
    assert found.column_names == ["response_id", "prompt_id"]
    assert found.column("response_id").to_pylist() == noise[:1000]
    assert lake.n_bytes < table.n_bytes / 4


def test_a_heavy_quarantine_is_counted_by_reason(world: World, site: Site) -> None:
    made = world.batch(KEY)
    world.take(made)
    refused = [Quarantined("ingest", f"reason {i % 3}", HOSTILE, "f", i) for i in range(30)]
    made.commit(
        "ingest",
        inputs=[],
        outputs={"quarantine": made.write_table("ingest", "q", quarantine_table(refused))},
        counts={"rows_in": 30, "rows_out": 0, "quarantined": 30},
    )
    seen = text(shown(world, site))
    assert all(f"reason {i} 10" in seen for i in range(3))
    assert "f:0" in seen
    assert "f:29" not in seen
