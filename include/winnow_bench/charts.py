"""Pictures of a bench as inline SVG: budget curves, differences, bars.

Colours come from the page: an element of class `k0`, `k1`, ... takes that strategy's colour, and
everything else the text's. A picture carries no script; hovering over a mark shows its figures.

Always holds: equal input gives equal text, every text is escaped, and a mark that has no interval
is drawn without one. Lengths are SVG user units, about a pixel each on a wide screen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from winnow.page.svg import WIDTH, Scale, mark, padded, svg, text, ticks
from winnow_bench.metrics import MINUS, Metric, Unit
from winnow_bench.statistics import Summary
from winnow_bench.verdicts import name_of

_ROW = 22
_CHARACTER = 6.2  # mean width of a character of the pictures' text


@dataclass(frozen=True, slots=True)
class Line:
    """A strategy's means, one per budget; `slot` is its colour class."""

    name: str
    slot: str
    points: Sequence[Summary]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A difference with its interval, positive where better, and the same in words."""

    name: str
    slot: str
    mean: float
    low: float
    high: float
    words: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A length with its name and the same in words."""

    name: str
    slot: str
    value: float
    words: str


def near(lines: Sequence[Line], levels: Iterable[Summary]) -> list[Summary]:
    """Those of `levels` that a picture of the curves can show without flattening them."""
    low, high = _range(lines)
    reach = 0.6 * (high - low)
    return [level for level in levels if low - reach <= level.mean <= high + reach]


def curves_svg(measured: Metric, lines: Sequence[Line], levels: Sequence[Summary]) -> str:
    """A metric against labels per prompt (log2), a band for each line's intervals.

    `levels` are references without a budget, a dashed line each.
    """
    height, left, right = 240, 42, WIDTH - 12
    y = padded([*_range(lines), *(level.mean for level in levels)], height - 30, 10)
    budgets = sorted({point.labels for line in lines for point in line.points})
    x = Scale(math.log2(budgets[0]) - 0.15, math.log2(budgets[-1]) + 0.15, left, right)
    return svg(
        height,
        f"{measured.title} against labels per prompt",
        _value_axis(measured, y, left, right),
        *(text(x(math.log2(budget)), height - 14, str(budget), "tick") for budget in budgets),
        *(_band(line, x, y) for line in lines),
        *(_level(level, y, left, right) for level in levels),
        *(_curve(line, measured, x, y) for line in lines),
        *(_level_name(level, measured, y, left) for level in levels),
    )


def forest_svg(measured: Metric, estimates: Sequence[Estimate], label: str) -> str:
    """Differences with their intervals around a line at no difference; better is to the right."""
    left = 12 + _CHARACTER * max(len(each.name) for each in estimates)
    right = WIDTH - 12 - _CHARACTER * max(len(each.words) for each in estimates)
    ends = [end for each in estimates for end in (each.low, each.high)]
    x, bottom = padded([0.0, *ends], left, right), 8 + _ROW * len(estimates)
    marks = ticks(x, 4)
    return svg(
        bottom + 36,
        label,
        *(f'<line class="grid" x1="{x(t)}" x2="{x(t)}" y1="4" y2="{bottom}"/>' for t in marks),
        f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="4" y2="{bottom}"/>',
        *(text(x(t), bottom + 13, _tick(measured, t, marks, True), "tick") for t in marks),
        text(x(0) - 8, bottom + 29, "← worse", "tick end"),
        text(x(0) + 8, bottom + 29, "better →", "tick start"),
        *(_estimate(each, x, 8 + _ROW * (i + 0.5)) for i, each in enumerate(estimates)),
    )


def bars_svg(bars: Sequence[Bar], limits: Sequence[tuple[float, str]], label: str) -> str:
    """A bar per value from zero, with named limits across them."""
    left = 12 + _CHARACTER * max(len(bar.name) for bar in bars)
    right = WIDTH - 12 - _CHARACTER * max(len(bar.words) for bar in bars)
    longest = max([*(bar.value for bar in bars), *(limit for limit, _ in limits)])
    x, bottom = Scale(0, longest, left, right), 20 + _ROW * len(bars)
    return svg(
        bottom + 6,
        label,
        *(_bar(bar, x, 20 + _ROW * i) for i, bar in enumerate(bars)),
        *(
            f'<line class="zero" x1="{x(limit)}" x2="{x(limit)}" y1="16" y2="{bottom}"/>'
            + text(x(limit), 11, name, "tick")
            for limit, name in limits
        ),
    )


def _tick(measured: Metric, value: float, marks: Sequence[float], signed: bool = False) -> str:
    """A tick with as many decimals as its neighbours need to differ."""
    factor = 100 if measured.unit is Unit.SHARE else 1
    step = factor * (marks[1] - marks[0]) if len(marks) > 1 else 1.0
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    sign = MINUS if value < 0 else "+" if signed and value > 0 else ""
    return f"{sign}{factor * abs(value):,.{decimals}f}"


def _range(lines: Sequence[Line]) -> tuple[float, float]:
    points = [point for line in lines for point in line.points]
    low = min(point.mean if point.low is None else point.low for point in points)
    return low, max(point.mean if point.high is None else point.high for point in points)


def _value_axis(measured: Metric, y: Scale, left: float, right: float) -> str:
    marks = ticks(y, 4)
    return "".join(
        f'<line class="grid" x1="{left}" x2="{right}" y1="{y(t)}" y2="{y(t)}"/>'
        + text(left - 6, y(t) + 4, _tick(measured, t, marks), "tick end")
        for t in marks
    )


def _level(level: Summary, y: Scale, left: float, right: float) -> str:
    at = y(level.mean)
    return f'<line class="level" x1="{left}" x2="{right}" y1="{at}" y2="{at}"/>'


def _level_name(level: Summary, measured: Metric, y: Scale, left: float) -> str:
    name = f"{name_of(level.strategy)} {measured.bare(level.mean)}"
    return text(left + 4, y(level.mean) - 4, name, "tick start halo")


def _band(line: Line, x: Scale, y: Scale) -> str:
    known = [
        (x(math.log2(p.labels)), y(p.low), y(p.high))
        for p in line.points
        if p.low is not None and p.high is not None
    ]
    upper = [f"{at},{high}" for at, _, high in known]
    lower = [f"{at},{low}" for at, low, _ in reversed(known)]
    return f'<polygon class="band {line.slot}" points="{" ".join(upper + lower)}"/>'


def _curve(line: Line, measured: Metric, x: Scale, y: Scale) -> str:
    places = [(x(math.log2(p.labels)), y(p.mean)) for p in line.points]
    path = " ".join(f"{at},{value}" for at, value in places)
    marks = (
        f"<g><title>{escape(_said(line.name, point, measured))}</title>{mark(line.slot, *at)}</g>"
        for at, point in zip(places, line.points, strict=True)
    )
    return f'<g class="{line.slot}"><polyline points="{path}"/>{"".join(marks)}</g>'


def _said(name: str, point: Summary, measured: Metric) -> str:
    interval = (
        ""
        if point.low is None or point.high is None
        else f" ({measured.bare(point.low)} to {measured.bare(point.high)})"
    )
    return (
        f"{name}, {point.labels} labels per prompt from a pool of {point.pool_size}: "
        f"{measured.write(point.mean)}{interval}, {point.n_seeds} seeds"
    )


def _estimate(each: Estimate, x: Scale, y: float) -> str:
    clear = "" if each.low > 0 or each.high < 0 else " undecided"
    return (
        f'<g class="{each.slot}{clear}"><title>{escape(f"{each.name}: {each.words}")}</title>'
        f'<line x1="{x(each.low)}" x2="{x(each.high)}" y1="{y}" y2="{y}"/>'
        f"{mark(each.slot, x(each.mean), y)}</g>"
        + text(4, y + 4, each.name, "start")
        + text(WIDTH - 2, y + 4, each.words, "value end")
    )


def _bar(bar: Bar, x: Scale, top: float) -> str:
    return (
        f'<g class="{bar.slot}"><title>{escape(f"{bar.name}: {bar.words}")}</title>'
        f'<rect class="dot" x="{x(0)}" y="{top + 4}" width="{x(bar.value) - x(0):.1f}" '
        f'height="{_ROW - 8}" rx="2"/></g>'
        + text(4, top + 15, bar.name, "start")
        + text(WIDTH - 2, top + 15, bar.words, "value end")
    )
