"""A page is taken apart at any depth, and its parts are the bytes that came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.ingest.values import Unreadable
from winnow.label.vendors.pages import elements, members

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def same(part: bytes, value: Any) -> bool:
    return json.dumps(json.loads(part)) == json.dumps(value)


@given(st.dictionaries(st.text(max_size=6), values, max_size=5), st.sampled_from([None, 1, "\t"]))
def test_the_members_of_an_object_are_its_values(value: dict[str, Any], indent: Any) -> None:
    parts = members(json.dumps(value, indent=indent).encode())
    assert list(parts) == list(value)
    assert all(same(parts[name], value[name]) for name in value)


@given(st.lists(values, max_size=5), st.booleans())
def test_the_elements_of_an_array_are_its_values(value: list[Any], ascii_only: bool) -> None:
    parts = elements(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace"))
    assert len(parts) == len(value)
    if ascii_only:
        assert all(same(part, one) for part, one in zip(parts, value, strict=True))


def test_depth_and_length_do_not_matter() -> None:
    deep, long = b"[" * 200_000 + b"]" * 200_000, b"9" * 200_000
    assert elements(b"[" + deep + b" , " + long + b"]") == [deep, long]
    assert members(b'{"x": ' + deep + b', "y":"\\"}"}') == {"x": deep, "y": b'"\\"}"'}


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b"}", b'{"a": 1', b"{} {}", b'{"a"}', b"{1: 2}", b'{"a":1,"a":2}']
)
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        members(raw)


@given(st.binary(max_size=40))
def test_nothing_else_is_raised(raw: bytes) -> None:
    for read in (members, elements):
        try:
            read(raw)
        except Unreadable:
            continue
