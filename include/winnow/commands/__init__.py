"""What the `winnow` command does: batches of a lake, and selection on its own."""

from __future__ import annotations

from typing import Any

import typer


def plain_app(**options: Any) -> typer.Typer:
    """An app without colours and boxes: what it says is read by programs and in logs, too."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, **options)
