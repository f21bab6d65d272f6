"""One row of a foreign file, and the file's bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

RAW_LIMIT = 64 * 1024
"""Bytes of a bad row kept in quarantine."""

_SHOWN = 100
"""Members of a list or an object, at most, that a bad row shows of itself."""

PIECE_BYTES = 1 << 20
"""Bytes that are read at once."""

MAX_ROW_BYTES = 16 << 20
"""Bytes of a row, at most: a longer one is passed over without being held in memory."""

Data = bytes | Path
"""A file's bytes, or where they lie."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a source file. `fault` says why it could not be read; `value` is then None.

    `line` counts from 1: the line of a text file, the row of others; 0 is the whole file.
    """

    file: str
    line: int
    given: bytes | None = None
    value: Any = None
    fault: str | None = None

    @property
    def raw(self) -> bytes:
        """The row's bytes for quarantine, its beginning where it is long."""
        if self.given is None:
            return json.dumps(_begin(self.value), default=str).encode()[:RAW_LIMIT]
        return self.given[:RAW_LIMIT]

    @property
    def n_bytes(self) -> int:
        """About how much it holds."""
        return _size(self.value) if self.given is None else len(self.given)


def _size(value: Any) -> int:
    """Characters of the texts in a value, and eight bytes for what is none."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    if isinstance(value, list | tuple) and value and not isinstance(value[0], float):
        return sum(map(_size, value))
    return 8 * len(value) if isinstance(value, list | tuple) else 8


def _begin(value: Any) -> Any:
    """A value of which only the beginning is shown, in work that is no more than that."""
    if isinstance(value, str | bytes):
        return value[:RAW_LIMIT]
    if isinstance(value, dict):
        return {str(k): _begin(v) for k, v in islice(value.items(), _SHOWN)}
    return [_begin(v) for v in value[:_SHOWN]] if isinstance(value, list | tuple) else value


@contextmanager
def opened(data: Data, packing: str | None = None) -> Iterator[pa.NativeFile]:
    """A file to read from its beginning, unpacked: `packing` is gzip, bz2 or zstd."""
    source = pa.BufferReader(data) if isinstance(data, bytes) else pa.OSFile(str(data), "rb")
    with source:
        if packing is None:
            yield source
        else:
            with pa.CompressedInputStream(source, packing) as unpacked:
                yield unpacked


def text_lines(source: pa.NativeFile, begins: bytes) -> Iterator[tuple[int, bytes, bool]]:
    """Number and bytes of each line, and whether they are all of it: long ones are cut.

    `begins` are bytes that were read before.
    """
    number, rest, skipping = 1, b"", False
    piece = begins or source.read(PIECE_BYTES)
    while piece:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if not skipping:
                yield number, line, len(line) <= MAX_ROW_BYTES
            number, skipping = number + 1, False
        if len(rest) > MAX_ROW_BYTES and not skipping:
            yield number, rest[:RAW_LIMIT], False
            skipping = True
        if skipping:
            rest = b""
        piece = source.read(PIECE_BYTES)
    if rest and not skipping:
        yield number, rest, True
