"""Ids as columns are what Python's own sets are, in a fraction of the memory."""

from __future__ import annotations

import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.label.ids import Ids

from ...sampling import examples

NAMES = st.lists(st.text(st.sampled_from("ab\u00e9\ud800"), max_size=3), max_size=12)


@settings(max_examples=examples(200), deadline=None)
@given(NAMES, NAMES)
def test_ids_are_found_where_the_first_equal_one_was_given(one: list[str], other: list[str]):
    ids = Ids(one).plus(Ids(other))
    given_ = [*one, *other]
    for name in {*given_, "c", "aaaa", "a\0"}:
        place = ids.place(name)
        assert place == (given_.index(name) if name in given_ else None)
        assert (name in ids) == (name in given_)
    assert set(ids) == set(given_) and len(ids) == len(set(given_))
    assert ids == Ids(given_) and ids == set(given_)
    assert ids.firsts().tolist() == [given_.index(name) == n for n, name in enumerate(given_)]


@settings(max_examples=examples(200), deadline=None)
@given(NAMES, NAMES)
def test_what_is_only_here_is_what_sets_say(one: list[str], other: list[str]) -> None:
    ids = Ids(one)
    for others in (Ids(other), set(other)):
        only = [ids.at(place) for place in ids.only_here(others)]
        assert only == sorted(set(one) - set(other), key=lambda name: name.encode(errors=ANY))


ANY = "surrogatepass"


def test_an_id_takes_some_forty_bytes() -> None:
    n = 20_000
    tracemalloc.start()
    try:
        ids = Ids(f"{k:032x}" for k in range(n))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(ids) == n
    assert held < 60 * n
