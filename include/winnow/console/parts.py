"""What pages are made of: links, tables, tiles, chips, notices, moments, paging, filters.

Always holds: arguments are plain text and are escaped here, except those called `body` and the
cells of tables, which are markup.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from typing import Literal

from winnow.pages.pieces import table
from winnow.pages.words import cut

__all__ = ["cut", "table"]

Kind = Literal["good", "warn", "bad", "soft"]

PER_PAGE = 50
LONGEST_QUERY = 100
_MOST_PAGES = 1_000_000


@dataclass(frozen=True, slots=True)
class Text:
    """A field of a filter that takes any text."""

    name: str
    label: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A field of a filter with a few answers: value and label, the first one the default."""

    name: str
    label: str
    options: Sequence[tuple[str, str]]


def link(text: str, address: str, *, label: str = "", airflow: bool = False) -> str:
    """A link; `label` tells more to who hears it, `airflow` one into Airflow's own pages."""
    more = f' aria-label="{escape(label)}"' if label else ""
    mark = " data-airflow" if airflow else ""
    return f'<a href="{escape(address)}"{more}{mark}>{escape(text)}</a>'


def chip(text: str, kind: Kind) -> str:
    """A word in a lozenge, coloured by how good it is."""
    return f'<span class="chip {kind}">{escape(text)}</span>'


def tiles(figures: Sequence[tuple[str, str, str]]) -> str:
    """Large figures: (value, name, note) each."""
    body = "".join(
        f"<li><b>{escape(value)}</b><span>{escape(name)}</span>"
        f"{f'<small>{escape(note)}</small>' if note else ''}</li>"
        for value, name, note in figures
    )
    return f'<ul class="tiles">{body}</ul>'


def notice(body: str, kind: Kind = "warn") -> str:
    """A box for what somebody should see."""
    return f'<div class="notice {kind}">{body}</div>'


def command(text: str) -> str:
    """A command to copy."""
    return f'<pre class="command" tabindex="0"><code>{escape(text)}</code></pre>'


def moment(when: datetime, now: datetime) -> str:
    """A time in UTC with its age."""
    at = when.strftime("%Y-%m-%d %H:%M")
    return f'<time datetime="{escape(when.isoformat())}">{at} UTC, {age(when, now)} ago</time>'


def age(when: datetime, now: datetime) -> str:
    """How long ago, in the largest whole unit.

    >>> from datetime import UTC, datetime
    >>> age(datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, 23, tzinfo=UTC))
    '1 day'
    """
    seconds = max(0, int((now - when).total_seconds()))
    for length, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= length:
            n = seconds // length
            return f"{n:,} {unit}{'s' if n > 1 else ''}"
    return "0 seconds"


def page_number(query: Mapping[str, str], name: str = "page") -> int:
    """The page asked for, from 1; 1 where the query does not say a number."""
    asked = query.get(name, "")
    if not (asked.isascii() and asked.isdigit()):
        return 1
    return max(1, min(int(asked[:9]), _MOST_PAGES))


def asked_text(query: Mapping[str, str], name: str) -> str:
    """A text of the query without white space around it, cut."""
    return query.get(name, "").strip()[:LONGEST_QUERY]


def asked_choice(query: Mapping[str, str], field: Choice) -> str:
    """The option asked for, or the first one."""
    values = [value for value, _ in field.options]
    asked = query.get(field.name, "")
    return asked if asked in values else values[0]


def pages(address_of: Callable[[int], str], number: int, n_pages: int, label: str) -> str:
    """Links to other pages of a list; nothing where one page holds all."""
    if n_pages <= 1:
        return ""
    near = {1, n_pages, *range(number - 2, number + 3)}
    shown = sorted(n for n in near if 1 <= n <= n_pages)
    items = []
    for before, n in zip([0, *shown], shown, strict=False):
        if n > before + 1:
            items.append('<li class="soft">…</li>')
        if n == number:
            items.append(f'<li><a aria-current="page" href="{escape(address_of(n))}">{n}</a></li>')
        else:
            items.append(f"<li>{link(str(n), address_of(n), label=f'Page {n}')}</li>")
    return f'<nav aria-label="{escape(label)}" class="pages"><ul>{"".join(items)}</ul></nav>'


def filters(address: str, fields: Sequence[Text | Choice], query: Mapping[str, str]) -> str:
    """A form that asks for the page again with what is filled in."""
    body = "".join(
        _choice(each, query) if isinstance(each, Choice) else _text(each, query) for each in fields
    )
    return (
        f'<form class="filters" method="get" action="{escape(address)}" role="search">{body}'
        "<button>Show</button></form>"
    )


def _text(field: Text, query: Mapping[str, str]) -> str:
    value = escape(asked_text(query, field.name))
    return (
        f'<label>{escape(field.label)}<input type="search" name="{escape(field.name)}" '
        f'value="{value}" maxlength="{LONGEST_QUERY}" dir="auto"></label>'
    )


def _choice(field: Choice, query: Mapping[str, str]) -> str:
    asked = asked_choice(query, field)
    options = "".join(
        f'<option value="{escape(value)}"{" selected" if value == asked else ""}>'
        f"{escape(label)}</option>"
        for value, label in field.options
    )
    return (
        f'<label>{escape(field.label)}<select name="{escape(field.name)}">{options}</select>'
        "</label>"
    )
