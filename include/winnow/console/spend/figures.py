"""What labels cost, night by night and month by month, and what the rest of a month will cost.

All money is in micro-dollars. A batch belongs to the day in its key, or to the day on which its
labels came where the key holds none; days and months are UTC. Spent is what vendors charged, by the
label manifests. Committed is the price of tasks that are with a vendor and not booked yet: what
they cost at most, for a task that nobody answers is not charged.

The forecast takes the nights still to come for draws from where the last nights came from: with n
nights of mean m and standard deviation s, and L to come, it is L m, within L m ± t s √(L + L²/n),
where t is Student's for n - 1 and 95 %. The second term under the root is that m is not known. No
night costs less than nothing or more than its budget, so the interval ends there.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from math import sqrt
from statistics import fmean, stdev

from scipy.special import stdtrit

from winnow.campaign import Label
from winnow.pages.words import ratio

LAST_NIGHTS = 14
"""Nights that the forecast looks back on, at most."""

MIN_NIGHTS = 5
"""Nights below which there is no forecast: an interval from fewer says next to nothing."""

MARK = 0.8
"""Share of a budget from which its use is marked."""

_DAY = re.compile(r"(?<![0-9])([0-9]{4})-([0-9]{2})-([0-9]{2})(?![0-9])")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")


@dataclass(frozen=True, slots=True)
class Night:
    """One batch's money.

    Attributes:
        key: The batch.
        day: The day it belongs to; None where nothing tells.
        spent: What the vendor charged; None while its labels are not in.
        committed: Price of tasks that are with the vendor and not booked yet.
        planned: Price of tasks that are planned and not bought yet.
        budget: What the batch may cost at most.
        prompts: Prompts that it took; None: not known.
        pairs: Pairs bought.
        preferences: Pairs that votes decided on.
        votes: Answers of annotators, gold and repeats among them.
        taken_over: Votes among them that another campaign paid for.
        estimated: Whether `committed` and `planned` are from settings and not from a plan's prices.
    """

    key: str
    day: date | None
    spent: int | None
    committed: int = 0
    planned: int = 0
    budget: int | None = None
    prompts: int | None = None
    pairs: int | None = None
    preferences: int | None = None
    votes: int | None = None
    taken_over: int = 0
    estimated: bool = False

    @property
    def used(self) -> float | None:
        """The share of its budget that is spent or committed; None where it has none."""
        return ratio((self.spent or 0) + self.committed, self.budget)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the nights still to come in a month will cost, with its 95 % interval.

    Attributes:
        nights_left: Nights still to come.
        n: Nights it is computed from.
        each: Their mean cost.
        total: Expected cost of the nights left; None where there are too few nights.
        low: Lower end of the interval.
        high: Upper end.
    """

    nights_left: int
    n: int
    each: float | None
    total: float | None
    low: float | None
    high: float | None


def forecast(costs: Sequence[int], nights_left: int, budget: int) -> Forecast:
    """The cost of `nights_left` more nights, from the costs of the last ones, newest last.

    Args:
        costs: Of nights whose labels are in; only the last `LAST_NIGHTS` count.
        nights_left: Nights still to come, 0 or more.
        budget: What one of them may cost at most.
    """
    last = costs[-LAST_NIGHTS:]
    n = len(last)
    if n < MIN_NIGHTS:
        return Forecast(nights_left, n, None, None, None, None)
    each, most = fmean(last), float(nights_left * budget)
    spread = stdev(last) * sqrt(nights_left + nights_left**2 / n)
    half = float(stdtrit(n - 1, 0.975)) * spread
    total = nights_left * each
    return Forecast(
        nights_left,
        n,
        each,
        min(total, most),
        min(max(total - half, 0.0), most),
        min(total + half, most),
    )


@lru_cache(maxsize=1 << 14)
def day_of(key: str) -> date | None:
    """The day in a batch's key.

    >>> day_of("de|2026-11-22"), day_of("trial")
    (datetime.date(2026, 11, 22), None)
    """
    for match in _DAY.finditer(key):
        try:
            return date(*map(int, match.groups()))
        except ValueError:
            continue
    return None


def month_of(day: date) -> str:
    """Year and month, such as `2026-11`."""
    return f"{day:%Y-%m}"


def month_before(month: str, n: int = 1) -> str:
    """The month that many months earlier.

    >>> month_before("2026-01"), month_before("2026-11", 11)
    ('2025-12', '2025-12')
    """
    at = int(month[:4]) * 12 + int(month[5:]) - 1 - n
    return f"{at // 12:04d}-{at % 12 + 1:02d}"


def is_month(text: str) -> bool:
    """Whether a text names a month."""
    match = _MONTH.fullmatch(text)
    return bool(match and int(match[1]) >= 1 and 1 <= int(match[2]) <= 12)


def days_in(month: str) -> int:
    """Days of a month."""
    return monthrange(int(month[:4]), int(month[5:]))[1]


def nights_left(month: str, days: Iterable[date], today: date) -> int:
    """Nights of a month still to come, one a day: those after its last batch, and not before today.

    The batch of a day starts when the day is over, so today's own is still to come.
    """
    first, last = date.fromisoformat(f"{month}-01"), days_in(month)
    if month_of(today) > month:
        return 0
    begun = max((day.day for day in days if month_of(day) == month), default=0)
    past = today.day - 1 if today >= first else 0
    return last - max(begun, past)


def by_month(keys: Sequence[str], days: Mapping[str, date | None]) -> dict[str, list[str]]:
    """Keys by month, the newest month first; those without a day are left out."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for key in keys:
        day = days[key]
        if day is not None:
            found[month_of(day)].append(key)
    return {month: found[month] for month in sorted(found, reverse=True)}


def month_budget(nights: Sequence[Night], left: int, label: Label) -> int:
    """What a month may cost: the budgets of its batches, and today's for each night to come."""
    return sum(night.budget or 0 for night in nights) + left * label.budget


def spent_on(nights: Iterable[Night]) -> int:
    """What the vendors charged for some nights."""
    return sum(night.spent or 0 for night in nights)


def committed_on(nights: Iterable[Night]) -> int:
    """What is with vendors and not booked yet."""
    return sum(night.committed for night in nights)


def cost_per(nights: Iterable[Night], what: str) -> float | None:
    """Money spent over prompts, pairs, preferences or votes; None where nobody counted or bought.

    Only nights whose labels are in and whose number is known are part of it, on both sides; none
    that took votes over, which others paid for.
    """
    known = [
        n
        for n in nights
        if n.spent is not None and not n.taken_over and getattr(n, what) is not None
    ]
    whole = sum(getattr(night, what) for night in known)
    return sum(night.spent or 0 for night in known) / whole if whole else None
