"""Tables of any size, read in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.sql import Source

_ROWS = 65_536


def fitted(rows: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The columns of `schema`, with nulls for those that a table of an earlier version lacks."""
    held = set(rows.schema.names)
    columns = [
        rows[each.name] if each.name in held else pa.nulls(len(rows), each.type) for each in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def read_pieces(
    source: Source, n_rows: int = _ROWS, names: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a table in order, `n_rows` at most at once, of all columns or those of `names`.

    Of a file a row group is held: read ahead, Arrow would keep all that it has read.
    """
    columns = None if names is None else list(names)
    if isinstance(source, pa.Table):
        table = source if columns is None else source.select(columns)
        yield from table.to_batches(n_rows)
    else:
        with pq.ParquetFile(source, pre_buffer=False) as file:
            yield from file.iter_batches(n_rows, columns=columns)
