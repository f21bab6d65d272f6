"""What commands print: every line of it goes through here.

What always holds: one row is one line, and nothing in it drives a terminal, whoever wrote the names
and words in it.
"""

from __future__ import annotations

import json
import sys
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
    """Print a value as JSON: in ASCII, which holds no sign that a terminal obeys."""
    print(json.dumps(value, indent=1, default=str).replace("\x7f", "\\u007f"))
