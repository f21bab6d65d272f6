"""Charts as plain data: shapes of SVG that the macro `chart` of `parts.html` writes down.

A chart needs no script: hovering over a mark shows its figures. Colours come from the style by the
classes `k0`, `k1`, ..., each of which has a shape of its own too, so that colour is not all that
tells series apart. Lengths are SVG user units, about a pixel each on a wide screen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from winnow.pages.words import count, number

WIDTH = 400
_WIDE = 640
_LEFT = 48
_ROW = 24
_CHARACTER = 6.2  # mean width of a character of the charts' text


@dataclass(frozen=True, slots=True)
class Shape:
    """An element of SVG with its attributes and what stands in it: a text, or shapes."""

    tag: str
    attributes: Mapping[str, float | str]
    text: str = ""
    inside: Sequence[Shape] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture; `label` says what it shows to who cannot see it."""

    label: str
    width: float
    height: float
    shapes: Sequence[Shape]


@dataclass(frozen=True, slots=True)
class Row:
    """A value with its name and the same in words; its interval where it has one."""

    name: str
    value: float
    words: str
    low: float | None = None
    high: float | None = None
    css: str = "k0"


@dataclass(frozen=True, slots=True)
class Point:
    """A place on a plane, what hovering over it says, and its interval where it has one."""

    x: float
    y: float
    words: str
    low: float | None = None
    high: float | None = None
    size: float = 4.0


@dataclass(frozen=True, slots=True)
class Series:
    """Points of one colour; joined ones show their intervals as a band, others as bars."""

    css: str
    points: Sequence[Point]
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """Where an axis begins and ends, its named places, and what it measures."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    name: str = ""


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


def padded(values: Sequence[float], start: float = 0.0, end: float = 1.0) -> Scale:
    """A scale that holds the values with some air, and is never empty."""
    low, high = min(values), max(values)
    # Values that differ by rounding alone are one value.
    is_one = high - low <= 1e-9 * max(1.0, abs(low), abs(high))
    air = 0.01 + 0.1 * abs(high) if is_one else 0.06 * (high - low)
    return Scale(low - air, high + air, start, end)


def ticks(scale: Scale | Axis, about: int) -> list[float]:
    """Round values within the scale, about as many as asked for."""
    rough = (scale.high - scale.low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough)
    first, last = math.ceil(scale.low / step), math.floor(scale.high / step)
    return [k * step for k in range(first, last + 1)]


def decimals(levels: Sequence[float], factor: float = 1.0) -> int:
    """Decimals that ticks need to differ from their neighbours."""
    step = factor * (levels[1] - levels[0]) if len(levels) > 1 else 1.0
    return max(0, -math.floor(math.log10(step) + 1e-9))


def plain_tick(value: float, marks: Sequence[float]) -> str:
    """A tick as a number, with the decimals that it needs among the others."""
    return number(value, decimals(marks))


def value_axis(
    values: Sequence[float],
    write: Callable[[float, Sequence[float]], str] = plain_tick,
    name: str = "",
) -> Axis:
    """An axis that holds the values, with round ticks; `write` has a tick and all of them."""
    ends = padded(values)
    marks = [t for t in ticks(ends, 6) if t >= 0 or min(values) < 0]
    return Axis(ends.low, ends.high, [(t, write(t, marks)) for t in marks], name)


def plane(
    label: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    *,
    levels: Sequence[tuple[float, str]] = (),
    diagonal: bool = False,
    size: tuple[int, int] = (WIDTH, 240),
) -> Chart:
    """Series against two axes; `levels` are named lines across, the diagonal is x = y."""
    width, height = size
    right, bottom = width - 12, height - (36 if x.name else 24)
    to_x, to_y = Scale(x.low, x.high, _LEFT, right), Scale(y.low, y.high, bottom, 10)
    shapes = [line("grid", _LEFT, to_y(t), right, to_y(t)) for t, _ in y.ticks]
    shapes += [words(_LEFT - 6, to_y(t) + 4, said, "tick end") for t, said in y.ticks]
    shapes += [words(to_x(t), bottom + 16, said, "tick") for t, said in x.ticks]
    if x.name:
        shapes.append(words((_LEFT + right) / 2, height - 4, x.name, "tick axis"))
    if diagonal:
        shapes.append(line("zero", to_x(x.low), to_y(y.low), to_x(x.high), to_y(y.high)))
    shapes += [_band(each, to_x, to_y) for each in series if each.joined]
    shapes += [line("level", _LEFT, to_y(at), right, to_y(at)) for at, _ in levels]
    shapes += [_series(each, to_x, to_y) for each in series]
    shapes += [words(_LEFT + 4, to_y(at) - 4, said, "tick start halo") for at, said in levels]
    return Chart(label, width, height, shapes)


def _series(each: Series, x: Scale, y: Scale) -> Shape:
    inside = []
    if each.joined:
        path = " ".join(f"{x(point.x)},{y(point.y)}" for point in each.points)
        inside.append(Shape("polyline", {"points": path}))
    for point in each.points:
        drawn = [mark(each.css, x(point.x), y(point.y), point.size)]
        if not each.joined and point.low is not None and point.high is not None:
            drawn.insert(0, line("", x(point.x), y(point.low), x(point.x), y(point.high)))
        inside.append(group("", point.words, drawn))
    return group(each.css, "", inside)


def _band(each: Series, x: Scale, y: Scale) -> Shape:
    known = [p for p in each.points if p.low is not None and p.high is not None]
    upper = [f"{x(p.x)},{y(p.high or 0.0)}" for p in known]
    lower = [f"{x(p.x)},{y(p.low or 0.0)}" for p in reversed(known)]
    return Shape("polygon", {"class": f"band {each.css}", "points": " ".join(upper + lower)})


def intervals(
    label: str,
    rows: Sequence[Row],
    write: Callable[[float, Sequence[float]], str] = plain_tick,
    *,
    ends: tuple[float, float] | None = None,
    sides: tuple[str, str] | None = None,
    width: int = _WIDE,
) -> Chart:
    """A mark with its interval per row; `sides` names what lies left and right of zero."""
    left, right = _columns(rows, width)
    values = [v for r in rows for v in (r.value, r.low, r.high) if v is not None]
    x = Scale(*ends, left, right) if ends else padded([0.0, *values], left, right)
    bottom, marks = 8 + _ROW * len(rows), ticks(x, 4)
    shapes = [line("grid" if abs(t) > 1e-9 else "zero", x(t), 4, x(t), bottom) for t in marks]
    shapes += [words(x(t), bottom + 14, write(t, marks), "tick") for t in marks]
    if sides:
        shapes.append(line("zero", x(0), 4, x(0), bottom))
        shapes.append(words(x(0) - 8, bottom + 30, sides[0], "tick end"))
        shapes.append(words(x(0) + 8, bottom + 30, sides[1], "tick start"))
    for i, row in enumerate(rows):
        at = 8 + _ROW * (i + 0.5)
        drawn, css = [mark(row.css, x(row.value), at, 4.5)], row.css
        if row.low is not None and row.high is not None:
            drawn.insert(0, line("", x(row.low), at, x(row.high), at))
            css += " undecided" if sides and row.low <= 0 <= row.high else ""
        shapes += [group(css, f"{row.name}: {row.words}", drawn), *_named(row, at + 4, width)]
    return Chart(label, width, bottom + (36 if sides else 20), shapes)


def bars(label: str, rows: Sequence[Row], limits: Sequence[tuple[float, str]]) -> Chart:
    """A bar per row from zero, with named limits across them."""
    left, right = _columns(rows, WIDTH)
    largest = max([*(row.value for row in rows), *(at for at, _ in limits)])
    x = Scale(0, largest or 1.0, left, right)
    bottom, shapes = 20 + _ROW * len(rows), []
    for i, row in enumerate(rows):
        top = 24 + _ROW * i
        bar = rect("dot", x(0), top, x(row.value) - x(0), _ROW - 8)
        shapes += [group(row.css, f"{row.name}: {row.words}", [bar])]
        shapes += _named(row, top + 12, WIDTH)
    shapes += [line("zero", x(at), 16, x(at), bottom) for at, _ in limits]
    shapes += [words(x(at), 11, said, "tick") for at, said in limits]
    return Chart(label, WIDTH, bottom + 6, shapes)


def funnel(label: str, stages: Sequence[tuple[str, int | None, str]], width: int = _WIDE) -> Chart:
    """A centred bar per stage: its name, how many, and what that is of the stage before.

    Bars are as wide as the logarithm of their number; an unmeasured one is none.
    """
    left, right = 130, width - 210
    largest = max((n or 1 for _, n, _ in stages), default=1)
    middle, half = (left + right) / 2, (right - left) / 2
    shapes: list[Shape] = []
    for i, (name, n, note) in enumerate(stages):
        top, reach = 4 + 30 * i, half * math.log10((n or 0) + 1) / math.log10(largest + 1)
        bar = rect("step", middle - reach, top, 2 * reach, 24)
        shapes.append(group("k0", f"{name}: {count(n)} {note}", [bar]))
        shapes.append(words(left - 12, top + 16, name, "end"))
        shapes.append(words(middle, top + 16, count(n), "big halo"))
        shapes.append(words(right + 12, top + 16, note, "tick start"))
    return Chart(label, width, 8 + 30 * len(stages), shapes)


def line(
    css: str,
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    drawn: Mapping[str, float | str] = MappingProxyType({}),
) -> Shape:
    """A straight line; `drawn` are further attributes of SVG."""
    return Shape("line", {**_class(css), "x1": x1, "y1": y1, "x2": x2, "y2": y2, **drawn})


def words(x: float, y: float, said: str, css: str) -> Shape:
    """Text whose baseline passes through (x, y); `css` anchors it (start, end, or middle)."""
    return Shape("text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": css}, said)


def group(css: str, said: str, inside: Sequence[Shape]) -> Shape:
    """Shapes of one colour; hovering over them shows what is said."""
    title = [Shape("title", {}, said)] if said else []
    return Shape("g", _class(css), inside=[*title, *inside])


def mark(css: str, x: float, y: float, size: float = 4.0) -> Shape:
    """The shape of a colour."""
    shapes = {
        1: ((0, -1.3), (1.3, 1), (-1.3, 1)),
        2: ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
        3: ((0, 1.3), (1.3, -1), (-1.3, -1)),
        4: ((-1, -1), (1, -1), (1, 1), (-1, 1)),
    }
    shape = shapes.get(int(css[1:]) % 5)
    if shape is None:
        return Shape("circle", {"class": "dot", "cx": x, "cy": y, "r": size})
    corners = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in shape)
    return Shape("polygon", {"class": "dot", "points": corners})


def swatch(css: str) -> Chart:
    """The mark of a colour by itself, for legends and tables."""
    return Chart("", 14, 14, [group(css, "", [mark(css, 7, 7)])])


def rect(css: str, x: float, y: float, width: float, height: float) -> Shape:
    """A bar with its upper left corner at (x, y)."""
    at = {"x": f"{x:.1f}", "y": f"{y:.1f}", "width": f"{width:.1f}", "height": f"{height:.1f}"}
    return Shape("rect", {"class": css, **at, "rx": 2})


def _columns(rows: Sequence[Row], width: float) -> tuple[float, float]:
    """What names on the left and words on the right leave between them."""
    left = 12 + _CHARACTER * max(len(row.name) for row in rows)
    return left, width - 12 - _CHARACTER * max(len(row.words) for row in rows)


def _named(row: Row, y: float, width: float) -> list[Shape]:
    return [words(4, y, row.name, "start"), words(width - 2, y, row.words, "tick end")]


def _class(css: str) -> dict[str, float | str]:
    return {"class": css} if css else {}
