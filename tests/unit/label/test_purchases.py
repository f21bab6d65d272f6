"""A month's money: one order for all who buy, whoever dies and whenever the month turns."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.campaign.teams import Limits
from winnow.errors import Blocked, Corrupt
from winnow.label.purchases import Entry, Purchase, over_month, room, spent
from winnow.stored import parsed, reader

NOVEMBER = datetime(2026, 11, 30, 23, 59, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, 0, 1, tzinfo=UTC)
OPERATIONS = ("read", "exists", "create", "read_tagged", "swap", "now", "remove")


class Killed(BaseException):
    """The process died here."""


@dataclass
class MemoryLake:
    """As much of a lake as money needs."""

    uri: str = "memory"
    time: datetime = NOVEMBER
    objects: dict[str, bytes] = field(default_factory=dict)

    def now(self) -> datetime:
        return self.time

    def read(self, path: str) -> bytes:
        if path not in self.objects:
            raise FileNotFoundError(path)
        return self.objects[path]

    def exists(self, path: str) -> bool:
        return path in self.objects

    def create(self, path: str, data: bytes) -> bool:
        return self.objects.setdefault(path, data) is data

    def read_tagged(self, path: str) -> tuple[bytes | None, str | None]:
        data = self.objects.get(path)
        return data, None if data is None else sha256(data).hexdigest()

    def swap(self, path: str, data: bytes, tag: str | None) -> bool:
        if self.read_tagged(path)[1] != tag:
            return False
        self.objects[path] = data
        return True

    def remove(self, path: str) -> None:
        self.objects.pop(path, None)

    def entries(self, month: str) -> list[Entry]:
        """Every entry of a month, in order."""
        paths = sorted(path for path in self.objects if path.startswith(f"purchases/{month}/"))
        assert [int(path[-11:-5]) for path in paths] == list(range(len(paths)))
        return [parsed(self, path, reader(Entry)) for path in paths]


class Before:
    """A lake at which something else happens before or after each call."""

    def __init__(self, lake: MemoryLake, before: Callable[[str, Any], None], after: Any = None):
        self._lake, self._before, self._after = lake, before, after or (lambda: None)

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._lake, name)
        if name not in OPERATIONS:
            return real

        def call(*arguments: Any) -> Any:
            self._before(name, arguments)
            result = real(*arguments)
            self._after()
            return result

        return call


def purchase(lake: Any, campaign: str = "chat", batch: str = "1", number: int = 0) -> Purchase:
    return Purchase(lake, campaign, f"batches/{campaign}/{batch}", batch, number)


class Actor:
    """A process that goes on by one call of the lake whenever it is told to."""

    def __init__(self, lake: MemoryLake, work: Callable[[Any], None]) -> None:
        self.is_over, self._dies = False, False
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)

        def body() -> None:
            try:
                self._wait()
                work(Before(lake, lambda *_: None, self._wait))
            except Killed:
                pass
            finally:
                self.is_over = True
                self._stopped.release()

        threading.Thread(target=body, daemon=True).start()
        self._stopped.acquire()

    def _wait(self) -> None:
        self._stopped.release()
        self._go.acquire()
        if self._dies:
            raise Killed

    def step(self, *, dies: bool = False) -> None:
        self._dies = dies
        self._go.release()
        self._stopped.acquire()


@dataclass
class Market:
    """Batches that are bought and settled by processes of any order, within budgets."""

    lake: MemoryLake
    wanted: dict[tuple[str, str], int]
    limits: dict[str, Limits]
    asked: dict[tuple[str, str], int] = field(default_factory=dict)
    over: set[tuple[str, str]] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)

    def buy(self, who: tuple[str, str], settles: bool) -> Callable[[Any], None]:
        def work(lake: Any) -> None:
            own = purchase(lake, *who)
            try:
                # What is over costs what was charged, and is not bought again.
                costs = self.charged(who) if who in self.over else self.wanted[who]
                own.reserve(costs, self.limits[who[0]])
                self.asked[who] = self.wanted[who]
                self.check()
                if settles:
                    self.over.add(who)
                    own.settle(self.charged(who))
            except Blocked:
                pass
            except Exception as error:
                self.failures.append(error)

        return work

    def charged(self, who: tuple[str, str]) -> int:
        return self.wanted[who] * 2 // 3

    def check(self) -> None:
        """No entry exceeds a budget, none is made twice, and what is asked for is reserved."""
        reserved: Counter[tuple[str, str]] = Counter()
        for month in ("2026-11", "2026-12"):
            campaigns: Counter[str] = Counter()
            teams: Counter[str] = Counter()
            entries = self.lake.entries(month)
            for entry in entries:
                campaigns[entry.campaign] += entry.amount
                if entry.team is not None:
                    teams[entry.team] += entry.amount
                assert dict(entry.totals.campaigns) == dict(campaigns)
                assert dict(entry.totals.teams) == dict(teams)
                reserved[entry.campaign, entry.batch] += max(0, entry.amount)
                limits = self.limits[entry.campaign]
                if entry.amount > 0:
                    assert campaigns[entry.campaign] <= (limits.campaign_month or 10**9)
                    assert teams[entry.team or ""] <= (limits.team_month or 10**9)
            parts = [(e.campaign, e.batch, e.round, e.part) for e in entries]
            assert len(parts) == len(set(parts))
        for who, wanted in self.wanted.items():
            # Two that work on one batch may differ in whether it is over.
            assert reserved[who] in (0, wanted) or who in self.over
            assert reserved[who] >= self.asked.get(who, 0)

    def total(self) -> Counter[str]:
        """What is spent, by campaign, in both months."""
        both: Counter[str] = Counter()
        for month in ("2026-11", "2026-12"):
            both.update(spent(self.lake, month).campaigns)
        return both


amounts = st.sampled_from([20, 30, 50])
WHO = [("chat", "1"), ("chat", "2"), ("code", "1")]


@given(
    wanted=st.lists(amounts, min_size=3, max_size=3),
    team_month=st.sampled_from([None, 60, 90]),
    campaign_month=st.sampled_from([None, 50, 80]),
    twin=st.sampled_from(WHO),
    turns=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("ggggggggggkm")), max_size=90),
    settles=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_interleaving_of_buyers_that_die_stays_within_every_budget(
    wanted: list[int],
    team_month: int | None,
    campaign_month: int | None,
    twin: tuple[str, str],
    turns: list[tuple[int, str]],
    settles: bool,
) -> None:
    lake = MemoryLake()
    limits = Limits(campaign_month, "safety", team_month)
    market = Market(
        lake,
        dict(zip(WHO, wanted, strict=True)),
        {"chat": limits, "code": Limits(None, "safety", team_month)},
    )
    who = [*WHO, twin]
    actors = [Actor(lake, market.buy(each, settles)) for each in who]
    for n, turn in turns:
        if turn == "m":
            lake.time = DECEMBER
        elif actors[n].is_over:
            actors[n] = Actor(lake, market.buy(who[n], settles))
        else:
            actors[n].step(dies=turn == "k")
        market.check()
    for actor in actors:
        while not actor.is_over:
            actor.step()
    # Undisturbed and again: whoever may buy has bought, and it changes nothing any more.
    for each in WHO:
        market.buy(each, settles=True)(lake)
    assert not market.failures
    market.check()
    stored = dict(lake.objects)
    for each, amount in market.asked.items():
        purchase(lake, *each).reserve(market.charged(each), market.limits[each[0]])
        purchase(lake, *each).settle(market.charged(each))
        assert amount == market.wanted[each]
    assert lake.objects == stored
    due: Counter[str] = Counter()
    for each in market.asked:
        due[each[0]] += market.charged(each)
    assert +market.total() == due


def killed_at(step: int, lake: MemoryLake, work: Callable[[Any], None]) -> bool:
    """Do `work` until so many calls of the lake are made; whether it died."""
    n = 0

    def count() -> None:
        nonlocal n
        n += 1
        if n > step:
            raise Killed

    try:
        work(Before(lake, lambda *_: None, count))
    except Killed:
        return True
    return False


@pytest.mark.parametrize("turns", [False, True], ids=["same_month", "month_turns"])
def test_a_kill_after_any_call_reserves_once(turns: bool) -> None:
    def work(lake: Any) -> None:
        purchase(lake).reserve(50, Limits(80, "safety", 80))

    step, months = 0, Counter[str]()
    while True:
        lake = MemoryLake()
        purchase(lake, "code").reserve(30, Limits())
        died = killed_at(step, lake, work)
        entered = any(entry.campaign == "chat" for entry in lake.entries("2026-11"))
        lake.time = DECEMBER if turns else NOVEMBER
        work(lake)
        held = {month: spent(lake, month) for month in ("2026-11", "2026-12")}
        by_month = {month: each.campaigns.get("chat", 0) for month, each in held.items()}
        assert sorted(by_month.values()) == [0, 50]
        assert sum(each.teams.get("safety", 0) for each in held.values()) == 50
        # What was not entered before the month was over is bought in the next one.
        assert by_month["2026-12" if turns and not entered else "2026-11"] == 50
        months.update(month for month, amount in by_month.items() if amount)
        if not died:
            break
        step += 1
    assert step > 8
    assert len(months) == (2 if turns else 1)


@pytest.mark.parametrize("charged", [0, 30, 50, 70])
def test_a_kill_after_any_call_settles_once(charged: int) -> None:
    step = 0
    while True:
        lake = MemoryLake()
        purchase(lake).reserve(50, Limits(team="safety"))
        lake.time = DECEMBER
        died = killed_at(step, lake, lambda lake: purchase(lake).settle(charged))
        purchase(lake).settle(charged)
        stored = dict(lake.objects)
        purchase(lake).settle(charged)
        assert lake.objects == stored
        november = spent(lake, "2026-11")
        assert (november.campaigns, november.teams) == ({"chat": charged}, {"safety": charged})
        assert not lake.entries("2026-12")
        if not died:
            return
        step += 1


def test_settling_what_was_never_entered_holds_no_money_meanwhile() -> None:
    step, limits = 0, Limits(team="safety", team_month=60)
    while True:
        lake = MemoryLake()
        died = killed_at(step, lake, lambda lake: purchase(lake).reserve(50, limits))
        if lake.entries("2026-11"):
            assert step > 3
            return
        purchase(lake, "code").reserve(60, limits)
        purchase(lake).settle(0)
        assert died
        assert {entry.totals.teams["safety"] for entry in lake.entries("2026-11")} == {60}
        step += 1


def test_two_purchases_at_once_are_decided_by_who_creates_first() -> None:
    lake, limits = MemoryLake(), Limits(team="safety", team_month=100)

    def twin_first(name: str, arguments: Any) -> None:
        if (
            name == "create"
            and arguments[0].startswith("purchases/")
            and not lake.entries("2026-11")
        ):
            purchase(lake, "code").reserve(60, limits)

    with pytest.raises(Blocked, match=r"\$0\.00"):
        purchase(Before(lake, twin_first)).reserve(60, limits)
    assert dict(spent(lake, "2026-11").teams) == {"safety": 60}
    assert over_month(lake, "batches/chat/1") is not None
    # In the next month there is money.
    lake.time = DECEMBER
    purchase(lake).reserve(60, limits)
    assert dict(spent(lake, "2026-12").teams) == {"safety": 60}
    assert over_month(lake, "batches/chat/1") is None


def test_a_larger_plan_reserves_the_difference_and_each_month_keeps_its_own() -> None:
    lake = MemoryLake()
    for time, wanted in ((NOVEMBER, 50), (NOVEMBER, 50), (DECEMBER, 70), (DECEMBER, 60)):
        lake.time = time
        purchase(lake).reserve(wanted, Limits(team="safety"))
    months = [lake.entries("2026-11"), lake.entries("2026-12")]
    assert [[entry.amount for entry in entries] for entries in months] == [[50], [20]]
    purchase(lake).settle(40)
    assert [spent(lake, month).campaigns["chat"] for month in ("2026-11", "2026-12")] == [40, 0]


def test_the_room_that_is_left_is_the_smaller_one() -> None:
    lake = MemoryLake()
    purchase(lake).reserve(50, Limits(team="safety"))
    purchase(lake, "code").reserve(20, Limits(team="safety"))
    left = [
        room(lake, "chat", limits)
        for limits in (
            Limits(),
            Limits(80),
            Limits(80, "safety", 90),
            Limits(40),
            Limits(80, "x", 9),
        )
    ]
    assert left == [None, 30, 20, 0, 9]


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("act", ["reserve", "settle", "read"])
def test_a_lost_entry_is_not_taken_for_none(number: int, act: str) -> None:
    lake = MemoryLake()
    for batch in "123":
        purchase(lake, batch=batch).reserve(10, Limits())
    lake.remove(f"purchases/2026-11/{number:06d}.json")
    doing: dict[str, Callable[[], object]] = {
        "reserve": lambda: purchase(lake, batch="4").reserve(10, Limits()),
        "settle": lambda: purchase(lake, batch=str(number + 1)).settle(5),
        "read": lambda: spent(lake, "2026-11"),
    }
    if number < 2 and act != "settle":
        doing[act]()  # the newest one says all
        return
    with pytest.raises(Corrupt, match=rf"{number:06d}\.json is missing.*restore it"):
        doing[act]()
    assert f"purchases/2026-11/{number:06d}.json" not in lake.objects


def test_a_damaged_entry_stops_and_a_lost_note_too() -> None:
    lake = MemoryLake()
    purchase(lake).reserve(10, Limits())
    purchase(lake).reserve(20, Limits())
    path = "purchases/2026-11/000001.json"
    whole, lake.objects[path] = lake.objects[path], lake.objects[path].replace(b"20", b"10")
    with pytest.raises(Corrupt, match=r"000001\.json"):
        purchase(lake, batch="2").reserve(10, Limits())
    lake.objects[path] = whole
    lake.remove("batches/chat/1/label/round-0/reserved-000.json")
    with pytest.raises(Corrupt, match=r"reserved-000\.json is missing"):
        purchase(lake).reserve(20, Limits())
