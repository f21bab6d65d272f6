"""Markup of pages: sections, figures, lists and tables in boxes.

Always holds: equal input gives equal text. Functions here take ready markup where their argument
is called `body`, and plain text, which they escape, everywhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any


def section(title: str, body: str) -> str:
    """A part of a page under its heading."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>\n"


def figure(title: str, note: str, body: str, style: str = "") -> str:
    """A picture under its title; `style` is a class of the page's own."""
    small = f"<small>{escape(note)}</small>" if note else ""
    attribute = f' class="{style}"' if style else ""
    return f"<figure{attribute}><figcaption>{escape(title)}{small}</figcaption>{body}</figure>"


def scrolling(label: str, body: str) -> str:
    """A wide table in a box that the keyboard can scroll."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{body}</div>'
    )


def folded(title: str, body: str) -> str:
    """A part that is closed until asked for."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>\n"


def paragraphs(texts: Iterable[str], style: str = "") -> str:
    """A paragraph per text."""
    attribute = f' class="{style}"' if style else ""
    return "".join(f"<p{attribute}>{escape(text)}</p>" for text in texts)


def bullets(texts: Iterable[str]) -> str:
    """A list of texts."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"


def definitions(facts: Mapping[str, Any]) -> str:
    """Names and values; a mapping or a list among the values is written on one line."""
    rows = (
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_inline(value))}</dd>"
        for name, value in facts.items()
    )
    return f"<dl>{''.join(rows)}</dl>"


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{str(k).replace('_', ' ')}: {_inline(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_inline(each) for each in value)
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
