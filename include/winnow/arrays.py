"""Arrays: the names of their types, and what several modules do with them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
IndexArray = NDArray[np.intp]
"""Positions in another array."""


@cache
def gaussian_nodes(n: int, reach: float = 6.0) -> tuple[FloatArray, FloatArray]:
    """Equispaced values of u ~ N(0, 1) within `reach`, and their normalised weights: (n,) each."""
    u = np.linspace(-reach, reach, n)
    weight = np.exp(-0.5 * u**2)
    return u, weight / weight.sum()


def unit_rows(vectors_nc: ArrayLike) -> FloatArray:
    """Rows at length one (n, c); a row of zeros stays one."""
    rows_nc = np.asarray(vectors_nc, dtype=np.float64)
    norm_n = np.linalg.norm(rows_nc, axis=1, keepdims=True)
    return np.asarray(np.divide(rows_nc, norm_n, out=np.zeros_like(rows_nc), where=norm_n > 0))
