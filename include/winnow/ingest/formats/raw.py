"""One row of a foreign file, and the file's bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

RAW_LIMIT = 64 * 1024
"""Bytes of a bad row kept in quarantine."""

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
            return json.dumps(self.value, default=str).encode()[:RAW_LIMIT]
        return self.given[:RAW_LIMIT]


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
