"""Sharing out a shard's slots among its prompts: minimums first, then the best pair of any prompt.

Water-filling: a heap holds the best next pair of each pool, and a slot goes to whichever is worth
most, until the slots run out or every pool is at its maximum or dry. Reservations keep slots for
floors: a pair that would make one unreachable is passed over, and the pair taken in its stead says
so.

Always holds: where no floor interferes, no pair passed over was worth more than the last one taken;
equal worths fall to the smaller prompt id, then to the smaller response ids.

Shapes: p pools of the shard, k floors.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush

import numpy as np

from winnow.arrays import BoolArray, IndexArray, IntArray
from winnow.select.night_pool import NightPool
from winnow.select.reservations import Reservations, Slots
from winnow.select.rules import Candidate


def reserve(pools: Sequence[NightPool], wanted_k: IntArray, slots: int) -> Reservations | Slots:
    """`slots` of the pools, with as many as possible reserved for what floors want of them."""
    if not len(wanted_k):
        return Slots(slots, [pool.unmet for pool in pools], [pool.room for pool in pools])
    open_pk = np.stack([pool.open_k for pool in pools])
    return Reservations(
        slots=slots,
        wanted_k=wanted_k,
        unmet_p=np.array([pool.unmet for pool in pools]),
        room_p=np.array([pool.room for pool in pools]),
        open_pk=open_pk,
        reserved_pk=np.zeros_like(open_pk),
    ).reserving()


def fill(pools: Sequence[NightPool], plan: Reservations | Slots, strata: Sequence[str]) -> int:
    """Take pairs until the slots of `plan`, the maximums or the pairs run out; the slots left over.

    `pools` are in order of prompt id, their choices grow; `strata` are the floors' names.
    """
    filling = _Filling(pools, plan, strata)
    filling.meet_minimums()
    filling.water_fill()
    return filling.plan.slots


class _Filling:
    """A shard being filled; `_refused` is the worth of the pair that each pool had to pass over."""

    def __init__(
        self, pools: Sequence[NightPool], plan: Reservations | Slots, strata: Sequence[str]
    ) -> None:
        self.plan = plan
        self._pools, self._strata = pools, strata
        self._heap: list[tuple[float, float, int]] = []
        self._offers: dict[int, Candidate] = {}
        self._refused: dict[int, float] = {}

    def meet_minimums(self) -> None:
        for index in range(len(self._pools)):
            while self.plan.unmet_p[index] and (offer := self._offer(index)):
                self._take(index, offer, "minimum")
            self._refused.clear()

    def water_fill(self) -> None:
        while self.plan.slots:
            if not self._heap:  # At first, or when moved reservations may admit pairs again.
                self._push(range(len(self._pools)))
            if not self._heap:
                break
            *rank, index = heappop(self._heap)
            offer, spare = self._offers[index], self.plan.spare
            if not self._admits(index, offer.pair) or rank != self._rank(index, offer):
                self._push([index])
                continue
            self._take(index, offer, "best")
            if self.plan.spare > spare:
                self._heap.clear()  # Offers made under tighter reservations are out of date.
            else:
                self._push([index])

    def _push(self, indices: Sequence[int]) -> None:
        for index in indices:
            offer = self._offer(index)
            if offer is not None:
                self._offers[index] = offer
                urgency, worth = self._rank(index, offer)
                heappush(self._heap, (urgency, worth, index))

    def _rank(self, index: int, offer: Candidate) -> list[float]:
        """Smaller is taken first: by floors served where they fall short, then by worth."""
        served = len(self._served(index, offer.pair)) if self.plan.short else 0
        return [-served, -self._pools[index].worth(offer)]

    def _offer(self, index: int) -> Candidate | None:
        """The best pair of a pool that the reservations admit."""
        self._refused.pop(index, None)
        if not self.plan.room_p[index]:
            return None
        pool = self._pools[index]
        best = pool.chooser.best()
        if best is None:
            self.plan = self.plan.with_open(index, 0, np.zeros(len(self._strata), np.int64))
            return None
        if not self.plan.short and self._admits(index, best.pair):
            return best
        offer = pool.chooser.best(self._allowed(index))
        if offer is None or offer.pair != best.pair:
            self._refused[index] = pool.worth(best)
        return offer

    def _allowed(self, index: int) -> BoolArray:
        """Mask (e,) of the pairs admitted; where floors fall short, those that serve the most."""
        pool = self._pools[index]
        masks = [mask for mask in pool.classes() if self._admits(index, int(mask.argmax()))]
        served = [len(self._served(index, int(mask.argmax()))) for mask in masks]
        most = max(served, default=0) if self.plan.short else 0
        kept = [mask for mask, count in zip(masks, served, strict=True) if count >= most]
        allowed_e: BoolArray = np.any([np.zeros_like(pool.chooser.open_e), *kept], axis=0)
        return allowed_e

    def _served(self, index: int, pair: int) -> IndexArray:
        """Floors that still want something and would get it from a pair."""
        return self.plan.wanting(self._pools[index].floors_of(pair))

    def _admits(self, index: int, pair: int) -> bool:
        return self.plan.admits(index, self._pools[index].floors_of(pair))

    def _take(self, index: int, offer: Candidate, reason: str) -> None:
        pool = self._pools[index]
        floors = pool.floors_of(offer.pair)
        served = self._served(index, offer.pair)
        passed_over = max(self._refused.values(), default=-np.inf) > pool.worth(offer)
        if passed_over and len(served):
            reason = f"floor {self._strata[served[0]]}"
        pool.take(offer, reason)
        self.plan = self.plan.taken(index, floors, pool.room, pool.open_k)
