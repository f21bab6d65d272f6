"""Answers that lie with a vendor and cannot be read: said at once, while their tasks wait.

Whoever asks the vendor notes what it says, in one pointer for each batch of a vendor; `winnow
status` reads the pointer where it cannot ask.

    unreadable/<digest of the batch's ref>     pointer: what the last look found
"""

from __future__ import annotations

from winnow.ids import content_id
from winnow.label.vendor import BatchStatus
from winnow.lake import Lake
from winnow.text import plain_text

_LONGEST = 300


def words(status: BatchStatus) -> str:
    """How many answers cannot be used, and how many tasks wait; empty where all can be."""
    if not status.n_unreadable:
        return ""
    first = " ".join(plain_text(status.unreadable).split())[:_LONGEST]
    wait = f" while {status.n_pending} tasks wait" if status.n_pending else ""
    return f"{status.n_unreadable} answers cannot be read{wait}, the first: {first}"


def note(lake: Lake, ref: str, status: BatchStatus) -> None:
    """Keep what a look at the vendor's batch found."""
    data, tag = lake.read_tagged(_path(ref))
    fault = words(status).encode()
    if fault != (data or b""):
        # Who loses this race was told of by the winner.
        lake.swap(_path(ref), fault, tag)


def told(lake: Lake, ref: str) -> str:
    """What the last look found; empty where nothing is wrong."""
    data, _ = lake.read_tagged(_path(ref))
    return (data or b"").decode()


def _path(ref: str) -> str:
    return f"unreadable/{content_id(ref)}"
