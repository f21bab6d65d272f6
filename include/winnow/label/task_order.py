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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from winnow.ids import seed_from
from winnow.label.shown import ShownPair

_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0


def places_of_pairs(pairs: pa.Table, seed: int) -> NDArray[np.float64]:
    """Where in [0, 1) each pair's first vote comes, in the order of `pairs`.

    Args:
        pairs: `pair_id`, `p_first` (the model's chance that the first is preferred) and `n_chars`
            (characters that an annotator reads), a row a pair.
        seed: Of the campaign.
    """
    ids = pairs["pair_id"].combine_chunks()
    by_id = pc.rank(ids, tiebreaker="first").to_numpy()
    nearest = np.lexsort((by_id, np.abs(pairs["p_first"].to_numpy() - 0.5)))
    longest = np.lexsort((by_id, -pairs["n_chars"].to_numpy()))
    # Lowest for the hardest pair: as near 1/2, or as long, as few others are.
    best = np.minimum(_ranks(nearest), _ranks(longest))
    drawn = np.fromiter((seed_from("order", seed, name.as_py()) for name in ids), np.int64)
    ranks = _ranks(np.lexsort((drawn, best)))
    return np.asarray(ranks * _GOLDEN % 1.0, np.float64)


def _ranks(order: NDArray[np.intp]) -> NDArray[np.intp]:
    """The place of each row in an order of them."""
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return ranks


def places_of_gold(pairs: Sequence[ShownPair], seed: int) -> list[float]:
    """Where in [0, 1) each gold task comes, in the order of `pairs`."""
    n = len(pairs)
    return [(i + seed_from("place", seed, p.pair_id) / 2**31) / n for i, p in enumerate(pairs)]
