"""When a campaign's first DAG runs, and under which key: one key a tick, whatever happens.

Airflow's own partition timetable starts a second run of a key when a cron is edited to a time that
has passed today, when a backfill covers today, when the clock is set back, and when a DAG is read
for the first time shortly after a tick. Here a tick whose key is not after the last one's is passed
over, a DAG without runs waits for its next tick, and keys name the campaign's own wall clock
(`winnow.keys`).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow._shared.timezones.timezone import coerce_datetime, parse_timezone, utcnow
from airflow.exceptions import InvalidPartitionKeyError
from airflow.timetables.base import DagRunInfo, TimeRestriction
from airflow.timetables.trigger import CronPartitionTimetable

from winnow.keys import EXAMPLES, KeyKind, is_of_kind, key_at, key_of, moment_of

AHEAD = timedelta(days=2)
"""No change of zone puts a campaign's clock back so far."""


class BatchTimetable(CronPartitionTimetable):
    """Ticks of a cron, each with the key of its batch.

    A partition's date is the key's wall-clock time as if in UTC: DAGs that are started by an asset
    read dates in UTC, so that one day means the same to every DAG of the campaign.
    """

    def __init__(self, cron: str, *, timezone: Any, kind: KeyKind) -> None:
        super().__init__(cron, timezone=timezone, run_immediately=timedelta(0))
        self.kind = kind

    def serialize(self) -> dict[str, Any]:
        # Here, because a task that is started would wait for it and has no use for it.
        from airflow.serialization.encoders import encode_timezone

        zone = encode_timezone(self._timezone)
        return {"expression": self._expression, "timezone": zone, "kind": self.kind}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> BatchTimetable:
        zone = parse_timezone(data["timezone"])
        return cls(data["expression"], timezone=zone, kind=data["kind"])

    def localize_partition_datetime(self, dt: datetime) -> Any:
        """Bounds of a filter are wall-clock times already."""
        return coerce_datetime(dt)

    def next_dagrun_info_v2(
        self, *, last_dagrun_info: DagRunInfo | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next run: a tick after `start`, of a key after the last run's.

        Of ticks that passed while the DAG was paused only the last one runs.
        """
        now = coerce_datetime(utcnow())
        last = last_dagrun_info.partition_key if last_dagrun_info is not None else None
        if last_dagrun_info is None:
            tick = self._get_next(now)
        else:
            tick = max(self._align_to_prev(now), self._get_next(last_dagrun_info.run_after))
        if restriction.earliest is not None:
            tick = max(tick, self._align_to_next(restriction.earliest))
        while last is not None and self._is_passed_over(self._key(tick), last):
            tick = self._get_next(tick)
        if restriction.latest is not None and restriction.latest < tick:
            return None
        return self._info(tick)

    def iter_partition_dagrun_infos(
        self, *, earliest: datetime, latest: datetime
    ) -> Iterable[DagRunInfo]:
        """A run for each tick whose key lies in the range, bounds included, to start at its tick.

        Midnight as the last bound takes the whole day in.
        """
        first, last = coerce_datetime(earliest), coerce_datetime(latest)
        if last.time() == datetime.min.time():
            last = last.add(days=1).subtract(seconds=1)
        # A day earlier than the earliest key's in any zone, and where keys name the day before.
        tick, key = self._get_next(first.subtract(days=2)), ""
        while tick <= last.add(days=3):
            info = self._info(tick)
            assert info.partition_date is not None
            assert info.partition_key is not None
            if first <= info.partition_date <= last and info.partition_key > key:
                key = info.partition_key
                yield info
            tick = self._get_next(tick)

    def _is_passed_over(self, key: str, last: str) -> bool:
        """Whether a tick's key is the last one's or before it.

        One that a person began far ahead of time holds up no tick but its own.
        """
        ahead, at = moment_of(last), moment_of(key)
        if key > last or ahead is None or at is None:
            return False
        return key == last or ahead - at <= AHEAD

    def _info(self, tick: Any) -> DagRunInfo:
        key = self._key(tick)
        return DagRunInfo(
            run_after=tick,
            data_interval=None,
            partition_date=coerce_datetime(moment_of(key)),
            partition_key=key,
        )

    def _key(self, tick: Any) -> str:
        return key_at(tick.in_timezone(self._timezone), self.kind)

    def _format_key(self, partition_date: Any) -> str:
        day = coerce_datetime(partition_date).in_timezone(UTC)
        return key_of(day, self.kind, again=bool(day.second))

    def _decode_partition_date(self, partition_key: str) -> datetime:
        moment = moment_of(partition_key)
        if moment is None or not is_of_kind(partition_key, self.kind):
            raise InvalidPartitionKeyError(
                f"{partition_key!r} names no batch of this campaign; write a key such as "
                f"{EXAMPLES[self.kind]}."
            )
        return moment
