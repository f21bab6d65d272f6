"""Spend per day as a picture: a bar a day, the budget above it and its 80 % mark."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from winnow.console.spend.figures import MARK, Night, days_in
from winnow.money import MICROS
from winnow.pages.charts import Chart, Scale, Shape, group, line, rect, ticks, words
from winnow.pages.words import dollars

_WIDTH, _HEIGHT = 760, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 748, 18, 210


@dataclass(slots=True)
class Day:
    """The money of a day's batches, micro-dollars."""

    spent: int = 0
    committed: int = 0
    budget: int = 0

    @property
    def is_marked(self) -> bool:
        """Whether it used so much of its budget that somebody should look."""
        return bool(self.budget) and self.spent + self.committed >= MARK * self.budget


def days_of_month(nights: Sequence[Night], month: str) -> list[Day]:
    """The days of a month, from the first; nights of other months do not count."""
    days: defaultdict[int, Day] = defaultdict(Day)
    for night in nights:
        if night.day is not None and f"{night.day:%Y-%m}" == month:
            day = days[night.day.day]
            day.spent += night.spent or 0
            day.committed += night.committed
            day.budget += night.budget or 0
    return [days[n] for n in range(1, days_in(month) + 1)]


def spend_chart(days: Sequence[Day], month: str) -> Chart:
    """Bars of what was spent and committed; a line is the day's budget, a dashed one 80 % of it."""
    highest = max(max(day.budget, day.spent + day.committed) for day in days) or MICROS
    y = Scale(0.0, 1.05 * highest / MICROS, _BOTTOM, _TOP)
    x = Scale(0.5, len(days) + 0.5, _LEFT, _RIGHT)
    shapes = []
    for t in ticks(y, 5):
        shapes.append(line("grid", _LEFT, y(t), _RIGHT, y(t)))
        shapes.append(words(_LEFT - 8, y(t) + 4, f"${t:,.10g}", "tick end"))
    named = [n for n in range(1, len(days) + 1) if n == 1 or n % 5 == 0]
    shapes += [words(x(n), _BOTTOM + 16, str(n), "tick") for n in named]
    shapes.append(words((_LEFT + _RIGHT) / 2, _BOTTOM + 34, f"day of {month}", "tick"))
    for n, day in enumerate(days, start=1):
        shapes += _bar(n, day, x, y, month)
    label = f"Spend per day of {month}, dollars, beside the budget of the day's batches"
    return Chart(label, _WIDTH, _HEIGHT, [*shapes, *_told(days, x, y)])


def _told(days: Sequence[Day], x: Scale, y: Scale) -> list[Shape]:
    """The names of the two lines, at the last day that has them."""
    last = max((n for n, day in enumerate(days, start=1) if day.budget), default=0)
    if not last:
        return []
    budget = days[last - 1].budget / MICROS
    at, style = (x(last + 0.5), "tick start") if last < len(days) - 3 else (x(last), "tick end")
    return [
        words(at, y(budget) - 5, "budget", style),
        words(at, y(MARK * budget) - 5, f"{100 * MARK:.0f} % of it", style),
    ]


def _bar(n: int, day: Day, x: Scale, y: Scale, month: str) -> list[Shape]:
    if not (day.budget or day.spent or day.committed):
        return []
    half = 0.38 * (x(2) - x(1))
    left, right = round(x(n) - half, 1), round(x(n) + half, 1)
    told = f"{month}-{n:02d}: {dollars(day.spent)} spent"
    if day.committed:
        told += f", {dollars(day.committed)} committed"
    told += f", budget {dollars(day.budget)}"
    if day.is_marked:
        told += ", at 80 % of it or above"
    spent, both = y(day.spent / MICROS), y((day.spent + day.committed) / MICROS)
    bars = [("k1" if day.is_marked else "k0", spent, _BOTTOM), ("k2", both, spent)]
    shapes = [
        group(css, told, [rect("step", left, top, right - left, bottom - top)] * (bottom > top))
        for css, top, bottom in bars
    ]
    budget, mark = y(day.budget / MICROS), y(MARK * day.budget / MICROS)
    shapes.append(line("zero", left, budget, right, budget, {"stroke-width": 2}))
    shapes.append(line("zero", left, mark, right, mark, {"stroke-dasharray": "3 2"}))
    return shapes
