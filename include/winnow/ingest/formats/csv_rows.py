"""Rows of CSV with a header. An empty cell is absent; columns of more than a text hold JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa

from winnow.ingest.formats.raw import MAX_ROW_BYTES, RAW_LIMIT, RawRow
from winnow.ingest.values import VECTORS, Unreadable, read_json
from winnow.text import has_half_surrogate

_HOLD_JSON = ("messages", "conversations", "conversation", "turns", "tools", "tags", *VECTORS)


def csv_rows(file: str, source: pa.NativeFile, columns: Collection[str]) -> Iterator[RawRow]:
    """Every row after the header; `line` is the one on which it begins."""
    # Bytes that are no UTF-8 become half surrogates, which are looked for row by row.
    text = io.TextIOWrapper(source, "utf-8-sig", errors="surrogateescape", newline="")
    reader = csv.reader(text, strict=True)
    csv.field_size_limit(MAX_ROW_BYTES)
    header: list[str] | None = None
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield RawRow(file, line, b"", fault=f"invalid_csv: {error}")
            line = reader.line_num + 1
            continue
        if header is None and cells:
            header = [cell.strip() for cell in cells]
            fault = _wrong_header(header, columns)
            if fault is not None:
                yield RawRow(file, line, _bytes(cells), fault=fault)
                return
        elif header is not None and cells:
            yield _row(file, line, header, cells, columns)
        line = reader.line_num + 1


def _wrong_header(header: list[str], columns: Collection[str]) -> str | None:
    if not set(header).intersection(columns):
        return f"no_header: the first line names no known column: {', '.join(sorted(columns))}"
    twice = sorted(name for name in columns if header.count(name) > 1)
    return f"stands_twice: more than one column {', '.join(twice)}" if twice else None


def _row(
    file: str, line: int, header: list[str], cells: list[str], columns: Collection[str]
) -> RawRow:
    raw = _bytes(cells)
    if len(cells) != len(header):
        fault = f"invalid_csv: {len(cells)} cells under {len(header)} columns"
        return RawRow(file, line, raw, fault=fault)
    try:
        value = {
            name: _cell(name, cell)
            for name, cell in zip(header, cells, strict=True)
            if cell and name in columns
        }
    except Unreadable as fault:
        return RawRow(file, line, raw, fault=str(fault))
    return RawRow(file, line, raw, value=value)


def _cell(name: str, cell: str) -> Any:
    if has_half_surrogate(cell):
        raise Unreadable("invalid_utf8", f"`{name}` is no UTF-8")
    return read_json(cell) if name in _HOLD_JSON else cell


def _bytes(cells: list[str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(cells)
    return out.getvalue()[:RAW_LIMIT].encode(errors="surrogateescape")
