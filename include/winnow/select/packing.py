"""The pairs of a pool as one vector: (0, 1), (0, 2), ..., (m - 2, m - 1), and what runs over them.

The loops are compiled (Numba), because each runs a few times per chosen pair over thousands of
pairs, where a chain of NumPy calls would spend its time between the calls. They hold no lock, so
pools of a shard can be chosen in threads.

Shapes: m responses, e = m (m - 1) / 2 pairs.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from winnow.arrays import BoolArray, FloatArray, IndexArray
from winnow.compiled import compiled


@cache
def packed_pairs(m: int) -> tuple[IndexArray, IndexArray]:
    """First and second position of each pair."""
    first_e, second_e = np.triu_indices(m, 1)
    return first_e, second_e


def packed_place(i: int, j: int, m: int) -> int:
    """Where the pair of the positions i < j of m stands.

    >>> [packed_place(i, j, 3) for i, j in ((0, 1), (0, 2), (1, 2))]
    [0, 1, 2]
    """
    return i * (2 * m - i - 1) // 2 + j - i - 1


@cache
def pairs_of_each(m: int) -> IndexArray:
    """Packed positions (m, m - 1) of the pairs that hold each response."""
    first_e, second_e = packed_pairs(m)
    return np.array([np.flatnonzero((first_e == r) | (second_e == r)) for r in range(m)])


@compiled
def packed_differences(value_m: FloatArray) -> FloatArray:
    """value_i - value_j (e,) of every pair."""
    m = len(value_m)
    difference_e = np.empty(m * (m - 1) // 2)
    start = 0
    for i in range(m):
        difference_j = difference_e[start : start + m - i - 1]
        value_j = value_m[i + 1 :]
        for j in range(len(difference_j)):
            difference_j[j] = value_m[i] - value_j[j]
        start += m - i - 1
    return difference_e


@compiled
def packed_forms(form_mm: FloatArray) -> FloatArray:
    """zᵀ M z (e,) of z = e_i - e_j of every pair, for a symmetric M; none below 0."""
    m = len(form_mm)
    form_e = np.empty(m * (m - 1) // 2)
    own_m = np.diag(form_mm).copy()
    start = 0
    for i in range(m):
        form_j = form_e[start : start + m - i - 1]
        own_j, shared_j = own_m[i + 1 :], form_mm[i, i + 1 :]
        for j in range(len(form_j)):
            form_j[j] = _at_least_0(own_m[i] + own_j[j] - 2.0 * shared_j[j])
        start += m - i - 1
    return form_e


@compiled
def open_to_each_other(cluster_m: IndexArray, blocked_m: BoolArray) -> BoolArray:
    """Mask (e,) of the pairs of two different clusters of which neither response is blocked."""
    m = len(cluster_m)
    open_e = np.empty(m * (m - 1) // 2, np.bool_)
    start = 0
    for i in range(m):
        open_j = open_e[start : start + m - i - 1]
        cluster_j, blocked_j = cluster_m[i + 1 :], blocked_m[i + 1 :]
        for j in range(len(open_j)):
            open_j[j] = (cluster_j[j] != cluster_m[i]) & ~(blocked_j[j] | blocked_m[i])
        start += m - i - 1
    return open_e


@compiled
def has_copies(value_m: IndexArray) -> BoolArray:
    """Mask (m,) of the values that come more than once."""
    has_m = np.zeros(len(value_m), np.bool_)
    for i in range(len(value_m)):
        for j in range(i):
            if value_m[i] == value_m[j]:
                has_m[i] = has_m[j] = True
    return has_m


@compiled
def matched_pairs(
    first_e: IndexArray, second_e: IndexArray, among_e: BoolArray, left_m: IndexArray
) -> int:
    """At most how many of some pairs can be taken when each response has `left_m` pairs left.

    Exact when every two responses may be paired: a complete graph has a subgraph with these degrees
    up to parity.
    """
    degree_m = np.zeros(len(left_m), np.int64)
    for e in range(len(among_e)):
        if among_e[e]:
            degree_m[first_e[e]] += 1
            degree_m[second_e[e]] += 1
    total = 0
    for m in range(len(left_m)):
        total += min(degree_m[m], max(left_m[m], 0))
    return total // 2


@compiled
def _at_least_0(x: float) -> float:
    return x if x > 0.0 else 0.0


@compiled
def _of_each(form_e: FloatArray, m: int, r: int) -> FloatArray:
    """The entries (m,) of the pairs that hold response r; 0 for r itself."""
    form_m = np.zeros(m)
    for k in range(r):
        form_m[k] = form_e[k * m - k * (k + 1) // 2 + r - k - 1]
    start = r * m - r * (r + 1) // 2
    form_m[r + 1 :] = form_e[start : start + m - r - 1]
    return form_m


@compiled
def shrink_pairs(
    var_e: FloatArray, impact_e: FloatArray, m: int, i: int, j: int, fisher: float
) -> None:
    """Take off v and g, in place, what a label of weight ω̄ for the responses at i and j would.

    The formulas are those of `winnow.select.belief`; an `impact_e` of no pairs is left alone.
    """
    with_i_m, with_j_m = _of_each(var_e, m, i), _of_each(var_e, m, j)
    share = fisher / (1.0 + fisher * with_i_m[j])
    c_m = 0.5 * (with_j_m - with_i_m)
    _subtract_products(var_e, c_m, share * c_m)
    if len(impact_e):
        impact_i_m, impact_j_m = _of_each(impact_e, m, i), _of_each(impact_e, m, j)
        w_m = share * (impact_j_m - impact_i_m) - (share * share * impact_i_m[j]) * c_m
        _subtract_products(impact_e, c_m, w_m)


@compiled
def _subtract_products(form_e: FloatArray, c_m: FloatArray, w_m: FloatArray) -> None:
    """Take (c_a - c_b)(w_a - w_b) off every pair, in place; none falls below 0."""
    m = len(c_m)
    start = 0
    for a in range(m):
        form_b = form_e[start : start + m - a - 1]
        c_b, w_b = c_m[a + 1 :], w_m[a + 1 :]
        for b in range(len(form_b)):
            form_b[b] = _at_least_0(form_b[b] - (c_m[a] - c_b[b]) * (w_m[a] - w_b[b]))
        start += m - a - 1


@compiled
def add_shares(
    total_e: FloatArray,
    weight: float,
    impact_e: FloatArray,
    var_e: FloatArray,
    slope_e: FloatArray,
    base_e: FloatArray,
) -> None:
    """Add weight g / (slope v + base) of every pair to `total_e`."""
    for e in range(len(total_e)):
        total_e[e] += weight * impact_e[e] / (slope_e[e] * var_e[e] + base_e[e])
