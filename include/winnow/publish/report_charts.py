"""Pictures of the quality report as inline SVG: the funnel, intervals, gains and lengths.

Colours come from the page by the classes `k0` to `k2`. Lengths are SVG user units, about a pixel
each on a wide screen. Text is escaped by `winnow.page.svg`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from winnow.page.svg import WIDTH, Scale, mark, padded, svg, text, ticks
from winnow.publish.report_figures import Lengths, RankGain
from winnow.publish.report_text import count, number

_ROW = 30
ARMS = {"selected": "k0", "exploration": "k1"}
"""Colour of each arm."""
GROUPS = {"pool": "k2", "bought": "k0", "chosen": "k1"}
"""Colour of each group of responses."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the funnel: its name, how many, and what that is of the step before."""

    name: str
    n: int | None
    note: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure on [-1, 1] with its interval, and the same in words."""

    name: str
    value: float
    low: float | None
    high: float | None
    words: str


def funnel_svg(stages: Sequence[Stage]) -> str:
    """A centred bar per step, as wide as the logarithm of its number; unmeasured ones are none."""
    width, left, right = 640, 130, 430
    largest = max((stage.n or 1 for stage in stages), default=1)
    middle, half = (left + right) / 2, (right - left) / 2
    parts = []
    for i, stage in enumerate(stages):
        top = 4 + i * _ROW
        reach = half * math.log10((stage.n or 0) + 1) / math.log10(largest + 1)
        said = f"{stage.name}: {count(stage.n)} {stage.note}"
        parts.append(
            f'<g class="k0"><title>{escape(said)}</title><rect class="step" '
            f'x="{middle - reach:.1f}" y="{top}" width="{2 * reach:.1f}" height="{_ROW - 6}" '
            f'rx="3"/></g>'
            + text(left - 12, top + 16, stage.name, "end")
            + text(middle, top + 16, count(stage.n), "big halo")
            + text(right + 12, top + 16, stage.note, "tick start")
        )
    return svg(8 + _ROW * len(stages), "From prompts to published rows", *parts, width=width)


def intervals_svg(rows: Sequence[Interval], label: str) -> str:
    """A dot with its interval per figure, on a common scale from 0 (or below) to 1."""
    width, left, right = 640, 200, 420
    low = min([0.0, *(row.value if row.low is None else row.low for row in rows)])
    x = Scale(min(0.0, math.floor(low * 4) / 4), 1.0, left, right)
    bottom = 8 + 26 * len(rows)
    marks = ticks(x, 7)
    grid = [
        f'<line class="{"zero" if abs(t) < 1e-9 else "grid"}" x1="{x(t)}" x2="{x(t)}" y1="4" '
        f'y2="{bottom}"/>' + text(x(t), bottom + 14, number(t), "tick")
        for t in marks
    ]
    drawn = [_interval(row, x, 8 + 26 * (i + 0.5)) for i, row in enumerate(rows)]
    return svg(bottom + 20, label, *grid, *drawn, width=width)


def _interval(row: Interval, x: Scale, y: float) -> str:
    line = ""
    if row.low is not None and row.high is not None:
        line = f'<line x1="{x(row.low)}" x2="{x(row.high)}" y1="{y}" y2="{y}"/>'
    return (
        f'<g class="k0"><title>{escape(f"{row.name}: {row.words}")}</title>{line}'
        f"{_dot('k0', x(row.value), y, 4.5)}</g>"
        + text(188, y + 4, row.name, "end")
        + text(434, y + 4, row.words, "tick start")
    )


def gains_svg(ranks: Sequence[RankGain]) -> str:
    """Mean expected gain against rank, a mark and an interval per arm."""
    height, left, right = 230, 48, WIDTH - 12
    y = padded([0.0, *(end for r in ranks for end in (r.low, r.high))], height - 34, 8)
    last = max(r.rank for r in ranks)
    x = Scale(-0.5, last + 0.5, left, right)
    levels = [t for t in ticks(y, 4) if t >= 0]
    decimals = _decimals(levels)
    grid = [
        f'<line class="grid" x1="{left}" x2="{right}" y1="{y(t)}" y2="{y(t)}"/>'
        + text(left - 6, y(t) + 4, number(t, decimals), "tick end")
        for t in levels
    ]
    every = math.ceil((last + 1) / 12)
    names = [text(x(r), height - 20, str(r + 1), "tick") for r in range(0, last + 1, every)]
    below = text((left + right) / 2, height - 4, "rank within the prompt, 1 chosen first", "tick")
    marks = [_gain(each, x, y) for each in ranks]
    label = "Expected information gain, nats, against rank"
    return svg(height, label, *grid, *names, below, *marks)


def _gain(each: RankGain, x: Scale, y: Scale) -> str:
    css = ARMS.get(each.kind, "k2")
    at = x(each.rank + (0.08 if each.kind == "exploration" else -0.08))
    said = f"rank {each.rank + 1}, {each.kind}: {number(each.mean, 3)} nats, {each.n} pairs"
    return (
        f'<g class="{css}"><title>{escape(said)}</title>'
        f'<line x1="{at}" x2="{at}" y1="{y(each.low)}" y2="{y(each.high)}"/>'
        f"{_dot(css, at, y(each.mean), 4.5)}</g>"
    )


def lengths_svg(lengths: Lengths) -> str:
    """Deciles of the length of responses, a line per group."""
    height, left, right = 230, 48, WIDTH - 12
    groups = {"pool": lengths.pool, "bought": lengths.bought, "chosen": lengths.chosen}
    y = padded([0.0, *(v for values in groups.values() for v in values)], height - 34, 8)
    x = Scale(0.5, 9.5, left, right)
    grid = [
        f'<line class="grid" x1="{left}" x2="{right}" y1="{y(t)}" y2="{y(t)}"/>'
        + text(left - 6, y(t) + 4, count(t), "tick end")
        for t in ticks(y, 4)
        if t >= 0
    ]
    names = [text(x(k), height - 20, f"{10 * k}", "tick") for k in range(1, 10)]
    below = text((left + right) / 2, height - 4, "% of responses are at most this long", "tick")
    lines = [_deciles(name, values, x, y) for name, values in groups.items()]
    return svg(height, "Length of responses, characters", *grid, *names, below, *lines)


def _deciles(name: str, values: Sequence[float], x: Scale, y: Scale) -> str:
    css = GROUPS[name]
    places = [(x(k), y(v)) for k, v in enumerate(values, start=1)]
    path = " ".join(f"{at},{height}" for at, height in places)
    marks = "".join(
        f"<g><title>{escape(f'{name}: {10 * k} % are at most {v:,.0f} characters')}</title>"
        f"{_dot(css, *at, 3.5)}</g>"
        for k, (at, v) in enumerate(zip(places, values, strict=True), start=1)
    )
    return f'<g class="{css}"><polyline points="{path}"/>{marks}</g>'


def legend(names: Sequence[tuple[str, str]]) -> str:
    """What the marks mean: (name, colour class) each."""
    entries = "".join(
        f'<li class="{css}"><svg viewBox="0 0 14 14" aria-hidden="true">'
        f'<g class="{css}">{mark("k4" if css == "k0" else css, 7, 7)}</g></svg>'
        f"{escape(name)}</li>"
        for name, css in names
    )
    return f'<ul class="legend">{entries}</ul>'


def _dot(css: str, x: float, y: float, size: float = 4.0) -> str:
    """A shape per colour, so that colour is not all that tells them apart; `k0` has the circle."""
    return mark("k4" if css == "k0" else css, x, y, size)


def _decimals(levels: Sequence[float]) -> int:
    step = levels[1] - levels[0] if len(levels) > 1 else 1.0
    return max(0, -math.floor(math.log10(step) + 1e-9))
