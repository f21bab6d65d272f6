"""Pieces of the templates one by one, for pages that are not templates themselves.

What is called `body`, and the cells and values of tables and lists, are markup already; all else is
text, which is escaped here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from winnow.pages.charts import Chart
from winnow.pages.render import piece
from winnow.pages.words import LONGEST_NAME, LONGEST_PASSAGE, Table


def said(text: str, longest: int = LONGEST_NAME) -> str:
    """A short text of somebody else's, on one line."""
    return piece("said", text, longest)


def passage(text: str, longest: int = LONGEST_PASSAGE) -> str:
    """A longer text of somebody else's as a block with its own lines."""
    return piece("passage", text, longest)


def section(title: str, body: str) -> str:
    """A part of a page under its heading."""
    return piece("section", title, Markup(body))


def figure(title: str, note: str, body: str, kind: str = "") -> str:
    """A picture under its title; `kind` is a class of the style's."""
    return piece("figure", title, note, Markup(body), kind)


def folded(title: str, body: str) -> str:
    """A part that is closed until asked for."""
    return piece("folded", title, Markup(body))


def paragraphs(texts: Iterable[str], kind: str = "") -> str:
    """A paragraph per text."""
    return piece("paragraphs", list(texts), kind)


def remark(text: str) -> str:
    """A box for what somebody should know."""
    return piece("remark", text)


def facts_list(rows: Iterable[tuple[str, str]]) -> str:
    """Names and values, in as many columns as fit."""
    return piece("facts", [(name, Markup(value)) for name, value in rows])


def table(
    label: str, heads: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[str] = ()
) -> str:
    """A table in a box that scrolls; columns whose head is one of `words` are set like text."""
    cells = [[Markup(cell) for cell in row] for row in rows]
    return piece("table", Table(label, heads, cells, words))


def picture(chart: Chart) -> str:
    """A chart as inline SVG."""
    return piece("chart", chart)


def legend(names: Sequence[tuple[str, str]]) -> str:
    """What the marks mean: (name, colour class) each."""
    return piece("legend", names)
