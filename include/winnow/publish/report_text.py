"""Words, figures and tables of the quality report.

Always holds: text from outside (prompts, responses, names, tags) goes through `said` or
`passage`, which drop what nobody sees, cut what is long, escape the rest and keep its direction of
writing to itself. A figure that was not measured says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from winnow.page.markup import scrolling
from winnow.records import MICROS
from winnow.text import plain_text

NOT_MEASURED = "not measured"
UNKNOWN_PEOPLE = "unknown annotators, whom the vendor does not tell apart"
LONGEST_NAME = 80
LONGEST_PASSAGE = 700


def said(text: str, longest: int = LONGEST_NAME) -> str:
    """A short text of somebody else's as markup, on one line."""
    return f"<bdi>{escape(cut(' '.join(plain_text(text).split()), longest))}</bdi>"


def passage(text: str, longest: int = LONGEST_PASSAGE) -> str:
    """A longer text of somebody else's as a block with its own lines."""
    shown = cut(plain_text(text).strip(), longest)
    return f'<blockquote dir="auto">{escape(shown) or "<em>nothing</em>"}</blockquote>'


def cut(text: str, longest: int) -> str:
    """At most `longest` characters, with a mark and the number left out where more were there.

    >>> cut("abcdef", 4), cut("abcd", 4)
    ('abcd … 2 more characters', 'abcd')
    """
    left = len(text) - longest
    return text if left <= 0 else f"{text[:longest]} … {left:,} more characters"


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


def between(low: float | None, high: float | None) -> str:
    """An interval of shares in brackets; nothing where it is unknown."""
    return "" if low is None or high is None else f"({percent(low)} to {percent(high)})"


def ratio(part: float | None, whole: float | None) -> float | None:
    """`part` over `whole`; None where either is unknown or there is no whole."""
    return part / whole if part is not None and whole else None


def certainty_told(found: Mapping[str, Any]) -> str:
    """How sure one vote is by the label stage's figures; empty where they do not tell.

    >>> certainty_told({"vote_certainty": 0.73, "n_agreement": 10})
    'One vote counts as 73.0 % sure, by the agreement of 10 pairs of votes.'
    """
    sure, n = found.get("vote_certainty"), found.get("n_agreement")
    if sure is None:
        return ""
    if not n:
        return (
            "Agreement was not measured, no pair having been judged by two people: that one vote "
            f"counts as {percent(sure)} sure is an assumption."
        )
    pairs = f"{n:,} pairs of votes"
    if found.get("n_annotators", 0) is None:
        pairs += f" of {UNKNOWN_PEOPLE}"
    return f"One vote counts as {percent(sure)} sure, by the agreement of {pairs}."


def table(
    label: str, heads: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[str] = ()
) -> str:
    """A table in a box that scrolls.

    `label` and `heads` are text, cells are markup; columns whose head is one of `words` are set
    like text and not like numbers.
    """
    styles = [' class="words"' if head in words else "" for head in heads]
    head = "".join(
        f'<th scope="col"{style}>{escape(each)}</th>'
        for each, style in zip(heads, styles, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(f"<td{style}>{cell}</td>" for cell, style in zip(rest, styles[1:], strict=True))
        + "</tr>"
        for first, *rest in rows
    )
    return scrolling(label, f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def facts_list(rows: Iterable[tuple[str, str]]) -> str:
    """Names, which are text, and values, which are markup, in as many columns as fit."""
    body = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in rows)
    return f"<dl>{body}</dl>"
