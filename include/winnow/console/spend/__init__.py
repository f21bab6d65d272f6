"""The page *Spend*: budgets, what was spent, what will be, and what a preference costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from winnow.campaign import Campaign
from winnow.console.parts import Field
from winnow.console.shell import Page, Site, page_of
from winnow.console.spend.chart import days_of_month, spend_chart
from winnow.console.spend.figures import (
    LAST_NIGHTS,
    MARK,
    MIN_NIGHTS,
    Night,
    by_month,
    committed_on,
    cost_per,
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
from winnow.pages.words import ratio
from winnow.publish.report.bought import TRADITIONAL_RESPONSES

_MONTHS = 12
"""Months in the list of months, the one shown being the last."""

_MOST_DEAR = 5
_UNITS = ("prompts", "preferences", "votes", "pairs")


def page(lake: Lake, campaign: Campaign, query: Mapping[str, str], site: Site) -> Page:
    """One month's money; the month of the newest batch unless the query names another."""
    memory, label = site.memory, campaign.label
    keys = keys_of(lake, campaign.name, memory)
    if not keys:
        return page_of("Spend", "spend.html", site, month=None, label=label)
    days = days_of(lake, campaign.name, keys, memory)
    months = by_month(keys, days)
    asked = query.get("month", "")
    newest = next(iter(months), month_of(site.now.date()))
    month = asked if is_month(asked) else newest
    nights = nights_of(lake, campaign, months.get(month, []), days, memory)
    history = [month_before(month, n) for n in range(_MONTHS)]
    older = [key for each in history for key in months.get(each, ())]
    booked = {
        key: done.cost
        for key, done in labels_of(lake, campaign.name, older, memory).items()
        if done is not None
    }
    costs = [
        booked[key] for key in sorted(older, key=lambda key: (str(days[key]), key)) if key in booked
    ]
    begun = [night.day for night in nights if night.day is not None]
    left = nights_left(month, begun, site.now.date())
    unpriced = [n for n in nights if n.spent is None and not n.committed]
    budget = month_budget(nights, left, label)
    used = spent_on(nights) + committed_on(nights)
    return page_of(
        f"Spend in {month}",
        "spend.html",
        site,
        month=month,
        label=label,
        fields=[Field("month", "Month", sorted({(m, m) for m in (month, *months)}, reverse=True))],
        nights=nights,
        spent=spent_on(nights),
        committed=committed_on(nights),
        planned=sum(night.planned for night in nights),
        estimated=any(night.estimated for night in nights),
        budget=budget,
        used=used,
        share=ratio(used, budget),
        mark=MARK,
        dear=[n.key for n in nights if n.budget and (n.used or 0.0) >= MARK],
        most_dear=_MOST_DEAR,
        chart=spend_chart(days_of_month(nights, month), month) if nights else None,
        left=left,
        expected=forecast(costs, left + len(unpriced), label.budget),
        min_nights=MIN_NIGHTS,
        last_nights=LAST_NIGHTS,
        undated=sum(day is None for day in days.values()),
        months=[
            (each, [booked[key] for key in months[each] if key in booked])
            for each in history
            if each in months
        ],
        **_unit_costs(campaign, nights),
    )


def _unit_costs(campaign: Campaign, nights: Sequence[Night]) -> dict[str, Any]:
    """Cost per prompt, preference, vote and pair of some nights; pairs per prompt both ways.

    Nights that took votes over, which another campaign paid for, are left out.
    """
    known = [
        (n.prompts, n.pairs)
        for n in nights
        if n.spent is not None and not n.taken_over and n.prompts and n.pairs is not None
    ]
    k = campaign.select.traditional_k or TRADITIONAL_RESPONSES
    return {
        "costs": {what: cost_per(nights, what) for what in _UNITS},
        "per_prompt": ratio(sum(n for _, n in known), sum(n for n, _ in known)),
        "traditional_k": k,
        "is_own_k": bool(campaign.select.traditional_k),
        "taken": [night.taken_over for night in nights if night.taken_over],
    }
