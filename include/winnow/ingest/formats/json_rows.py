"""Rows of JSON: an object a line, or one array of objects, whatever the file's ending says.

A line that is not JSON is one bad row, and so is an element of an array: its end is found by its
brackets, so that the elements after it are still read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from winnow.ingest.formats.raw import MAX_ROW_BYTES, PIECE_BYTES, RAW_LIMIT, RawRow, text_lines
from winnow.ingest.values import Unreadable, read_json

MAX_ARRAY_BYTES = 1 << 30
"""Bytes of one array of rows, at most: it is held in memory; lines are not."""

_SPACE = re.compile(rb"\s*")
_MARK = b"\xef\xbb\xbf"


def json_rows(file: str, source: pa.NativeFile) -> Iterator[RawRow]:
    """Every row of a file in its order; blank lines are no rows."""
    begins = source.read(PIECE_BYTES)
    kind = _kind(begins)
    if kind == "lines":
        for number, line, is_whole in text_lines(source, begins):
            if not is_whole:
                fault = f"too_long: the line has more than {MAX_ROW_BYTES} bytes"
                yield RawRow(file, number, line, fault=fault)
            elif line.strip():
                yield _row(file, number, line.rstrip(b"\r"))
        return
    pieces = [begins]
    while pieces[-1] and sum(map(len, pieces)) <= MAX_ARRAY_BYTES:
        pieces.append(source.read(PIECE_BYTES))
    data = b"".join(pieces)
    if len(data) > MAX_ARRAY_BYTES:
        fault = f"too_long: an array of more than {MAX_ARRAY_BYTES} bytes; write a row a line"
        yield RawRow(file, 0, data[:RAW_LIMIT], fault=fault)
    elif kind == "array":
        yield from _elements(file, data)
    else:
        yield _row(file, 1, data)


def _kind(begins: bytes) -> str:
    """Whether the file is an array, one object over several lines, or lines."""
    text = begins.removeprefix(_MARK).lstrip()
    if text.startswith(b"["):
        return "array"
    lines = text.split(b"\n")
    if text.startswith(b"{") and len(begins) < PIECE_BYTES and not any(map(_is_row, lines)):
        return "object" if _is_row(text) else "lines"
    return "lines"


def _is_row(text: bytes) -> bool:
    try:
        return isinstance(read_json(text), dict)
    except Unreadable:
        return False


def _elements(file: str, data: bytes) -> Iterator[RawRow]:
    """The elements of an array; the line of one is that on which it begins.

    What stands after an array, or in one that is not closed, is read as lines, and the fault told.
    """
    start, last = data.index(b"[") + 1, b""
    places = _Lines(data)
    for begin, end, sign in parts(data, start):
        if data[begin:end].strip():
            yield _row(file, places.of(begin), data[begin:end].strip())
        start, last = end + 1, sign
    is_closed = last not in (b"", b",")
    if is_closed and not data[start:].strip():
        return
    told = "more follows after the array" if is_closed else "the array is not closed"
    fault = f"invalid_json: {told}"
    yield RawRow(file, places.of(start), data[start:].strip()[:RAW_LIMIT], fault=fault)
    for line in data[start:].split(b"\n"):
        if line.strip():
            yield _row(file, places.of(start), line.strip().rstrip(b","))
        start += len(line) + 1


class _Lines:
    """Line numbers of places in a text that are asked for in rising order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._line, self._counted = data, 1, 0

    def of(self, place: int) -> int:
        """The line of the first thing to be seen from a place on."""
        match = _SPACE.match(self._data, place)
        place = match.end() if match and match.end() < len(self._data) else place
        self._line += self._data.count(b"\n", self._counted, place)
        self._counted = max(self._counted, place)
        return self._line


def _row(file: str, line: int, raw: bytes) -> RawRow:
    if len(raw) > MAX_ROW_BYTES:
        fault = f"too_long: the row has {len(raw)} bytes; {MAX_ROW_BYTES} are read"
        return RawRow(file, line, raw[:RAW_LIMIT], fault=fault)
    try:
        return RawRow(file, line, raw, value=read_json(raw))
    except Unreadable as fault:
        return RawRow(file, line, raw[:RAW_LIMIT], fault=str(fault))


# Possessive: a long text must not be remembered letter by letter.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]', re.DOTALL)


def parts(data: bytes, start: int) -> Iterator[tuple[int, int, bytes]]:
    """Begin and end of each part from `start` on, just behind the opening bracket.

    Each comes with the sign that ends it: a comma, or the closing bracket, which is the last. Where
    no bracket closes, what follows the last comma is no part.
    """
    depth = 0
    for token in _TOKEN.finditer(data, start):
        sign, place = token[0], token.start()
        depth += (sign in (b"[", b"{")) - (sign in (b"]", b"}"))
        if depth < 0 or (depth == 0 and sign == b","):
            yield start, place, sign
            start = place + 1
        if depth < 0:
            return
