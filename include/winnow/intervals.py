"""How well a share is known."""

from __future__ import annotations

from math import sqrt


def wilson(n_hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Score interval of a share of `n` > 0 (Wilson, JASA 22, 1927); z = 1.96 gives 95 %.

    >>> [round(bound, 3) for bound in wilson(8, 10)]
    [0.49, 0.943]
    """
    share = n_hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
