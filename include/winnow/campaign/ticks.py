"""When a schedule's cron ticks, and the keys of the batches that begin then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from winnow.campaign.schedule import Schedule
from winnow.keys import KeyKind, key_at, moment_of

_DAY = timedelta(days=1)


def ticks(schedule: Schedule, first: datetime) -> Iterator[datetime]:
    """The ticks from a wall-clock time of the schedule's zone on; none where it has no cron.

    An hour that the clock leaves out has no tick, unless batches are named by days; one that it
    shows twice has two where the cron goes by every hour.
    """
    # Here, because it weighs more than the module does.
    from croniter import croniter

    if schedule.cron is None:
        return
    zone, by_day = ZoneInfo(schedule.timezone), schedule.kind in ("day", "day_before")
    ticking = croniter(schedule.cron, first - timedelta(seconds=1))
    every_hour = ticking.expanded[1] == ["*"]
    while True:
        tick = ticking.get_next(datetime).replace(tzinfo=zone)
        is_there = tick.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == tick.replace(
            tzinfo=None
        )
        if is_there or by_day:
            yield tick
        if is_there and every_hour and tick.utcoffset() != tick.replace(fold=1).utcoffset():
            yield tick.replace(fold=1)


def next_ticks(schedule: Schedule, now: datetime, n: int) -> list[tuple[datetime, str]]:
    """The next ticks after `now` (with its zone), each with the key of its batch."""
    kind = schedule.kind
    if kind is None or schedule.cron is None:
        return []
    local = now.astimezone(ZoneInfo(schedule.timezone)).replace(tzinfo=None)
    later = (tick for tick in ticks(schedule, local) if tick.astimezone(UTC) > now)
    return [(tick, key_at(tick, kind)) for tick in islice(later, n)]


def keys_of_days(schedule: Schedule, first: datetime, last: datetime) -> list[str]:
    """Keys from one moment to another, both included, as `winnow.keys.moment_of` gives them.

    Those of the schedule's ticks; without a cron every day, or every hour where batches are named
    by hours, or the bounds are no whole days.
    """
    kind = schedule.kind
    if schedule.cron is None or kind is None:
        by_day = kind != "hour" and first.time() == time() and last.time() >= time(23, 59)
        step: tuple[timedelta, KeyKind] = (_DAY, "day") if by_day else (_DAY / 24, "hour")
        n = int((last - first) / step[0])
        return [key_at(first + i * step[0], step[1]) for i in range(n + 1)]
    keys: list[str] = []
    for tick in ticks(schedule, first.replace(tzinfo=None)):
        key = key_at(tick, kind)
        moment = moment_of(key)
        assert moment is not None
        if moment > last:
            return keys
        if moment >= first:
            keys.append(key)
    return keys
