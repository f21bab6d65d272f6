"""However many nights a dataset has, its files are few, and all rows are in them, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.batch import read_table
from winnow.lake import FolderLake, Lake
from winnow.publish import compaction
from winnow.publish.rollback import roll_back
from winnow.publish.versions import Version, newest, publish, read_version, store_object

NOW = datetime(2026, 11, 23, tzinfo=UTC)
FOLDERS = ("data/reward/train", "data/reward/test", "data/kto/train")


def parquet(rows: Sequence[str], names: Sequence[str] = ("pair_id",)) -> bytes:
    sink = BytesIO()
    pq.write_table(pa.table(dict.fromkeys(names, pa.array(rows, pa.string()))), sink)
    return sink.getvalue()


def put(lake: Lake, batch: str, rows: Mapping[str, Sequence[str]], *names: str) -> Version:
    """Publish a batch with these rows in these folders; a folder without rows has no file."""
    files = {}
    for folder, some in rows.items():
        if some:
            stored = store_object(
                lake, "d", parquet(some, names or ("pair_id",)), "parquet", len(some)
            )
            files[compaction.shard_name(folder, [batch], stored)] = stored
    return publish(lake, "d", batch, files, {}, lambda version: version.name, NOW)


def nights(lake: Lake, start: int, end: int) -> Version:
    for i in range(start, end):
        last = put(lake, f"n{i:04d}", {FOLDERS[0]: [f"r{i}"]})
    return last


def rows_of(lake: Lake, version: Version, folder: str) -> list[str]:
    files = sorted(name for name in version.files if name.startswith(folder))
    tables = [read_table(lake, version.files[name]) for name in files]
    return [row for table in tables for row in table["pair_id"].to_pylist()]


def batches(version: Version) -> list[tuple[str, str]]:
    return [compaction.batches_of(n) for n in sorted(version.files) if n.startswith("data/")]


NIGHT = st.tuples(*(st.integers(0, 3) for _ in FOLDERS))


@settings(deadline=None, max_examples=15)
@given(data=st.data(), sizes=st.lists(NIGHT, min_size=1, max_size=90))
def test_every_row_is_in_each_later_version_once_and_in_order(
    data: st.DataObject, sizes: list[tuple[int, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lake, held = (
        FolderLake(tmp_path_factory.mktemp("lake")),
        {folder: list[str]() for folder in FOLDERS},
    )
    after: list[dict[str, list[str]]] = []
    for i, counts in enumerate(sizes):
        rows = {f: [f"{i}-{f}-{k}" for k in range(n)] for f, n in zip(FOLDERS, counts, strict=True)}
        version = put(lake, f"n{i:04d}", rows)
        held = {folder: held[folder] + rows[folder] for folder in FOLDERS}
        after.append(held)
        assert version.n_new_rows("reward") == counts[0] + counts[1]
    number = data.draw(st.integers(1, len(sizes)))
    for asked in (number, len(sizes)):
        version = read_version(lake, "d", asked)
        for folder in FOLDERS:
            assert rows_of(lake, version, folder) == after[asked - 1][folder]
        per_folder = Counter(name.rpartition("/")[0] for name in version.files)
        assert max(per_folder[folder] for folder in FOLDERS) <= 3 * (compaction.NEIGHBOURS - 1) + 1


def test_neighbours_become_one_file_and_the_newest_batch_keeps_its_own(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    assert len(batches(nights(lake, 0, 8))) == 8
    assert batches(nights(lake, 8, 9)) == [("n0000", "n0007"), ("n0008", "n0008")]
    found = batches(nights(lake, 9, 75))
    assert found[:2] == [("n0000", "n0063"), ("n0064", "n0071")]
    assert found[2:] == [(f"n{i:04d}", f"n{i:04d}") for i in (72, 73, 74)]


def test_a_publisher_that_stores_again_gets_the_same_files(lake: Lake) -> None:
    first = nights(lake, 0, 9)
    lake.remove("datasets/d/versions/v000009.json")
    lake.remove_folder(first.folder, "manifest.json")
    lake.remove("datasets/d/latest.json")
    assert nights(lake, 8, 9) == first == newest(lake, "d")


def test_after_a_rollback_the_rows_of_what_was_taken_out_are_gone(tmp_path: Path) -> None:
    lake = FolderLake(tmp_path)
    nights(lake, 0, 20)
    roll_back(lake, read_version(lake, "d", 12), "bad", "ann", NOW)
    version = put(lake, "n0100", {FOLDERS[0]: ["r100"]})
    kept = [*range(12), 100]
    assert rows_of(lake, version, FOLDERS[0]) == [f"r{i}" for i in kept]
    assert batches(version)[0] == ("n0000", "n0007")


def test_a_file_as_large_as_one_should_be_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = FolderLake(tmp_path)
    monkeypatch.setattr(compaction, "LARGEST", 10 * len(parquet(["r10"])))
    found = batches(nights(lake, 0, 65))
    assert found == [(f"n{i:04d}", f"n{i + 7:04d}") for i in range(0, 64, 8)] + [("n0064", "n0064")]


@pytest.mark.parametrize("harm", ["damaged", "of another type", "of fewer rows"])
def test_what_cannot_be_merged_stays_and_keeps_no_batch_back(lake: Lake, harm: str) -> None:
    last = nights(lake, 0, 7)
    name = next(name for name in last.files if "n0003" in name)
    if harm == "damaged":
        lake.remove(last.files[name].path)
        lake.create(last.files[name].path, b"not it")
    elif harm == "of another type":
        table = pa.table({"pair_id": pa.array([7])})
        sink = BytesIO()
        pq.write_table(table, sink)
        stored = store_object(lake, "d", sink.getvalue(), "parquet", 1)
        files = {compaction.shard_name(FOLDERS[0], ["n0007"], stored): stored}
        publish(lake, "d", "n0007", files, {}, lambda version: version.name, NOW)
    else:
        stored = store_object(lake, "d", parquet(["r7"]), "parquet", 2)
        files = {compaction.shard_name(FOLDERS[0], ["n0007"], stored): stored}
        publish(lake, "d", "n0007", files, {}, lambda version: version.name, NOW)
    if harm == "damaged":
        nights(lake, 7, 8)
    assert len(batches(nights(lake, 8, 10))) == 10


def test_columns_that_a_release_brought_are_null_of_earlier_nights(lake: Lake) -> None:
    nights(lake, 0, 6)
    for key in ("n0006", "n0007"):
        put(lake, key, {FOLDERS[0]: [f"r{key}"]}, "model", "pair_id")
    version = nights(lake, 8, 9)
    assert batches(version)[0] == ("n0000", "n0007")
    merged = read_table(lake, version.files[min(version.files, key=lambda n: ("~" not in n, n))])
    assert merged["model"].to_pylist() == [*[None] * 6, "rn0006", "rn0007"]
    assert merged["pair_id"].to_pylist()[:6] == [f"r{i}" for i in range(6)]
