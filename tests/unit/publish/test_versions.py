"""Versions are immutable, numbered without gaps, and none is lost when publishers meet or die."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from winnow.errors import Corrupt, Fatal
from winnow.ids import digest
from winnow.lake import FolderLake, Lake
from winnow.publish import probe, versions
from winnow.publish.verify import verify_version
from winnow.publish.versions import Version, newest, publish, read_version, shelf, store_object

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def put(lake: Lake, batch: str) -> Version:
    shard = store_object(lake, "d", f"rows of {batch}".encode(), "parquet", n_rows=3)
    files = {f"data/reward/{batch}.parquet": shard}
    return publish(lake, "d", batch, files, {"batch": batch}, lambda v: f"card {v.name}", NOW)


def test_a_version_holds_all_labels_so_far(lake: Lake) -> None:
    put(lake, "b1")
    second = put(lake, "b2")
    assert (second.name, second.parent, second.batches) == ("v000002", 1, ("b1", "b2"))
    assert sorted(second.files) == ["README.md", "data/reward/b1.parquet", "data/reward/b2.parquet"]
    assert second.n_rows("reward") == 6
    assert read_version(lake, "d", 1).batches == ("b1",)


def test_the_folder_on_a_disk_holds_what_the_manifest_says(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    version = put(lake, "b1")
    for name, artifact in version.files.items():
        assert digest(lake.read(f"{version.folder}/{name}")) == artifact.sha256
    manifest = json.loads(lake.read(f"{version.folder}/manifest.json"))
    assert (manifest["version"], manifest["digest"]) == ("v000001", version.digest)
    assert lake.read(f"{version.folder}/README.md") == b"card v000001"


def test_a_batch_is_published_once(lake: Lake) -> None:
    first = put(lake, "b1")
    put(lake, "b2")
    assert put(lake, "b1") == first
    latest = newest(lake, "d")
    assert latest is not None
    assert latest.number == 2


def test_the_digest_is_about_data_and_not_about_time_or_number(lake: Lake) -> None:
    version = put(lake, "b1")
    later = replace(version, published_at="2027-01-01T00:00:00+00:00", number=7)
    assert later.digest == version.digest
    assert put(lake, "b2").digest != version.digest


def test_publishers_at_once_lose_no_version(lake: Lake) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda i: put(lake, f"b{i}"), range(6)))
    chain = [read_version(lake, "d", number) for number in range(1, 7)]
    assert [version.parent for version in chain] == [None, 1, 2, 3, 4, 5]
    assert sorted(chain[-1].batches) == [f"b{i}" for i in range(6)]
    assert json.loads(lake.read("datasets/d/latest.json"))["number"] == 6
    assert not lake.exists("datasets/d/versions/v000007.json")


@pytest.mark.parametrize("step", ["lay_out", "_point_to"])
def test_a_publisher_killed_after_the_commit_is_finished_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    lake = FolderLake(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(versions, step, killed)
        with pytest.raises(KeyboardInterrupt):
            put(lake, "b1")
    put(lake, "b2")
    put(lake, "b1")
    assert lake.exists("datasets/d/v000001/manifest.json")
    assert json.loads(lake.read("datasets/d/latest.json"))["version"] == "v000002"


def test_content_that_the_newest_version_has_is_stored_once(lake: Lake, tmp_path: Path) -> None:
    first = put(lake, "b1").files["data/reward/b1.parquet"]
    assert store_object(lake, "d", b"rows of b1", "parquet", n_rows=3) == first
    other = store_object(lake, "d", b"rows of b1", "json")
    assert (other.sha256, other.path == first.path) == (first.sha256, False)
    source = tmp_path / "file"
    source.write_bytes(b"rows of b1")
    objects = shelf(lake, "d", newest(lake, "d"))
    assert objects.put_file(source, "parquet", 3) == first
    source.write_bytes(b"rows of b2")
    new = objects.put_file(source, "parquet", 3)
    assert new == objects.put(b"rows of b2", "parquet", 3)
    assert digest(lake.read(new.path)) == new.sha256


def test_a_second_run_of_a_published_batch_stores_nothing(lake: Lake) -> None:
    put(lake, "b1")
    put(lake, "b2")
    before = lake.tags("")
    put(lake, "b1")
    assert lake.tags("") == before


def test_a_manifest_that_was_changed_is_corrupt(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    put(lake, "b1")
    put(lake, "b2")
    first, second = (tmp_path / f"datasets/d/versions/v00000{n}.json" for n in (1, 2))
    kept = second.read_bytes()
    for changed in (first.read_bytes(), kept.replace(b"data/reward/b1", b"data/reward/xx")):
        second.unlink()
        second.write_bytes(changed)
        with pytest.raises(Corrupt, match="v000002"):
            read_version(lake, "d", 2)


@pytest.mark.parametrize("place", ["folder", "object"])
@pytest.mark.parametrize("name", ["data/reward/b1.parquet", "README.md"])
def test_a_file_that_was_changed_or_lost_is_corrupt(tmp_path: Path, place: str, name: str) -> None:
    lake = FolderLake(tmp_path)
    version = put(lake, "b1")
    verify_version(lake, version)
    path = f"{version.folder}/{name}" if place == "folder" else version.files[name].path
    (tmp_path / path).unlink()
    with pytest.raises(Corrupt, match=f"{path} is missing"):
        verify_version(lake, version)
    (tmp_path / path).write_bytes(b"other")
    with pytest.raises(Corrupt, match=f"1 files .* {path} has other bytes"):
        verify_version(lake, version)


def test_nothing_is_committed_to_a_store_that_fails_the_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = FolderLake(tmp_path)
    monkeypatch.setattr(lake, "swap", lambda *_: True)
    with pytest.raises(Fatal, match="If-Match"):
        put(lake, "b1")
    assert newest(lake, "d") is None
    assert lake.exists(probe.PROBE)
