"""Keys of batches: a day, or a tick of a day; they sort as their times do, and read well.

    2026-11-22        a day
    2026-11-22T06     an hour of it
    2026-11-22T0630   a minute of it
    2026-10-25T02B    the hour that the clock showed twice, the second time
    2026-11-22.2      a further batch of a day whose first one was given up

Times are those of the campaign's own clock: what stood on the wall.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Literal

KeyKind = Literal["day_before", "day", "hour", "minute", "text"]
"""What of a tick its batch is named by; "text" where another team's asset names it."""

EXAMPLES: Mapping[KeyKind, str] = {
    "day_before": "2026-11-22",
    "day": "2026-11-22",
    "hour": "2026-11-22T06",
    "minute": "2026-11-22T0630",
}
"""A key of each kind, but for "text", which is any."""

_TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)(?:T(?P<hour>\d\d)(?P<again>B)?(?P<minute>\d\d)?)?(?:\.\d+)?",
    re.ASCII,
)


def key_at(tick: datetime, kind: KeyKind) -> str:
    """The key of the batch that a tick starts; `tick` is in the campaign's zone.

    >>> from zoneinfo import ZoneInfo
    >>> again = datetime(2026, 10, 25, 2, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    >>> key_at(again, "hour"), key_at(again, "day_before"), key_at(again, "minute")
    ('2026-10-25T02B', '2026-10-24', '2026-10-25T02B00')
    """
    if kind in ("day", "day_before"):
        return (tick.date() - timedelta(days=kind == "day_before")).isoformat()
    return key_of(tick, kind, again=_is_second(tick))


def key_of(wall: datetime, kind: KeyKind, *, again: bool = False) -> str:
    """The key of a time on the wall clock, which it shows `again` where it was set back.

    >>> key_of(datetime(2026, 10, 25, 2, 30), "minute", again=True)
    '2026-10-25T02B30'
    """
    if kind in ("day", "day_before"):
        return wall.date().isoformat()
    # After the hour, so that all of its second passing sorts behind the first.
    minute = "" if kind == "hour" else f"{wall:%M}"
    return f"{wall:%Y-%m-%dT%H}{'B' if again else ''}{minute}"


def moment_of(key: str) -> datetime | None:
    """The wall clock's time that a key names, as if in UTC; None where it names none.

    An hour's second passing lies a second later, so that the two can be told apart.

    >>> moment_of("2026-11-22T06"), moment_of("2026-11-2"), moment_of("2026-02-29")
    (datetime.datetime(2026, 11, 22, 6, 0, tzinfo=datetime.timezone.utc), None, None)
    """
    match = _TIME.fullmatch(key)
    if match is None:
        return None
    try:
        day = date.fromisoformat(match["day"])
        hour, minute = int(match["hour"] or 0), int(match["minute"] or 0)
        return datetime(*day.timetuple()[:3], hour, minute, 1 if match["again"] else 0, tzinfo=UTC)
    except ValueError:
        return None


def day_of(key: str) -> str:
    """The day of a key, which is what `{day}` of a source stands for; any other key is its own.

    >>> day_of("2026-11-22T06"), day_of("2026-11-22.2"), day_of("de|x")
    ('2026-11-22', '2026-11-22', 'de|x')
    """
    return key[:10] if moment_of(key) is not None else key


def is_of_kind(key: str, kind: KeyKind) -> bool:
    """Whether a key names what batches of this kind are named by; a day's further batch does.

    >>> is_of_kind("2026-11-22.2", "day"), is_of_kind("2026-11-22T06", "day")
    (True, False)
    """
    match = _TIME.fullmatch(key)
    if kind == "text":
        return True
    if match is None or moment_of(key) is None:
        return False
    parts = {"hour": ("hour",), "minute": ("hour", "minute")}.get(kind, ())
    return all((match[name] is not None) == (name in parts) for name in ("hour", "minute"))


def _is_second(tick: datetime) -> bool:
    """Whether the clock shows the tick's time for the second time that day."""
    return bool(tick.fold) and tick.utcoffset() != tick.replace(fold=0).utcoffset()
