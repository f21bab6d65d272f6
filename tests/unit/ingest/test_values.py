"""Foreign values are read within limits, or refused with a reason: nothing else is raised."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.ids import canonical_json
from winnow.ingest.values import MAX_DEPTH, Unreadable, columns_of, read_json, read_time, tidy

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
)


def refused(text: bytes | str) -> str:
    with pytest.raises(Unreadable) as fault:
        read_json(text)
    return fault.value.reason


@given(st.binary(max_size=60) | st.text('[]{}",:\\ud8/-1e.N', max_size=60))
def test_any_bytes_are_a_value_or_have_a_reason(data: bytes | str) -> None:
    with contextlib.suppress(Unreadable):
        canonical_json(tidy(read_json(data), "x"))


@given(values)
def test_what_is_tidied_can_be_written_and_is_tidy(value: Any) -> None:
    try:
        tidied = tidy(value, "x")
    except Unreadable:
        return
    assert json.loads(canonical_json(tidied)) == tidied
    assert tidy(tidied, "x") == tidied


def test_limits_do_not_depend_on_how_deep_the_caller_is() -> None:
    deep, too_deep = ("[" * n + "]" * n for n in (MAX_DEPTH, MAX_DEPTH + 1))

    def at(level: int, text: str) -> Any:
        return at(level - 1, text) if level else read_json(text)

    for level in (0, 500):
        assert at(level, deep) is not None
        with pytest.raises(Unreadable, match="nested_too_deep"):
            at(level, too_deep)
    assert refused("[" * 10**6) == "nested_too_deep"
    assert refused('{"a":' * 10**5) == "nested_too_deep"
    assert refused("9" * 10**6) == "number_too_long"
    assert read_json("9" * 4_300) == int("9" * 4_300)


def test_half_a_surrogate_pair_is_found_however_it_is_written() -> None:
    for text in (r'"\ud83d"', r'{"\uDC00": 1}', r'["x", "\ud83d\ud83d\ude00"]', '"\ud83d"'):
        assert refused(text) == "invalid_utf8"
    assert read_json(r'"\ud83d\ude00"') == "😀"
    assert read_json(r'"\\ud83d"') == r"\ud83d"


def test_null_is_absent_and_whole_numbers_are_whole() -> None:
    row = {"a": {"x": None, "y": 1.0, "z": [None, {"w": None}]}, "b": None, "c": [], "d": {}}
    assert columns_of(row, ["a", "b", "c", "d", "e"]) == {"a": {"y": 1, "z": [None, {}]}}


def test_many_names_that_stand_twice_take_no_time() -> None:
    members = ",".join(f'"k{k}": 1, "k{k}": 2' for k in range(100_000))
    assert columns_of(read_json(f'{{"a": 1, "x": {{{members}}}}}'), ["a"]) == {"a": 1}


def test_a_known_name_that_stands_twice_is_refused_and_an_unknown_one_is_not_read() -> None:
    row = read_json('{"a": 1, "b": 2, "b": 3, "c": NaN}')
    assert columns_of(row, ["a"]) == {"a": 1}
    with pytest.raises(Unreadable, match="stands_twice"):
        columns_of(row, ["a", "b"])
    with pytest.raises(Unreadable, match="no_number"):
        columns_of(row, ["c"])
    with pytest.raises(Unreadable, match="stands_twice"):
        columns_of(read_json('{"a": {"x": {"y": 1, "y": 1}}}'), ["a"])


@pytest.mark.parametrize(
    "text",
    [
        *(
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-05:00",
            "9999-12-31T23:59:59.999-00:01",
        ),
        *("noon", "", "2026-13-01", "0000-01-01", "10000-01-01", 5, True, [], b"x"),
    ],
)
def test_a_time_that_is_none_is_refused(text: Any) -> None:
    with pytest.raises(Unreadable):
        read_time(text, "received_at")


def test_times_are_utc() -> None:
    ten = datetime(2026, 11, 22, 10, tzinfo=UTC)
    for told in ("2026-11-22T10:00:00", "2026-11-22T12:00:00+02:00", datetime(2026, 11, 22, 10)):
        assert read_time(told, "t") == ten
    assert read_time("0001-01-01T00:00:00-01:00", "t") == datetime(1, 1, 1, 1, tzinfo=UTC)
    assert read_time(None, "t") is None
