"""Figures in words, and tables as data: what views hand to templates.

A figure that was not measured says so, and is never a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from winnow.money import MICROS
from winnow.text import plain_text

NOT_MEASURED = "not measured"
LONGEST_NAME = 80
LONGEST_PASSAGE = 700


@dataclass(frozen=True, slots=True)
class Chip:
    """A word in a lozenge; `kind` is a class of the style: pass, warn, fail, block, none."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column names the rows, and columns of `words` are set like text."""

    label: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str | Chip]]
    words: Sequence[str] = ()


def cut(text: str, longest: int) -> str:
    """At most `longest` characters, with a mark and the number left out where more were there.

    >>> cut("abcdef", 4), cut("abcd", 4)
    ('abcd … 2 more characters', 'abcd')
    """
    left = len(text) - longest
    return text if left <= 0 else f"{text[:longest]} … {left:,} more characters"


def line(text: object, longest: int = LONGEST_NAME) -> str:
    """A short text of somebody else's, on one line."""
    return cut(" ".join(plain_text(str(text)).split()), longest)


def lines(text: str, longest: int = LONGEST_PASSAGE) -> str:
    """A longer text of somebody else's, with its own lines."""
    return cut(plain_text(text).strip(), longest)


def code(text: object) -> Markup:
    """A name between back ticks, which it cannot end, in Markdown."""
    return Markup(f"`{' '.join(plain_text(str(text)).replace('`', chr(39)).split())}`")


def spaced(name: object) -> str:
    """A name of the code's as a reader has it."""
    return str(name).replace("_", " ")


def count(value: float | None) -> str:
    """A whole number.

    >>> count(4224), count(None)
    ('4,224', 'not measured')
    """
    return NOT_MEASURED if value is None else f"{value:,.0f}"


def number(value: float | None, decimals: int = 2) -> str:
    """A number with a minus sign of the right width."""
    return NOT_MEASURED if value is None else f"{value:,.{decimals}f}".replace("-", "−")


def percent(value: float | None) -> str:
    """A share as a percentage.

    >>> percent(0.5), percent(0.0432), percent(1.0), percent(None)
    ('50.0 %', '4.3 %', '100 %', 'not measured')
    """
    if value is None:
        return NOT_MEASURED
    return f"{100 * value:.0f} %" if value in (0.0, 1.0) else f"{100 * value:.1f} %"


def dollars(micros: float | None) -> str:
    """Money from micro-dollars; more decimals where cents would hide it.

    >>> dollars(22_800_000), dollars(3_500)
    ('$22.80', '$0.0035')
    """
    if micros is None:
        return NOT_MEASURED
    value = micros / MICROS
    return f"${value:,.2f}" if value >= 0.1 or value == 0 else f"${value:.2g}"


def age(when: datetime, now: datetime) -> str:
    """How long ago, in the largest whole unit.

    >>> from datetime import UTC
    >>> age(datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, 23, tzinfo=UTC))
    '1 day'
    """
    seconds = max(0, int((now - when).total_seconds()))
    for length, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= length:
            n = seconds // length
            return f"{n:,} {unit}{'s' if n > 1 else ''}"
    return "0 seconds"


def between(low: float | None, high: float | None) -> str:
    """An interval of shares in brackets; nothing where it is unknown."""
    return "" if low is None or high is None else f"({percent(low)} to {percent(high)})"


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part` over `whole`; None where either is unknown or there is no whole."""
    return part / whole if part is not None and whole else None


FILTERS = (age, between, code, count, cut, dollars, line, lines, number, percent, ratio, spaced)
"""What templates may use, by name."""
