"""Small objects of a lake: how they are read, and what it means that one is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, ConfigDict, TypeAdapter, with_config

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


def typed(kind: type[T], content: Any) -> T:
    """A dataclass of `kind` from what JSON holds of it: each field of its own type, and no others.

    Raises:
        ValueError: It is nothing of the kind.
    """
    found: T = _adapter(kind).validate_json(json.dumps(content), strict=True)
    return found


def reader(kind: type[T]) -> Callable[[bytes], T]:
    """What reads a `kind` that `sealed_json` wrote, for `parsed`; raises as `typed` does."""
    return lambda data: typed(kind, read_sealed(data))


def as_json(value: Any) -> dict[str, Any]:
    """A dataclass as JSON holds it; `typed` reads it."""
    return dict(_adapter(type(value)).dump_python(value, mode="json"))


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(with_config(ConfigDict(extra="forbid"))(kind))
    return _ADAPTERS[kind]


def stored_time(told: str) -> datetime:
    """A time that Winnow wrote.

    Raises:
        ValueError, TypeError: It is none, has no zone, or no clock ever showed it.
    """
    time = datetime.fromisoformat(told)
    if time.tzinfo is None or not 1970 < time.year < 9000:
        raise ValueError("no time of Winnow's")
    return time


def _is_time(text: str) -> str:
    stored_time(text)
    return text


StoredTime = Annotated[str, AfterValidator(_is_time)]
"""A time that Winnow wrote, as its text."""


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
