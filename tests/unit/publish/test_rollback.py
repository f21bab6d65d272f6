"""A rollback is a new version; what was taken out comes back by another rollback only."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Fatal
from winnow.lake import FolderLake, Lake
from winnow.publish import versions
from winnow.publish.rollback import roll_back
from winnow.publish.versions import (
    CARD,
    REPORT,
    Version,
    newest,
    publish,
    read_version,
    store_object,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def put(lake: Lake, batch: str) -> Version:
    shard = store_object(lake, "d", f"rows of {batch}".encode(), "parquet", n_rows=3)
    files = {f"data/reward/{batch}.parquet": shard}
    return publish(lake, "d", batch, files, {"batch": batch}, lambda v: f"card {v.name}", NOW)


def back(lake: Lake, number: int, reason: str = "bad labels") -> Version:
    return roll_back(lake, read_version(lake, "d", number), reason, "ann", NOW)


def test_the_new_version_has_the_old_ones_files_and_says_why(lake: Lake) -> None:
    first, _, third = (put(lake, batch) for batch in ("b1", "b2", "b3"))
    version = back(lake, 1, " annotators guessed ")
    assert (version.number, version.parent) == (4, 3)
    data = {name: file for name, file in version.files.items() if name != CARD}
    assert data == {name: file for name, file in first.files.items() if name != CARD}
    assert version.digest == first.digest
    assert (version.batches, version.withdrawn) == (("b1",), ("b2", "b3"))
    manifest = json.loads(lake.read(f"{version.folder}/manifest.json"))
    assert manifest["rollback"] == {"to": "v000001", "reason": "annotators guessed", "by": "ann"}
    shard = "data/reward/b1.parquet"
    in_folder = f"{version.folder}/{shard}" if lake.links else version.files[shard].path
    assert lake.read(in_folder) == b"rows of b1"
    assert json.loads(lake.read("datasets/d/latest.json"))["version"] == "v000004"
    assert read_version(lake, "d", 4) == version
    assert read_version(lake, "d", 3) == third


def test_card_and_report_say_that_they_are_of_the_new_version(lake: Lake) -> None:
    def card(version: Version) -> str:
        return f"# d {version.name}\n\nwinnow pull d@{version.name}\n"

    def report(version: Version) -> str:
        return f"<body><main><h1>d {version.name}</h1></main></body>"

    publish(lake, "d", "b1", {}, {}, card, NOW, report=report)
    put(lake, "b2")
    version = back(lake, 1, "<b>bad</b> labels")
    told = lake.read(f"{version.folder}/{CARD}").decode()
    assert told.startswith("# d v000003\n\n> v000003 is v000001")
    assert "winnow pull d@v000003" in told
    assert "again: ann rolled back to it (&lt;b&gt;bad&lt;/b&gt; labels)." in told
    page = lake.read(f"{version.folder}/{REPORT}").decode()
    assert page.startswith('<body><main><div class="notice"><p><bdi>v000003 is v000001')
    assert "<b>" not in page and "<h1>d v000001</h1>" in page
    old = read_version(lake, "d", 1)
    assert lake.read(f"{old.folder}/{CARD}").decode() == card(old)


def test_the_next_batch_builds_on_what_is_left(lake: Lake) -> None:
    for batch in ("b1", "b2"):
        put(lake, batch)
    back(lake, 1)
    version = put(lake, "b3")
    assert (version.number, version.batches, version.withdrawn) == (4, ("b1", "b3"), ("b2",))
    assert sorted(version.files) == [
        "README.md",
        "data/reward/b1.parquet",
        "data/reward/b3.parquet",
    ]
    assert version.rollback is None


def test_a_withdrawn_batch_that_runs_again_brings_nothing_back(lake: Lake) -> None:
    _, second, _ = (put(lake, batch) for batch in ("b1", "b2", "b3"))
    back(lake, 1)
    put(lake, "b4")
    assert put(lake, "b2") == second
    latest = newest(lake, "d")
    assert latest is not None
    assert (latest.number, latest.batches) == (5, ("b1", "b4"))


def test_another_rollback_brings_a_batch_back(lake: Lake) -> None:
    for batch in ("b1", "b2"):
        put(lake, batch)
    back(lake, 1)
    put(lake, "b3")
    version = back(lake, 2)
    assert (version.number, version.batches, version.withdrawn) == (5, ("b1", "b2"), ("b3",))


def test_a_second_rollback_keeps_out_what_the_first_took_out(lake: Lake) -> None:
    for batch in ("b1", "b2"):
        put(lake, batch)
    back(lake, 1)
    put(lake, "b3")
    version = back(lake, 3)
    assert (version.batches, version.withdrawn) == (("b1",), ("b2", "b3"))


def test_a_rollback_asked_for_twice_is_one(lake: Lake) -> None:
    for batch in ("b1", "b2"):
        put(lake, batch)
    assert back(lake, 1, "first reason") == back(lake, 1, "second reason")
    latest = newest(lake, "d")
    assert latest is not None and latest.number == 3


def test_a_rollback_killed_after_the_commit_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = FolderLake(tmp_path)
    for batch in ("b1", "b2"):
        put(lake, batch)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(versions, "lay_out", killed)
        with pytest.raises(KeyboardInterrupt):
            back(lake, 1)
    assert back(lake, 1).number == 3
    assert lake.exists("datasets/d/v000003/manifest.json")
    assert json.loads(lake.read("datasets/d/latest.json"))["version"] == "v000003"


def test_there_is_nothing_to_do_for_the_newest_version_or_without_a_reason(lake: Lake) -> None:
    put(lake, "b1")
    with pytest.raises(Fatal, match="is the newest version"):
        back(lake, 1)
    put(lake, "b2")
    with pytest.raises(Fatal, match="needs a reason"):
        back(lake, 1, " \n")
    assert not lake.exists("datasets/d/versions/v000003.json")


def test_rollbacks_and_batches_at_once_lose_no_version(lake: Lake) -> None:
    for batch in ("b1", "b2"):
        put(lake, batch)
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(put, lake, f"c{i}") for i in range(4)]
        waiting.append(pool.submit(back, lake, 1))
        for done in waiting:
            done.result()
    chain = [read_version(lake, "d", number) for number in range(1, 8)]
    assert [version.parent for version in chain] == [None, 1, 2, 3, 4, 5, 6]
    last = chain[-1]
    assert sorted(last.batches + last.withdrawn) == ["b1", "b2", "c0", "c1", "c2", "c3"]
    assert not lake.exists("datasets/d/versions/v000008.json")


@settings(max_examples=20)
@given(st.lists(st.integers(0, 6), max_size=8))
def test_files_and_batches_always_agree(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int]
) -> None:
    """0 publishes a new batch, another number publishes that batch again or rolls back to it."""
    lake = FolderLake(tmp_path_factory.mktemp("lake"))
    put(lake, "b0")
    put(lake, "b1")
    known = ["b0", "b1"]
    for step in steps:
        last = newest(lake, "d")
        assert last is not None
        if step == 0:
            known.append(f"b{len(known)}")
            put(lake, known[-1])
        elif step % 2 and step < last.number:
            back(lake, step)
        else:
            first = put(lake, known[step % len(known)])
            assert first.number <= last.number
        last = newest(lake, "d")
        assert last is not None
        held = {name for name in last.files if name.startswith("data/")}
        assert held == {f"data/reward/{batch}.parquet" for batch in last.batches}
        assert sorted({*last.batches, *last.withdrawn}) == sorted(known)
        assert not {*last.batches} & {*last.withdrawn}
