"""Pictures of the page *Selector*: log-loss and labels by night, strategies and uniform draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from winnow.console.selector_figures import Contender, Night
from winnow.page.svg import Scale, mark, padded, svg, text, ticks
from winnow.publish.report_text import count, cut, number

_WIDTH = 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 484, 14, 190
_MOST_NAMES = 6

MILLI = 1000.0
"""Thousandths of a nat."""


def log_loss_svg(nights: Sequence[Night]) -> str:
    """Log-loss of the model and of response length on exploration votes, oldest night first."""
    series = {"model": [n.log_loss for n in nights], "length": [n.length_log_loss for n in nights]}
    known = [v for values in series.values() for v in values if v is not None]
    y = padded([*known, math.log(2.0)], _BOTTOM, _TOP)
    coin = (
        f'<line class="zero" x1="{_LEFT}" x2="{_RIGHT}" y1="{y(math.log(2))}" '
        f'y2="{y(math.log(2))}"/>' + text(_RIGHT, y(math.log(2)) - 5, "a coin", "tick end")
    )
    lines = [
        _line(values, nights, y, css, name, 3)
        for (name, values), css in zip(series.items(), ("k0", "k1"), strict=True)
    ]
    label = "Log-loss on exploration votes by night, nats a vote"
    return svg(228, label, *_grid(y, 3), coin, *_names(nights), *lines, width=_WIDTH)


def labels_svg(nights: Sequence[Night]) -> str:
    """Labels behind the posterior, oldest night first."""
    values = [None if n.labels is None else float(n.labels) for n in nights]
    y = padded([0.0, *(v for v in values if v is not None)], _BOTTOM, _TOP)
    line = _line(values, nights, y, "k0", "labels", 0)
    label = "Labels behind the posterior by night"
    return svg(228, label, *_grid(y, 0), *_names(nights), line, width=_WIDTH)


def gains_svg(contenders: Sequence[Contender]) -> str:
    """How much more a vote on each strategy's picks taught than one on a uniform draw."""
    rows = [(each.strategy, each.gain) for each in contenders if each.gain is not None]
    ends = [MILLI * end for _, gain in rows for end in gain]
    left, right, bottom = 150, 680, 12 + 26 * len(rows)
    x = padded([0.0, *ends], left, right)
    marks = ticks(x, 5)
    decimals = _decimals(marks)
    grid = [
        f'<line class="{"zero" if abs(t) < 1e-9 else "grid"}" x1="{x(t)}" x2="{x(t)}" y1="4" '
        f'y2="{bottom}"/>' + text(x(t), bottom + 15, number(t, decimals), "tick")
        for t in marks
    ]
    drawn = [_interval(name, gain, x, 12 + 26 * i + 13) for i, (name, gain) in enumerate(rows)]
    below = text((left + right) / 2, bottom + 32, "thousandths of a nat, beside uniform", "tick")
    label = "What picks of each strategy taught beyond uniform draws"
    return svg(bottom + 40, label, *grid, *drawn, below, width=700)


def _interval(name: str, gain: tuple[float, float, float], x: Scale, y: float) -> str:
    mean, low, high = (MILLI * value for value in gain)
    said = f"{name}: {number(mean, 3)} ({number(low, 3)} to {number(high, 3)}) thousandths"
    return (
        f'<g class="k0"><title>{escape(said)}</title>'
        f'<line x1="{x(low)}" x2="{x(high)}" y1="{y}" y2="{y}"/>{mark("k4", x(mean), y)}</g>'
        + text(138, y + 4, name, "end")
    )


def _grid(y: Scale, decimals: int) -> list[str]:
    levels = ticks(y, 4)
    return [
        f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{y(t)}" y2="{y(t)}"/>'
        + text(_LEFT - 6, y(t) + 4, number(t, decimals) if decimals else count(t), "tick end")
        for t in levels
        if t >= 0
    ]


def _places(n: int) -> Scale:
    return Scale(-0.5, max(n, 1) - 0.5, _LEFT, _RIGHT)


def _names(nights: Sequence[Night]) -> list[str]:
    x, every = _places(len(nights)), math.ceil(len(nights) / _MOST_NAMES)
    shown = range((len(nights) - 1) % every, len(nights), every)
    return [text(x(k), _BOTTOM + 18, cut(nights[k].key, 12), "tick") for k in shown]


def _line(
    values: Sequence[float | None],
    nights: Sequence[Night],
    y: Scale,
    css: str,
    name: str,
    decimals: int,
) -> str:
    """A line over the nights that have a value, broken where one has none."""
    x, drawn = _places(len(values)), []
    stretch: list[str] = []
    for k, value in enumerate(values):
        if value is None:
            drawn.append(stretch)
            stretch = []
            continue
        stretch.append(f"{x(k)},{y(value)}")
    drawn.append(stretch)
    paths = "".join(f'<polyline points="{" ".join(part)}"/>' for part in drawn if len(part) > 1)
    shape = "k4" if css == "k0" else css
    marks = "".join(
        f"<g><title>{escape(f'{nights[k].key}, {name}: {number(value, decimals)}')}</title>"
        f"{mark(shape, x(k), y(value), 3.5)}</g>"
        for k, value in enumerate(values)
        if value is not None
    )
    return f'<g class="{css}">{paths}{marks}</g>'


def _decimals(levels: Sequence[float]) -> int:
    step = levels[1] - levels[0] if len(levels) > 1 else 1.0
    return max(0, -math.floor(math.log10(step) + 1e-9))
