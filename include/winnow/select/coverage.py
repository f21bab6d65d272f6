"""Coverage floors: which pairs count for a stratum, and how many a shard should contribute.

A floor is the least number of a batch's pairs that must be in a stratum: of the prompt
("language:de"), of a response ("failure:refusal", either of the two) or of the pair itself
("contested:harmlessness", the dimension on which its label is expected to say most).

Always holds: a floor's quotas over all shards add up to what it wants wherever its capacity, as
counted, is enough; pairs that minimums per prompt bring anyway are asked for by no quota.

Shapes: e packed pairs, k floors, n responses.

Source: docs/choosing_pairs.md, "Floors".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from winnow.arrays import BoolArray, IndexArray, IntArray
from winnow.select.pool import Pool

CONTESTED = "contested:"
"""Prefix of the strata of pairs by contested dimension, which only choosing can tell."""


@dataclass(frozen=True, slots=True, eq=False)
class Supply:
    """How many pairs of each floor's stratum a set of prompts gives.

    Attributes:
        least_k: Pairs that it gives whatever is preferred, because of minimums per prompt.
        most_k: Pairs that it can give.
    """

    least_k: IntArray
    most_k: IntArray


def floor_members(pool: Pool, i_e: IndexArray, j_e: IndexArray, strata: Sequence[str]) -> BoolArray:
    """Which pairs (i_e, j_e) of a pool are in each stratum (k, e); none in a contested one."""
    member_ke = np.zeros((len(strata), len(i_e)), dtype=np.bool_)
    for k, stratum in enumerate(strata):
        if stratum in pool.strata:
            member_ke[k] = True
        elif pool.response_strata is not None:
            has_n = np.array([stratum in held for held in pool.response_strata], dtype=np.bool_)
            member_ke[k] = has_n[i_e] | has_n[j_e]
    return member_ke


def shard_quota(wanted_k: IntArray, here: Supply, later: Supply) -> tuple[IntArray, IntArray]:
    """Pairs that a shard should contribute to each floor, minimums included; those left for later.

    What is `wanted_k` beyond the pairs that minimums bring is spread in proportion to what the
    shard (`here`) and the prompts after it (`later`) can give beyond theirs. So a floor presses on
    a shard no more than on any other, until later prompts cannot meet it any more.
    """
    extra_k = np.maximum(wanted_k - here.least_k - later.least_k, 0)
    free_k, free_later_k = here.most_k - here.least_k, later.most_k - later.least_k
    extra_k = np.minimum(extra_k, free_k + free_later_k)
    share_k = -(-extra_k * free_k // np.maximum(free_k + free_later_k, 1))
    return np.minimum(wanted_k, here.least_k + share_k), extra_k - share_k
