"""A night chooses in its turn: after the nights before it have taught the model, or in the end."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.batch import open_batch, read_table
from winnow.campaign import Campaign, parse_campaign
from winnow.errors import Retryable
from winnow.ingest.ledger import BACKFILL, Dropped, Entry, append, mark, read_ledger
from winnow.label.aggregation.votes import votes_of
from winnow.lake import FolderLake
from winnow.stages import ingest, label, publish, select
from winnow.stages.turn import NEVER, Looks, Place, Turn, places_of, turn, turn_of

from ...fabricated import fabricate
from ...sampling import some
from .conftest import LAKE_STEPS, SALT, Dying, Killed, Night

NOW = datetime(2026, 11, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAYS = [f"2026-11-{10 + n}" for n in range(5)]


def at(hours: float) -> datetime:
    return NOW + hours * HOUR


# Computing.


@st.composite
def any_places(draw: st.DrawFn) -> dict[str, Place]:
    """Up to seven batches, with times of whole hours."""

    def place() -> Place:
        since, is_over = at(draw(st.integers(0, 12))), draw(st.booleans())
        at_once = None if is_over else draw(st.none() | st.integers(1, 3))
        return Place(since, is_over, "", at_once, draw(st.integers(1, 9)) * HOUR)

    return {f"2026-11-{10 + n}": place() for n in range(draw(st.integers(1, 7)))}


def waits_hour_by_hour(places: Mapping[str, Place], own: str, n_hours: int) -> list[list[str]]:
    """Reference: the batches that one waits for, an hour after the other; empty where none."""
    patience, last_waited = places[own].patience, dict.fromkeys(places, at(0))
    waits: list[list[str]] = []
    for hour in range(n_hours):
        now, unfinished = at(hour), []
        for key in sorted(places):
            place = places[key]
            waiting = place.at_once is not None and len(unfinished) >= place.at_once
            if key == own:
                still = [each for each in unfinished if not places[each].is_over]
                waits.append(still if waiting else [])
                break
            if waiting:
                last_waited[key] = at(hour + 1)
            if place.is_over:
                counts = now < place.since
            else:
                counts = waiting or now < max(place.since, last_waited[key]) + patience
            if counts:
                unfinished.append(key)
    return waits


@settings(max_examples=500, deadline=None)
@given(any_places())
def test_the_turn_is_that_of_a_slow_count_hour_by_hour(places: dict[str, Place]) -> None:
    own = max(places)
    found = turn_of(places, own)
    if places[own].at_once is None:
        assert found is None
        return
    assert found is not None
    n_hours = 12 + 9 * len(places) + 2
    wanted = waits_hour_by_hour(places, own, n_hours)
    assert [found.waits_for(at(hour)) for hour in range(n_hours)] == wanted
    assert wanted[-1] == [], "nobody waits for ever"


def test_a_chain_of_ten_nights_may_take_ten_times_as_long() -> None:
    places = {f"n{k}": Place(NOW, stage="select", at_once=1, patience=HOUR) for k in range(10)}
    found = turn_of(places, "n9")
    assert found is not None and found.at == at(9)
    first = turn_of(places, "n0")
    assert first == Turn(NEVER, {})


def test_a_night_whose_turn_came_late_is_waited_for_from_then_on() -> None:
    places = {
        "n0": Place(at(100), is_over=True),
        "n1": Place(at(1), stage="select", at_once=1, patience=2 * HOUR),
        "n2": Place(at(1), stage="select", at_once=1, patience=2 * HOUR),
    }
    found = turn_of(places, "n2")
    assert found is not None
    assert found.waits_for(at(101)) == ["n1"] and found.waits_for(at(102)) == []


@pytest.mark.parametrize(("at_once", "waits"), [(1, True), (2, True), (3, False)])
def test_at_once_lets_so_many_choose_side_by_side(at_once: int, waits: bool) -> None:
    early = {f"n{k}": Place(NOW, stage="label", patience=HOUR) for k in range(2)}
    found = turn_of({**early, "n2": Place(NOW, False, "select", at_once, HOUR)}, "n2")
    assert found is not None and bool(found.waits_for(NOW)) == waits


def test_people_are_told_what_is_waited_for_and_until_when() -> None:
    found = Turn(at(5), {f"2026-11-0{k}": at(k) for k in range(1, 6)})
    assert found.sentence(at(0)) == (
        "It waits for the labels of 2026-11-01, 2026-11-02, 2026-11-03 and 2 more before it "
        "chooses, until 2026-11-22 05:00 UTC at the longest."
    )
    assert "2026-11-01" not in found.sentence(at(1)) and found.sentence(at(5)) == ""


# What the lake says.


def campaign(**select_settings: Any) -> Campaign:
    return parse_campaign(
        {
            "name": "small",
            "ingest": {"sources": ["p"]},
            "expand": {"model": "tiny"},
            "select": select_settings,
            "label": {"budget_usd": 1.0, "deadline_minutes": 60.0},
            "publish": {"dataset": "small"},
        },
        "test",
    )


@pytest.fixture
def lake(tmp_path: Path) -> FolderLake:
    return FolderLake(tmp_path / "lake")


def begin(lake: Any, asked: Campaign, key: str, upto: str, at_once: int | None = None) -> Any:
    """A batch with its stages up to one committed, at `NOW`."""
    batch = open_batch(asked, key, lake, lambda: NOW)
    counts = {"rows_in": 1, "rows_out": 1, "quarantined": 0}
    ledger = read_ledger(lake, asked.name)
    if ledger.of(key) is None:
        taken = Entry(key, {key: "a.jsonl"}, {}, counts, at_once=at_once)
        assert append(lake, asked.name, ledger, taken)
    for stage in ("ingest", "expand", "select", "label", "publish"):
        figures = {BACKFILL: at_once} if at_once and stage == "ingest" else {}
        if batch.manifest(stage) is None:
            batch.commit(stage, inputs=[], outputs={}, counts=counts, figures=figures)
        if stage == upto:
            return batch
    raise AssertionError(upto)


@pytest.mark.parametrize(
    ("asked", "at_once", "waits"),
    [
        ({}, None, False),
        ({}, 1, True),
        ({}, 2, False),
        ({"strategy": "random"}, 1, False),
        ({"strategy": "diversity"}, 1, False),
        ({"wait_for": "last_batch"}, None, True),
        ({"wait_for": "last_batch", "strategy": "traditional"}, 2, True),
    ],
)
def test_who_waits(
    lake: FolderLake, asked: dict[str, Any], at_once: int | None, waits: bool
) -> None:
    settings_ = campaign(**asked)
    begin(lake, settings_, DAYS[0], "select", at_once)
    own = begin(lake, settings_, DAYS[1], "expand", at_once)
    found = turn(own, own.require("ingest"))
    assert bool(found and found.waits_for(NOW)) == waits


@pytest.mark.parametrize(("hours", "until"), [(None, 25.0), (3.0, 3.0)])
def test_a_stuck_night_is_waited_for_until_its_labels_are_due_and_a_day(
    lake: FolderLake, hours: float | None, until: float
) -> None:
    asked = campaign(longest_wait_hours=hours)
    begin(lake, asked, DAYS[0], "select", 1)
    own = begin(lake, asked, DAYS[1], "expand", 1)
    found = turn(own, own.require("ingest"))
    assert found is not None and found.at == at(until)


def test_one_that_has_chosen_waits_for_none_and_is_not_waited_for_longer(lake: FolderLake) -> None:
    asked = campaign()
    begin(lake, asked, DAYS[0], "select", 1)
    begin(lake, asked, DAYS[1], "select", 1)
    own = begin(lake, asked, DAYS[2], "expand", 1)
    found = turn(own, own.require("ingest"))
    assert found is not None and found.ends == dict.fromkeys(DAYS[:2], at(25.0))
    assert Looks(lake, asked.name).turn_of(DAYS[1]) is None


def test_a_vendor_that_took_a_follow_up_is_given_its_time(lake: FolderLake) -> None:
    asked = campaign()
    early = begin(lake, asked, DAYS[0], "select", 1)
    own = begin(lake, asked, DAYS[1], "expand", 1)
    for number, hours in ((0, 2.0), (1, 9.0)):
        path = f"{early.folder}/label/round-{number}/submission.json"
        record = {"ref": "r", "submitted_at": at(hours).isoformat(), "deadline": at(99).isoformat()}
        lake.create(path, json.dumps(record).encode())
        found = turn(own, own.require("ingest"))
        assert found is not None and found.at == at(hours + 25.0)


@pytest.mark.parametrize("how", ["published", "ended", "dropped", "damaged", "unparsed", "later"])
def test_what_is_over_or_later_is_not_waited_for(lake: FolderLake, how: str) -> None:
    asked = campaign()
    other = DAYS[4] if how == "later" else DAYS[0]
    early = begin(lake, asked, other, "publish" if how == "published" else "select", 1)
    own = begin(lake, asked, DAYS[1], "expand", 1)
    folder = lake.root / early.folder
    if how == "ended":
        counts = {"rows_in": 1, "rows_out": 0, "quarantined": 1}
        early.commit("label", inputs=[], outputs={}, counts=counts)
    if how == "dropped":
        note = Dropped("Ada", at(-1).isoformat(), "a wrong file")
        assert mark(lake, asked.name, read_ledger(lake, asked.name), other, note)
    if how == "damaged":
        (folder / "select" / "manifest.json").write_bytes(b"half a manif")
    if how == "unparsed":
        (folder / "campaign.json").write_bytes(b"[]")
    found = turn(own, own.require("ingest"))
    assert found is not None and found.waits_for(at(1)) == []


def test_a_night_that_took_its_files_and_has_no_manifest_is_waited_for(lake: FolderLake) -> None:
    asked = campaign()
    open_batch(asked, DAYS[0], lake, lambda: NOW)
    taken = Entry(DAYS[0], {"f": "a.jsonl"}, {}, {}, at_once=1)
    assert append(lake, asked.name, read_ledger(lake, asked.name), taken)
    own = begin(lake, asked, DAYS[1], "expand", 1)
    found = turn(own, own.require("ingest"))
    assert found is not None and found.waits_for(datetime.now(UTC)) == [DAYS[0]]


def test_one_that_was_dropped_and_taken_up_again_is_waited_for_again(lake: FolderLake) -> None:
    asked = campaign()
    begin(lake, asked, DAYS[0], "expand", 1)
    begin(lake, asked, DAYS[1], "expand", 1)
    looks = Looks(lake, asked.name, seconds=0.0)
    for dropped in (None, Dropped("Ada", NOW.isoformat(), "why not"), None):
        assert mark(lake, asked.name, read_ledger(lake, asked.name), DAYS[0], dropped)
        found = looks.turn_of(DAYS[1])
        assert found is not None
        assert found.waits_for(at(1)) == ([] if dropped else [DAYS[0]])
        assert (looks.turn_of(DAYS[0]) is None) == (dropped is not None)


def test_looks_are_shared_for_a_while_and_a_fresh_one_sees_what_began_since(
    lake: FolderLake,
) -> None:
    asked = campaign()
    begin(lake, asked, DAYS[1], "expand", 1)
    looks = Looks(lake, asked.name, seconds=1e9)
    assert looks.turn_of(DAYS[1]) == Turn(NEVER, {})
    begin(lake, asked, DAYS[0], "expand", 1)
    assert looks.turn_of(DAYS[1]) == Turn(NEVER, {})
    found = looks.turn_of(DAYS[1], fresh=True)
    assert found is not None and found.waits_for(NOW) == [DAYS[0]]


class Counted:
    """Counts the reads of a lake."""

    def __init__(self, real: FolderLake) -> None:
        self._real, self.reads = real, [""]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in ("read", "exists", "listing", "names", "read_tagged"):
            return found

        def call(path: str, *more: Any) -> Any:
            self.reads.append(path)
            return found(path, *more)

        return call


def test_a_look_reads_what_is_through_once_and_of_others_a_little(lake: FolderLake) -> None:
    asked = campaign()
    fabricate(open_batch(asked, DAYS[0], lake, lambda: NOW), 1)
    for n in range(1, 26):
        begin(lake, asked, f"2026-10-{n:02}", "publish", 1)
    counted = Counted(lake)
    first = places_of(counted, asked.name)  # type: ignore[arg-type]
    assert len(counted.reads) < 26 + 25
    counted.reads.clear()
    assert places_of(counted, asked.name, first) == first  # type: ignore[arg-type]
    assert {path for path in counted.reads if "2026-10" in path} == set()
    assert len(counted.reads) < 12


def test_a_store_that_is_away_says_nothing_of_a_night(
    lake: FolderLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = campaign()
    begin(lake, asked, DAYS[0], "select", 1)
    own = begin(lake, asked, DAYS[1], "expand", 1)
    ingested = own.require("ingest")

    def away(*_: Any) -> Any:
        raise Retryable("SlowDown")

    monkeypatch.setattr("winnow.stages.turn.read_manifest", away)
    with pytest.raises(Retryable):
        turn(own, ingested)


# Five nights of a backfill, in any order, killed or not.


class Backfill(Night):
    """Nights of their own prompts, each taken through step by step."""

    steps = ("expand", "select", "submit", "follow_up", "collect", "check", "publish")

    def fill(self, folder: Path) -> None:
        for day in DAYS:
            (folder / day).mkdir(parents=True)
            rows = [{"prompt": f"what of {day} and {n}?"} for n in range(2)]
            (folder / day / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        asked = self.campaign.model_dump(mode="json")
        asked["ingest"]["sources"] = [str(folder / "{day}")]
        self.campaign = parse_campaign(asked, "test")

    def step(self, day: str, name: str, lake: Any) -> bool:
        """Do a step of a night; whether it was its turn."""
        self.day = day
        batch = self.batch(lake)
        vendor = self.simulator.connect()
        if name == "ingest":
            assert ingest.run(batch, at_once=1) is not None
        elif name == "expand":
            self.expand(batch)
        elif name == "select":
            found = turn(batch, batch.require("ingest"))
            if found is not None and found.waits_for(self.time):
                return False
            select.run(batch)
        elif name == "submit":
            label.submit(batch, vendor)
        elif name == "follow_up":
            self.simulator.finish()
            label.follow_up(batch, vendor, SALT)
        elif name == "collect":
            self.simulator.finish()
            label.collect(batch, vendor, SALT)
        elif name == "check":
            publish.check(batch)
        else:
            publish.refit(batch, publish.version(batch, publish.check(batch)))
        return True

    def votes(self, day: str) -> int:
        """Votes that a night's labels hold, by its annotations."""
        self.day = day
        manifest = self.batch().require("label")
        rows = read_table(self.lake, manifest.outputs["annotations"]).to_pylist()
        return len(votes_of(rows))


@pytest.mark.sampled
@pytest.mark.parametrize(("seed", "dies"), some([(1, True), (0, False)], 2))
def test_each_backfilled_night_has_learnt_from_every_night_before_it(
    tmp_path: Path, start_simulator: Callable[[Path], Any], seed: int, dies: bool
) -> None:
    chance = random.Random(seed)
    nights = Backfill(tmp_path / "lake", tmp_path, start_simulator(tmp_path / "s.sqlite"), {})
    nights.fill(tmp_path / "inbox")
    n_waited = 0
    for steps in (("ingest",), nights.steps):
        left = {day: list(steps) for day in DAYS}
        while open_ones := [day for day in DAYS if left[day]]:
            day = chance.choice(open_ones)
            nights.time += timedelta(minutes=1)
            lake = Dying(
                nights.lake, LAKE_STEPS, chance.choice([*range(12), *[None] * 24]) if dies else None
            )
            try:
                if nights.step(day, left[day][0], lake):
                    left[day].pop(0)
                else:
                    n_waited += 1
            except Killed:
                pass
    assert n_waited > 0
    taught = 0
    for day in DAYS:
        nights.day = day
        figures = nights.batch().require("select").figures
        assert figures["posterior_labels"] == taught, day
        taught += nights.votes(day)
    assert taught > 0
