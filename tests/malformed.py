"""Vendors' records as nobody expects them: kinds of damage, each done to one good record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .foreign import ODD

Record = dict[str, Any]
Place = tuple[str | int, ...]

CHOICES = ('"A"', '" b "', '"Both Bad"', '"BOTH-BAD"', '"c"', '"left"', '["a"]', '{"a": true}')
TIMES = (
    *('"2026-11-22T10:00:00"', '"2026-11-22"', '"20261122T100000"', '"22.11.2026"', '"yesterday"'),
    *('"2026-11-22T25:00:00Z"', '"10000-01-01T00:00:00Z"', '"0001-01-01T00:00:00+23:59"'),
    *('"2026-11-22T10:00:00+99:00"', "1763800000", "1763800000000", '"1763800000"', '"infinity"'),
)
NUMBERS = (
    *("0", "-1", "3", "5", "6", "17", "17.0", "0.5", "-0.0", "1e3", "1e-320", "1e400", "-1e400"),
    *('"17"', '" 17 "', '"1e3"', '"0x1F"', '"１７"', '"NaN"', "false", "2.5e11", str(10**12)),
    *(str(2**31), str(2**53 + 1), str(2**62), str(2**63 - 1), str(2**63), str(-(2**63)), "9" * 400),
)
TEXTS = (
    *('"\\ud800"', '"x\\udfff"', '"\\u0000"', '"\\u202e"', '"\\u001b[31m"', '"<script>"', '"é"'),
    *('"%s"' % ("x" * 201), '"%s"' % ("x" * 501), '"%s"' % ("x" * 20_001), '"\\\\"', '"a\\nb"'),
)
WRONG = tuple(dict.fromkeys((*ODD, *CHOICES, *TIMES, *NUMBERS, *TEXTS)))
"""JSON texts, and texts that are none, to stand in place of a value; none holds a newline."""


@dataclass(frozen=True)
class Kind:
    """One kind of damage: `write` gives the bytes of a good record that has suffered it.

    `tears` says that in a list the damage would reach beyond the record.
    """

    name: str
    write: Callable[[Record], bytes]
    tears: bool = False


def kinds_of(record: Record) -> list[Kind]:
    """Every kind, for records of the shape of `record`: a value each, then the whole text."""
    return [*_of_values(record), *_of_bytes()]


def line(record: Record) -> bytes:
    """A record as it should be, on one line."""
    return json.dumps(record, ensure_ascii=False).encode()


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Where a value stands in a record, from the outside inwards."""
    inside = value.items() if isinstance(value, dict) else ()
    inside = enumerate(value) if isinstance(value, list) else inside
    for name, held in inside:
        yield (*at, name)
        yield from places(held, (*at, name))


def written(value: Any, at: Place, texts: list[str]) -> str:
    """A record in which `texts` stand where one value stood: none, another, or more of a name."""
    if isinstance(value, dict):
        members = [
            f"{json.dumps(name)}: {text}"
            for name, held in value.items()
            for text in _at(name, held, at, texts)
        ]
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        elements = [text for n, held in enumerate(value) for text in _at(n, held, at, texts)]
        return "[" + ", ".join(elements) + "]"
    return json.dumps(value, ensure_ascii=False)


def _at(name: str | int, held: Any, at: Place, texts: list[str]) -> list[str]:
    if at == (name,):
        return texts
    return [written(held, at[1:] if at[:1] == (name,) else (), texts)]


def _of_values(record: Record) -> Iterator[Kind]:
    for place in places(record):
        name = ".".join(map(str, place))
        yield _changed(f"{name} is absent", place, lambda _: [])
        yield _changed(f"{name} stands twice", place, lambda held: [held, held])
        yield _changed(f"{name} is told in two ways", place, lambda held: [held, '"other"'])
        yield _changed(f"{name} is in a list", place, lambda held: [f"[{held}]"])
        yield _changed(f"{name} is JSON in a text", place, lambda held: [json.dumps(held)])
        for number, wrong in enumerate(WRONG):
            yield _changed(
                f"{name} = {wrong[:24]} ({number})", place, lambda _, wrong=wrong: [wrong]
            )


def _changed(name: str, place: Place, texts: Callable[[str], list[str]]) -> Kind:
    def write(record: Record) -> bytes:
        held: Any = record
        for step in place:
            held = held[step]
        told = written(record, place, texts(json.dumps(held, ensure_ascii=False)))
        return told.encode("utf-8", "surrogatepass")

    return Kind(name, write)


def _of_bytes() -> Iterator[Kind]:
    """What befalls a whole text on its way; each still differs from record to record."""
    yield Kind("a byte order mark before it", lambda r: b"\xef\xbb\xbf" + line(r))
    yield Kind("in UTF-16", lambda r: line(r).decode().encode("utf-16"))
    yield Kind("a byte that is no UTF-8", lambda r: line(r).replace(b"cause", b"c\xffuse"))
    yield Kind("zero bytes behind it", lambda r: line(r) + b"\0\0")
    yield Kind("a comma behind it", lambda r: line(r) + b",")
    yield Kind("a comma too many", lambda r: line(r)[:-1] + b",}")
    yield Kind("brackets around it", lambda r: b"[" + line(r) + b"]")
    yield Kind("as JSON in a text", lambda r: json.dumps(line(r).decode()).encode())
    yield Kind("in single quotes", lambda r: line(r).replace(b'"', b"'"))
    yield Kind("a comment behind it", lambda r: line(r) + b" // done")
    yield Kind("in a list in 100 lists", lambda r: b"[" * 100 + line(r) + b"]" * 100)
    yield Kind("names in capitals", lambda r: line({k.upper(): v for k, v in r.items()}))
    yield Kind("names with a space", lambda r: line({f" {k}": v for k, v in r.items()}))
    yield Kind("below a name", lambda r: line({"annotation": r}))
    yield Kind("values only", lambda r: line(list(r.values())))
    yield Kind("as CSV", lambda r: ",".join(map(str, r.values())).encode(), True)
    yield Kind("a million brackets before it", lambda r: b"[" * 1_000_000 + line(r), True)
    yield Kind("unknown fields beside it", lambda r: line({**r, "x": {"y": [None]}, "": 1}))
    for share in range(1, 10):
        yield Kind(f"cut at {share}0 %", lambda r, s=share: line(r)[: len(line(r)) * s // 10], True)
