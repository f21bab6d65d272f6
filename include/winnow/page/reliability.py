"""The reliability picture: what a model stated against what was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from winnow.label.agreement import wilson
from winnow.page.svg import Scale, svg, text
from winnow.reward.calibration import ReliabilityBin


def reliability_svg(bins: Sequence[ReliabilityBin]) -> str:
    """Share preferred against stated probability, with Wilson intervals; honest is diagonal."""
    x, y = Scale(0, 1, 42, 284), Scale(0, 1, 258, 10)
    largest = max((each.n for each in bins), default=1)
    grid = [
        f'<line class="grid" x1="42" x2="284" y1="{y(t)}" y2="{y(t)}"/>'
        + text(36, y(t) + 4, f"{100 * t:.0f}", "tick end")
        + text(x(t), 274, f"{100 * t:.0f}", "tick")
        for t in (0, 0.25, 0.5, 0.75, 1)
    ]
    diagonal = f'<line class="zero" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>'
    marks = [_bin(each, x, y, largest) for each in bins]
    below = text(163, 290, "stated probability, %", "tick")
    label = "Share preferred, in percent, against stated probability"
    return svg(296, label, *grid, diagonal, *marks, below, width=300)


def _bin(each: ReliabilityBin, x: Scale, y: Scale, largest: int) -> str:
    low, high = wilson(round(each.n * each.observed), each.n)
    said = (
        f"stated {100 * each.stated:.1f} %, preferred {100 * each.observed:.1f} % "
        f"({100 * low:.1f} to {100 * high:.1f}) of {each.n} labels"
    )
    at, radius = x(each.stated), 3 + 4 * math.sqrt(each.n / largest)
    return (
        f'<g class="k0"><title>{escape(said)}</title>'
        f'<line x1="{at}" x2="{at}" y1="{y(low)}" y2="{y(high)}"/>'
        f'<circle class="dot" cx="{at}" cy="{y(each.observed)}" r="{radius:.1f}"/></g>'
    )
