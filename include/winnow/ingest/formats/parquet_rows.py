"""Rows of Parquet: known columns only, each row on its own, within limits.

What a file unpacks to is bounded before it is unpacked. Texts stay in the file's own dictionary
until a row is looked at, so that a short file which says one long text a million times stays short.
A value that Python cannot hold costs its row; a damaged row group costs its rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.ingest.formats.labels import labels_of, named
from winnow.ingest.formats.parquet_footer import Chunk, read_footer
from winnow.ingest.formats.raw import MAX_ROW_BYTES, Data, RawRow, opened
from winnow.ingest.values import shown

MAX_GROUP_BYTES = 4 << 30
"""Bytes of the known columns of one row group, unpacked, at most."""

MAX_VALUES_A_BYTE = 64
"""Values of a column for each byte that it has in the file, at most: a text that is given again
and again may take less than a bit, but no such file holds prompts."""

_FEW_VALUES = 4_000_000
_BYTES_A_VALUE = 8
"""What a place in a dictionary takes, with what tells whose list it is in."""

_ROWS_AT_ONCE = 256
_BYTES_AT_ONCE = 64 << 20


def parquet_rows(file: str, data: Data, columns: Collection[str]) -> Iterator[RawRow]:
    """Every row of a file in its order; `line` counts rows from 1, and 0 is the whole file."""
    source = pa.BufferReader(data) if isinstance(data, bytes) else str(data)
    groups: list[list[Chunk]] = []
    names: list[str] = []
    try:
        # Read ahead, Arrow would keep all row groups that it has read.
        parquet = pq.ParquetFile(source, pre_buffer=False)
        names = [name for name in parquet.schema_arrow.names if name in columns]
        fault = unfit(parquet.schema_arrow, names)
        if fault is None:
            groups = read_footer(_footer(data))
            fault = _bomb(groups, names)
        if fault is None:
            # Texts stay as they are stored, each once, where their encoding lets them.
            dictionaries = _paths(parquet, names)
            stored_once = pq.ParquetFile(source, read_dictionary=dictionaries, pre_buffer=False)
    except Exception as error:  # Foreign bytes: pyarrow raises what it likes.
        fault = damaged(error)
    if fault is not None:
        yield RawRow(file, 0, _head(data), fault=fault)
        return
    line = 0
    for number, chunks in enumerate(groups):
        n_rows = parquet.metadata.row_group(number).num_rows
        yield from _group_rows(file, (stored_once, parquet), number, line, names, chunks)
        line += n_rows


def unfit(schema: pa.Schema, names: Sequence[str]) -> str | None:
    """Why no row of a file can be read that has these of the known columns."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"stands_twice: more than one column {', '.join(twice)}"
    if not names:
        return f"no_prompt: no known column, but {shown(', '.join(schema.names))}"
    return None


def _paths(parquet: pq.ParquetFile, names: Collection[str]) -> list[str]:
    """Paths of the stored columns below the named ones."""
    paths = [parquet.schema.column(k).path for k in range(len(parquet.schema))]
    return [path for path in paths if path.split(".")[0] in names]


def _group_rows(
    file: str,
    ways: Sequence[pq.ParquetFile],
    number: int,
    line: int,
    names: Sequence[str],
    chunks: Sequence[Chunk],
) -> Iterator[RawRow]:
    labels = labels_of(ways[0].schema_arrow)
    begin, n_rows = line, ways[0].metadata.row_group(number).num_rows
    fault = _too_large(chunks, names)
    for parquet in ways if fault is None else ():
        try:
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, [number], columns=names):
                for row in rows_of(file, line, batch, names, labels):
                    yield row
                    line = row.line
            fault = None
        except Exception as error:  # As above.
            fault = damaged(error)
        if line > begin:
            break
    if fault is None and line < begin + n_rows:
        fault = "invalid_parquet: there are fewer rows than the file says"
    if fault is not None:
        told = f"{fault} (rows {line + 1} to {begin + n_rows})"
        yield RawRow(file, line + 1, b"", fault=told)


def _bomb(groups: Sequence[Sequence[Chunk]], names: Collection[str]) -> str | None:
    """Why a file is not unpacked: it would hold far more than a file of its size should."""
    read = [chunk for group in groups for chunk in group if chunk.column in names]
    n_values, n_bytes = (sum(c.n_values for c in read), sum(c.n_packed_bytes for c in read))
    if n_values > _FEW_VALUES + MAX_VALUES_A_BYTE * n_bytes:
        return f"too_long: {n_values} values in {n_bytes} bytes"
    return None


def _too_large(group: Sequence[Chunk], names: Collection[str]) -> str | None:
    """Why a row group is not unpacked: it does not fit into memory."""
    read = [chunk for chunk in group if chunk.column in names]
    unpacked = sum(chunk.n_bytes + _BYTES_A_VALUE * chunk.n_values for chunk in read)
    if unpacked > MAX_GROUP_BYTES:
        return f"too_long: a row group of {unpacked} bytes; write smaller ones"
    return None


def _footer(data: Data) -> bytes:
    """The bytes between the last row group and the length of the footer that ends the file."""
    with opened(data) as source:
        size = source.size()
        source.seek(size - 8)
        n_bytes = int.from_bytes(source.read(4), "little")
        source.seek(max(0, size - 8 - n_bytes))
        return bytes(source.read(n_bytes))


def rows_of(
    file: str,
    line: int,
    batch: pa.RecordBatch,
    names: Sequence[str],
    labels: Mapping[str, Any],
) -> Iterator[RawRow]:
    """The rows of a batch, which begin behind `line`; `labels` as `labels_of` gives them."""
    arrays = {name: _in_utc(batch.column(batch.schema.get_field_index(name))) for name in names}
    bytes_n = np.sum([_row_bytes(array) for array in arrays.values()], axis=0)
    start = 0
    while start < batch.num_rows:
        if bytes_n[start] > MAX_ROW_BYTES:
            fault = f"too_long: the row has {bytes_n[start]} bytes; {MAX_ROW_BYTES} are read"
            yield RawRow(file, line + start + 1, b"", fault=fault)
            start += 1
            continue
        fits = np.cumsum(bytes_n[start:]) <= _BYTES_AT_ONCE
        fits &= np.cumsum(bytes_n[start:] > MAX_ROW_BYTES) == 0
        n = max(1, int(fits.sum()))
        piece = {name: array.slice(start, n) for name, array in arrays.items()}
        for k, row in enumerate(_values(piece, n)):
            place = line + start + k + 1
            if isinstance(row, str):
                yield RawRow(file, place, b"", fault=row)
            else:
                values = {k: named(v, labels[k]) if k in labels else v for k, v in row.items()}
                yield RawRow(file, place, value=values if labels else row)
        start += n


def _values(arrays: dict[str, pa.Array], n: int) -> Iterator[dict[str, Any] | str]:
    """Each row as its columns, or why it cannot be one."""
    try:
        lists = [array.to_pylist() for array in arrays.values()]
    except Exception:  # One value of them; row by row it costs its row alone.
        for k in range(n):
            yield _value(arrays, k)
        return
    for row in zip(*lists, strict=True):
        yield dict(zip(arrays, row, strict=True))


def _value(arrays: dict[str, pa.Array], k: int) -> dict[str, Any] | str:
    row = {}
    for name, array in arrays.items():
        try:
            row[name] = array[k].as_py()
        except UnicodeDecodeError as error:
            return f"invalid_utf8: `{name}`, byte {error.start + 1} is none"
        except Exception as error:
            return f"wrong_type: `{name}` holds what cannot be read ({type(error).__name__})"
    return row


def _in_utc(array: pa.Array) -> pa.Array:
    """A time is a moment, whatever zone it is to be shown in, known or not."""
    if not pa.types.is_timestamp(array.type):
        return array
    # Finer than Python's microseconds is cut off; coarser must not overflow.
    unit = "us" if array.type.unit == "ns" else array.type.unit
    return array.cast(pa.timestamp(unit, "UTC"), safe=False)


def _row_bytes(array: pa.Array) -> NDArray[np.int64]:
    """About how many bytes each value takes as a Python object, texts in full: (n,)."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        sizes = _row_bytes(array.dictionary)
        indices = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
        return sizes[indices] if len(sizes) else np.zeros(len(array), np.int64)
    if hasattr(pa.types, "is_string_view") and pa.types.is_string_view(kind):
        array, kind = array.cast(pa.large_string()), pa.large_string()
    if _is_text(kind):
        return _numbers(pc.binary_length(array)) + 8
    if pa.types.is_struct(kind):
        parts = [_row_bytes(part) for part in array.flatten()]
        return sum(parts, np.zeros(len(array), np.int64))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        if pa.types.is_map(kind):
            array = array.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
        n_inside = _numbers(pc.list_value_length(array))
        ends = np.cumsum(n_inside)
        total = np.concatenate([[0], np.cumsum(_row_bytes(array.flatten()) + 8)])
        return np.asarray(total[ends] - total[ends - n_inside], dtype=np.int64)
    if isinstance(kind, pa.BaseExtensionType):
        return _row_bytes(array.storage)
    return np.full(len(array), 8 + array.nbytes // max(len(array), 1), np.int64)


def _is_text(kind: pa.DataType) -> bool:
    of = pa.types
    return bool(
        of.is_string(kind)
        or of.is_large_string(kind)
        or of.is_binary(kind)
        or of.is_large_binary(kind)
    )


def _numbers(array: pa.Array) -> NDArray[np.int64]:
    return np.asarray(array.fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)


def damaged(error: Exception, reason: str = "invalid_parquet") -> str:
    """Why a file cannot be read, as what reads it says."""
    lines = str(error).splitlines() or [type(error).__name__]
    return f"{reason}: {lines[0][:200]}"


def _head(data: Data) -> bytes:
    return data[:64] if isinstance(data, bytes) else b""
