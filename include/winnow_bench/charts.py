"""Charts of the label bench: budget curves, and differences with their intervals.

Always holds: equal input gives equal charts, and a mark that has no interval is drawn without one.
Each strategy keeps its colour and its mark on every chart of every page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from winnow.pages import charts
from winnow.pages.charts import Axis, Chart, Point, Row, Series, decimals, plane, value_axis
from winnow_bench.metrics import MINUS, Metric, Unit
from winnow_bench.statistics import Summary
from winnow_bench.verdicts import name_of

N_COLOURS = 12
_SLOTS = (
    "hybrid",
    "decision_gain",
    "info_gain",
    "dts",
    "diversity",
    "delta",
    "uncertainty",
    "random",
    "traditional",
)


@dataclass(frozen=True, slots=True)
class Line:
    """A strategy's means, one per budget; `slot` is its colour class."""

    name: str
    slot: str
    points: Sequence[Summary]


def slots(strategies: Iterable[str]) -> dict[str, str]:
    """The colour class of each strategy; the known ones have the same on every page."""
    others = sorted(set(strategies) - set(_SLOTS))
    return {
        name: f"k{i if i < N_COLOURS else len(_SLOTS) + i % (N_COLOURS - len(_SLOTS))}"
        for i, name in enumerate([*_SLOTS, *others])
    }


def near(lines: Sequence[Line], levels: Iterable[Summary]) -> list[Summary]:
    """Those of `levels` that a chart of the curves can show without flattening them."""
    ends = _ends(lines)
    reach = 0.6 * (max(ends) - min(ends))
    return [level for level in levels if min(ends) - reach <= level.mean <= max(ends) + reach]


def curves(measured: Metric, lines: Sequence[Line], levels: Sequence[Summary]) -> Chart:
    """A metric against labels per prompt (log2), a band for each line's intervals.

    `levels` are references without a budget, a dashed line each.
    """
    budgets = sorted({point.labels for line in lines for point in line.points})
    places = [(math.log2(budget), str(budget)) for budget in budgets]
    return plane(
        f"{measured.title} against labels per prompt",
        Axis(places[0][0] - 0.15, places[-1][0] + 0.15, places),
        value_axis(
            [*_ends(lines), *(level.mean for level in levels)],
            lambda value, marks: _tick(measured, value, marks),
        ),
        [
            Series(line.slot, [_point(line.name, p, measured) for p in line.points], joined=True)
            for line in lines
        ],
        levels=[
            (each.mean, f"{name_of(each.strategy)} {measured.bare(each.mean)}") for each in levels
        ],
    )


def forest(measured: Metric, rows: Sequence[Row], label: str) -> Chart:
    """Differences with their intervals around a line at no difference; better is to the right."""
    return charts.intervals(
        label,
        rows,
        lambda value, marks: _tick(measured, value, marks, signed=True),
        sides=("← worse", "better →"),
        width=charts.WIDTH,
    )


def _tick(measured: Metric, value: float, marks: Sequence[float], signed: bool = False) -> str:
    """A tick with as many decimals as its neighbours need to differ."""
    factor = 100 if measured.unit is Unit.SHARE else 1
    sign = MINUS if value < 0 else "+" if signed and value > 0 else ""
    return f"{sign}{factor * abs(value):,.{decimals(marks, factor)}f}"


def _ends(lines: Sequence[Line]) -> list[float]:
    points = [point for line in lines for point in line.points]
    return [
        point.mean if end is None else end for point in points for end in (point.low, point.high)
    ]


def _point(name: str, point: Summary, measured: Metric) -> Point:
    interval = (
        ""
        if point.low is None or point.high is None
        else f" ({measured.bare(point.low)} to {measured.bare(point.high)})"
    )
    words = (
        f"{name}, {point.labels} labels per prompt from a pool of {point.pool_size}: "
        f"{measured.write(point.mean)}{interval}, {point.n_seeds} seeds"
    )
    return Point(math.log2(point.labels), point.mean, words, point.low, point.high)
