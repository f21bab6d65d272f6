"""What takes minutes whole: `make test` takes every n-th of its cases, `make kill` all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

ALL = bool(os.environ.get("WINNOW_TEST_ALL"))
"""Whether every case is taken."""


def some(cases: Sequence[T], every: int) -> Sequence[T]:
    """Every so many of the cases from the first on; all where WINNOW_TEST_ALL is set.

    The test is marked `sampled`, by which `make kill` finds it.
    """
    return cases if ALL else cases[::every]


def examples(n: int) -> int:
    """How many examples of a slow property are drawn: `n`; by `make test` a third of them."""
    return n if ALL else max(1, n // 3)
