"""What an ingest manifest says of formats, in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def told_formats(figures: Mapping[str, Any]) -> str:
    """How many rows of each format came in, most first, and how often each rule mended one.

    >>> told_formats({"formats": {"alpaca": 2, "openai": 5}, "mended": {"joined_turns": 1}})
    'rows: 5 openai, 2 alpaca, mended: 1 joined_turns'
    """
    told = []
    for begins, name in (("rows", "formats"), ("mended", "mended")):
        counts = figures.get(name)
        if isinstance(counts, Mapping) and counts:
            most_first = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
            told.append(f"{begins}: {', '.join(f'{n} {each}' for each, n in most_first)}")
    return ", ".join(told)
