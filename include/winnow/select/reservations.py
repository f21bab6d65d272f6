"""Which slots of a shard are kept for floors, so that no greedy pick makes one unreachable.

A reservation keeps one slot of one pool for one floor, and a pick is admitted only when every
reservation can still be kept, moved to another pool if need be. For floors whose strata share no
pair this is a flow from pools to floors with lower bounds on both, found by augmenting paths, so a
pick is refused exactly when the floors cannot all be met after it. A pair of several floored strata
counts for each once it is taken, but slots are kept for each floor apart; `short` says that these
do not suffice, and callers then take pairs of the most floors first, as is usual for a set cover.

`Slots` is the same where there are no floors, so that minimums alone keep slots.

Always holds: need <= slots; a pool never has more reserved than its room, nor for a floor more than
its open pairs; `Reservations` never change in place.

Shapes: p pools of the shard, k floors.

Source: docs/choosing_pairs.md, "Floors".
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from winnow.arrays import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Reservations:
    """What a shard may still pick, and what of it is spoken for.

    Attributes:
        slots: Picks that the shard may still make.
        wanted_k: Picks that each floor still wants from this shard.
        unmet_p: Picks that each pool lacks to its minimum, at most its room.
        room_p: Picks that each pool may still give.
        open_pk: Open pairs of each pool in each floor's stratum.
        reserved_pk: Slots of each pool kept for each floor.
    """

    slots: int
    wanted_k: IntArray
    unmet_p: IntArray
    room_p: IntArray
    open_pk: IntArray
    reserved_pk: IntArray

    @property
    def need(self) -> int:
        """Slots that minimums and reservations use together; a reservation can serve a minimum."""
        return _need(self.reserved_pk, self.unmet_p)

    @property
    def spare(self) -> int:
        """Slots that any pair may take."""
        return self.slots - self.need

    @property
    def short(self) -> bool:
        """Whether floors want more than could be reserved, so that only overlaps can meet them."""
        return bool(self.wanted_k.sum() > self.reserved_pk.sum())

    def after(self, pool: int, floors: IntArray) -> Reservations | None:
        """The state after a pick from `pool` in the strata of `floors`; None when not admitted."""
        if self.slots < 1 or self.room_p[pool] < 1:
            return None
        wanted_k, unmet_p, room_p = self.wanted_k.copy(), self.unmet_p.copy(), self.room_p.copy()
        open_pk, reserved_pk = self.open_pk.copy(), self.reserved_pk.copy()
        wanted_k[floors] = np.maximum(wanted_k[floors] - 1, 0)
        unmet_p[pool] = max(unmet_p[pool] - 1, 0)
        room_p[pool] -= 1
        open_pk[pool, floors] -= 1
        for floor in floors:
            _release(reserved_pk, pool, int(floor), int(wanted_k[floor]))
        if reserved_pk[pool].sum() > room_p[pool] and not _move_out(
            reserved_pk, open_pk, unmet_p, room_p, pool
        ):
            return None
        if _need(reserved_pk, unmet_p) > self.slots - 1 and not _move_to_minimum(
            reserved_pk, open_pk, unmet_p
        ):
            return None
        return Reservations(self.slots - 1, wanted_k, unmet_p, room_p, open_pk, reserved_pk)

    def wanting(self, floors: IntArray) -> IntArray:
        """Those of some floors that still want a pick."""
        return floors[self.wanted_k[floors] > 0]

    def admits(self, pool: int, floors: IntArray) -> bool:
        """Whether a pick from `pool` in the strata of `floors` is admitted."""
        return self.after(pool, floors) is not None

    def taken(self, pool: int, floors: IntArray, room: int, open_k: IntArray) -> Reservations:
        """The state after an admitted pick that left `room` and `open_k`; see `with_open`."""
        after = self.after(pool, floors)
        assert after is not None
        return after.with_open(pool, room, open_k)

    def with_open(self, pool: int, room: int, open_k: IntArray) -> Reservations:
        """The same state once a pick turned out to close more pairs of its pool.

        Reservations that the pool cannot keep are made again elsewhere, as far as slots allow.
        """
        room_p, unmet_p = self.room_p.copy(), self.unmet_p.copy()
        room_p[pool] = room
        unmet_p[pool] = min(int(unmet_p[pool]), room)
        open_pk = self.open_pk.copy()
        open_pk[pool] = open_k
        reserved_pk = self.reserved_pk.copy()
        kept_k = np.minimum(reserved_pk[pool], open_k)
        excess_k = np.maximum(np.cumsum(kept_k) - room, 0)
        reserved_pk[pool] = np.maximum(kept_k - excess_k, 0)
        state = replace(
            self, room_p=room_p, open_pk=open_pk, unmet_p=unmet_p, reserved_pk=reserved_pk
        )
        return state.reserving()

    def reserving(self) -> Reservations:
        """With as many of the wanted picks reserved as possible, first where a minimum pays."""
        reserved_pk = self.reserved_pk.copy()
        for capacity_p, costs in ((self.unmet_p, 0), (self.room_p, 1)):
            waiting = deque(np.flatnonzero(self.wanted_k > reserved_pk.sum(axis=0)).tolist())
            while waiting and _need(reserved_pk, self.unmet_p) + costs <= self.slots:
                floor = waiting.popleft()
                added = _add(reserved_pk, self.open_pk, capacity_p, floor)
                if added and reserved_pk[:, floor].sum() < self.wanted_k[floor]:
                    waiting.append(floor)
        return replace(self, reserved_pk=reserved_pk)


@dataclass(slots=True, eq=False)
class Slots:
    """What a shard without floors may still pick; a pick changes it in place.

    Attributes:
        slots: Picks that the shard may still make.
        unmet_p: Picks that each pool lacks to its minimum, at most its room.
        room_p: Picks that each pool may still give.
    """

    slots: int
    unmet_p: list[int]
    room_p: list[int]

    @property
    def need(self) -> int:
        """Slots that minimums use."""
        return sum(self.unmet_p)

    @property
    def spare(self) -> int:
        """Slots that any pair may take."""
        return self.slots - self.need

    @property
    def short(self) -> bool:
        """No floor falls short."""
        return False

    def wanting(self, floors: IntArray) -> IntArray:
        """No floor wants anything."""
        return floors

    def admits(self, pool: int, floors: IntArray) -> bool:
        """Whether a pick from `pool` is admitted: beyond a minimum it takes no slot of one."""
        is_free = self.unmet_p[pool] > 0 or self.need < self.slots
        return is_free and self.slots > 0 and self.room_p[pool] > 0

    def taken(self, pool: int, floors: IntArray, room: int, open_k: IntArray) -> Slots:
        """The state after an admitted pick that left the pool's `room`."""
        self.slots -= 1
        return self._now(pool, room, self.unmet_p[pool] - 1)

    def with_open(self, pool: int, room: int, open_k: IntArray) -> Slots:
        """The state once a pool turned out to have less room."""
        return self._now(pool, room, self.unmet_p[pool])

    def _now(self, pool: int, room: int, unmet: int) -> Slots:
        self.room_p[pool], self.unmet_p[pool] = room, min(max(unmet, 0), room)
        return self


def _need(reserved_pk: IntArray, unmet_p: IntArray) -> int:
    return int(np.maximum(reserved_pk.sum(axis=1), unmet_p).sum())


def _release(reserved_pk: IntArray, pool: int, floor: int, wanted: int) -> None:
    """Gives up, in place, one reservation that a pick of `pool` replaces."""
    if reserved_pk[pool, floor]:
        reserved_pk[pool, floor] -= 1
    elif reserved_pk[:, floor].sum() > wanted:
        reserved_pk[int(np.argmax(reserved_pk[:, floor] > 0)), floor] -= 1


def _move_out(
    reserved_pk: IntArray, open_pk: IntArray, unmet_p: IntArray, room_p: IntArray, pool: int
) -> bool:
    """Moves one reservation of `pool` elsewhere, in place."""
    for capacity_p in (unmet_p, room_p):
        for floor in np.flatnonzero(reserved_pk[pool]).tolist():
            reserved_pk[pool, floor] -= 1
            if _add(reserved_pk, open_pk, capacity_p, floor):
                return True
            reserved_pk[pool, floor] += 1
    return False


def _move_to_minimum(reserved_pk: IntArray, open_pk: IntArray, unmet_p: IntArray) -> bool:
    """Moves one reservation, in place, from a slot of its own to one that a minimum uses anyway."""
    dear_p = reserved_pk.sum(axis=1) > unmet_p
    for floor in np.flatnonzero(reserved_pk[dear_p].any(axis=0)).tolist():
        giver = int(np.argmax(dear_p & (reserved_pk[:, floor] > 0)))
        reserved_pk[giver, floor] -= 1
        if _add(reserved_pk, open_pk, unmet_p, floor):
            return True
        reserved_pk[giver, floor] += 1
    return False


def _add(reserved_pk: IntArray, open_pk: IntArray, capacity_p: IntArray, floor: int) -> bool:
    """Reserves one slot more for `floor`, in place, moving other reservations if need be.

    A breadth-first search over floors: one that finds no free pool asks the pools that it could use
    whose reservations they hold, and those floors look for another pool in turn.
    """
    free_p = reserved_pk.sum(axis=1) < capacity_p
    asked_by: dict[int, tuple[int, int]] = {}
    queue = deque([floor])
    while queue:
        taker = queue.popleft()
        usable_p = reserved_pk[:, taker] < open_pk[:, taker]
        if (usable_p & free_p).any():
            _shift(reserved_pk, asked_by, taker, int(np.argmax(usable_p & free_p)))
            return True
        for holder in np.flatnonzero(reserved_pk[usable_p].any(axis=0)).tolist():
            if holder != floor and holder not in asked_by:
                pool = int(np.argmax(usable_p & (reserved_pk[:, holder] > 0)))
                asked_by[holder] = (taker, pool)
                queue.append(holder)
    return False


def _shift(
    reserved_pk: IntArray, asked_by: dict[int, tuple[int, int]], floor: int, pool: int
) -> None:
    """Gives `floor` a slot of `pool`, and its former slot to the floor that asked for it."""
    reserved_pk[pool, floor] += 1
    while floor in asked_by:
        taker, pool = asked_by[floor]
        reserved_pk[pool, floor] -= 1
        reserved_pk[pool, taker] += 1
        floor = taker
