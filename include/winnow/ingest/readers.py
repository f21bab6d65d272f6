"""Read prompt files: JSON Lines and Parquet, from bytes to one raw record a row.

A row that cannot be read is still a row: it comes out with the reason and its bytes, in its
place, so that the rest of the file goes on and nothing vanishes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

SUFFIXES = (".jsonl", ".parquet")
"""File endings that are read."""

RAW_LIMIT = 64 * 1024
"""Bytes of a bad row kept in quarantine."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row of a source file. `fault` says why it could not be read; `value` is then None."""

    file: str
    line: int
    raw: bytes
    value: Any = None
    fault: str | None = None


def read_rows(file: str, data: bytes) -> Iterator[RawRow]:
    """Every row of a file, in order; `line` counts from 1. Blank JSONL lines are not rows."""
    if file.endswith(".parquet"):
        return _parquet_rows(file, data)
    return _json_rows(file, data)


def _json_rows(file: str, data: bytes) -> Iterator[RawRow]:
    for number, raw in enumerate(data.split(b"\n"), start=1):
        if raw.strip():
            yield _json_row(file, number, raw.rstrip(b"\r"))


def _json_row(file: str, line: int, raw: bytes) -> RawRow:
    kept = raw[:RAW_LIMIT]
    try:
        text = raw.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return RawRow(file, line, kept, fault=f"invalid_utf8: byte {error.start} of the line")
    try:
        return RawRow(file, line, kept, value=json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        return RawRow(file, line, kept, fault=f"invalid_json: {error}")


def _parquet_rows(file: str, data: bytes) -> Iterator[RawRow]:
    try:
        parquet = pq.ParquetFile(io.BytesIO(data))
        line = 0
        for batch in parquet.iter_batches():
            for value in batch.to_pylist():
                line += 1
                yield RawRow(file, line, json.dumps(value, default=str).encode()[:RAW_LIMIT], value)
    except (pa.ArrowInvalid, OSError) as error:
        yield RawRow(file, 0, data[:RAW_LIMIT], fault=f"invalid_parquet: {error}")
