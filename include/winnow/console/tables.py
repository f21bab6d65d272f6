"""The first rows of a table in the lake, without reading the rest of it.

Small tables are read whole and held against their digest. Of a large one only the footer and the
first pieces of the columns asked for are fetched, so its digest cannot be checked: what comes from
it is for looking at, never for computing on.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.batch import Artifact, read_artifact
from winnow.errors import Corrupt
from winnow.lake import Lake

SMALL_BYTES = 1 << 20
_PIECE_BYTES = 1 << 18
_BATCH_ROWS = 4096


def first_rows(lake: Lake, artifact: Artifact, columns: Sequence[str], most: int) -> pa.Table:
    """At most `most` rows of some columns; columns that the table has not got are left out.

    Raises:
        Corrupt: The table is missing or no table, or a small one does not match its digest.
    """
    try:
        return _first_rows(lake, artifact, columns, most)
    except FileNotFoundError as error:
        raise Corrupt(f"{lake.uri}/{artifact.path} is named by a manifest but missing.") from error
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # The store's; Arrow's own, of a page that cannot be parsed, have no number.
        raise Corrupt(f"{lake.uri}/{artifact.path} is no Parquet table; restore it.") from error


def _first_rows(lake: Lake, artifact: Artifact, columns: Sequence[str], most: int) -> pa.Table:
    if artifact.n_bytes <= SMALL_BYTES:
        source: io.IOBase = io.BytesIO(read_artifact(lake, artifact))
    else:
        source = _Opened(lake, artifact)
    opened = pa.PythonFile(source, mode="r")
    # Reading ahead would fetch whole columns.
    with pq.ParquetFile(opened, buffer_size=_PIECE_BYTES, pre_buffer=False) as file:
        wanted = [name for name in columns if name in file.schema_arrow.names]
        found, n_rows = [], 0
        size = min(most, _BATCH_ROWS)
        for batch in file.iter_batches(batch_size=size, columns=wanted, use_threads=False):
            found.append(batch.slice(0, most - n_rows))
            n_rows += found[-1].num_rows
            if n_rows >= most:
                break
        schema = pa.schema([file.schema_arrow.field(name) for name in wanted])
        return pa.Table.from_batches(found, schema)


class _Opened(io.RawIOBase):
    """A lake's object as a file that is read in parts."""

    def __init__(self, lake: Lake, artifact: Artifact) -> None:
        self._lake, self._artifact, self._at = lake, artifact, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._artifact.n_bytes}
        self._at = start[whence] + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._lake.part(self._artifact.path, self._at, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
