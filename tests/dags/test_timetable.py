"""One key a tick: whatever becomes of the clock, of the cron, and of what was run by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pendulum
import pytest
from airflow.exceptions import InvalidPartitionKeyError
from airflow.timetables.base import DagRunInfo, TimeRestriction
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.campaign import Schedule
from winnow.keys import is_of_kind, moment_of
from winnow_airflow import timetable as module
from winnow_airflow.timetable import BatchTimetable

from ..sampling import examples

ANY = TimeRestriction(None, None, False)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
CRONS = ["0 0 * * *", "30 2 * * *", "0 * * * *", "0 */2 * * *", "*/30 * * * *", "15 9 * * 1-5"]


def timetable(cron: str, zone: str = "UTC") -> BatchTimetable:
    kind = Schedule(cron=cron).kind
    assert kind is not None
    return BatchTimetable(cron, timezone=zone, kind=kind)


def keys(found: BatchTimetable, first: date, last: date) -> list[str | None]:
    at = [pendulum.datetime(d.year, d.month, d.day) for d in (first, last)]
    infos = found.iter_partition_dagrun_infos(earliest=at[0], latest=at[1])
    return [info.partition_key for info in infos]


class Scheduler:
    """What Airflow's scheduler does with a timetable, on a clock of the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, now: datetime) -> None:
        self.now, self.ran, self.last = now, list[str](), None
        monkeypatch.setattr(module, "utcnow", lambda: pendulum.instance(self.now))

    def until(self, found: BatchTimetable, then: datetime, **more: Any) -> list[str]:
        """The keys that are begun up to a time; the timetable may be another one each time."""
        begun = []
        while True:
            restriction = TimeRestriction(more.get("start"), None, False)
            info = found.next_dagrun_info_v2(last_dagrun_info=self.last, restriction=restriction)
            if info is None or info.run_after > then:
                self.now = then
                return begun
            self.now = max(self.now, info.run_after)
            self.last = info
            begun.append(str(info.partition_key))
            self.ran.append(begun[-1])

    def by_hand(self, found: BatchTimetable, key: str) -> None:
        """A run that a person or a backfill made."""
        at = pendulum.instance(found._decode_partition_date(key))
        now = pendulum.instance(self.now)
        self.last = DagRunInfo(
            run_after=now, data_interval=None, partition_date=at, partition_key=key
        )
        self.ran.append(key)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("cron", "day", "wanted"),
    [
        # The clock goes forward: 02:30 does not exist, 28 March does.
        ("30 2 * * *", date(2027, 3, 28), ["2027-03-28"]),
        ("0 0 * * *", date(2027, 3, 28), ["2027-03-28"]),
        ("30 2 * * *", date(2026, 10, 25), ["2026-10-25"]),
        (
            "0 1-4 * * *",
            date(2027, 3, 28),
            ["2027-03-28T01", "2027-03-28T03", "2027-03-28T04"],
        ),
        # The clock goes back: an hour passes twice.
        (
            "0 1-3 * * *",
            date(2026, 10, 25),
            ["2026-10-25T01", "2026-10-25T02B", "2026-10-25T03"],
        ),
        ("0 0 * * *", date(2028, 2, 29), ["2028-02-29"]),
    ],
)
def test_a_day_on_which_the_clock_is_moved_has_each_key_once(
    cron: str, day: date, wanted: list[str]
) -> None:
    assert keys(timetable(cron, "Europe/Berlin"), day, day) == wanted


def test_every_hour_has_23_keys_in_spring_and_25_in_autumn() -> None:
    found = timetable("0 * * * *", "Europe/Berlin")
    spring = keys(found, date(2027, 3, 28), date(2027, 3, 28))
    autumn = keys(found, date(2026, 10, 25), date(2026, 10, 25))
    assert (len(spring), len(set(spring)), len(autumn), len(set(autumn))) == (23, 23, 25, 25)
    assert autumn[2:5] == ["2026-10-25T02", "2026-10-25T02B", "2026-10-25T03"]


@settings(deadline=None, max_examples=examples(100))
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), st.dates(date(2026, 1, 1), date(2029, 1, 1)))
def test_keys_rise_with_ticks_and_read_back(cron: str, zone: str, first: date) -> None:
    found = timetable(cron, zone)
    days = keys(found, first, first + timedelta(days=9))
    assert days == sorted(set(days))
    for key in days:
        assert key is not None and is_of_kind(key, found.kind)
        assert found._format_key(found._decode_partition_date(key)) == key
        assert first <= moment_of(key).date() <= first + timedelta(days=9)  # type: ignore[union-attr]
    if cron in CRONS[:2]:
        assert len(days) == 10, "a day is never lost"


@settings(deadline=None, max_examples=examples(100))
@given(
    st.sampled_from(CRONS),
    st.sampled_from(ZONES),
    st.datetimes(datetime(2026, 1, 1), datetime(2029, 1, 1)),
    st.lists(st.tuples(st.sampled_from(CRONS), st.sampled_from(ZONES), st.integers(1, 72))),
)
def test_whatever_is_edited_no_key_is_begun_twice(
    cron: str, zone: str, begins: datetime, edits: list[tuple[str, str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        scheduler = Scheduler(patch, begins.replace(tzinfo=UTC))
        for cron_now, zone_now, hours in [(cron, zone, 50), *edits]:
            then = scheduler.now + timedelta(hours=hours)
            scheduler.until(timetable(cron_now, zone_now), then)
        assert scheduler.ran == sorted(set(scheduler.ran))


def test_an_edit_to_a_time_that_has_passed_today_begins_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scheduler = Scheduler(monkeypatch, at("2026-11-20T12:00"))
    nightly = timetable("0 0 * * *")
    assert scheduler.until(nightly, at("2026-11-22T10:00")) == ["2026-11-20", "2026-11-21"]
    assert scheduler.until(timetable("0 9 * * *"), at("2026-11-22T11:00")) == []
    assert scheduler.until(timetable("30 9 * * *"), at("2026-11-23T10:00")) == ["2026-11-22"]


def test_what_a_person_began_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler(monkeypatch, at("2026-11-22T10:00"))
    nightly = timetable("0 0 * * *")
    scheduler.by_hand(nightly, "2026-11-22")
    assert scheduler.until(nightly, at("2026-11-24T10:00")) == ["2026-11-23"]


def test_a_batch_of_next_year_does_not_stop_the_nights(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler(monkeypatch, at("2026-11-22T10:00"))
    nightly = timetable("0 0 * * *")
    scheduler.by_hand(nightly, "2027-11-22")
    assert scheduler.until(nightly, at("2026-11-24T10:00")) == ["2026-11-22", "2026-11-23"]


def test_a_dag_that_is_new_waits_for_its_next_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler(monkeypatch, at("2026-11-22T00:00:30"))
    assert scheduler.until(timetable("0 0 * * *"), at("2026-11-23T10:00")) == ["2026-11-22"]
    start = pendulum.datetime(2026, 11, 1)
    scheduler = Scheduler(monkeypatch, at("2026-11-22T17:00"))
    found = scheduler.until(timetable("0 0 * * *"), at("2026-11-23T10:00"), start=start)
    assert found == ["2026-11-22"]


def test_a_schedule_begins_with_its_start(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler(monkeypatch, at("2026-11-22T17:00"))
    start = pendulum.datetime(2026, 11, 25)
    found = scheduler.until(timetable("0 0 * * *"), at("2026-11-26T10:00"), start=start)
    assert found == ["2026-11-24", "2026-11-25"]


@pytest.mark.parametrize("key", ["2026-11-2", "bogus", "2026-02-30", "2026-11-22T06", " "])
def test_a_key_that_is_no_day_is_refused(key: str) -> None:
    with pytest.raises(InvalidPartitionKeyError, match="write a key such as 2026-11-22"):
        timetable("0 0 * * *")._decode_partition_date(key)


def test_it_is_kept_in_airflows_database_and_read_back() -> None:
    found = timetable("0 */6 * * *", "Asia/Kolkata")
    again = BatchTimetable.deserialize(found.serialize())
    assert (again, again.kind) == (found, "hour")
