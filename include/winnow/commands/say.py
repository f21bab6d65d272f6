"""What commands print: every line of it goes through here.

What always holds: one row is one line, and nothing in it drives a terminal, whoever wrote the names
and words in it.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from winnow.text import plain_row


def say(*rows: str, error: bool = False) -> None:
    """Print a line for each row, to the standard error if `error`."""
    for row in rows:
        print(plain_row(row), file=sys.stderr if error else sys.stdout)


def say_text(text: str) -> None:
    """Print a text of several lines, made by `plain_rows` or of Winnow's own words."""
    say(*text.split("\n"))


def say_json(value: Any) -> None:
    """Print a value as JSON in ASCII, which no terminal obeys; bytes in base64."""
    print(json.dumps(value, indent=1, default=_as_json).replace("\x7f", "\\u007f"))


def _as_json(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def answer(rows: Any, lines: Iterable[str], as_json: bool) -> None:
    """A command's answer: lines for people, or for programs JSON, an object for each row."""
    if as_json:
        say_json(rows)
    else:
        say(*lines)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """What moves a bar on by one of `total`; it is drawn where the standard error is a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    # Imported where it is drawn: nothing else of a command needs it.
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
