"""Ticks of a schedule and the keys of a range: once a tick, whatever the clock does."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from winnow.campaign import Schedule
from winnow.campaign.ticks import keys_of_days, next_ticks
from winnow.keys import moment_of


def schedule(cron: str | None, timezone: str = "UTC") -> Schedule:
    return Schedule(cron=cron, timezone=timezone)


def keys(cron: str | None, first: str, last: str, timezone: str = "UTC") -> list[str]:
    begin, end = moment_of(first), moment_of(last)
    assert begin is not None
    assert end is not None
    if "T" not in last:
        end = end.replace(hour=23, minute=59, second=59)
    return keys_of_days(schedule(cron, timezone), begin, end)


BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("cron", "zone", "first", "last", "expected"),
    [
        ("0 0 * * *", "UTC", "2028-02-27", "2028-02-29", "27 28 29"),
        # Named by the day before its tick: Friday's begins on Monday.
        ("0 5 * * 1-5", "UTC", "2026-11-20", "2026-11-23", "22 23"),
        # The night of each change of the clock.
        ("30 2 * * *", BERLIN, "2027-03-26", "2027-03-28", "26 27 28"),
        ("30 2 * * *", BERLIN, "2027-10-29", "2027-10-31", "29 30 31"),
        ("0 * * * *", BERLIN, "2027-03-28T01", "2027-03-28T04", "28T01 28T03 28T04"),
        ("0 * * * *", BERLIN, "2027-10-31T01", "2027-10-31T03", "31T01 31T02 31T02B 31T03"),
        ("0 */8 * * *", "UTC", "2026-11-21", "2026-11-21", "21T00 21T08 21T16"),
        (None, "UTC", "2026-11-21", "2026-11-22", "21 22"),
        (None, "UTC", "2026-11-21T22", "2026-11-22T00", "21T22 21T23 22T00"),
    ],
)
def test_the_keys_of_a_range(cron: str, zone: str, first: str, last: str, expected: str) -> None:
    assert keys(cron, first, last, zone) == [f"{first[:8]}{key}" for key in expected.split()]


def test_the_next_ticks_come_after_now() -> None:
    now = datetime(2026, 11, 22, 1, 30, tzinfo=UTC)
    berlin = next_ticks(schedule("30 2 * * *", "Europe/Berlin"), now, 2)
    assert [(tick.isoformat(), key) for tick, key in berlin] == [
        ("2026-11-23T02:30:00+01:00", "2026-11-22"),
        ("2026-11-24T02:30:00+01:00", "2026-11-23"),
    ]
    assert next_ticks(schedule(None), now, 2) == []
