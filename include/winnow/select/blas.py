"""Matrix products that round alike on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import scipy.linalg  # noqa: F401  SciPy brings a BLAS of its own: loaded here to be found below.
from threadpoolctl import ThreadpoolController

_CONTROLLER = ThreadpoolController()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS on one thread: how many it has decides how it splits sums, and so the last bits.

    The limit is the process's, so it is set around threads, never inside one.
    """
    with _CONTROLLER.limit(limits=1, user_api="blas"):
        yield
