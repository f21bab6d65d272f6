"""An end for work that cannot be told to end: calls of libraries that time each read alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T], name: str) -> T:
    """What `work` gives or raises, waited for so long.

    It runs in a thread of this name, which keeps no process alive. One that is given up runs on
    until its library lets it go.

    Raises:
        TimeoutError: It took longer.
    """
    given: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            given.append(work())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    thread.join(max(seconds, 0.0))
    if raised:
        raise raised[0]
    if not given:
        raise TimeoutError(f"no end after {seconds:.0f} s")
    return given[0]
