"""The pairs of a pool as one vector: (0, 1), (0, 2), ..., (m - 2, m - 1).

Shapes: m responses, e = m (m - 1) / 2 pairs.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dgemm

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


def pair_forms(form_mm: FloatArray) -> FloatArray:
    """zᵀ M z (m, m) of z = e_i - e_j of every i and j, for a symmetric M; in Fortran order."""
    ends_2m = np.ones((2, len(form_mm)))
    ends_2m[0] = form_mm.diagonal()
    copied_mm = form_mm.copy().T
    if not len(form_mm):
        return copied_mm
    return np.asarray(dgemm(1.0, ends_2m.T, ends_2m[::-1], -2.0, copied_mm, overwrite_c=1))


def take_off(form_mm: FloatArray, c_m: FloatArray, w_m: FloatArray) -> None:
    """Take (c_i - c_j)(w_i - w_j) off every entry of `form_mm`, which is in Fortran order."""
    left_4m = np.empty((4, len(c_m)))
    np.multiply(c_m, w_m, out=left_4m[0])
    left_4m[1] = c_m
    np.negative(w_m, out=left_4m[2])
    left_4m[3] = 1.0
    dgemm(-1.0, left_4m.T, left_4m[::-1], 1.0, form_mm, overwrite_c=1)


def packed(form_mm: FloatArray) -> FloatArray:
    """The entries (e,) of forms in Fortran order that belong to the pairs, none below 0."""
    form_e = form_mm.T.take(_flat_positions(len(form_mm)))
    return np.maximum(form_e, 0.0, out=form_e)


@cache
def _flat_positions(m: int) -> IntArray:
    """Position of each pair in a flattened (m, m) matrix."""
    first_e, second_e = packed_pairs(m)
    return first_e * m + second_e
