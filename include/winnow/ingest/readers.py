"""Read foreign files: one raw record a row, whatever the format.

A row that cannot be read is still a row: it comes out with the reason and its bytes, in its place,
so that the rest of the file goes on and nothing vanishes. Nothing is raised for what a file holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple, TypeVar

from winnow.ingest.formats.arrow_rows import arrow_rows
from winnow.ingest.formats.csv_rows import csv_rows
from winnow.ingest.formats.json_rows import json_rows
from winnow.ingest.formats.parquet_rows import parquet_rows
from winnow.ingest.formats.raw import Data, RawRow, opened
from winnow.ingest.normalise import PROMPT_COLUMNS
from winnow.ingest.values import Unreadable
from winnow.records import Quarantined
from winnow.text import plain_text

RAW_IN_ALL, RAW_OF_MANY = 64 << 20, 256
"""Bytes of bad rows kept at once, and of each bad row beyond them."""

Read = TypeVar("Read")

_TEXTS = {".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv"}
_PACKINGS = {"": None, ".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


class _Format(NamedTuple):
    kind: str
    packing: str | None


_FORMATS = {
    **{
        f"{text}{pack}": _Format(_TEXTS[text], _PACKINGS[pack])
        for text in _TEXTS
        for pack in _PACKINGS
    },
    ".parquet": _Format("parquet", None),
    ".arrow": _Format("arrow", None),
}
ENDINGS = tuple(_FORMATS)
"""File endings that are read, in any case."""

_SPECIAL = {
    b"version https://git-lfs": "lfs_pointer: the file itself lies in Git LFS; run `git lfs pull`",
    b"\xff\xfe": "invalid_utf8: the file is UTF-16; save it as UTF-8",
    b"\xfe\xff": "invalid_utf8: the file is UTF-16; save it as UTF-8",
}


def is_read(name: str) -> bool:
    """Whether a file of that name is read, by its ending.

    >>> is_read("a.JSONL"), is_read("b.csv.gz"), is_read("c.parquet.gz"), is_read("d.txt")
    (True, True, False, False)
    """
    return name.lower().endswith(ENDINGS)


def read_rows(file: str, data: Data, columns: Collection[str] = PROMPT_COLUMNS) -> Iterator[RawRow]:
    """Every row of a file, in order.

    Args:
        file: Its name, whose ending says how it is read; without a known one as lines of JSON.
        data: Its bytes, or where they lie.
        columns: The known columns: of Parquet, Arrow and CSV no others are read.
    """
    begins = _begin_of(data)
    name = file.lower()
    ending = max((e for e in ENDINGS if name.endswith(e)), key=len, default=".jsonl")
    kind, packing = _FORMATS[ending]
    fault = next((fault for sign, fault in _SPECIAL.items() if begins.startswith(sign)), None)
    if fault is not None:
        yield RawRow(file, 0, begins, fault=fault)
    elif kind == "parquet":
        yield from parquet_rows(file, data, columns)
    elif kind == "arrow":
        yield from arrow_rows(file, data, columns)
    else:
        yield from _text_rows(file, data, kind, packing, columns)


def parsed(
    rows: Iterable[RawRow], parse: Callable[[RawRow], Read], stage: str
) -> Iterator[Read | Quarantined]:
    """What `parse` makes of each row, or the row for quarantine with the reason why it is none.

    Whatever `parse` raises is about its row: no row stops the others. Bad rows keep `RAW_LIMIT`
    bytes each, and a few where there are very many.
    """
    n_kept = 0

    def quarantined(row: RawRow, fault: Unreadable) -> Quarantined:
        nonlocal n_kept
        raw = row.raw if n_kept < RAW_IN_ALL else row.raw[:RAW_OF_MANY]
        n_kept += len(raw)
        detail = plain_text(fault.detail)
        return Quarantined(stage, fault.reason, detail, row.file, row.line, raw=raw)

    for row in rows:
        try:
            if row.fault is not None:
                raise Unreadable(*row.fault.split(": ", 1))
            yield parse(row)
        except Unreadable as fault:
            yield quarantined(row, fault)
        except Exception as error:  # The last resort: a night must not end at what nobody foresaw.
            told = f"cannot be read ({type(error).__name__}); please report it"
            yield quarantined(row, Unreadable("unreadable", told))


def _text_rows(
    file: str, data: Data, kind: str, packing: str | None, columns: Collection[str]
) -> Iterator[RawRow]:
    line = 0
    try:
        with opened(data, packing) as source:
            rows = json_rows(file, source) if kind == "json" else csv_rows(file, source, columns)
            for row in rows:
                yield row
                line = row.line
    except OSError as error:
        if packing is None:
            raise
        # Of a packed file that is cut off, the rows before the cut are read.
        yield RawRow(file, line + 1, b"", fault=f"damaged_{packing}: {error}")


def _begin_of(data: Data) -> bytes:
    if isinstance(data, bytes):
        return data[:64]
    with data.open("rb") as file:
        return file.read(64)
