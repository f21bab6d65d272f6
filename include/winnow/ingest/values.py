"""Values that come from outside: read within limits, or refused with a reason.

What always holds: nothing but `Unreadable` is raised, whatever the bytes are; what comes out can be
written as UTF-8, as JSON and as Arrow, and read back. Limits come before work: a number of a
million digits or brackets in brackets cost no more than to look at them.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from numbers import Real
from typing import Any

from winnow.text import has_half_surrogate

MAX_DEPTH = 64
"""Brackets within brackets, at most: deeper text overruns the stack of one reader or another."""

MAX_DIGITS = 4_300
"""Digits of a whole number, at most: Python itself writes no longer ones."""

VECTORS = ("vector", "chosen_vector", "rejected_vector")
"""Columns of embeddings."""

LISTS = {
    **dict.fromkeys(("messages", "conversations", "conversation", "tools", "context"), dict),
    **dict.fromkeys(("chosen_messages", "rejected_messages", "instances"), dict),
    **dict.fromkeys(("preferred_output", "non_preferred_output"), dict),
    **dict.fromkeys(("turns", "tags"), str),
}
"""Columns of lists, with what they list: such a list may stand as JSON in a text."""

_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_WHOLE = 2.0**53


class Unreadable(Exception):
    """A foreign value that is refused: `reason` is a word to count by, `detail` is for a person.

    `format` names the format of its row, as far as that was told.
    """

    def __init__(self, reason: str, detail: str, format: str | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.format = reason, detail, format


class Twice(dict[str, Any]):
    """An object in which a name stands more than once; which of its values is meant is unknown."""

    names: frozenset[str]


def read_json(data: bytes | str) -> Any:
    """The value in a JSON text; an object that names something twice is a `Twice`.

    Raises:
        Unreadable: It is not UTF-8 or not JSON, is nested deeper than `MAX_DEPTH`, holds a whole
            number of more than `MAX_DIGITS` digits or half of a surrogate pair.
    """
    text = _decoded(data) if isinstance(data, bytes) else data
    try:
        value = _DECODER.decode(text)
    except _TooLong as error:
        raise Unreadable("number_too_long", str(error)) from None
    except RecursionError:
        raise Unreadable("nested_too_deep", f"more than {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as error:
        raise Unreadable("invalid_json", str(error)) from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise Unreadable("nested_too_deep", f"more than {MAX_DEPTH} levels")
    if has_half_surrogate(text) or (_ESCAPED_SURROGATE.search(text) and not _can_be_written(value)):
        raise Unreadable("invalid_utf8", "a text holds half of a surrogate pair")
    return value


def tidy(value: Any, name: str) -> Any:
    """A value of a known column as JSON-like Python, the same whatever file it came from.

    Null is absent: an object loses the names whose value is null. A whole number is an int, written
    as 1 or as 1.0. What Parquet has besides JSON becomes text (times, bytes) or an object (maps).

    Raises:
        Unreadable: A name stands twice, a number is not finite, a text is no UTF-8, or a value has
            no counterpart in JSON.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if has_half_surrogate(value):
            raise Unreadable("invalid_utf8", f"`{name}` holds half of a surrogate pair")
        return value
    if isinstance(value, int):
        return value
    if isinstance(value, Decimal | Real):
        return _number(float(value), name)
    if isinstance(value, Mapping):
        if isinstance(value, Twice):
            twice = ", ".join(sorted(value.names))
            raise Unreadable("stands_twice", f"`{name}` names {twice} more than once")
        return {k: tidy(v, name) for k, v in _items(value, name) if v is not None}
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        if value and all(isinstance(each, tuple) for each in value):
            return tidy(_from_map(value, name), name)
        return [tidy(each, name) for each in value]
    raise Unreadable("wrong_type", f"`{name}` holds {kind(value)}, which JSON does not know")


def columns_of(row: Any, names: Collection[str]) -> dict[str, Any]:
    """The known columns of a row, tidied; what is null or empty there is absent.

    A column of `VECTORS` comes as it is: thousands of numbers are looked at by what reads them.

    Raises:
        Unreadable: The row is no object, a known column stands twice, or a value is refused.
    """
    if not isinstance(row, Mapping):
        raise Unreadable("wrong_type", f"a row must be an object, not {kind(row)}")
    twice = row.names.intersection(names) if isinstance(row, Twice) else None
    if twice:
        raise Unreadable("stands_twice", f"{', '.join(sorted(twice))}: more than one of a name")
    columns = {
        name: row[name] if name in VECTORS else tidy(_unpacked(row[name], name), name)
        for name in names
        if name in row
    }
    return {name: value for name, value in columns.items() if not is_absent(value)}


def _unpacked(value: Any, name: str) -> Any:
    """A list that is written as JSON in a column of text, as databases and CSV hold it."""
    if name not in LISTS or not isinstance(value, str):
        return value
    if not value.lstrip().startswith(("[", "null")):
        return value
    try:
        unpacked = read_json(value)
    except Unreadable:
        return value
    kinds = (dict,) if LISTS[name] is dict else (str, type(None))
    is_list = isinstance(unpacked, list) and all(isinstance(each, kinds) for each in unpacked)
    return unpacked if unpacked is None or is_list else value


def is_absent(value: Any) -> bool:
    """Whether a column holds nothing: null, or an empty text, list or object."""
    return value is None or (isinstance(value, str | list | dict) and not value)


def read_time(raw: Any, name: str) -> datetime | None:
    """A time in UTC; one without a zone is taken as UTC, null is None.

    Args:
        raw: ISO 8601 text, or a `datetime`.
        name: What the value is called where it comes from.

    Raises:
        Unreadable: It is neither, or in UTC lies outside the years 1 to 9999.
    """
    if raw is None:
        return None
    try:
        time = raw if isinstance(raw, datetime) else datetime.fromisoformat(raw)
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except OverflowError:
        raise Unreadable("wrong_time", f"`{name}` lies outside the years 1 to 9999") from None
    except (TypeError, ValueError):
        raise Unreadable("wrong_type", f"`{name}` must be an ISO time: {shown(raw)}") from None


def kind(value: Any) -> str:
    """What a value is, in words."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    names |= {int: "a number", float: "a number", Twice: "an object"}
    return names.get(type(value), "nothing" if value is None else f"a {type(value).__name__}")


def shown(value: Any) -> str:
    """A foreign value in a message: short, and in ASCII."""
    text = ascii(value) if not isinstance(value, int) or abs(value) < 10**80 else "a huge number"
    return text if len(text) <= 80 else f"{text[:77]}..."


class _TooLong(Exception):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    times = Counter(name for name, _ in pairs)
    twice = Twice(members)
    twice.names = frozenset(name for name, n in times.items() if n > 1)
    return twice


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _TooLong(f"a number of {len(digits)} digits; {MAX_DIGITS} are read")
    return int(digits)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("invalid_utf8", f"byte {error.start + 1} is none") from None


def _number(value: float, name: str) -> int | float:
    if not math.isfinite(value):
        raise Unreadable("no_number", f"`{name}` holds {value}, which is no number")
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


def _items(value: Mapping[Any, Any], name: str) -> Iterator[tuple[str, Any]]:
    for key, held in value.items():
        if not isinstance(key, str) or has_half_surrogate(key):
            raise Unreadable("wrong_type", f"`{name}` has a name that is no text: {shown(key)}")
        yield key, held


def _from_map(pairs: Iterable[tuple[Any, ...]], name: str) -> dict[Any, Any]:
    """An Arrow map, which comes as pairs."""
    try:
        return _object([(key, held) for key, held in pairs])
    except (TypeError, ValueError):
        raise Unreadable("wrong_type", f"`{name}` holds a map without plain names") from None


def _depth(value: Any) -> int:
    """Brackets within brackets, counted no further than just beyond `MAX_DEPTH`."""
    level, depth = [value], 0
    while depth <= MAX_DEPTH:
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            break
        depth += 1
    return depth


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values() or (None,)
    return (value or (None,)) if isinstance(value, list) else ()


def _can_be_written(value: Any) -> bool:
    """Whether all texts and names in a value are UTF-8."""
    if isinstance(value, str):
        return not has_half_surrogate(value)
    if isinstance(value, dict) and not all(map(_can_be_written, value)):
        return False
    return all(map(_can_be_written, _inside(value)))
