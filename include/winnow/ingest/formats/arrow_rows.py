"""Rows of Arrow's IPC, as `save_to_disk` of Hugging Face's datasets writes it: known columns only.

A stream, or a file, which is a stream behind a mark. Buffers are read where they lie, so that a
file takes no more memory than it has bytes; one whose buffers are packed is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from struct import unpack_from

import pyarrow as pa

from winnow.ingest.formats.labels import labels_of
from winnow.ingest.formats.parquet_rows import damaged, rows_of, unfit
from winnow.ingest.formats.raw import Data, RawRow

_MARK = b"ARROW1\0\0"
_MANY_ROWS = 4_000_000
"""Rows of a batch, at most, where its file is not much larger than that."""
_ROWS_A_BYTE = 64


def arrow_rows(file: str, data: Data, columns: Collection[str]) -> Iterator[RawRow]:
    """Every row of a file in its order; `line` counts rows from 1, and 0 is the whole file."""
    line = 0
    try:
        source = pa.BufferReader(data) if isinstance(data, bytes) else pa.memory_map(str(data))
        with source:
            start = len(_MARK) if source.read(len(_MARK)) == _MARK else 0
            source.seek(start)
            if any(map(_is_packed, pa.ipc.MessageReader.open_stream(source))):
                raise pa.ArrowInvalid("its buffers are packed: write it without compression")
            source.seek(start)
            with pa.ipc.open_stream(source) as stream:
                names = [name for name in stream.schema.names if name in columns]
                fault = unfit(stream.schema, names)
                if fault is not None:
                    yield RawRow(file, 0, b"", fault=fault)
                    return
                labels = labels_of(stream.schema)
                for batch in stream:
                    if batch.num_rows > _MANY_ROWS + _ROWS_A_BYTE * source.size():
                        raise pa.ArrowInvalid(f"{batch.num_rows} rows in {source.size()} bytes")
                    kept = batch.select(names)
                    kept.validate(full=True)
                    yield from rows_of(file, line, kept, names, labels)
                    line += batch.num_rows
    except Exception as error:  # Foreign bytes: pyarrow raises what it likes.
        fault = damaged(error, "invalid_arrow")
        # Without its beginning a stream has no schema; later, what follows the fault is lost.
        told = f"{fault} (rows from {line + 1} on)" if line else fault
        yield RawRow(file, line + 1 if line else 0, b"", fault=told)


def _is_packed(message: pa.Message) -> bool:
    """Whether a message's buffers are packed: its table (a flatbuffer) then says by what."""
    about = message.metadata.to_pybytes()
    if message.type not in ("record batch", "dictionary"):
        return False
    batch = _inner(about, unpack_from("<I", about)[0], 2)
    if message.type == "dictionary":
        batch = _inner(about, batch, 1)
    return _place(about, batch, 3) != 0


def _place(about: bytes, table: int, field: int) -> int:
    """Where a field of a table stands; 0 where it has none."""
    names = table - unpack_from("<1i", about, table)[0]
    at = 4 + 2 * field
    if at >= unpack_from("<H", about, names)[0]:
        return 0
    return int(unpack_from("<H", about, names + at)[0])


def _inner(about: bytes, table: int, field: int) -> int:
    place = table + _place(about, table, field)
    return int(place + unpack_from("<I", about, place)[0])
