"""The page Spend: its arithmetic against slow references, and its words over made-up lakes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from winnow.batch import open_batch
from winnow.campaign import parse_campaign
from winnow.console import spend
from winnow.console.memory import Memory
from winnow.console.shell import Site
from winnow.console.spend import nights as spend_nights
from winnow.console.spend.chart import days_of_month, spend_chart
from winnow.console.spend.figures import (
    LAST_NIGHTS,
    MIN_NIGHTS,
    Night,
    cost_per,
    day_of,
    days_in,
    forecast,
    month_before,
    nights_left,
)
from winnow.console.spend.nights import nights_of
from winnow.lake import FolderLake
from winnow.money import MICROS
from winnow.pages.render import piece
from winnow.pages.words import dollars
from winnow.stages import label
from winnow.stages.label import rounds as label_rounds

from ...console_world import World, campaign
from ...fabricated import fabricate

BUDGET = 30_000_000
WIDE = "２０２６-１１"
"""A month in full-width digits."""
costs = st.lists(st.integers(0, BUDGET), min_size=MIN_NIGHTS, max_size=30)


def text(page: Any) -> str:
    """What a reader sees of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.body).split())


@given(costs=costs, left=st.integers(0, 31))
def test_the_forecast_is_mean_and_prediction_interval(costs: list[int], left: int) -> None:
    found = forecast(costs, left, BUDGET)
    last = np.array(costs[-LAST_NIGHTS:], dtype=np.float64)
    n, most = len(last), left * BUDGET
    spread = last.std(ddof=1) * np.sqrt(left + left**2 / n) * student.ppf(0.975, n - 1)
    assert found.n == n and found.each == pytest.approx(last.mean())
    assert found.total == pytest.approx(left * last.mean())
    assert found.low == pytest.approx(min(max(left * last.mean() - spread, 0.0), most), abs=1e-3)
    assert found.high == pytest.approx(min(left * last.mean() + spread, most), abs=1e-3)
    assert found.low is not None and found.high is not None and found.total is not None
    assert 0 <= found.low <= found.total + 1e-6 and found.total <= found.high + 1e-6 <= most + 1


def test_the_interval_holds_what_it_promises() -> None:
    """Of nights drawn alike, the sum of the next ones lies inside 95 times of 100."""
    rng, hits, runs = np.random.default_rng(0), 0, 2000
    for _ in range(runs):
        nights = rng.normal(5e6, 1e6, 14 + 10)
        found = forecast(nights[:14].astype(int).tolist(), 10, BUDGET)
        assert found.low is not None and found.high is not None
        hits += found.low <= nights[14:].sum() <= found.high
    assert 0.935 < hits / runs < 0.965


@given(costs=st.lists(st.integers(0, BUDGET), max_size=MIN_NIGHTS - 1))
def test_too_few_nights_give_no_forecast(costs: list[int]) -> None:
    found = forecast(costs, 5, BUDGET)
    assert (found.total, found.low, found.high, found.n) == (None, None, None, len(costs))


@given(
    days=st.lists(st.dates(date(2026, 1, 1), date(2026, 12, 31)), max_size=20),
    today=st.dates(date(2026, 1, 1), date(2027, 1, 31)),
    month=st.integers(1, 12),
)
def test_nights_left_are_the_days_no_batch_can_have_begun_on(
    days: list[date], today: date, month: int
) -> None:
    name = f"2026-{month:02d}"
    every = [date(2026, month, d) for d in range(1, days_in(name) + 1)]
    last = max((d for d in days if d.month == month), default=date(2025, 1, 1))
    left = [d for d in every if d > last and d >= today]
    over = (today.year, today.month) > (2026, month)
    assert nights_left(name, days, today) == (0 if over else len(left))


@given(day=st.dates(date(1, 1, 2), date(9999, 12, 31)), head=st.sampled_from(["", "de|", "x1-"]))
def test_a_day_is_read_from_a_key(day: date, head: str) -> None:
    if day.year >= 1000:
        assert day_of(f"{head}{day.isoformat()}") == day


@pytest.mark.parametrize(
    "key", ["trial", "2026-13-01", "2026-02-30", "12026-01-01", "2026-01-011", f"{WIDE}-１１"]
)
def test_what_is_no_day_is_none(key: str) -> None:
    assert day_of(key) is None


@given(month=st.integers(1, 12), n=st.integers(0, 40))
def test_months_before_are_counted_one_by_one(month: int, n: int) -> None:
    at = date(2026, month, 1)
    for _ in range(n):
        at = (at - timedelta(days=1)).replace(day=1)
    assert month_before(f"2026-{month:02d}", n) == f"{at:%Y-%m}"


@given(
    rows=st.lists(
        st.tuples(st.none() | st.integers(0, BUDGET), st.none() | st.integers(0, 50)), max_size=12
    )
)
def test_unit_costs_leave_out_nights_on_both_sides(
    rows: list[tuple[int | None, int | None]],
) -> None:
    nights = [Night("k", None, spent, votes=votes) for spent, votes in rows]
    known = [(s, v) for s, v in rows if s is not None and v is not None]
    whole = sum(v for _, v in known)
    expected = sum(s for s, _ in known) / whole if whole else None
    assert cost_per(nights, "votes") == expected


def test_a_day_at_80_percent_of_its_budget_is_marked() -> None:
    day = date(2026, 11, 3)
    nights = [
        Night("a", day, 7_900_000, budget=10_000_000),
        Night("b", date(2026, 11, 4), 6_000_000, committed=2_000_000, budget=10_000_000),
        Night("c", date(2026, 10, 4), 9_000_000, budget=10_000_000),
    ]
    days = days_of_month(nights, "2026-11")
    assert len(days) == 30
    assert [n for n, each in enumerate(days, start=1) if each.is_marked] == [4]
    drawn = piece("chart", spend_chart(days, "2026-11"))
    assert drawn.count("at 80 % of it or above") == 2 and "2026-11-03: $7.90 spent" in drawn
    assert "$2.00 committed" in drawn and drawn.count('stroke-dasharray="3 2"') == 2


def test_a_month_without_money_can_be_drawn() -> None:
    assert "<rect" not in piece("chart", spend_chart(days_of_month([], "2026-02"), "2026-02"))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Eight nights of $0.80 in November, one in October, and one that is not labelled."""
    made = World(FolderLake(tmp_path_factory.mktemp("spend")))
    made.make("2026-10-31")
    for number in range(17, 25):
        made.make(f"2026-11-{number}")
    made.make("2026-11-25", upto="select")
    return made


def test_the_month_of_the_newest_batch_is_told(world: World, site: Site) -> None:
    told = text(spend.page(world.lake, world.campaign, {}, site))
    # Days 25 (not labelled) to 30 cost a night's mean each: 8 nights of $0.80 and 6 more.
    assert "$6.40 spent" in told and "$0.00 committed" in told
    assert "6 nights of 2026-11 are still to come or not priced yet" in told
    assert "They are expected to cost $4.80, 95 % interval $4.80 to $4.80" in told
    assert "last 9 nights whose labels are in" in told
    assert "$11.20 expected by the end of the month" in told
    # 9 batches of $30 and 5 nights more.
    assert "$420.00 budget of the month 1.5 % of it used" in told
    assert "$0.13 per prompt" in told and "$0.10 per vote" in told
    assert "every pair of 4 random responses 6.0 $0.80 computed" in told
    assert "2026-10 1 $0.80" in told and "2026-11-25 not in yet" in told


def test_another_month_is_asked_for_by_name(world: World, site: Site) -> None:
    told = text(spend.page(world.lake, world.campaign, {"month": "2026-10"}, site))
    assert "$0.80 spent" in told and "2026-10 is over" in told and "2026-11-17" not in told


@pytest.mark.parametrize(
    "month", ["2026-13", "0000-01", "x", "<script>", "2026-11-01", "9999-12", WIDE]
)
def test_a_strange_month_harms_nothing(world: World, site: Site, month: str) -> None:
    page = spend.page(world.lake, world.campaign, {"month": month}, site)
    assert "<script" not in page.body and "<script" not in page.title


def test_few_nights_say_that_they_are_few(tmp_path: Path, site: Site) -> None:
    world = World(FolderLake(tmp_path))
    for number in (22, 23):
        world.make(f"2026-11-{number}")
    told = text(spend.page(world.lake, world.campaign, {}, site))
    assert "Not enough nights for a forecast: 2 with their labels in, and it needs 5" in told
    # Days 26 to 30, since today's own batch is still to come.
    assert "At the budget they cost at most $150.00" in told


def test_a_night_that_ended_with_no_row_costs_nothing(tmp_path: Path, site: Site) -> None:
    world = World(FolderLake(tmp_path))
    world.end("2026-11-24")
    world.make("2026-11-25")
    told = text(spend.page(world.lake, world.campaign, {}, site))
    # Days 26 to 30 alone.
    assert "5 nights of 2026-11 are still to come" in told
    assert "2026-11-24 $0.00 $30.00 0 % 0 0 0" in told


def test_nights_of_a_month_that_is_over_may_be_unpriced(tmp_path: Path, site: Site) -> None:
    world = World(FolderLake(tmp_path))
    for number in range(10, 15):
        world.make(f"2026-10-{number}")
    world.make("2026-10-15", upto="select")
    told = text(spend.page(world.lake, world.campaign, {}, site))
    assert "1 nights of 2026-10 are not priced yet, none to come" in told
    assert "They are expected to cost $0.80" in told
    assert "$4.80 expected by the end of the month" in told


def test_nights_with_votes_of_others_are_in_no_unit_cost(tmp_path: Path, site: Site) -> None:
    world = World(FolderLake(tmp_path))
    world.make("2026-11-24")
    alone = text(spend.page(world.lake, world.campaign, {}, site))
    assert "taken over" not in alone
    world.taken_over = 7
    world.make("2026-11-25")
    told = text(spend.page(world.lake, world.campaign, {}, replace(site, memory=Memory())))
    costs = alone.partition("What it buys")[2].partition("The traditional way")[0]
    assert "$0.10 per vote" in costs and costs in told.replace(_LEFT_OUT, "")
    assert _LEFT_OUT in told
    assert "8 7 taken over" in told


_LEFT_OUT = (
    "Nights left out, since votes were taken over from another campaign, which paid for them: "
    "1, with 7 such votes. "
)


def test_a_plan_of_gigabytes_is_estimated_and_not_read(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(FolderLake):
        def read(self, path: str) -> bytes:
            assert not path.endswith("plan.json"), path
            return super().read(path)

    monkeypatch.setattr(spend_nights, "MOST_PLAN_BYTES", 10)
    world = World(Refusing(tmp_path))
    batch = world.batch("2026-11-25")
    for stage in ("ingest", "expand", "select"):
        getattr(world, stage)(batch, "Why?")
    plan = tmp_path / batch.folder / "label/round-0/plan.json"
    plan.parent.mkdir(parents=True)
    plan.write_text("{" + " " * 20)
    told = text(spend.page(world.lake, world.campaign, {}, site))
    price, second = world.campaign.label.price_usd, world.campaign.label.second_vote_share
    cost = dollars(price * MICROS * 6 * (1 + second + world.campaign.label.repeat_share))
    assert f"About {cost} of tasks are planned and not bought" in told
    label_rounds.record_submission(batch, 0, "sim-1", world.at("2026-11-25", 99))
    told = text(spend.page(world.lake, world.campaign, {}, replace(site, memory=Memory())))
    assert f"{cost} committed with vendors and not booked, by estimate" in told
    assert f"not in yet about {cost}" in told


def test_no_batch_is_told(tmp_path: Path, site: Site) -> None:
    page = spend.page(FolderLake(tmp_path), campaign(), {}, site)
    assert "nothing was bought yet" in page.body and "$30.00" in page.body


def test_figures_of_another_time_are_not_measured(tmp_path: Path, site: Site) -> None:
    """A batch of an older Winnow: no count of prompts' pairs, no figures."""
    world = World(FolderLake(tmp_path))
    batch = world.make("2026-11-20", upto="select")
    batch.commit(
        "label",
        inputs=[],
        outputs={},
        counts={"rows_in": 0, "rows_out": 0, "quarantined": 0},
        cost=500_000,
    )
    told = text(spend.page(world.lake, world.campaign, {}, site))
    assert "$0.50 spent" in told and "not measured per vote" in told
    assert "not measured per preference" in told


def test_what_is_with_the_vendor_is_committed_by_the_plans_own_prices(
    tmp_path: Path, start_simulator: Callable[[Path], Any], site: Site
) -> None:
    lake = FolderLake(tmp_path / "lake")
    asked = parse_campaign(
        {
            **campaign().model_dump(mode="json"),
            "label": {"budget_usd": 1.2, "price_usd": 0.11, "second_vote_share": 0.0},
        },
        "test",
    )
    world = World(lake, asked)
    key = "2026-11-25"
    batch = open_batch(asked, key, lake, lambda: datetime(2026, 11, 26, tzinfo=UTC))
    fabricate(batch, 9)
    world.take(batch)
    planned = label.plan(batch)
    days = {key: day_of(key)}

    def night() -> Night:
        (found,) = nights_of(lake, asked, [key], days, Memory())
        return found

    price = round(planned["estimate_usd"] * 1e6)
    assert price == 9 * 110_000
    assert (night().planned, night().committed, night().spent) == (price, 0, None)
    told = text(spend.page(lake, asked, {}, replace(site, memory=Memory())))
    assert "$0.99 of tasks are planned and not bought" in told
    label.submit(batch, start_simulator(tmp_path / "vendor.sqlite").connect())
    assert (night().planned, night().committed, night().spent) == (0, price, None)
    told = text(spend.page(lake, asked, {}, replace(site, memory=Memory())))
    assert "$0.99 committed" in told and "80 % of its own budget or more: 2026-11-25" in told


def test_the_store_is_asked_once_for_what_is_done(world: World, site: Site) -> None:
    first = spend.page(world.lake, world.campaign, {}, site)
    reads: list[str] = []

    class Counting(FolderLake):
        def read(self, path: str) -> bytes:
            reads.append(path)
            return super().read(path)

    again = spend.page(Counting(Path(world.lake.uri)), world.campaign, {}, site)
    assert again == first and not [path for path in reads if "2026-11-25" not in path]
