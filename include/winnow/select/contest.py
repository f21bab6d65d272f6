"""The best pair by a weighted sum of the two gains, found by scoring only those that can win.

The score of a pair is [w Σ_k ω̄ g / (1 + ω̄ v) + u Σ_k EIG(μ, v)] f, with weights w and u of the
pool and a factor f of the pair, all at least 0. The pair of the highest bound is scored first; of
the others, only those whose bounds reach the best score so far (lazy greedy, Minoux 1978).

Always holds: the answer is that of scoring every pair; of equal scores the first pair wins.

Shapes: e packed pairs, k dimensions.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from winnow.arrays import FloatArray
from winnow.compiled import compiled
from winnow.select.gains import MIXTURE, NARROWEST
from winnow.select.labels import one_expected_fisher, one_info_gain
from winnow.select.packing import add_shares

SLACK = 1e-6
"""Relative error of bounds and scores against each other, from rounding and from the table."""

NO_PAIRS = np.empty(0)
"""In the place of an array (e,) that does not apply."""


_WEIGHT = tuple(np.float32(weight / sqrt(2.0 * pi)) for weight, _ in MIXTURE)
_NARROW = tuple(np.float32(narrow) for _, narrow in MIXTURE)
_MINUS_HALF, _TINY = np.float32(-0.5), np.float32(1e-30)


class Weights(NamedTuple):
    """How a score is made of the two gains.

    Attributes:
        decision: Weight of the decision gain.
        info: Weight of the information gain.
        factor_e: What multiplies the sum for each pair; `NO_PAIRS`: nothing does.
    """

    decision: float
    info: float
    factor_e: FloatArray = NO_PAIRS


class Moments(NamedTuple):
    """μ, v and g (k, e) of every pair; g is (k, 0) where it was never asked for."""

    mu_ke: FloatArray
    var_ke: FloatArray
    impact_ke: FloatArray


class Ceilings(NamedTuple):
    """What bounds the gains of every pair.

    Attributes:
        slope_ke: With `base_ke`: the decision gain is at most Σ_k g / (slope v + base).
        base_ke: See `slope_ke`.
        info_e: At least the information gain; set to it for the pairs that are scored.
    """

    slope_ke: FloatArray
    base_ke: FloatArray
    info_e: FloatArray


def best_pair(
    moments: Moments,
    ceilings: Ceilings,
    weights: Weights,
    penalty_e: FloatArray,
    table: FloatArray,
) -> tuple[int, float]:
    """The pair of the highest score and its score; -1 where the penalties forbid all.

    `penalty_e` is 0 for the pairs that may win and -inf for the others, `table` is
    `info_gain_table()`. Ceilings of a gain without weight are not read.
    """
    # Handed over one by one: to take a tuple apart costs more than most of the work.
    return _best_pair(*moments, *ceilings, *weights, penalty_e, table)


@compiled
def _best_pair(
    mu_ke: FloatArray,
    var_ke: FloatArray,
    impact_ke: FloatArray,
    slope_ke: FloatArray,
    base_ke: FloatArray,
    info_e: FloatArray,
    decision: float,
    info: float,
    factor_e: FloatArray,
    penalty_e: FloatArray,
    table: FloatArray,
) -> tuple[int, float]:
    moments = Moments(mu_ke, var_ke, impact_ke)
    ceilings = Ceilings(slope_ke, base_ke, info_e)
    weights = Weights(decision, info, factor_e)
    bound_e = _bounds(moments, ceilings, weights, penalty_e)
    best, best_score = -1, -np.inf
    if not len(bound_e):
        return best, best_score
    first = _highest(bound_e)
    if bound_e[first] == -np.inf:
        return best, best_score
    reached = _score(first, moments, ceilings, weights, table)
    for e in range(len(bound_e)):
        if bound_e[e] * (1.0 + SLACK) >= reached:
            score = _score(e, moments, ceilings, weights, table)
            reached = max(reached, score)
            if score > best_score:
                best, best_score = e, score
    return best, best_score


@compiled
def _highest(bound_e: FloatArray) -> int:
    """Position of the highest bound.

    As integers the bits of numbers from +0 up keep their order, and a maximum of integers runs on
    vectors where one of floating-point numbers does not.
    """
    bits_e = bound_e.view(np.int64)
    most = bits_e[0]
    for e in range(len(bits_e)):
        most = bits_e[e] if bits_e[e] > most else most
    highest = 0
    if most < 0:  # None is above 0, and the bits of -0 are below those of -inf.
        for e in range(len(bound_e)):
            highest = e if bound_e[e] > bound_e[highest] else highest
        return highest
    while bits_e[highest] != most:
        highest += 1
    return highest


@compiled
def _bounds(
    moments: Moments, ceilings: Ceilings, weights: Weights, penalty_e: FloatArray
) -> FloatArray:
    """At least the score (e,) of every pair, -inf for those that are forbidden."""
    bound_e = np.zeros(len(penalty_e))
    if weights.decision:
        for k in range(len(moments.mu_ke)):
            add_shares(
                bound_e,
                weights.decision,
                moments.impact_ke[k],
                moments.var_ke[k],
                ceilings.slope_ke[k],
                ceilings.base_ke[k],
            )
    if weights.info:
        bound_e += weights.info * ceilings.info_e
    if len(weights.factor_e):
        bound_e *= weights.factor_e
    bound_e += penalty_e
    return bound_e


@compiled
def _score(
    e: int, moments: Moments, ceilings: Ceilings, weights: Weights, table: FloatArray
) -> float:
    """Score of one pair; its information gain becomes its ceiling."""
    decision, info = 0.0, 0.0
    for k in range(len(moments.mu_ke)):
        mu, var = moments.mu_ke[k, e], moments.var_ke[k, e]
        if weights.decision:
            fisher = one_expected_fisher(mu, var)
            decision += fisher * moments.impact_ke[k, e] / (1.0 + fisher * var)
        if weights.info:
            info += one_info_gain(mu, var, table)
    if weights.info:
        ceilings.info_e[e] = info
    score = weights.decision * decision + weights.info * info
    return score * weights.factor_e[e] if len(weights.factor_e) else score


def inverse_fisher_floor(mu_ke: FloatArray, var_ke: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope and base (k, e) with 1 / ω̄ + v' >= slope v' + base for every variance v' <= v.

    ω̄ (τ² + v) never rises as v falls, τ² being the narrowest variance of ω̄'s mixture: with M its
    value at v the slope is 1 + 1/M and the base τ²/M. Worked out in single precision, and within
    the slack that bounds are given.
    """
    density_3ke = np.empty((3, *mu_ke.shape), np.float32)
    slope_ke, base_ke = np.empty_like(mu_ke), np.empty_like(mu_ke)
    # NumPy's exponential runs on vectors of numbers, compiled loops call theirs one by one.
    for mu_e, var_e, density_3e in zip(mu_ke, var_ke, density_3ke.swapaxes(0, 1), strict=True):
        _exponents(mu_e, var_e, density_3e)
    np.exp(density_3ke, out=density_3ke)
    for k in range(len(mu_ke)):
        _floors(var_ke[k], density_3ke[:, k], slope_ke[k], base_ke[k])
    return slope_ke, base_ke


@compiled
def _exponents(mu_e: FloatArray, var_e: FloatArray, exponent_3e: NDArray[np.float32]) -> None:
    for e in range(len(mu_e)):
        mu, var = np.float32(mu_e[e]), np.float32(var_e[e])
        square = _MINUS_HALF * mu * mu
        exponent_3e[0, e] = square / (var + _NARROW[0])
        exponent_3e[1, e] = square / (var + _NARROW[1])
        exponent_3e[2, e] = square / (var + _NARROW[2])


@compiled
def _floors(
    var_e: FloatArray, density_3e: NDArray[np.float32], slope_e: FloatArray, base_e: FloatArray
) -> None:
    for e in range(len(var_e)):
        var = np.float32(var_e[e])
        fisher = _WEIGHT[0] * density_3e[0, e] / np.sqrt(var + _NARROW[0])
        fisher += _WEIGHT[1] * density_3e[1, e] / np.sqrt(var + _NARROW[1])
        fisher += _WEIGHT[2] * density_3e[2, e] / np.sqrt(var + _NARROW[2])
        ceiling = fisher * (var + _NARROW[0])
        ceiling = ceiling if ceiling > _TINY else _TINY
        inverse = (1.0 - 1e-5) / ceiling
        slope_e[e], base_e[e] = 1.0 + inverse, NARROWEST * inverse
