"""Which pairs two people judge: drawn evenly, or by how likely it is that they differ.

A pair gets a second vote where a number that belongs to its name is below its chance. By
disagreement, half of `second_vote_share` is the same chance for all, and the other half is shared
out in proportion to 2 p (1 - p), p being the model's chance that the first response is preferred.

What always holds: the chances have the mean `second_vote_share`, so that as many second votes are
bought either way, and no order of the pairs changes a bit of them. Where the number is below the
even half, the pair would have been drawn whatever the model says: of these pairs people's
agreement is measured, since those sought for disagreement would make people look as if they
agreed less (`by_disagreement` of `records.TASKS`).

Shapes: n pairs; k of them are certain to be judged twice.
"""

from __future__ import annotations

import numpy as np

from winnow.arrays import FloatArray
from winnow.campaign import Label
from winnow.label.aggregation.annotators import P_LIMIT

_EVEN = 0.5
"""Share of the second votes that is drawn evenly where the others go by disagreement."""


def even_share(label: Label) -> float:
    """The part of each pair's chance that owes nothing to the model."""
    return (_EVEN if label.second_votes == "disagreement" else 1.0) * label.second_vote_share


def second_vote_chances(p_first_n: FloatArray, label: Label) -> FloatArray:
    """The chance of each pair to be judged twice; their mean is `label.second_vote_share`."""
    even = even_share(label)
    sought = label.second_vote_share - even
    if not sought or not len(p_first_n):
        return np.full(len(p_first_n), even)
    p_n = np.clip(p_first_n, P_LIMIT, 1.0 - P_LIMIT)
    differ_n = 2.0 * p_n * (1.0 - p_n)
    # Where the k pairs that differ most are certain, the others share what is left.
    falling_n = np.sort(differ_n)[::-1]
    left_k = sought * len(p_n) - (1.0 - even) * np.arange(len(p_n))
    factor_k = left_k / np.cumsum(falling_n[::-1])[::-1]
    fits_k = factor_k * falling_n <= 1.0 - even
    factor = factor_k[np.argmax(fits_k)] if fits_k.any() else np.inf
    return np.asarray(np.minimum(even + factor * differ_n, 1.0))
