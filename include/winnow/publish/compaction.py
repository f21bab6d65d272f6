"""Few files for many nights: the shards of earlier batches are merged, eight by eight.

A night brings fourteen files, so a version of a thousand nights would name, link and have its
readers open fourteen thousand. Instead a version keeps its newest batch in files of its own, and of
those before, eight neighbours are one file, eight such files one, and so on: as many files of each
kind as the number of batches has in that digit, written to base eight. A row is written once more
for each digit. What is merged follows from the parent alone, so whoever publishes again finds it.
"""

from __future__ import annotations

import logging
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.batch import Artifact, table_file
from winnow.errors import Corrupt
from winnow.lake import Lake
from winnow.pieces import read_pieces
from winnow.publish.objects import Shelf

if TYPE_CHECKING:
    from winnow.publish.versions import Version

NEIGHBOURS = 8
LARGEST = 32 << 20
"""Bytes above which no merged file is made: of large nights there are few."""
ROW_GROUP = 20_000
"""Rows that are written at once, or up to twice as many."""

_LOG = logging.getLogger(__name__)
_TO = "~"  # no batch's key has it
_Shard = tuple[str, Artifact]


def shard_name(folder: str, batches: Sequence[str], artifact: Artifact) -> str:
    """`FOLDER/KEY-DIGEST.parquet`, or `FOLDER/FIRST~LAST-DIGEST.parquet` of several batches."""
    keys = _TO.join(dict.fromkeys((batches[0], batches[-1])))
    return f"{folder}/{keys}-{artifact.sha256[:8]}.parquet"


def batches_of(name: str) -> tuple[str, str]:
    """The first and the last batch that a shard has rows of, by its name."""
    first, _, last = name.rpartition("/")[2].rpartition("-")[0].partition(_TO)
    return first, last or first


def compacted(shelf: Shelf, parent: Version) -> dict[str, Artifact]:
    """The files of `parent` as the version after it names them, merged ones stored on the shelf."""
    place = {batch: i for i, batch in enumerate(parent.batches)}
    files: dict[str, Artifact] = {}
    folders: dict[str, dict[int, _Shard]] = defaultdict(dict)
    for name, artifact in sorted(parent.files.items()):
        first = batches_of(name)[0]
        if name.startswith("data/") and first in place:
            folders[name.rpartition("/")[0]][place[first]] = name, artifact
        else:
            files[name] = artifact
    for folder, shards in folders.items():
        for start, end in _blocks(len(place)):
            files.update(_block(shelf, folder, shards, start, end))
    return files


def _blocks(n: int) -> Iterator[tuple[int, int]]:
    """The places 0 to n - 1 in the largest blocks that begin at multiples of their own size.

    Sizes are powers of `NEIGHBOURS`.

    >>> list(_blocks(75))
    [(0, 64), (64, 72), (72, 73), (73, 74), (74, 75)]
    """
    start, size = 0, 1
    while size * NEIGHBOURS <= n:
        size *= NEIGHBOURS
    while start < n:
        while start + size > n:
            size //= NEIGHBOURS
        yield start, start + size
        start += size


def _block(
    shelf: Shelf, folder: str, shards: Mapping[int, _Shard], start: int, end: int
) -> Iterator[_Shard]:
    """The shards at `start` to `end` - 1 as one, or as several where they cannot be one."""
    within = [shards[i] for i in range(start, end) if i in shards]
    if len(within) < 2:
        yield from within
        return
    if sum(artifact.n_bytes for _, artifact in within) <= LARGEST:
        merged = _merged(shelf, folder, within)
        if merged is not None:
            yield merged
            return
    if end - start > NEIGHBOURS:
        step = (end - start) // NEIGHBOURS
        for low in range(start, end, step):
            yield from _block(shelf, folder, shards, low, low + step)
    else:
        yield from within


def _merged(shelf: Shelf, folder: str, shards: Sequence[_Shard]) -> _Shard | None:
    """The shards as one; None where they cannot be, which is said and keeps no batch back.

    That is where a file is lost or damaged, or where a column has other types in them. A column
    that some of them lack, as those of an earlier release do, is null there.
    """
    ends = [batches_of(shards[0][0])[0], batches_of(shards[-1][0])[1]]
    with tempfile.TemporaryDirectory(prefix="winnow-shard-") as target:
        file = Path(target) / "shard.parquet"
        try:
            n_rows = _write(shelf.lake, shards, file)
        except (Corrupt, pa.ArrowException) as error:
            _LOG.warning("Files of %s stay as they are in %s: %s", " to ".join(ends), folder, error)
            return None
        artifact = shelf.put_file(file, "parquet", n_rows)
    return shard_name(folder, ends, artifact), artifact


def _write(lake: Lake, shards: Sequence[_Shard], file: Path) -> int:
    """Write the rows of the shards to one file; how many it has."""
    with ExitStack() as stack:
        parts = [stack.enter_context(table_file(lake, artifact)) for _, artifact in shards]
        # The newest first: its columns stand in their order.
        schema = pa.unify_schemas([pq.read_schema(part) for part in reversed(parts)])
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for table in _groups(parts, schema):
                writer.write_table(table, row_group_size=2 * ROW_GROUP)
    n_rows, n_expected = pq.read_metadata(file).num_rows, sum(a.n_rows for _, a in shards)
    if n_rows != n_expected:
        raise Corrupt(f"They hold {n_rows} rows and their manifest says {n_expected}.")
    return int(n_rows)


def _groups(parts: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of the files in order, in tables of these columns that are worth a row group."""
    held: list[pa.Table] = [schema.empty_table()]
    for part in parts:
        for piece in read_pieces(part, ROW_GROUP):
            held.append(pa.Table.from_batches([piece]))
            if sum(each.num_rows for each in held) >= ROW_GROUP:
                yield _as_one(held)
                held = held[:1]
    if len(held) > 1:
        yield _as_one(held)


def _as_one(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="default").combine_chunks()
