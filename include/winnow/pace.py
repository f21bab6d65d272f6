"""How far long work is, how fast, and how long it still takes: for logs, and in the lake for pages.

    pace = Pace("prompts", 100_000, say)
    pace.at(31_744)   # "31,744 of 100,000 prompts, 702 a second, 97 s left"

What is told is measured: the speed since this process began, so that a task which goes on where
another was killed does not count what that one did.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from winnow.lake import Lake

EVERY = 10.0
"""Seconds between two lines."""

Say = Callable[[str], None]


class Pace:
    """Work of a known size; a line goes to `say` now and then, and at the end.

    Args:
        what: What is counted, such as "prompts".
        total: How many there are.
        say: Takes a line.
        clock: Seconds, rising.
    """

    def __init__(
        self, what: str, total: int, say: Say, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what, self._total, self._say, self._clock = what, total, say, clock
        self._began = self._told = clock()
        self._first: int | None = None

    def at(self, n: int) -> None:
        """Tell that `n` are done."""
        now = self._clock()
        if self._first is None:
            self._first = n
        elif now - self._told >= EVERY or (n >= self._total and self._told > self._began):
            self._told = now
            self._say(line(self._what, n, self._total, n - self._first, now - self._began))


def line(what: str, n: int, total: int, n_here: int, seconds: float) -> str:
    """How far work is of which `n_here` were done in `seconds`.

    >>> line("prompts", 31_744, 100_000, 21_060, 30.0)
    '31,744 of 100,000 prompts, 702 a second, 97 s left'
    """
    told = f"{n:,} of {total:,} {what}"
    if n_here <= 0 or seconds <= 0.0:
        return told
    speed, left = n_here / seconds, (total - n) * seconds / n_here
    fast = f"{speed:,.0f} a second" if speed >= 10.0 else f"{60.0 * speed:,.1f} a minute"
    return f"{told}, {fast}" + (f", {span(left)} left" if n < total else "")


def span(seconds: float) -> str:
    """A time in the two units that tell it.

    >>> span(97.4), span(754), span(9_000)
    ('97 s', '12 min 34 s', '2 h 30 min')
    """
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def noted(lake: Lake, folder: str, stage: str, say: Say, clock: Callable[[], datetime]) -> Say:
    """Says a line and keeps it in the folder of a batch's stage; the last one to write stays.

    What is kept tells when that was, for work that was killed says nothing more.
    """

    def say_and_note(text: str) -> None:
        say(text)
        _, tag = lake.read_tagged(_path(folder, stage))
        at = clock().astimezone(UTC)
        lake.swap(_path(folder, stage), f"{text} ({at:%Y-%m-%d %H:%M} UTC)".encode(), tag)

    return say_and_note


def last_note(lake: Lake, folder: str, stage: str) -> str | None:
    """The line that was kept last; None before the first."""
    data, _ = lake.read_tagged(_path(folder, stage))
    return data.decode("utf-8", "replace") if data else None


def _path(folder: str, stage: str) -> str:
    return f"{folder}/{stage}/pace.txt"
