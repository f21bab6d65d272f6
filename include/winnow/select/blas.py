"""Matrix products that round alike on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from scipy.linalg.blas import dtrmm
from threadpoolctl import ThreadpoolController

from winnow.arrays import FloatArray

# It knows the libraries loaded by now: SciPy brings a BLAS of its own, imported above.
_CONTROLLER = ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS on one thread: how many it has decides how it splits sums, and so the last bits.

    The limit is the process's, so it is set around threads, never inside one.
    """
    with _CONTROLLER.limit(limits=1, user_api="blas"):
        yield


def times_lower(left_nq: FloatArray, lower_qq: FloatArray) -> FloatArray:
    """B L (n, q) for a lower triangular L, in half the time of the product of full matrices."""
    # Transposed, row-major arrays are the column-major ones of BLAS, without a copy.
    return np.asarray(dtrmm(1.0, lower_qq.T, left_nq.T).T)
