"""A pulled version is whole and checked, or it is not there; a pull that was cut off goes on."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from winnow.errors import Corrupt, Fatal, Retryable
from winnow.ids import digest
from winnow.lake import FolderLake, Lake
from winnow.publish.pull import pull
from winnow.publish.versions import Version, publish, store_object

NOW = datetime(2026, 11, 23, tzinfo=UTC)
N_SHARDS = 6


class Killed(BaseException):
    """The process died here."""


class Flaky:
    """A lake whose k-th file and those after it bring the first half only, and then `error`."""

    def __init__(self, lake: Lake, at: int, error: BaseException) -> None:
        self._lake, self._at, self._error = lake, at, error
        self._count = itertools.count(1)
        self.n_read = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lake, name)

    def chunks(self, path: str) -> Iterator[bytes]:
        self.n_read = place = next(self._count)
        data = b"".join(self._lake.chunks(path))
        if place > self._at:
            yield data[: len(data) // 2]
            raise self._error
        yield data


def put(lake: Lake, batch: str) -> Version:
    shards = {
        f"data/reward/train/{batch}-{i}.parquet": store_object(
            lake, "d", f"shard {i} of {batch}".encode(), "parquet", n_rows=3
        )
        for i in range(N_SHARDS)
    }
    return publish(lake, "d", batch, shards, {}, lambda v: f"card {v.name}", NOW)


def files_of(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_the_folder_is_the_version(lake: Lake, tmp_path: Path) -> None:
    version = put(lake, "b1")
    pulled = pull(lake, version, tmp_path / "new" / "out")
    held = files_of(pulled.folder)
    assert held.pop("manifest.json") == lake.read("datasets/d/versions/v000001.json")
    assert {name: digest(data) for name, data in held.items()} == {
        name: artifact.sha256 for name, artifact in version.files.items()
    }
    assert (pulled.n_files, pulled.n_fetched) == (N_SHARDS + 1, N_SHARDS + 1)
    assert pulled.n_bytes == sum(map(len, held.values()))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


@pytest.mark.parametrize("at", range(N_SHARDS + 1))
def test_a_pull_that_was_cut_off_leaves_no_folder_and_goes_on(
    lake: Lake, tmp_path: Path, at: int
) -> None:
    version = put(lake, "b1")
    out = tmp_path / "out"
    with pytest.raises(Killed):
        pull(Flaky(lake, at, Killed()), version, out)
    assert not out.exists()
    pulled = pull(lake, version, out)
    assert pulled.n_fetched == N_SHARDS + 1 - at
    assert sorted(files_of(out)) == sorted([*version.files, "manifest.json"])


def test_a_store_that_is_away_is_told_with_what_to_do(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path / "lake")
    version = put(lake, "b1")
    with pytest.raises(Retryable, match=r"store is away\. Pull again"):
        pull(Flaky(lake, 2, Retryable("The store is away.")), version, tmp_path / "out")


def test_what_a_cut_off_pull_left_is_checked_before_it_is_kept(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path / "lake")
    version = put(lake, "b1")
    with pytest.raises(Killed):
        pull(Flaky(lake, 4, Killed()), version, tmp_path / "out")
    (partial,) = tmp_path.glob(".out.*")
    kept = next(path for path in sorted(partial.rglob("*.parquet")) if path.name[0] != ".")
    kept.write_bytes(kept.read_bytes()[::-1])
    assert pull(lake, version, tmp_path / "out").n_fetched == N_SHARDS + 1 - 3
    name = kept.relative_to(partial).as_posix()
    assert digest((tmp_path / "out" / name).read_bytes()) == version.files[name].sha256


def test_a_second_pull_fetches_nothing(lake: Lake, tmp_path: Path) -> None:
    version = put(lake, "b1")
    first = pull(lake, version, tmp_path / "out")
    dead = Flaky(lake, 0, AssertionError("it was fetched again"))
    again = pull(dead, version, tmp_path / "out")
    assert (dead.n_read, again) == (0, dataclasses.replace(first, n_fetched=0))


def test_pulls_at_once_fetch_each_file_once(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path / "lake")
    version = put(lake, "b1")
    with ThreadPoolExecutor(6) as pool:
        pulled = list(pool.map(lambda _: pull(lake, version, tmp_path / "out"), range(6)))
    assert sorted(p.n_fetched for p in pulled) == [0] * 5 + [N_SHARDS + 1]
    assert {path.name for path in tmp_path.iterdir()} == {"lake", "out"}


def test_a_stored_file_with_other_bytes_is_never_pulled(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path / "lake")
    version = put(lake, "b1")
    stored = tmp_path / "lake" / next(iter(version.files.values())).path
    stored.write_bytes(stored.read_bytes()[::-1])
    with pytest.raises(Corrupt, match="does not match its digest"):
        pull(lake, version, tmp_path / "out")
    stored.unlink()
    with pytest.raises(Corrupt, match="missing"):
        pull(lake, version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_manifest_with_other_data_than_its_digest_is_refused(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path / "lake")
    version = put(lake, "b1")
    less = dict(list(version.files.items())[1:])
    with pytest.raises(Corrupt, match="does not match the digest in it"):
        pull(lake, dataclasses.replace(version, files=less), tmp_path / "out")


@pytest.mark.parametrize("name", ["../gone", "/etc/gone", "a/../../gone", "manifest.json"])
def test_no_file_is_written_outside_the_folder(tmp_path: Path, name: str) -> None:
    lake = FolderLake(tmp_path / "lake")
    shard = store_object(lake, "d", b"x", "parquet")
    files = {"data/reward/a.parquet": shard, name: shard}
    version = Version("d", 1, None, ("b1",), files, {}, "")
    lake.create("datasets/d/versions/v000001.json", version.to_bytes())
    with pytest.raises(Corrupt, match="outside a version's folder"):
        pull(lake, version, tmp_path / "out")


def test_a_folder_with_something_else_is_never_replaced(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path / "lake")
    first, second = put(lake, "b1"), put(lake, "b2")
    out = tmp_path / "out"
    out.mkdir()
    pull(lake, first, out)
    before = files_of(out)
    with pytest.raises(Fatal, match="another version"):
        pull(lake, second, out)
    assert files_of(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(Fatal, match="holds other files"):
        pull(lake, first, tmp_path / "mine")


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"cut")])
def test_a_pulled_folder_that_lost_a_file_is_told(tmp_path: Path, change: Any) -> None:
    lake = FolderLake(tmp_path / "lake")
    version = put(lake, "b1")
    out = pull(lake, version, tmp_path / "out").folder
    change(out / next(iter(version.files)))
    with pytest.raises(Corrupt, match="delete the folder and pull again"):
        pull(lake, version, out)
