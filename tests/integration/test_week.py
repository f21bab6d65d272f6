"""Twelve campaigns in one Airflow, each on its own clock, in days that people disturb.

The days have 31 October 2027 in them, on which Berlin's clock goes back. `make kill` takes the
whole week with all hours; `make test` its last day, with a few hours of the hourly ones.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from winnow.batch import read_manifest
from winnow.campaign import load_campaign
from winnow.lake import FolderLake
from winnow.operate.facts import facts_of
from winnow.operate.standing import standing_of
from winnow.publish.versions import newest, read_version
from winnow.stages.tasks import DAG_OF, campaign_of

from ..sampling import ALL
from .many_campaigns import run_act, settings_of, write_campaign
from .simulated import simulator

pytestmark = [pytest.mark.slow, pytest.mark.sampled, pytest.mark.kill]

FIRST = datetime(2027, 10, *((24, 23) if ALL else (30, 20)), 5, tzinfo=UTC)
LAST = datetime(2027, 11, 1, 4, 5, tzinfo=UTC)
HOURS = (range(24), range(24)) if ALL else (range(5, 7), range(1, 3))


@dataclass(frozen=True)
class Clock:
    """When a campaign ticks, written out: minutes past midnight of its zone, on weekdays."""

    zone: str
    minutes: tuple[int, ...]
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    """Monday is 0."""

    @property
    def cron(self) -> str:
        [minute] = {at % 60 for at in self.minutes}
        hours = ",".join(str(at // 60) for at in self.minutes)
        days = "*" if len(self.weekdays) == 7 else ",".join(str((d + 1) % 7) for d in self.weekdays)
        return f"{minute} {hours} * * {days}"

    def keys(self, first: datetime, last: datetime) -> set[str]:
        """What its batches are called, by a look at the clock each minute."""
        found, moment, zone = set[str](), first, ZoneInfo(self.zone)
        hour, every_hour = timedelta(hours=1), len(self.minutes) == 24
        while moment <= last:
            local = moment.astimezone(zone)
            before, after = ((moment + way * hour).astimezone(zone) for way in (-1, 1))
            is_due = local.hour * 60 + local.minute in self.minutes
            # A time of day that comes twice is kept once, unless it means every hour.
            if is_due and local.weekday() in self.weekdays:
                if len(self.minutes) == 1:
                    found.add(str(local.date() - timedelta(days=1)))
                elif every_hour or after.hour != local.hour:
                    found.add(f"{local:%Y-%m-%dT%H}" + "B" * (before.hour == local.hour))
            moment += timedelta(minutes=1)
        return found


SUNDAY_TO_THURSDAY = (6, 0, 1, 2, 3)
CLOCKS = {
    "berlin": Clock("Europe/Berlin", (150,)),
    "newyork": Clock("America/New_York", (0,)),
    "kolkata": Clock("Asia/Kolkata", (555,), SUNDAY_TO_THURSDAY),
    "tokyo": Clock("Asia/Tokyo", (360, 1080)),
    "howe": Clock("Australia/Lord_Howe", (15,)),
    "utc": Clock("UTC", (0,)),
    "hourly": Clock("UTC", tuple(60 * hour for hour in HOURS[0])),
    "hourly-berlin": Clock("Europe/Berlin", tuple(60 * hour for hour in HOURS[1])),
    "breaks": Clock("UTC", (720,)),
    "side": Clock("UTC", (240,)),
}
EDITED = Clock("Asia/Kolkata", (1005,), SUNDAY_TO_THURSDAY)
"""What Kolkata's becomes on a day on which it has ticked: the day must not run twice."""
EXPORTS = ["2027-10-30", "2027-10-31"]
BACKFILLED = ["2027-10-29", "2027-10-30", "2027-10-31"]
"""The last is today in New York when it is asked for, and ticks at the end of it."""
BY_HAND = "2027-10-31"
EDIT_AT = datetime(2027, 10, 31, 5, tzinfo=UTC)
BREAKS_AT = "2027-10-30"
SMALL = "tokyo"
TEAMS = {"small": {"budget_month_usd": 3.0 if ALL else 0.35}, "lab": {"budget_month_usd": 500.0}}
"""The small team has one campaign, and money for less than its batches."""


def expected() -> dict[str, set[str]]:
    """The batches of each campaign that there must be, once each."""
    keys = {name: clock.keys(FIRST, LAST) for name, clock in CLOCKS.items()}
    by_first = CLOCKS["kolkata"].keys(FIRST, EDIT_AT)
    assert EDITED.keys(EDIT_AT, LAST) <= by_first
    keys["kolkata"] = by_first
    keys["newyork"] |= set(BACKFILLED)
    keys["howe"] |= {BY_HAND}
    return {**keys, "exports": set(EXPORTS), "after-berlin": keys["berlin"]}


def settings(folder: Path) -> dict[str, dict[str, Any]]:
    """The campaigns as they are at first."""
    parts: dict[str, dict[str, Any]] = {
        name: {"schedule": {"cron": clock.cron, "timezone": clock.zone}}
        for name, clock in CLOCKS.items()
    }
    parts["side"] |= {"pools_from": "utc", "select": {"strategy": "random"}, "ingest": None}
    parts["exports"] = {"schedule": {"assets": ["team_x.exports"]}}
    parts["after-berlin"] = {"schedule": {"assets": ["berlin.datasets"]}}
    return {
        name: settings_of(folder, name, **part) | {"team": "small" if name == SMALL else "lab"}
        for name, part in parts.items()
    }


def script(folder: Path) -> dict[str, Any]:
    """What people do meanwhile."""
    campaigns = settings(folder)
    schedule = {"cron": EDITED.cron, "timezone": EDITED.zone}
    plan = [
        ["2027-10-31T03:00", "announce", "team_x.exports", EXPORTS[0]],
        ["2027-10-31T03:30", "trigger", "howe.ingest_prompts", BY_HAND],
        [
            *("2027-10-31T04:30", "backfill", "newyork.ingest_prompts"),
            *(f"{day}T00:00+00:00" for day in (BACKFILLED[0], BACKFILLED[-1])),
        ],
        [EDIT_AT.isoformat(), "rewrite", {**campaigns["kolkata"], "schedule": schedule}],
        ["2027-10-31T14:00", "announce", "team_x.exports", EXPORTS[1]],
        # Reconcile has nothing to mend, and begins nothing again.
        ["2027-10-31T18:00", "pause", "%.reconcile", False],
        ["2027-10-31T18:01", "pause", "%.reconcile", True],
    ]
    broken = {**campaigns["breaks"], "label": {"budgt_usd": 5.0}}
    return {
        "plan": [[at if "+" in at else f"{at}+00:00", *rest] for at, *rest in plan],
        # In the middle of a batch, before its labels are bought.
        "breaks_at": ["breaks.label_pairs", "submit_tasks", BREAKS_AT],
        "broken": broken,
        "until": LAST.isoformat(),
    }


class Week:
    """What is left of it: Airflow's runs, the lake, the vendor's books."""

    def __init__(self, folder: Path, books: list[dict[str, Any]]) -> None:
        outcome = json.loads((folder / "outcome.json").read_text())
        self.lake, self.books = FolderLake(folder / "lake"), books
        self.campaigns = folder / "campaigns"
        self.errors: list[dict[str, str]] = outcome["errors"]
        self.runs = [run for run in outcome["runs"] if not run["dag_id"].endswith(".reconcile")]
        self.reconciled = [run for run in outcome["runs"] if run["dag_id"].endswith(".reconcile")]

    def cost(self, campaign: str, key: str) -> int | None:
        """What a batch's labels cost, micro-dollars; None where none came."""
        manifest = read_manifest(self.lake, campaign, key, "label")
        return None if manifest is None else manifest.cost

    def stopped(self) -> set[str]:
        """Batches of the small team that no labels were bought for."""
        return {key for key in self.batches(SMALL) if self.cost(SMALL, key) is None}

    def batches(self, campaign: str) -> list[str]:
        place = self.lake.root / "batches" / campaign
        return sorted(path.name for path in place.iterdir()) if place.exists() else []


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    folder = tmp_path_factory.mktemp("week")
    for campaign in settings(folder).values():
        write_campaign(folder, campaign)
    (folder / "campaigns" / "teams.yaml").write_text(json.dumps(TEAMS))
    (folder / "script.json").write_text(json.dumps(script(folder)))
    (folder / "clock").write_text(FIRST.isoformat())
    with simulator(folder / "books.sqlite", "--speed", "1e9") as service:
        run_act("week", folder, service.url)
        yield Week(folder, service.books())


def test_each_batch_is_begun_once_and_no_other(week: Week) -> None:
    wanted = expected()
    assert {name: set(week.batches(name)) for name in wanted} == wanted
    assert "2027-10-31T02B" in wanted["hourly-berlin"]
    assert ("2027-10-31T02" in wanted["hourly-berlin"]) == ALL
    runs = Counter((run["dag_id"], run["partition_key"]) for run in week.runs)
    wanted_runs = Counter(
        (f"{name}.{dag}", key) for name in wanted for key in wanted[name] for dag in DAG_OF.values()
    )
    # Its tick finds that a person began it, and hands nothing on.
    wanted_runs["howe.ingest_prompts", BY_HAND] += 1
    for key in week.stopped():
        del wanted_runs[f"{SMALL}.publish_dataset", key]
    assert runs == wanted_runs
    failed = {(r["dag_id"], r["partition_key"]) for r in week.runs if r["state"] != "success"}
    assert failed == {(f"{SMALL}.label_pairs", key) for key in week.stopped()}
    assert {run["state"] for run in week.reconciled} == {"success"}
    assert {campaign_of(run["dag_id"]) for run in week.reconciled} == set(wanted)


def test_each_batch_is_published_once(week: Week) -> None:
    for name, begun in expected().items():
        keys = begun - (week.stopped() if name == SMALL else set())
        last = newest(week.lake, name)
        assert last is not None and last.number == len(keys), name
        assert set(last.batches) == keys
        grown = [len(read_version(week.lake, name, n + 1).batches) for n in range(len(keys))]
        assert grown == list(range(1, len(keys) + 1))


def test_each_task_is_bought_once_and_paid_as_booked(week: Week) -> None:
    charged, seen = defaultdict[str, int](int), Counter[tuple[str, str]]()
    for task in week.books:
        seen[task["batch_key"], task["task_id"]] += 1
        # A follow-up is another batch to the vendor.
        charged[task["batch_key"].partition("#")[0]] += task["charged"]
    assert set(seen.values()) == {task["bought"] for task in week.books} == {1}
    booked = {}
    for name, keys in expected().items():
        for key in keys - (week.stopped() if name == SMALL else set()):
            cost = week.cost(name, key)
            assert cost is not None and cost <= 5_000_000
            # `side` takes votes over, now and then all that it wants.
            assert cost > 0 or name == "side"
            if cost:
                booked[f"{name}/{key}"] = cost
    assert booked == dict(charged)
    print(f"{len(booked)} batches, {len(seen)} tasks, ${sum(booked.values()) / 1e6:,.2f}")


def test_a_teams_month_stops_its_campaign_right_there_and_says_so(week: Week) -> None:
    limit = TEAMS["small"]["budget_month_usd"]
    # What is bought in October; November has money of its own.
    costs = {key: week.cost(SMALL, key) for key in week.batches(SMALL)}
    spent = sum(cost or 0 for cost in costs.values()) / 1e6
    lab = sum(week.cost(n, key) or 0 for n in expected() if n != SMALL for key in week.batches(n))
    print(f"small: ${spent:.2f} of ${limit:.2f}; {len(week.stopped())} batches stopped")
    print(f"lab: ${lab / 1e6:.2f} of ${TEAMS['lab']['budget_month_usd']:.2f}")
    assert week.stopped() and any(costs.values())
    assert spent <= limit
    # A batch is two tasks or three: where one was stopped, no more than two were affordable.
    assert limit - spent < 0.3
    assert lab / 1e6 <= TEAMS["lab"]["budget_month_usd"]
    campaign = load_campaign(week.campaigns / f"{SMALL}.yaml")
    for key in week.stopped():
        standing = standing_of(facts_of(week.lake, campaign, key), LAST, None)
        assert (standing.kind, standing.level) == ("over_budget", "stuck")
        assert f"${limit:.2f} that team small may buy for in 2027-10" in standing.cause


def test_what_broke_says_so_and_its_batches_go_on(week: Week) -> None:
    at_first, broken = week.errors[0], week.errors[-1]
    assert at_first == {}
    assert set(broken) == {"breaks.broken.py"}
    assert "label.budgt_usd" in broken["breaks.broken.py"]
    after = {key for key in week.batches("breaks") if key > BREAKS_AT}
    assert after == {key for key in expected()["breaks"] if key > BREAKS_AT}
