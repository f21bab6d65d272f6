"""The prior precision λ of each block of features by Laplace evidence (relevance determination).

How strongly the weights of a block are drawn to what is expected of them is asked of the labels: a
fixed λ costs calibration (up to 0.19 ECE where it was measured), one λ for all blocks costs 2 to 3
points of pair accuracy. A weak log-normal prior on each λ decides while labels are too few to
speak, and no block's share of a pair's variance leaves [1/1000, 1000], so that one that said
nothing so far may still be heard.

With γ = n - λ tr Σ the number of a block's n weights that the labels have pinned down, and q the
squared distance of the weights from their expectation, the evidence is highest where γ = λ q.

Sources: MacKay (1992), "The evidence framework applied to classification networks"; MacKay (1994),
"Bayesian nonlinear modeling for the prediction competition", for a λ per block.

Shapes: e labels, d features, k = d + 2 effects, b blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from winnow.arrays import FloatArray
from winnow.reward.blocks import Block, per_feature, prior_mean, spans
from winnow.reward.condensed import Condensed
from winnow.reward.logistic import N_NUISANCE, Labels, Mode, most_probable, with_nuisance

_SPREAD = float(np.log(10.0))
"""Standard deviation of the prior on log λ: one decade around an equal share of a pair variance
of 1."""

_FURTHEST = float(np.log(1000.0))
"""How far log λ may lie from the one that makes a block's share of a pair's variance 1."""

_MAX_ROUNDS = 60
_SETTLED = 0.01
"""Change of every log λ below which another fit cannot matter."""


def fit_by_evidence(
    labels: Labels, blocks: Sequence[Block], older: Condensed | None = None
) -> tuple[FloatArray, Mode]:
    """λ of each feature (d,) by the evidence of the labels, and the most probable effects there.

    Labels that are condensed in `older` speak with the others.
    """
    kept = [block for block in blocks if block.size]
    places = spans(kept)
    log_unit_b = np.log([_unit(labels.effects_ek[:, place], older, place) for place in places])
    expected_b = np.where(
        [bool(block.slope) for block in kept],
        [-2.0 * np.log(block.slope or 1.0) for block in kept],
        log_unit_b + np.log(max(len(kept), 1)),
    )
    log_b: FloatArray = expected_b
    theta_k: FloatArray | None = None
    for _ in range(_MAX_ROUNDS):
        precision_d = per_feature(kept, np.exp(log_b).tolist())
        mode = fit_at(labels, precision_d, kept, theta_k, older)
        theta_k, variance_k = mode.theta_k, np.linalg.inv(mode.hessian_kk).diagonal()
        pinned_d = 1.0 - precision_d * variance_k[:-N_NUISANCE]
        squares_d = (theta_k[:-N_NUISANCE] - prior_mean(kept)) ** 2
        wanted_b = [
            _log_precision(float(pinned_d[place].sum()), float(squares_d[place].sum()), expected)
            for place, expected in zip(places, expected_b.tolist(), strict=True)
        ]
        before_b, log_b = log_b, np.clip(wanted_b, log_unit_b - _FURTHEST, log_unit_b + _FURTHEST)
        if np.abs(log_b - before_b).max(initial=0.0) < _SETTLED:
            break
    return precision_d, mode


def fit_at(
    labels: Labels,
    precision_d: FloatArray,
    blocks: Sequence[Block],
    start_k: FloatArray | None = None,
    older: Condensed | None = None,
) -> Mode:
    """The most probable effects at given precisions, around what is expected of each block.

    They are searched from `start_k`, or from what is expected.
    """
    mean_k = np.append(prior_mean(blocks), [0.0] * N_NUISANCE)
    known_e = labels.effects_ek @ mean_k
    away_k = np.zeros_like(mean_k) if start_k is None else start_k - mean_k
    beside = None if older is None else older.loss.around(mean_k)
    mode = most_probable(labels, with_nuisance(precision_d), away_k, known_e, beside)
    return Mode(mode.theta_k + mean_k, mode.hessian_kk, mode.loss)


def _unit(z_eb: FloatArray, older: Condensed | None, place: slice) -> float:
    """Mean squared length of a block's differences: the λ of a prior variance of 1 for a pair."""
    if older is None:
        return float((z_eb**2).sum(axis=1).mean()) or 1.0
    squares = (z_eb**2).sum() + older.squares_d[place].sum()
    return float(squares / (len(z_eb) + older.n_labels)) or 1.0


def _log_precision(pinned: float, squares: float, expected: float) -> float:
    """Where (γ ln λ - λ q) / 2 and the log-normal prior of λ are highest together.

    There x = ln λ solves x + (s² q / 2) exp(x) = c + s² γ / 2, which Wright's ω function answers.
    """
    # Imported where it is needed: it takes as long to load as all else here.
    from scipy.special import wrightomega

    limit = expected + 0.5 * max(pinned, 0.0) * _SPREAD**2
    if not squares:
        return limit
    return float(limit - wrightomega(limit + np.log(0.5 * squares * _SPREAD**2)))
