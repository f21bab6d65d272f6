"""What is committed can be read back, and what versions before stored does not stop a reader."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pyarrow as pa
import pytest

from winnow.batch import Artifact, check_readable, open_batch, read_table, table_bytes
from winnow.campaign import parse_campaign
from winnow.errors import Corrupt
from winnow.ids import digest
from winnow.lake import Lake

Clock = Callable[[], datetime]
TIME = pa.timestamp("us", "UTC")
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
"""Microseconds since 1970 of the first and the last moment that Python can hold."""


def times(*micros: int | None) -> pa.Table:
    return pa.table({"id": list(range(len(micros))), "at": pa.array(micros, TIME)})


@pytest.mark.parametrize("micros", [FIRST - 1, LAST + 1, 2**62, -(2**62)])
def test_a_time_that_python_cannot_hold_is_never_stored_and_is_read_as_none(
    lake: Lake, micros: int
) -> None:
    with pytest.raises(Corrupt, match="at leaves the years"):
        check_readable(times(0, None, micros), "here")
    # As version 0.1 stored it.
    data = table_bytes(times(FIRST, None, micros, LAST))
    lake.create("old", data)
    rows = read_table(lake, Artifact("old", digest(data), 4, len(data))).to_pylist()
    assert [row["at"] is None for row in rows] == [False, True, True, False]
    assert [row["id"] for row in rows] == [0, 1, 2, 3]


def test_a_batch_stores_nothing_that_it_could_not_read(lake: Lake, clock: Clock) -> None:
    settings = {
        "name": "c",
        "ingest": {"sources": ["in"]},
        "expand": {"model": "m"},
        "label": {"budget_usd": 1},
        "publish": {"dataset": "d"},
    }
    batch = open_batch(parse_campaign(settings, "here"), "2026-11-22", lake, clock)
    before = lake.tags("")
    with pytest.raises(Corrupt):
        batch.write_table("ingest", "prompts", times(2**62))
    assert lake.tags("") == before


def test_all_times_that_python_can_hold_are_stored() -> None:
    check_readable(times(FIRST, None, 0, LAST), "here")
    check_readable(times(), "here")


def test_a_text_that_is_no_utf8_is_never_stored() -> None:
    raw = pa.array([b"x", b"\xff\xfe"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    with pytest.raises(Corrupt, match="UTF"):
        check_readable(pa.table({"text": text}), "here")
