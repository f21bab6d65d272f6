"""Small objects of a lake: how they are read, and what it means that one is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from winnow.errors import Corrupt
from winnow.ids import canonical_json, sealed, unsealed
from winnow.lake import Lake

T = TypeVar("T")

RESTORE = "restore it from the bucket's versions or a copy of the lake"

_NOT_READABLE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
)
"""How a parser ends on bytes that are not what it reads."""


def parsed(lake: Lake, path: str, parse: Callable[[bytes], T], data: bytes | None = None) -> T:
    """What `parse` makes of an object of the lake, or of its `data` where it was read already.

    Raises:
        FileNotFoundError: There is no such object.
        Corrupt: It is not what `parse` reads; its place is told.
    """
    held = lake.read(path) if data is None else data
    try:
        return parse(held)
    except Corrupt as error:
        raise Corrupt(f"{lake.uri}/{path}: {error}") from error
    except _NOT_READABLE as error:
        raise Corrupt(
            f"{lake.uri}/{path} cannot be read ({type(error).__name__}); {RESTORE}."
        ) from error


def sealed_json(content: Mapping[str, Any]) -> bytes:
    """A small object of the lake that notices when it is changed; `read_sealed` reads it."""
    return canonical_json(sealed(content))


def read_sealed(data: bytes) -> dict[str, Any]:
    """What `sealed_json` wrote, or a version before it.

    Raises:
        ValueError, TypeError: It is nothing of the kind, or was changed.
    """
    return unsealed(json.loads(data))


def stored_time(told: str) -> datetime:
    """A time that Winnow wrote.

    Raises:
        ValueError, TypeError: It is none, has no zone, or no clock ever showed it.
    """
    time = datetime.fromisoformat(told)
    if time.tzinfo is None or not 1970 < time.year < 9000:
        raise ValueError("no time of Winnow's")
    return time


def refuse_lost(lake: Lake, path: str, later: Iterable[str]) -> None:
    """Refuse that an object is absent though one of `later` is there, which is made after it.

    What is missing is not nothing: a lake that was restored in part would be taken for an earlier
    state of itself, and what was bought would be bought again.

    Raises:
        Corrupt: It is lost.
    """
    for witness in later:
        # In this order: a twin may write both meanwhile.
        if lake.exists(witness) and not lake.exists(path):
            raise Corrupt(
                f"{lake.uri}/{path} is missing, though {witness} was made after it; {RESTORE}."
            )
