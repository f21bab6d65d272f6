"""A pick is admitted exactly when the floors can still be met after it, as enumeration shows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.select.reservations import Reservations


@dataclass(frozen=True)
class Shard:
    """Pools as counts of open pairs: one column for each floor's stratum, the last for none."""

    slots: int
    wanted: list[int]
    least: list[int]
    most: list[int]
    open_: list[list[int]]


@st.composite
def shards(draw: st.DrawFn) -> Shard:
    n_pools, n_floors = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    counts = st.lists(st.integers(0, 3), min_size=n_floors + 1, max_size=n_floors + 1)
    open_ = [draw(counts) for _ in range(n_pools)]
    most = [min(draw(st.integers(0, 4)), sum(row)) for row in open_]
    least = [min(draw(st.integers(0, 2)), each) for each in most]
    slots = sum(least) + draw(st.integers(0, 5))
    return Shard(slots, [draw(st.integers(0, 4)) for _ in range(n_floors)], least, most, open_)


def reservations_of(shard: Shard) -> Reservations:
    n_floors = len(shard.wanted)
    open_pk = np.array([row[:n_floors] for row in shard.open_])
    return Reservations(
        slots=shard.slots,
        wanted_k=np.array(shard.wanted),
        unmet_p=np.array(shard.least),
        room_p=np.array(shard.most),
        open_pk=open_pk,
        reserved_pk=np.zeros_like(open_pk),
    ).reserving()


def fewest_missing(shard: Shard) -> int:
    """Least sum of unmet wants over every way to pick, by enumeration."""
    ways = [
        [
            picks
            for picks in product(*(range(count + 1) for count in row))
            if least <= sum(picks) <= most
        ]
        for row, least, most in zip(shard.open_, shard.least, shard.most, strict=True)
    ]
    missing = [
        sum(
            max(0, want - got) for want, got in zip(shard.wanted, np.sum(way, axis=0), strict=False)
        )
        for way in product(*ways)
        if np.sum(way) <= shard.slots
    ]
    return min(missing)


@settings(max_examples=200, deadline=None)
@given(shard=shards(), seed=st.integers(0, 1000))
def test_any_order_of_admitted_picks_meets_the_floors_as_far_as_possible(
    shard: Shard, seed: int
) -> None:
    rng, state = np.random.default_rng(seed), reservations_of(shard)
    n_floors, open_ = len(shard.wanted), [list(row) for row in shard.open_]
    picked = np.zeros((len(open_), n_floors + 1), dtype=int)
    while True:
        admitted = []
        for pool, row in enumerate(open_):
            for stratum, count in enumerate(row):
                floors = np.array([stratum] if stratum < n_floors else [], dtype=np.int64)
                after = state.after(pool, floors) if count else None
                if after is not None:
                    assert after.need <= after.slots
                    admitted.append((pool, stratum, after))
        if not admitted:
            break
        pool, stratum, state = admitted[rng.integers(len(admitted))]
        open_[pool][stratum] -= 1
        picked[pool, stratum] += 1
    got = picked.sum(axis=0)
    missing = sum(max(0, want - have) for want, have in zip(shard.wanted, got, strict=False))
    assert missing == fewest_missing(shard)
    assert (picked.sum(axis=1) >= shard.least).all()
    assert picked.sum() == min(shard.slots, sum(shard.most))


def one_pool(slots: int, wanted: list[int], open_k: list[int], room: int) -> Reservations:
    return Reservations(
        slots=slots,
        wanted_k=np.array(wanted),
        unmet_p=np.array([0]),
        room_p=np.array([room]),
        open_pk=np.array([open_k]),
        reserved_pk=np.zeros((1, len(wanted)), dtype=np.int64),
    ).reserving()


def test_a_pair_of_two_strata_serves_both_floors_and_frees_a_slot() -> None:
    state = one_pool(slots=2, wanted=[1, 1], open_k=[1, 1], room=2)
    assert state.spare == 0
    assert state.after(0, np.array([], dtype=np.int64)) is None
    after = state.after(0, np.array([0, 1]))
    assert after is not None
    assert after.spare == 1


def test_a_floor_makes_way_for_one_that_has_no_other_pool() -> None:
    state = Reservations(
        slots=2,
        wanted_k=np.array([1, 1]),
        unmet_p=np.array([0, 0]),
        room_p=np.array([1, 1]),
        open_pk=np.array([[1, 1], [1, 0]]),
        reserved_pk=np.zeros((2, 2), dtype=np.int64),
    ).reserving()
    assert state.reserved_pk.tolist() == [[0, 1], [1, 0]]
    assert not state.short


def test_a_floor_moves_to_another_pool_when_its_pairs_close() -> None:
    state = Reservations(
        slots=2,
        wanted_k=np.array([2]),
        unmet_p=np.array([0, 0]),
        room_p=np.array([2, 2]),
        open_pk=np.array([[2], [2]]),
        reserved_pk=np.zeros((2, 1), dtype=np.int64),
    ).reserving()
    assert state.reserved_pk.tolist() == [[2], [0]]
    closed = state.with_open(0, room=1, open_k=np.array([0]))
    assert closed.reserved_pk.tolist() == [[0], [2]]
    assert closed.after(0, np.array([], dtype=np.int64)) is None


@pytest.mark.parametrize(("slots", "room"), [(0, 1), (1, 0)])
def test_nothing_is_admitted_without_a_slot_or_room(slots: int, room: int) -> None:
    assert one_pool(slots, [0], [1], room).after(0, np.array([0])) is None
