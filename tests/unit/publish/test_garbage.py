"""Garbage goes, and no order of publishing and collecting takes a file from a version."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from winnow.batch import Artifact
from winnow.cli import main
from winnow.errors import Corrupt, Retryable
from winnow.lake import FolderLake, Lake
from winnow.publish.garbage import Garbage, find_garbage, remove_garbage
from winnow.publish.rollback import roll_back
from winnow.publish.verify import verify_version
from winnow.publish.versions import Version, newest, publish, read_version, store_object

NOW = datetime(2026, 11, 23, tzinfo=UTC)
FUTURE = datetime(2200, 1, 1, tzinfo=UTC)
PAST = datetime(2020, 1, 1, tzinfo=UTC)


def shard(lake: Lake, text: str) -> dict[str, Artifact]:
    return {f"data/reward/{text}.parquet": store_object(lake, "d", text.encode(), "parquet", 1)}


def put(lake: Lake, batch: str, files: dict[str, Artifact] | None = None) -> Version:
    files = shard(lake, batch) if files is None else files
    return publish(lake, "d", batch, files, {}, lambda v: f"card {v.name}", NOW)


def collect(lake: Lake) -> Garbage:
    garbage = find_garbage(lake, "d", FUTURE)
    remove_garbage(lake, garbage)
    return garbage


def test_what_a_killed_publisher_stored_is_garbage_once_another_has_the_number(
    lake: Lake,
) -> None:
    [orphan] = shard(lake, "orphan").values()
    assert find_garbage(lake, "d", FUTURE).objects == ()
    put(lake, "b1")
    found = find_garbage(lake, "d", FUTURE)
    assert [stored.path for stored in found.objects] == [orphan.path]
    assert found.n_bytes == orphan.n_bytes == len("orphan")
    assert lake.exists(orphan.path)
    remove_garbage(lake, found)
    assert not lake.exists(orphan.path)
    assert find_garbage(lake, "d", FUTURE).objects == ()
    verify_version(lake, read_version(lake, "d", 1))


def test_young_objects_stay(lake: Lake) -> None:
    shard(lake, "orphan")
    put(lake, "b1")
    assert find_garbage(lake, "d", PAST).objects == ()


def test_other_datasets_and_the_versions_themselves_stay(lake: Lake) -> None:
    store_object(lake, "other", b"orphan", "parquet")
    put(lake, "b1")
    put(lake, "b2")
    before = lake.tags("")
    assert collect(lake).objects == ()
    assert lake.tags("") == before


def test_a_publisher_whose_files_were_collected_stores_them_again(lake: Lake) -> None:
    slow = shard(lake, "slow")
    put(lake, "fast")
    collect(lake)
    with pytest.raises(Retryable, match="garbage"):
        put(lake, "slow", slow)
    assert put(lake, "slow").number == 2
    verify_version(lake, read_version(lake, "d", 2))


def test_a_loser_s_files_are_brought_along(lake: Lake) -> None:
    slow = shard(lake, "slow")
    put(lake, "fast")
    version = put(lake, "slow", slow)
    collect(lake)
    verify_version(lake, version)


def test_a_collector_that_slept_takes_nothing_that_was_published_meanwhile(lake: Lake) -> None:
    slow = shard(lake, "slow")
    put(lake, "fast")
    sleeper = find_garbage(lake, "d", FUTURE)
    assert len(sleeper.objects) == 1
    put(lake, "slow", slow)
    remove_garbage(lake, sleeper)
    verify_version(lake, read_version(lake, "d", 2))


def test_with_a_manifest_missing_nothing_is_removed(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    shard(lake, "orphan")
    put(lake, "b1")
    put(lake, "b2")
    lake.remove("datasets/d/versions/v000001.json")
    with pytest.raises(Corrupt, match="the manifest of version 1 of d, is missing"):
        find_garbage(lake, "d", FUTURE)


def test_the_command_lists_and_removes_with_delete_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = FolderLake(tmp_path)
    orphan = store_object(lake, "nightly", b"orphan", "parquet")
    kept = store_object(lake, "nightly", b"kept", "parquet")
    files = {"data/reward/b.parquet": kept}
    publish(lake, "nightly", "b", files, {}, lambda _: "card", NOW)
    command = ["gc", "--lake", str(tmp_path), "--grace-hours"]
    assert main([*command, "1", "--delete"]) == 0
    assert lake.exists(orphan.path)
    assert "Removed 0 objects" in capsys.readouterr().out
    assert main([*command, "0"]) == 0
    assert lake.exists(orphan.path)
    assert orphan.path in capsys.readouterr().out
    assert main([*command, "0", "--delete"]) == 0
    assert not lake.exists(orphan.path)
    assert lake.exists(kept.path)


def test_the_command_takes_what_a_killed_task_left_of_a_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = FolderLake(tmp_path)
    publish(lake, "nightly", "b", {}, {}, lambda _: "card", NOW)
    folder = tmp_path / "batches/nightly/2026-11-22/expand"
    folder.mkdir(parents=True)
    # As a write names its file before it is whole.
    left = folder / f".responses-0123456789abcdef.parquet.{'a' * 32}"
    whole = folder / "responses-0123456789abcdef.parquet"
    for file in (left, whole):
        file.write_bytes(b"rows")
    command = ["gc", "--lake", str(tmp_path), "--grace-hours"]
    assert main([*command, "1", "--delete"]) == main([*command, "0"]) == 0
    assert left.exists()
    assert f"{left.relative_to(tmp_path)} was never finished" in capsys.readouterr().out
    assert main([*command, "0", "--delete"]) == 0
    assert not left.exists() and whole.exists()


def test_the_command_takes_old_folders_where_it_is_told_and_none_that_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = FolderLake(tmp_path)
    for number in range(1, 5):
        shard = store_object(lake, "nightly", b"%d" % number, "parquet")
        files = {f"data/reward/b{number}.parquet": shard}
        publish(lake, "nightly", f"b{number}", files, {}, lambda _: "card", NOW)
    folders = [tmp_path / f"datasets/nightly/v00000{number}" for number in range(1, 5)]
    command = ["gc", "--lake", str(tmp_path), "--grace-hours", "0"]
    assert main([*command, "--delete"]) == 0
    assert main([*command, "--folders", "--keep", "2"]) == 0
    assert all(folder.is_dir() for folder in folders)
    told = capsys.readouterr().out
    assert "datasets/nightly/v000001 is the folder of an older version" in told
    assert "v000002 is" not in told and "v000004 is" not in told
    assert "2 folders of older versions" in told
    assert main([*command, "--folders", "--keep", "2", "--delete"]) == 0
    assert [folder.exists() for folder in folders] == [False, True, False, True]
    verify_version(lake, read_version(lake, "nightly", 1))


class Publishing(RuleBasedStateMachine):
    """Publishers and collectors that stop between any two of their steps, and go on later."""

    stored, found = Bundle("stored"), Bundle("found")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.lake = FolderLake(Path(self.folder))
        self.batches = 0

    @rule(target=stored, text=st.sampled_from("abc"))
    def store(self, text: str) -> dict[str, Artifact]:
        return shard(self.lake, text)

    @rule(files=stored)
    def publish(self, files: dict[str, Artifact]) -> None:
        self.batches += 1
        try:
            put(self.lake, f"batch {self.batches}", files)
        except Retryable:
            # Only what was collected is missing, and only until it is stored again.
            put(self.lake, f"batch {self.batches}", shard(self.lake, "again"))

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        last = newest(self.lake, "d")
        if last is not None and last.number > 1:
            number = data.draw(st.integers(1, last.number - 1))
            roll_back(self.lake, read_version(self.lake, "d", number), "bad", "me", NOW)

    @rule(target=found)
    def find(self) -> Garbage:
        return find_garbage(self.lake, "d", FUTURE)

    @rule(garbage=found)
    def remove(self, garbage: Garbage) -> None:
        remove_garbage(self.lake, garbage)

    @invariant()
    def every_version_is_whole(self) -> None:
        last = newest(self.lake, "d")
        for number in range(1, last.number + 1 if last else 1):
            verify_version(self.lake, read_version(self.lake, "d", number))

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


TestPublishing = Publishing.TestCase
TestPublishing.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
