"""The format of a lake: what must be known to read and write it.

A lake names it in an object of its own, once. Every release reads all formats up to its own; it
refuses a newer one before it writes a word, for it would not know what it overlooks.

    1   since 0.5; lakes of before have no name for theirs and are the same
"""

from __future__ import annotations

from winnow.errors import Corrupt, Fatal
from winnow.lake import Lake
from winnow.stored import RESTORE, parsed, read_sealed, sealed_json

FORMAT = 1
"""The newest that this release knows."""
PATH = "format.json"


def format_of(lake: Lake) -> int | None:
    """The format that a lake names; None of one that names none.

    Raises:
        Fatal: This release does not know it.
        Corrupt: It cannot be read.
    """
    try:
        named = parsed(lake, PATH, read_sealed)
    except FileNotFoundError:
        return None
    number, since = named.get("format"), named.get("since")
    if type(number) is not int:
        raise Corrupt(f"{lake.uri}/{PATH} names no format; {RESTORE}.")
    if number > FORMAT:
        raise Fatal(
            f"{lake.uri} has format {number}, of winnow {since} and later; this release knows up "
            f"to {FORMAT}. Install winnow {since} or later here, or bring back the lake from a "
            "backup of before the upgrade."
        )
    return number


def claim_format(lake: Lake, version: str) -> None:
    """Name the format of a lake that has none; the first to do so counts.

    Args:
        lake: The lake.
        version: The release that does so.
    """
    lake.create(PATH, sealed_json({"format": FORMAT, "since": version}))
