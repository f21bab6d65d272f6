"""The chance that one response is preferred, with what is not known about the rewards averaged in.

A pair's logit is Gaussian, N(μ, s²), so the chance is E σ(μ + su) with u ~ N(0, 1). It is
integrated on 61 equispaced nodes over [-6, 6] with normalised Gaussian weights; for s above 8,
where those nodes get too coarse, μ and s are shrunk together first.

Always holds: the chance lies in [0, 1], P(μ, s) + P(-μ, s) = 1, and it is within 1e-3 of the
integral for every s.

Shapes: e pairs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from winnow.reward.logistic import sigmoid

FloatArray = NDArray[np.float64]

_NODES = np.linspace(-6.0, 6.0, 61)
_WEIGHTS = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()

_S_LIMIT = 8.0
"""Largest s that the nodes resolve."""

_LOGISTIC_VARIANCE = np.pi**2 / 3.0
"""Variance of the logistic distribution."""


def preference_probability(mu_e: ArrayLike, sd_e: ArrayLike) -> FloatArray:
    """E σ(μ + su), the chance that the first response of each pair is preferred.

    >>> preference_probability([2.0, 2.0], [0.0, 3.0]).round(2)
    array([0.88, 0.72])
    """
    mu, sd = np.asarray(mu_e, dtype=np.float64), np.asarray(sd_e, dtype=np.float64)
    within = np.minimum(sd, _S_LIMIT)
    # σ(x) is the chance that logistic noise stays below x: μ counts in units of the joint spread.
    narrowing = np.sqrt((within**2 + _LOGISTIC_VARIANCE) / (sd**2 + _LOGISTIC_VARIANCE))
    logits = (mu * narrowing)[..., None] + within[..., None] * _NODES
    return np.asarray(sigmoid(logits) @ _WEIGHTS)
