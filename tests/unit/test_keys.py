"""Keys of batches: they sort as their times do, and a text that names no time is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.batch import is_key
from winnow.keys import KeyKind, day_of, is_of_kind, key_at, moment_of

KINDS: list[KeyKind] = ["day_before", "day", "hour", "minute"]
ZONES = [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kathmandu")]


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from(KINDS),
    st.sampled_from(ZONES),
    st.integers(0, 100_000),
)
def test_later_ticks_have_later_keys(
    at: datetime, kind: KeyKind, zone: ZoneInfo, minutes: int
) -> None:
    first = at.replace(tzinfo=UTC, second=0, microsecond=0)
    ticks = [each.astimezone(zone) for each in (first, first + timedelta(minutes=minutes))]
    keys = [key_at(tick, kind) for tick in ticks]
    assert keys == sorted(keys)
    assert all(is_key(key) and is_of_kind(key, kind) for key in keys)
    if kind == "minute" and minutes:
        assert keys[0] != keys[1]
    shift = timedelta(days=1 if kind == "day_before" else 0)
    assert [day_of(key) for key in keys] == [(t.date() - shift).isoformat() for t in ticks]


NO_TIMES = [
    *("2026-11-2", "2026-02-29", "2026-13-01", "20261122", "2026-11-22B", "２０２６-11-22"),
    *("2026-11-22T24", "2026-11-22T0660", "2026-11-22T6", "2026-11-22T06.x", "2026-11-22 06"),
    *("de|2026-11-22", ""),
]


@pytest.mark.parametrize("text", NO_TIMES)
def test_what_names_no_time_is_told(text: str) -> None:
    assert moment_of(text) is None
    assert not any(is_of_kind(text, kind) for kind in KINDS)
    assert is_of_kind(text, "text")
    assert day_of(text) == text


def test_29_february_is_a_day_in_a_leap_year() -> None:
    assert moment_of("2028-02-29") == datetime(2028, 2, 29, tzinfo=UTC)
    assert key_at(datetime(2028, 3, 1, tzinfo=UTC), "day_before") == "2028-02-29"


def test_a_further_batch_of_a_day_is_that_days() -> None:
    assert day_of("2026-11-22.2") == "2026-11-22"
    assert is_of_kind("2026-11-22.2", "day")
    assert not is_of_kind("2026-11-22.2", "hour")
