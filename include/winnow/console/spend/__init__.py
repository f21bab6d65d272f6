"""The page *Spend*: budgets, what was spent, what will be, and what a preference costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from winnow.campaign import Campaign
from winnow.console import parts
from winnow.console.shell import Page, Site, to
from winnow.console.spend.chart import days_of_month, spend_chart
from winnow.console.spend.costs import unit_costs
from winnow.console.spend.figures import (
    LAST_NIGHTS,
    MARK,
    MIN_NIGHTS,
    Forecast,
    Night,
    by_month,
    committed_on,
    forecast,
    is_month,
    month_before,
    month_budget,
    month_of,
    nights_left,
    spent_on,
)
from winnow.console.spend.nights import days_of, labels_of, nights_of
from winnow.console.stages import keys_of
from winnow.lake import Lake
from winnow.pages.pieces import figure, paragraphs, picture, section
from winnow.pages.words import NOT_MEASURED, count, dollars, percent, ratio

_MONTHS = 12
"""Months in the list of months, the one shown being the last."""


def page(lake: Lake, campaign: Campaign, query: Mapping[str, str], site: Site) -> Page:
    """One month's money; the month of the newest batch unless the query names another."""
    memory = site.memory
    keys = keys_of(lake, campaign.name, memory)
    if not keys:
        told = "No batch has begun, so nothing was bought yet."
        return Page("Spend", paragraphs([told], "lead") + _budget_of_a_batch(campaign))
    days = days_of(lake, campaign.name, keys, memory)
    months = by_month(keys, days)
    asked = query.get("month", "")
    newest = next(iter(months), month_of(site.now.date()))
    month = asked if is_month(asked) else newest
    nights = nights_of(lake, campaign, months.get(month, []), days, memory)
    history = [month_before(month, n) for n in range(_MONTHS)]
    older = [key for each in history for key in months.get(each, ())]
    booked = labels_of(lake, campaign.name, older, memory)
    costs = [
        done.cost
        for key in sorted(older, key=lambda key: (str(days[key]), key))
        if (done := booked[key]) is not None
    ]
    begun = [day for night in nights if (day := night.day) is not None]
    left = nights_left(month, begun, site.now.date())
    unpriced = [n for n in nights if n.spent is None and not n.committed]
    expected = forecast(costs, left + len(unpriced), campaign.label.budget)
    budget = month_budget(nights, left, campaign.label)
    undated = sum(day is None for day in days.values())
    body = (
        _filter(months, month)
        + _head(campaign, month, nights, expected, budget)
        + section("Spend per day", _chart(nights, month))
        + section("The rest of the month", _forecast(month, left, expected, campaign))
        + section("What it buys", unit_costs(campaign, nights))
        + section("Batches of the month", _batches(nights, undated))
        + section(
            "Month by month",
            _by_month(
                [
                    (each, [done for key in months.get(each, ()) if (done := booked[key])])
                    for each in history
                    if each in months
                ]
            ),
        )
    )
    return Page(f"Spend in {month}", body)


def _filter(months: Mapping[str, Sequence[str]], month: str) -> str:
    options = [(month, month), *((each, each) for each in months if each != month)]
    ordered = sorted(options, reverse=True)
    field = parts.Choice("month", "Month", ordered)
    return parts.filters("spend", [field], {"month": month})


def _budget_of_a_batch(campaign: Campaign) -> str:
    told = f"A batch may cost {dollars(campaign.label.budget)} at most"
    asks = campaign.label.approve_above_usd
    if asks is not None:
        told += f", and above ${asks:,.2f} a person is asked"
    return paragraphs([f"{told} (label.budget_usd of the campaign)."], "soft")


def _head(
    campaign: Campaign, month: str, nights: Sequence[Night], expected: Forecast, budget: int
) -> str:
    spent, committed = spent_on(nights), committed_on(nights)
    used = ratio(spent + committed, budget)
    planned = sum(night.planned for night in nights)
    most = "by estimate" if _is_estimated(nights) else "at most"
    whole = None
    if expected.total is not None:
        whole = spent + committed + expected.total
    tiles = parts.tiles(
        [
            (dollars(spent), "spent", "charged by vendors, by the books"),
            (dollars(committed), "committed", f"with vendors and not booked, {most}"),
            (dollars(budget), "budget of the month", f"{percent(used)} of it used"),
            (
                "not enough nights" if whole is None else dollars(whole),
                "expected by the end of the month",
                _between(expected, spent + committed),
            ),
        ]
    )
    return _marked(month, nights, used, planned) + tiles + _budget_of_a_batch(campaign)


def _between(expected: Forecast, before: int) -> str:
    if expected.low is None or expected.high is None:
        return f"{expected.n} nights of {MIN_NIGHTS} that a forecast needs"
    low, high = dollars(before + expected.low), dollars(before + expected.high)
    return f"95 % interval {low} to {high}"


def _is_estimated(nights: Sequence[Night]) -> bool:
    return any(night.estimated for night in nights)


def _marked(month: str, nights: Sequence[Night], used: float | None, planned: int) -> str:
    """What somebody should see: a month near its budget, nights near theirs, what waits."""
    told = []
    if used is not None and used >= MARK:
        told.append(f"{percent(used)} of the budget of {month} is spent or committed.")
    dear = [n for n in nights if n.budget and (n.spent or 0) + n.committed >= MARK * n.budget]
    if dear:
        keys = ", ".join(night.key for night in dear[:5])
        more = f" and {len(dear) - 5:,} more" if len(dear) > 5 else ""
        told.append(f"Used {MARK * 100:.0f} % of its own budget or more: {keys}{more}.")
    if planned:
        about = "About " if _is_estimated(nights) else ""
        told.append(
            f"{about}{dollars(planned)} of tasks are planned and not bought: they wait for a "
            "person's approval or for their turn."
        )
    return parts.notice(paragraphs(told), "warn") if told else ""


def _chart(nights: Sequence[Night], month: str) -> str:
    if not nights:
        return paragraphs([f"No batch of {month} has begun."])
    note = (
        "A bar is a day: what was charged, and above it in grey what is with the vendor. The line "
        "is the budget of the day's batches, the dashed line 80 % of it; a day that reached the "
        "dashed line has the other colour."
    )
    drawn = picture(spend_chart(days_of_month(nights, month), month))
    return figure(f"Spend per day of {month}", note, drawn, "wide")


def _forecast(month: str, to_come: int, expected: Forecast, campaign: Campaign) -> str:
    if not expected.nights_left:
        return paragraphs([f"{month} is over: no night is still to come."])
    which = "are still to come or not priced yet" if to_come else "are not priced yet, none to come"
    left = f"{expected.nights_left:,} nights of {month} {which}"
    if expected.total is None or expected.each is None:
        told = (
            f"{left}. Not enough nights for a forecast: {expected.n} with their labels in, and it "
            f"needs {MIN_NIGHTS}. At the budget they cost at most "
            f"{dollars(expected.nights_left * campaign.label.budget)}."
        )
        return paragraphs([told])
    told = (
        f"{left}. They are expected to cost {dollars(expected.total)}, 95 % interval "
        f"{dollars(expected.low)} to {dollars(expected.high)}."
    )
    how = (
        f"Computed from the last {expected.n} nights whose labels are in ({LAST_NIGHTS} at most), "
        f"which cost {dollars(expected.each)} on average: a batch a night, each a draw like those, "
        "independent of the others. The interval knows how far nights differ and that their mean "
        "is uncertain; it knows nothing of a change of prompts, prices or settings. No night is "
        "taken to cost more than the campaign's budget."
    )
    return paragraphs([told]) + paragraphs([how], "soft")


def _batches(nights: Sequence[Night], undated: int) -> str:
    heads = ["Batch", "Spent", "Committed", "Budget", "Used", "Prompts", "Pairs", "Votes"]
    rows = [
        (
            parts.link(night.key, to("batch", key=night.key)),
            "not in yet" if night.spent is None else dollars(night.spent),
            _committed(night),
            dollars(night.budget),
            _used(night),
            count(night.prompts),
            count(night.pairs),
            _votes(night),
        )
        for night in nights
    ]
    more = ""
    if undated:
        told = (
            f"{undated:,} batches have no day in their key and no labels yet, and are in no month."
        )
        more = paragraphs([told], "soft")
    if not rows:
        return paragraphs(["None."]) + more
    return parts.table("Batches of the month", heads, rows, ["Used"]) + more


def _committed(night: Night) -> str:
    if not night.committed:
        return ""
    return f"{'about ' if night.estimated else ''}{dollars(night.committed)}"


def _votes(night: Night) -> str:
    if night.spent is None:
        return "not in yet"
    taken = f"<small>{night.taken_over:,} taken over</small>" if night.taken_over else ""
    return f"{count(night.votes)}{taken}"


def _used(night: Night) -> str:
    used = ratio((night.spent or 0) + night.committed, night.budget)
    if used is None:
        return NOT_MEASURED
    kind: parts.Kind = "warn" if used >= MARK else "soft"
    return parts.chip(percent(used), kind)


def _by_month(months: Sequence[tuple[str, Sequence[object]]]) -> str:
    rows = [
        (
            parts.link(month, to("spend", month=month)),
            count(len(found)),
            dollars(sum(getattr(done, "cost", 0) for done in found)),
        )
        for month, found in months
    ]
    told = "Batches whose labels are in, and what they cost."
    return paragraphs([told], "soft") + parts.table("Months", ["Month", "Batches", "Spent"], rows)
