"""Rows of CSV with a header. An empty cell is absent; lists are JSON, as in any column of text."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator

import pyarrow as pa

from winnow.ingest.formats.raw import MAX_ROW_BYTES, RAW_LIMIT, RawRow, text_lines
from winnow.ingest.values import Unreadable, shown
from winnow.text import has_half_surrogate


def csv_rows(file: str, source: pa.NativeFile, columns: Collection[str]) -> Iterator[RawRow]:
    """Every row after the header; `line` is the one on which it begins."""
    reader = csv.reader(_Text(source), strict=True)
    csv.field_size_limit(MAX_ROW_BYTES)
    header: list[str] | None = None
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            told = f"invalid_csv: {error} (lines {line} to {max(line, reader.line_num)})"
            yield RawRow(file, line, b"", fault=told)
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


class _Text:
    """The lines of a file as text; one that is too long is an error, and the next one follows."""

    def __init__(self, source: pa.NativeFile) -> None:
        self._lines = text_lines(source, b"")

    def __iter__(self) -> _Text:
        return self

    def __next__(self) -> str:
        number, line, is_whole = next(self._lines)
        if not is_whole:
            raise csv.Error(f"a line of more than {MAX_ROW_BYTES} bytes")
        # Bytes that are no UTF-8 become half surrogates, which are looked for row by row.
        encoding = "utf-8-sig" if number == 1 else "utf-8"
        return line.decode(encoding, "surrogateescape") + "\n"


def _wrong_header(header: list[str], columns: Collection[str]) -> str | None:
    if not set(header).intersection(columns):
        return f"no_header: the first line names no known column, but {shown(', '.join(header))}"
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


def _cell(name: str, cell: str) -> str:
    if has_half_surrogate(cell):
        raise Unreadable("invalid_utf8", f"`{name}` is no UTF-8")
    return cell


def _bytes(cells: list[str]) -> bytes:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(cells)
    return out.getvalue()[:RAW_LIMIT].encode(errors="surrogateescape")
