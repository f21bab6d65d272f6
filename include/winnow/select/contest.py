"""The best pair by a weighted sum of the two gains, found by scoring only those that can win.

The score of a pair is [w Σ_k ω̄ g / (1 + ω̄ v) + u Σ_k EIG(μ, v)] f, with weights w and u of the
pool and a factor f of the pair, all at least 0. The pair of the highest bound is scored first; of
the others, only those whose bounds reach the best score so far (lazy greedy, Minoux 1978).

Always holds: the answer is that of scoring every pair; of equal scores the first pair wins.

Shapes: e packed pairs, k dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from winnow.select.labels import one_expected_fisher, one_info_gain
from winnow.select.packing import FloatArray, add_shares, compiled

SLACK = 1e-6
"""Relative error of bounds and scores against each other, from rounding and from the table."""

NO_PAIRS = np.empty(0)
"""In the place of an array (e,) that does not apply."""


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


@compiled
def best_pair(
    moments: Moments,
    ceilings: Ceilings,
    weights: Weights,
    penalty_e: FloatArray,
    table: FloatArray,
) -> tuple[int, float]:
    """The pair of the highest score and its score; -1 where the penalties forbid all.

    Args:
        moments: Of every pair.
        ceilings: Bounds of the gains; those of a gain without weight are not read.
        weights: Those of the score.
        penalty_e: 0 for the pairs that may win, -inf for the others.
        table: `info_gain_table()`.
    """
    bound_e = _bounds(moments, ceilings, weights, penalty_e)
    best, best_score, reached = -1, -np.inf, -np.inf
    for e in range(len(bound_e)):
        reached = bound_e[e] if bound_e[e] > reached else reached
    if reached == -np.inf:
        return best, best_score
    for e in range(len(bound_e)):
        if bound_e[e] == reached:
            reached = _score(e, moments, ceilings, weights, table)
            break
    for e in range(len(bound_e)):
        if bound_e[e] * (1.0 + SLACK) >= reached:
            score = _score(e, moments, ceilings, weights, table)
            reached = max(reached, score)
            if score > best_score:
                best, best_score = e, score
    return best, best_score


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
