"""Ingest takes each file once, accepts each prompt once, and accounts for every row."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import Batch, manifest_path, open_batch, read_table
from winnow.campaign import parse_campaign
from winnow.errors import Fatal
from winnow.ids import file_digest
from winnow.ingest import sources
from winnow.ingest.ledger import Dropped, mark, read_ledger
from winnow.lake import FolderLake, Lake
from winnow.progress import progress_of
from winnow.stages import ingest

Clock = Callable[[], datetime]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def batch_of(
    lake: Lake, clock: Clock, key: str, source: str, cap: int | None = None, **more: object
) -> Batch:
    campaign = parse_campaign(
        {
            "name": "small",
            "schedule": {"cron": None, "key": "text"},
            "ingest": {"sources": [source], "files_per_batch": cap, **more},
            "expand": {"model": "m"},
            "label": {"budget_usd": 10},
            "publish": {"dataset": "small"},
        },
        "test",
    )
    return open_batch(campaign, key, lake, clock)


def write(path: Path, *rows: object) -> None:
    path.write_text("\n".join(json.dumps(row) for row in rows))


def table(batch: Batch, name: str) -> list[dict[str, Any]]:
    return read_table(batch.lake, batch.require("ingest").outputs[name]).to_pylist()


def texts(batch: Batch) -> list[str]:
    return [row["messages"][-1]["content"] for row in table(batch, "prompts")]


def test_the_five_bad_rows_are_quarantined_and_the_good_ones_go_on(
    lake: Lake, clock: Clock, inbox: Path
) -> None:
    lines = [
        b'{"prompt": "good one"}',
        b'{"prompt": "cut off',
        b'{"messages": 42}',
        b'{"prompt": "  "}',
        b'{"prompt": "caf\xe9"}',
        b'{"prompt": " good   one "}',
        b'{"prompt": "good two"}',
    ]
    (inbox / "a.jsonl").write_bytes(b"\n".join(lines))
    batch = batch_of(lake, clock, "d1", str(inbox))
    manifest = ingest.run(batch)
    assert manifest is not None
    assert dict(manifest.counts) == {"rows_in": 7, "rows_out": 2, "quarantined": 5}
    assert texts(batch) == ["good one", "good two"]
    assert [(r["line"], r["reason"]) for r in table(batch, "quarantine")] == [
        (2, "invalid_json"),
        (3, "wrong_type"),
        (4, "empty_prompt"),
        (5, "invalid_utf8"),
        (6, "duplicate"),
    ]
    assert all(row["file"].endswith("a.jsonl") for row in table(batch, "quarantine"))
    assert [row["raw"] for row in table(batch, "quarantine")] == lines[1:6]


def test_rows_of_many_formats_are_counted_by_format(lake: Lake, clock: Clock, inbox: Path) -> None:
    talk = [{"from": "human", "value": "b"}, {"from": "gpt", "value": "x"}]
    rows = [
        {"instruction": "a", "input": "", "output": "x"},
        {"conversations": talk, "system": "Be brief."},
        {"instruction": "c", "output": "y"},
        {"instruction": "hello {{user}}", "output": "y"},
        {"title": "no prompt at all"},
    ]
    write(inbox / "a.jsonl", *rows)
    batch = batch_of(lake, clock, "one", str(inbox))
    for _ in range(2):
        manifest = ingest.run(batch)
        assert manifest is not None
        assert manifest.counts == {"rows_in": 5, "rows_out": 3, "quarantined": 2}
        assert manifest.figures["formats"] == {"alpaca": 3, "sharegpt": 1, "none": 1}
        assert manifest.figures["mended"] == {"system_column": 1}
        told = progress_of(lake, batch.campaign, "one", clock()).stages["ingest"]
        said = "done: 3 prompts, rows: 3 alpaca, 1 none, 1 sharegpt, mended: 1 system_column"
        assert told.startswith(said)
        # A batch that was killed before it was committed tells the same.
        lake.remove(manifest_path("small", "one", "ingest"))


def test_a_named_format_and_named_columns(lake: Lake, clock: Clock, inbox: Path) -> None:
    write(inbox / "a.jsonl", {"my_question": "a"}, {"instruction": "b", "output": "x"})
    columns = {"prompt": "my_question"}
    batch = batch_of(lake, clock, "one", str(inbox), format="prompts", columns=columns)
    ingest.run(batch)
    assert texts(batch) == ["a"]
    [refused] = table(batch, "quarantine")
    assert (refused["reason"], refused["line"]) == ("other_format", 2)
    assert "`alpaca`" in refused["detail"]


def test_a_prompt_of_an_earlier_batch_is_a_duplicate(lake: Lake, clock: Clock, inbox: Path) -> None:
    write(inbox / "a.jsonl", {"prompt": "x"})
    ingest.run(batch_of(lake, clock, "d1", str(inbox)))
    write(inbox / "b.jsonl", {"prompt": "x"}, {"prompt": "y"})
    second = batch_of(lake, clock, "d2", str(inbox))
    ingest.run(second)
    assert texts(second) == ["y"]
    [row] = table(second, "quarantine")
    assert "batch d1" in row["detail"]


def test_files_are_taken_in_name_order_a_few_a_batch(lake: Lake, clock: Clock, inbox: Path) -> None:
    for name in "cab":
        write(inbox / f"{name}.jsonl", {"prompt": name})
    batches = [batch_of(lake, clock, key, str(inbox), cap=2) for key in ("d1", "d2", "d3")]
    manifests = [ingest.run(batch) for batch in batches]
    assert texts(batches[0]) == ["a", "b"]
    assert texts(batches[1]) == ["c"]
    assert manifests[2] is None
    assert batches[2].manifest("ingest") is None


def test_running_again_gives_the_same_manifest_whatever_arrived(
    lake: Lake, clock: Clock, inbox: Path
) -> None:
    write(inbox / "b.jsonl", {"prompt": "b"})
    batch = batch_of(lake, clock, "d1", str(inbox), cap=1)
    first = ingest.run(batch)
    write(inbox / "a.jsonl", {"prompt": "a"})
    assert ingest.run(batch) == first


@pytest.mark.parametrize("at_once", [None, 1, 3])
def test_a_batch_knows_the_backfill_that_began_it_though_it_was_killed(
    lake: Lake, clock: Clock, inbox: Path, monkeypatch: pytest.MonkeyPatch, at_once: int | None
) -> None:
    write(inbox / "a.jsonl", {"prompt": "a"})
    batch = batch_of(lake, clock, "d1", str(inbox))

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest.run(batch, at_once=at_once)
    # As reconcile commits it, or a run that is none of a backfill.
    manifest = ingest.run(batch)
    assert manifest is not None
    assert manifest.figures.get("backfill_at_once") == at_once
    assert ("backfill_at_once" in manifest.figures) == (at_once is not None)
    entry = read_ledger(lake, "small").of("d1")
    assert entry is not None and entry.at_once == at_once


def test_a_kill_between_taking_and_committing_loses_nothing(
    lake: Lake, clock: Clock, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(inbox / "b.jsonl", {"prompt": "b"}, 7)
    batch = batch_of(lake, clock, "d1", str(inbox), cap=1)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            ingest.run(batch)
    write(inbox / "a.jsonl", {"prompt": "a"})
    (inbox / "b.jsonl").unlink()
    manifest = ingest.run(batch)
    assert manifest is not None
    assert manifest.counts["rows_in"] == 2
    assert texts(batch) == ["b"]


def test_two_batches_at_once_never_share_a_file(lake: Lake, clock: Clock, inbox: Path) -> None:
    for n in range(4):
        write(inbox / f"{n}.jsonl", {"prompt": f"p{n}"}, {"prompt": "in every file"})
    batches = [batch_of(lake, clock, f"d{n}", str(inbox), cap=1) for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ingest.run, batches))
    accepted = [text for batch in batches for text in texts(batch)]
    assert sorted(accepted) == ["in every file", "p0", "p1", "p2", "p3"]


def test_a_dated_source_takes_the_day_and_may_be_absent(
    tmp_path: Path, clock: Clock, inbox: Path
) -> None:
    lake = FolderLake(tmp_path / "lake")
    (inbox / "d1").mkdir()
    write(inbox / "d1" / "a.jsonl", {"prompt": "x"})
    dated = str(inbox / "{day}")
    assert ingest.run(batch_of(lake, clock, "d2", dated)) is None
    assert ingest.run(batch_of(lake, clock, "d1", dated)) is not None


def test_a_missing_folder_is_a_clear_error(tmp_path: Path, clock: Clock) -> None:
    lake = FolderLake(tmp_path / "lake")
    with pytest.raises(Fatal, match=r"nowhere.*ingest\.sources"):
        ingest.run(batch_of(lake, clock, "d1", str(tmp_path / "nowhere")))


def test_prompts_come_from_s3_too(tmp_path: Path, clock: Clock, s3_client: Any) -> None:
    s3_client.create_bucket(Bucket="prompts-in")
    body = b'{"prompt": "from s3"}\n{"prompt"'
    s3_client.put_object(Bucket="prompts-in", Key="drop/d1/a.jsonl", Body=body)
    batch = batch_of(FolderLake(tmp_path / "lake"), clock, "d1", "s3://prompts-in/drop/{day}")
    manifest = ingest.run(batch, s3_client)
    assert manifest is not None
    assert (manifest.counts["rows_out"], manifest.counts["quarantined"]) == (1, 1)
    assert texts(batch) == ["from s3"]


@pytest.fixture
def digested(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files that are read to tell what they are, all of which lay there long enough."""
    names: list[str] = []

    def noted(path: Path) -> str:
        names.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(sources, "file_digest", noted)
    monkeypatch.setattr(sources, "_SETTLED_NS", -(10**18))
    return names


def test_files_that_were_taken_or_have_to_wait_are_not_read_again(
    tmp_path: Path, clock: Clock, inbox: Path, digested: list[str]
) -> None:
    lake = FolderLake(tmp_path / "lake")
    for number in range(30):
        write(inbox / f"{number:02d}.jsonl", {"prompt": f"p{number}"})
    for number in range(14):
        digested.clear()
        batch = batch_of(lake, clock, f"d{number:02d}", str(inbox), cap=2)
        ingest.run(batch)
        assert texts(batch) == [f"p{2 * number}", f"p{2 * number + 1}"]
        assert digested == [f"{2 * number:02d}.jsonl", f"{2 * number + 1:02d}.jsonl"]


def test_a_taken_file_that_changes_is_a_new_one_though_its_size_and_time_are_kept(
    tmp_path: Path, clock: Clock, inbox: Path, digested: list[str]
) -> None:
    lake, file = FolderLake(tmp_path / "lake"), inbox / "a.jsonl"
    write(file, {"prompt": "one"})
    ingest.run(batch_of(lake, clock, "d1", str(inbox)))
    about = file.stat()
    write(file, {"prompt": "two"})
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    second = batch_of(lake, clock, "d2", str(inbox))
    ingest.run(second)
    assert texts(second) == ["two"]
    # One that is the same, but lies there anew, is read to tell, and not taken again.
    file.write_bytes(file.read_bytes())
    digested.clear()
    assert ingest.run(batch_of(lake, clock, "d3", str(inbox))) is None
    assert digested == ["a.jsonl"]


def test_a_file_of_a_batch_that_was_given_up_is_taken_again(
    tmp_path: Path, clock: Clock, inbox: Path, digested: list[str]
) -> None:
    lake = FolderLake(tmp_path / "lake")
    write(inbox / "a.jsonl", {"prompt": "one"})
    ingest.run(batch_of(lake, clock, "d1", str(inbox)))
    note = Dropped("ann", "2026-11-24T10:00:00+00:00", "wrong")
    assert mark(lake, "small", read_ledger(lake, "small"), "d1", note)
    second = batch_of(lake, clock, "d2", str(inbox))
    ingest.run(second)
    assert texts(second) == ["one"] and digested


def test_a_file_that_changed_this_very_moment_is_read_again(
    tmp_path: Path, clock: Clock, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_SETTLED_NS", 10**18)
    lake = FolderLake(tmp_path / "lake")
    write(inbox / "a.jsonl", {"prompt": "one"})
    ingest.run(batch_of(lake, clock, "d1", str(inbox)))
    entry = read_ledger(lake, "small").of("d1")
    assert entry is not None and not entry.looks
