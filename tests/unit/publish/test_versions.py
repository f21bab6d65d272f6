"""Versions are immutable, numbered without gaps, and none is lost when publishers meet or die."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from winnow.ids import digest
from winnow.lake import FolderLake, Lake
from winnow.publish import versions
from winnow.publish.versions import Version, newest, publish, read_version, store_object

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


def test_the_folder_holds_what_the_manifest_says(lake: Lake) -> None:
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
    later = Version.from_bytes(version.to_bytes().replace(b"2026-11-23", b"2027-01-01"))
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


@pytest.mark.parametrize("step", ["_lay_out", "_point_to"])
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
