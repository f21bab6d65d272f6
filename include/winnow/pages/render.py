"""Pages from the Jinja templates of a folder, which may use those beside this module.

Always holds: equal input gives equal text; every value is escaped, and loses the characters that
nobody sees, where a template shows it. A page loads nothing: its style stands in it, and its policy
allows that one style by its digest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from winnow.pages import words
from winnow.pages.charts import swatch
from winnow.pages.rich import rich
from winnow.text import plain_text

SHARED = Path(__file__).with_name("templates")


def render(
    template: str, folder: Path = SHARED, shown: Callable[[Any], Any] | None = None, **told: Any
) -> str:
    """The page of a template, of `folder` or shared.

    Args:
        template: Its file.
        folder: Where it is.
        shown: How a value is written that is not markup; as HTML where nothing is given.
        told: Plain data, each value by its name.

    Raises:
        jinja2.UndefinedError: The template names what nobody told.
    """
    return templates(folder, shown).get_template(template).render(**told)


def fragment(template: str, folder: Path, **told: Any) -> Markup:
    """A part of a page, which another template shows as it is."""
    return Markup(render(template, folder, **told))


def piece(name: str, *args: Any) -> str:
    """One macro of `parts.html` by itself, as markup."""
    return str(getattr(_parts(), name)(*args))


def with_remark(page: str, text: str) -> str:
    """A whole page, made before, with a box at its head for what somebody should know."""
    return page.replace("<main>", f"<main>{piece('remark', text)}", 1)


@cache
def templates(folder: Path = SHARED, shown: Callable[[Any], Any] | None = None) -> Environment:
    """Templates of a folder, and those that all share."""
    found = Environment(
        loader=FileSystemLoader([folder, SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown or _shown,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = style_of(folder)
    found.globals |= {"style": Markup(style), "policy": Markup(policy(style))}
    found.filters |= {each.__name__: each for each in (rich, swatch, *words.FILTERS)}
    return found


def style_of(folder: Path = SHARED) -> str:
    """The shared style, and what a folder adds to it in `own.css`."""
    files = [SHARED / "style.css", folder / "own.css"]
    return "".join(file.read_text() for file in files if file.exists())


def policy(style: str, script: str = "") -> str:
    """A policy for a page's content: this style, this script, and nothing else."""
    scripts = f"script-src {_digest(script)}; " if script else ""
    return f"default-src 'none'; style-src {_digest(style)}; {scripts}base-uri 'none'"


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _parts() -> Any:
    return templates().get_template("parts.html").module


def _shown(value: Any) -> Any:
    return plain_text(value) if isinstance(value, str) and not hasattr(value, "__html__") else value
