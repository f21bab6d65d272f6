"""The parts of a JSON text, as they came: what a service lists is read record by record.

One record that no reader takes (a number of a million digits, a text that is no UTF-8) would make
the whole page unreadable for ever; so a page is taken apart by its brackets first, at any depth,
and each part is read by itself.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from winnow.ingest.formats.json_rows import parts
from winnow.ingest.values import Twice, Unreadable, read_json

_T = TypeVar("_T")

MOST_PARTS = 100_000
"""Of an array or an object: a page of blanks and commas must not fill the memory."""

_NAME = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def members(raw: bytes, lenient: bool = False) -> dict[str, bytes]:
    """The values of an object, by name; if `lenient`, nothing for a name that stands twice.

    Raises:
        Unreadable: It is no object, names something twice, or has more than `MOST_PARTS` members.
    """
    values: dict[str, bytes] = {}
    for part in _parts(raw, b"{}"):
        name = _NAME.match(part)
        if name is None or part[name.end() :].lstrip()[:1] != b":":
            raise Unreadable("invalid_json", "a name without a value")
        key = str(read_json(name.group()))
        if key in values and not lenient:
            raise Unreadable("stands_twice", "a name stands more than once")
        value = part[part.index(b":", name.end()) + 1 :].strip()
        values[key] = b"" if key in values else value
    return values


UNREAD: Final = object()
"""Stands for a part that is there and cannot be read."""


def read_part(part: bytes) -> Any:
    """The value of a part; `UNREAD` where it cannot be read."""
    try:
        return read_json(part)
    except Unreadable:
        return UNREAD


def only(value: Any, name: str) -> Any:
    """What an object that was read says under `name`; None where that is nothing, or two things."""
    if not isinstance(value, dict) or (isinstance(value, Twice) and name in value.names):
        return None
    return value.get(name)


def fitting(shape: TypeAdapter[_T], value: Any) -> _T | None:
    """The value in its shape; None where it is not of it."""
    try:
        return shape.validate_python(value)
    except ValidationError:
        return None


def unread(task_id: str, raw: bytes) -> bytes:
    """A record of an answer that cannot be read: its bytes as they came, beside its task's id."""
    return b'{"task_id": %s, "unread": %s}' % (json.dumps(task_id).encode(), raw)


def elements(raw: bytes) -> list[bytes]:
    """The elements of an array, in order.

    Raises:
        Unreadable: It is no array, or has more than `MOST_PARTS` elements.
    """
    return list(_parts(raw, b"[]"))


def _parts(raw: bytes, brackets: bytes) -> Iterator[bytes]:
    """What stands between the commas of the outermost brackets."""
    raw = raw.strip().removeprefix(codecs.BOM_UTF8)
    if raw[:1] != brackets[:1] or raw[-1:] != brackets[1:]:
        raise Unreadable("invalid_json", f"no {brackets.decode()}")
    sign = b""
    for n, (begin, end, sign) in enumerate(parts(raw, 1)):
        if n >= MOST_PARTS:
            raise Unreadable("too_many", f"more than {MOST_PARTS:,} elements")
        part = raw[begin:end].strip()
        if part or sign == b",":
            yield part
    if sign in (b"", b","):
        raise Unreadable("invalid_json", "brackets do not close")
    if end + 1 < len(raw):
        raise Unreadable("invalid_json", "more than one value")
