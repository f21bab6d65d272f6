"""The pairs of a pool as one vector: (0, 1), (0, 2), ..., (m - 2, m - 1).

Shapes: m responses, e = m (m - 1) / 2 pairs.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]


@cache
def packed_pairs(m: int) -> tuple[IntArray, IntArray]:
    """First and second position of each pair."""
    first_e, second_e = np.triu_indices(m, 1)
    return first_e, second_e


@cache
def pairs_of_each(m: int) -> IntArray:
    """Packed positions (m, m - 1) of the pairs that hold each response."""
    first_e, second_e = packed_pairs(m)
    return np.array([np.flatnonzero((first_e == r) | (second_e == r)) for r in range(m)])


def packed_differences(value_m: FloatArray) -> FloatArray:
    """value_i - value_j (e,) of every pair."""
    first_e, second_e = packed_pairs(len(value_m))
    difference_e = value_m.take(first_e)
    difference_e -= value_m.take(second_e)
    return difference_e


def packed_forms(form_mm: FloatArray) -> FloatArray:
    """zᵀ M z (e,) of z = e_i - e_j of every pair, for a positive semi-definite M."""
    first_e, second_e = packed_pairs(len(form_mm))
    own_m = form_mm.diagonal()
    form_e = form_mm.take(_flat_positions(len(form_mm)))
    form_e *= -2.0
    form_e += own_m.take(first_e)
    form_e += own_m.take(second_e)
    return np.maximum(form_e, 0.0, out=form_e)


@cache
def _flat_positions(m: int) -> IntArray:
    """Position of each pair in a flattened (m, m) matrix."""
    first_e, second_e = packed_pairs(m)
    return first_e * m + second_e
