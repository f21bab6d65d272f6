"""The order in which a vendor is given a batch's tasks: nobody meets all hard ones in a row.

Each task has a place in [0, 1), and tasks are sent by rising place. Pairs are ranked from hard to
easy; the pair of rank r is put at the fractional part of r times the golden ratio, so that the
hardest k, for any k, lie evenly among the others (a Kronecker sequence; Niederreiter, Random Number
Generation and Quasi-Monte Carlo Methods, 1992, section 3.3). A second vote is half a batch from the
first. A pair that is repeated has its first vote in the first half of the batch and its repeat at
the same spot of the second half. Gold has one task in each of as many equal stretches, somewhere in
it, so that no one can count to the next. Vendors that deal tasks their own way ignore all this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from winnow.ids import seed_from
from winnow.label.shown import ShownPair

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def places_of_pairs(pairs: Sequence[ShownPair], seed: int) -> dict[str, float]:
    """Where in [0, 1) each pair's first vote comes, by pair id; each pair at most once."""
    nearest = sorted(pairs, key=lambda p: (abs(p.p_first - 0.5), p.pair_id))
    longest = sorted(pairs, key=lambda p: (-p.n_chars, p.pair_id))
    by_nearness = {pair.pair_id: rank for rank, pair in enumerate(nearest)}
    by_length = {pair.pair_id: rank for rank, pair in enumerate(longest)}

    def hardness(pair: ShownPair) -> tuple[int, int]:
        """Lowest for the hardest pair: as near 1/2, or as long, as few others are."""
        best = min(by_nearness[pair.pair_id], by_length[pair.pair_id])
        return best, seed_from("order", seed, pair.pair_id)

    ranked = sorted(pairs, key=hardness)
    return {pair.pair_id: rank * _GOLDEN % 1.0 for rank, pair in enumerate(ranked)}


def places_of_gold(pairs: Sequence[ShownPair], seed: int) -> list[float]:
    """Where in [0, 1) each gold task comes, in the order of `pairs`."""
    n = len(pairs)
    return [(i + seed_from("place", seed, p.pair_id) / 2**31) / n for i, p in enumerate(pairs)]
