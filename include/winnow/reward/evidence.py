"""The prior precision λ by Laplace evidence: how strongly the labels themselves ask to shrink.

A fixed λ costs calibration (up to 0.19 ECE where it was measured). A weak log-normal prior on λ
decides while labels are too few to speak.

λ is searched on a log grid from its middle outwards, on either side until the evidence has fallen
behind the best twice in a row, and refined by the parabola through the best three: the same λ as
from the whole grid at about half the fits. Each fit starts from its neighbour on the grid.

Source: MacKay (1992), "The evidence framework applied to classification networks".

Shapes: e labels, k effects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from winnow.arrays import FloatArray
from winnow.reward.logistic import (
    N_NUISANCE,
    Labels,
    Mode,
    most_probable,
    precisions,
)

_RATIOS = np.logspace(3.0, -3.0, 13)
"""λ candidates in units of the mean squared length of z: prior variances of a pair 0.001 to 1000.

An odd number, largest first: the middle one is the peak of the prior on λ."""

_RATIO_SPREAD = np.log(10.0)
"""Standard deviation of the prior on log λ: one decade around a pair variance of 1."""

_PATIENCE = 2
"""Candidates in a row behind the best that end the search on a side."""


def precision_by_evidence(labels: Labels) -> tuple[float, FloatArray]:
    """λ of the highest evidence, and the effects (k,) at the nearest candidate, to start from."""
    z_ed = labels.effects_ek[:, :-N_NUISANCE]
    unit = float((z_ed**2).sum(axis=1).mean()) or 1.0
    scored = _scored_candidates(labels, unit)
    best = max(scored, key=lambda index: scored[index].score)
    log_ratio = np.log(_RATIOS[best])
    if best - 1 in scored and best + 1 in scored:
        below, peak, above = (scored[best + k].score for k in (-1, 0, 1))
        shift = 0.5 * (below - above) / (below - 2.0 * peak + above)
        log_ratio += shift * np.log(_RATIOS[1] / _RATIOS[0])
    return float(unit * np.exp(log_ratio)), scored[best].theta_k


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    score: float
    theta_k: FloatArray


def _scored_candidates(labels: Labels, unit: float) -> dict[int, _Candidate]:
    """Candidates by their index in `_RATIOS`: an interval with the best one inside."""
    middle = len(_RATIOS) // 2
    scored = {middle: _candidate(labels, unit, middle, np.zeros(labels.effects_ek.shape[1]))}
    for direction in (-1, 1):
        best, behind, index = scored[middle].score, 0, middle + direction
        while behind < _PATIENCE and 0 <= index < len(_RATIOS):
            start_k = scored[index - direction].theta_k
            scored[index] = _candidate(labels, unit, index, start_k)
            behind = 0 if scored[index].score > best else behind + 1
            best = max(best, scored[index].score)
            index += direction
    return scored


def _candidate(labels: Labels, unit: float, index: int, start_k: FloatArray) -> _Candidate:
    precision_k = precisions(unit * _RATIOS[index], len(start_k))
    mode = most_probable(labels, precision_k, start_k)
    log_prior = -0.5 * (np.log(_RATIOS[index]) / _RATIO_SPREAD) ** 2
    return _Candidate(_log_evidence(precision_k, mode) + log_prior, mode.theta_k)


def _log_evidence(precision_k: FloatArray, mode: Mode) -> float:
    """Laplace approximation of log p(labels | λ), in nats."""
    log_prior = 0.5 * (np.log(precision_k).sum() - precision_k @ mode.theta_k**2)
    return float(log_prior - mode.loss - 0.5 * np.linalg.slogdet(mode.hessian_kk)[1])
