"""What the pictures are drawn with: scales, ticks, text and the strategies' marks, as inline SVG.

Always holds: every text and label is escaped here, so callers pass plain text. Lengths are SVG user
units, about a pixel each on a wide screen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 400


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight map of [low, high] to [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def svg(height: float, label: str, *parts: str, width: int = WIDTH) -> str:
    """A picture of ready parts; `label` says what it shows to who cannot see it."""
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )


def text(x: float, y: float, said: str, style: str) -> str:
    """Text whose baseline passes through (x, y); `style` anchors it (start, end, or middle)."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}">{escape(said)}</text>'


def padded(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale that holds the values with some air, and is never empty."""
    low, high = min(values), max(values)
    # Values that differ by rounding alone are one value.
    is_one = high - low <= 1e-9 * max(1.0, abs(low), abs(high))
    air = 0.01 + 0.1 * abs(high) if is_one else 0.06 * (high - low)
    return Scale(low - air, high + air, start, end)


def ticks(scale: Scale, about: int) -> list[float]:
    """Round values within the scale, about as many as asked for."""
    rough = (scale.high - scale.low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough)
    first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
    return [k * step for k in range(first, last + 1)]


def mark(slot: str, x: float, y: float, size: float = 4.0) -> str:
    """The strategy's own shape, so that colour is not all that tells strategies apart."""
    shapes = {
        0: ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        1: ((0, -1.3), (1.3, 1), (-1.3, 1)),
        2: ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
        3: ((0, 1.3), (1.3, -1), (-1.3, -1)),
    }
    shape = shapes.get(int(slot[1:]) % 5)
    if shape is None:
        return f'<circle class="dot" cx="{x}" cy="{y}" r="{size}"/>'
    corners = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in shape)
    return f'<polygon class="dot" points="{corners}"/>'
