"""Prompts that nearly repeat another one, of the same batch or of an earlier one."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import Batch, open_batch, read_table
from winnow.campaign import parse_campaign
from winnow.ingest.ledger import Dropped, mark, read_ledger
from winnow.lake import FolderLake, folder
from winnow.stages import ingest

Clock = Callable[[], datetime]

SAID = "Please explain to a patient reader how tides follow the moon around the turning earth."
LIKE = "Please explain to a patient reader how tides follow the moon around the turning globe."
OTHER = "Write a short poem about a lighthouse keeper who never learnt to swim in cold water."


@pytest.fixture(autouse=True)
def no_power_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "sync", lambda _: None)


@pytest.fixture
def night(tmp_path: Path, clock: Clock) -> Callable[..., Batch]:
    """Ingests a batch of the prompts."""
    lake = FolderLake(tmp_path / "lake")

    def take(key: str, *said: Any, mode: str = "tag", name: str = "c", **more: Any) -> Batch:
        (tmp_path / key).mkdir()
        rows = (json.dumps({"prompt": text, "tags": ["own"]}) for text in said)
        (tmp_path / key / "a.jsonl").write_text("\n".join(rows))
        source = {"sources": [str(tmp_path / "{day}")], "near_duplicates": mode, **more}
        campaign = parse_campaign(
            {
                "name": name,
                "continues": "c" if name != "c" else None,
                "schedule": {"cron": None, "key": "text"},
                "ingest": source,
                "expand": {"model": "m"},
                "label": {"budget_usd": 10},
                "publish": {"dataset": name},
            },
            "test",
        )
        batch = open_batch(campaign, key, lake, clock)
        assert ingest.run(batch) is not None
        return batch

    return take


def table(batch: Batch, name: str) -> list[dict[str, Any]]:
    return read_table(batch.lake, batch.require("ingest").outputs[name]).to_pylist()


def test_off_finds_none_and_stores_nothing(night: Callable[..., Batch]) -> None:
    batch = night("d1", SAID, LIKE, mode="off")
    assert [row["tags"] for row in table(batch, "prompts")] == [["own"], ["own"]]
    assert "signatures" not in batch.require("ingest").outputs
    assert "near_duplicates" not in batch.require("ingest").counts


def test_a_near_duplicate_is_tagged_within_a_batch_and_across(night: Callable[..., Batch]) -> None:
    first = night("d1", SAID, LIKE.upper() + "\n", OTHER)
    assert [row["tags"] for row in table(first, "prompts")] == [
        ["own"],
        ["own", "near_duplicate"],
        ["own"],
    ]
    second = night("d2", OTHER.replace("water", "waters"), "Something that nobody asked before.")
    assert [len(row["tags"]) for row in table(second, "prompts")] == [2, 1]
    assert second.require("ingest").counts["near_duplicates"] == 1


def test_what_a_product_always_says_makes_no_two_prompts_alike(night: Callable[..., Batch]) -> None:
    manner = " ".join(f"rule {n}: never mention {n * 7919:x}." for n in range(60))

    def asked(text: str, manner: str = manner) -> list[dict[str, str]]:
        return [{"role": "system", "content": manner}, {"role": "user", "content": text}]

    batch = night("d1", asked(SAID), asked(OTHER), asked(LIKE), asked(LIKE, "Be brief."), SAID)
    tags = [row["tags"] for row in table(batch, "prompts")]
    assert tags == [["own"], ["own"], ["own", "near_duplicate"], ["own"], ["own"]]


@pytest.mark.parametrize("n_between", [0, 30])
def test_one_is_refused_and_says_which_prompt_of_which_batch(
    night: Callable[..., Batch], n_between: int
) -> None:
    first = night("d1", SAID, mode="quarantine")
    for between in range(n_between):
        # The first batch comes into a run.
        night(f"between-{between}", f"{OTHER} {between * 7919:x}" * 3, mode="tag")
    second = night("d2", LIKE, SAID, mode="quarantine")
    [near, equal] = table(second, "quarantine")
    [prompt] = table(first, "prompts")
    assert (near["reason"], equal["reason"]) == ("near_duplicate", "duplicate")
    assert near["detail"].endswith(f" like prompt {prompt['prompt_id']} of batch d1")
    assert 0.8 <= float(near["detail"][:4]) < 1 and near["line"] == 1 and near["raw"]
    assert second.require("ingest").counts["rows_out"] == 0


def test_what_is_near_enough_is_the_campaigns_to_say(night: Callable[..., Batch]) -> None:
    night("d1", SAID)
    second = night("d2", LIKE, near_duplicate_share=0.99)
    assert table(second, "prompts")[0]["tags"] == ["own"]


def test_what_was_given_up_is_like_nothing_and_a_renamed_campaign_remembers(
    night: Callable[..., Batch],
) -> None:
    lake = night("d1", SAID).lake
    renamed = night("d2", LIKE, mode="quarantine", name="new")
    assert table(renamed, "quarantine")[0]["detail"].endswith("of batch d1 of c")
    note = Dropped("ann", "2026-11-24T10:00:00+00:00", "wrong")
    assert mark(lake, "c", read_ledger(lake, "c"), "d1", note)
    third = night("d3", LIKE, mode="quarantine")
    assert len(table(third, "prompts")) == 1


def test_texts_that_share_little_or_are_very_short_are_not_taken_for_one(
    night: Callable[..., Batch],
) -> None:
    batch = night("d1", "2+2?", "2-2?", "2 + 2 ?", "hi", "ho", mode="quarantine")
    assert len(table(batch, "prompts")) == 5


def test_each_earlier_batch_is_read_once_however_many_prompts_resemble_it(
    night: Callable[..., Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    n_nights = 12
    for k in range(n_nights):
        night(f"d{k}", f"{SAID} {k * 7919}", near_duplicate_share=1.0)
    read: list[str] = []
    own = FolderLake.read
    monkeypatch.setattr(FolderLake, "read", lambda lake, path: read.append(path) or own(lake, path))
    # Near to each of those nights, and not near enough: every one has to be asked.
    batch = night("last", *(f"{SAID} {k * 6}" for k in "abcdef"), near_duplicate_share=1.0)
    assert batch.require("ingest").counts["near_duplicates"] == 0
    tables = [path for path in read if "/signatures-" in path and "/last/" not in path]
    # As the ledger reads those of its newest entries.
    assert len(tables) <= 2 * n_nights
