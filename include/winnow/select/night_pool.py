"""One pool of a night: its chooser, and what minimums, floors and water-filling ask about it.

Always holds: `room` and `open_k` are upper bounds on what the pool may still give, exact where a
cap on pairs per response leaves every arrangement open, and up to date after each choice.

Shapes: e packed pairs, k floors, m distinct responses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from winnow.arrays import BoolArray, IndexArray, IntArray
from winnow.reward.posterior import Head
from winnow.select.budget import NightRules
from winnow.select.coverage import CONTESTED, Supply, floor_members
from winnow.select.greedy import PoolChooser
from winnow.select.packing import matched_pairs
from winnow.select.pool import Pool
from winnow.select.rules import Candidate, Choice

SCORED_WITHIN_POOL = frozenset({"dts", "traditional"})
"""Strategies whose scores rank the pairs of one pool and say nothing across pools."""

_NO_FLOORS = np.zeros((0, 0), dtype=np.bool_)

_NONE = np.zeros(0, dtype=np.intp)


class NightPool:
    """A pool being chosen from under the rules of a night.

    Attributes:
        chooser: Chooses the pairs, one by one.
        room: Pairs that the pool may still give.
        open_k: How many of them could be in each floor's stratum.
    """

    chooser: PoolChooser
    room: int
    open_k: IntArray

    def __init__(self, pool: Pool, heads: Mapping[str, Head], rules: NightRules) -> None:
        self.chooser = PoolChooser(pool, heads, rules.pool_rules)
        self._rules, self._contested = rules, [CONTESTED + dimension for dimension in heads]
        self._member_ke = _NO_FLOORS
        if rules.strata:
            i_e, j_e = self.chooser.pairs_e2.T
            self._member_ke = floor_members(pool, i_e, j_e, rules.strata)
        cap = rules.pool_rules.max_pairs_per_response
        n = len(pool.response_ids)
        self._left_n = np.full(n, n if cap is None else cap)
        self._refresh(self.chooser.explore())

    @property
    def unmet(self) -> int:
        """Pairs that the pool lacks to its minimum, as far as it has them."""
        return min(max(self._rules.min_pairs_per_prompt - len(self.chooser.choices), 0), self.room)

    def supply(self) -> Supply:
        """What the pool can still give to each floor, and what its minimum brings in any case."""
        open_e = self.chooser.open_e
        outside_k = [self._at_most(open_e & ~member_e) for member_e in self._member_ke]
        least_k = np.maximum(self.unmet - np.array(outside_k, dtype=np.int64), 0)
        return Supply(least_k, self.open_k)

    def take(self, candidate: Candidate, reason: str) -> None:
        """Choose a pair."""
        self._refresh([self.chooser.take(candidate, reason)])

    def worth(self, candidate: Candidate) -> float:
        """What a pair is worth, in units that compare across pools.

        A gain where the strategy's score is a share of the pool's largest or ranks within the pool.
        """
        prospects = candidate.prospects
        if prospects.decision_gain is not None:
            return prospects.decision_gain
        scored_within_pool = self._rules.pool_rules.strategy in SCORED_WITHIN_POOL
        return prospects.info_gain if scored_within_pool else candidate.score

    def floors_of(self, pair: int) -> IndexArray:
        """Positions of the floors that a packed pair counts for."""
        if not len(self._member_ke):
            return _NONE
        return np.flatnonzero(self._member_ke[:, pair])

    def classes(self) -> list[BoolArray]:
        """The open pairs as masks (e,), one for each set of floors that pairs share."""
        open_e = self.chooser.open_e
        class_e = np.zeros(len(open_e), dtype=np.intp)
        for member_e in self._member_ke:
            class_e = np.unique(2 * class_e + member_e, return_inverse=True)[1]
        return [open_e & (class_e == each) for each in np.unique(class_e[open_e]).tolist()]

    def _refresh(self, choices: Sequence[Choice]) -> None:
        """Bring the attributes up to date with new choices."""
        for choice in choices:
            self._left_n[[choice.i, choice.j]] -= 1
        self._member_contested()
        open_e = self.chooser.open_e
        limit = self._rules.max_pairs_per_prompt - len(self.chooser.choices)
        every, m = int(np.count_nonzero(open_e)), len(self._left_n)
        # Each pair that is taken closes at most those of its two responses: with so many open, as
        # many as the limit allows can be taken one after another.
        is_plenty = every > max(limit - 1, 0) * 2 * (m - 1)
        if len(self._member_ke) or not is_plenty:
            every = self._at_most(open_e)
        self.room = max(min(limit, every), 0)
        self.open_k = _NONE
        if len(self._member_ke):
            inside_k = [
                every if member_e.all() else self._at_most(open_e & member_e)
                for member_e in self._member_ke
            ]
            self.open_k = np.minimum(np.array(inside_k, dtype=np.int64), self.room)

    def _member_contested(self) -> None:
        """Which pairs are contested on what, as choosing has left it."""
        wanted = [k for k, name in enumerate(self._rules.strata) if name in self._contested]
        if wanted:
            contested_e = self.chooser.contested()
            for k in wanted:
                dimension = self._contested.index(self._rules.strata[k])
                self._member_ke[k] = contested_e == dimension

    def _at_most(self, among_e: BoolArray) -> int:
        """Upper bound on the pairs that can be taken among some open ones."""
        if self._rules.pool_rules.max_pairs_per_response is None or not among_e.any():
            return int(np.count_nonzero(among_e))
        i_e, j_e = self.chooser.pairs_e2.T
        return int(matched_pairs(i_e, j_e, among_e, self._left_n))


def total_supply(pools: Sequence[NightPool], n_floors: int) -> Supply:
    """What several pools can still give to each floor."""
    least_k, most_k = np.zeros((2, n_floors), dtype=np.int64)
    for pool in pools if n_floors else ():
        supply = pool.supply()
        least_k += supply.least_k
        most_k += supply.most_k
    return Supply(least_k, most_k)
