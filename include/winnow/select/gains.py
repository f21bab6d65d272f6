"""What one label for a pair is expected to teach, for all pairs of a pool at once.

A pair's reward difference is Gaussian, N(μ, s²). With u ~ N(0, 1) and h the binary entropy:

    info gain        EIG(μ, s) = h(E σ(μ + su)) - E h(σ(μ + su))     nats
    expected Fisher  ω̄(μ, s)  = E σ'(μ + su)

EIG is the expected KL divergence from prior to posterior, which equals the mutual information of
label and weights (BALD). The KL between the current preference probability and the *expected*
posterior one is 0 for every pair: the expectation of a posterior is its prior.

`exact_*` integrate on 61 equispaced nodes over [-6, 6] with normalised Gaussian weights (error
below 1e-5 for s <= 8; Gauss-Hermite rules of 16 to 64 nodes are off by up to 6e-2). `info_gain`
and `expected_fisher` read a table instead, bilinear in (|μ| / √(1 + s²), s): the first coordinate
keeps the interesting pairs of every s inside one rectangle, and EIG is stored as EIG / s², so that
pairs with little variance keep their order.

Always holds: 0 <= EIG <= ln 2, both are symmetric in μ and exactly EIG = 0 at s = 0.

Sources: Houlsby et al. (2011), "Bayesian active learning for classification and preference
learning"; MacKay (1992), "The evidence framework applied to classification networks".
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_NODES = np.linspace(-6.0, 6.0, 61)
_WEIGHTS = np.exp(-0.5 * _NODES**2) / np.exp(-0.5 * _NODES**2).sum()

_CELLS = 160
"""Table cells per side: the error stays below 1e-3 nats."""

_S_LIMIT = 8.0
"""Largest s of the table; wider differences are rescaled to it (`_within_limit`)."""

_RATIO_LIMIT = 8.0
"""Largest |μ| / √(1 + s²) of the table; beyond it a label is worth less than 1e-3 of a nat."""

_LOGISTIC_VARIANCE = np.pi**2 / 3.0
"""Variance of the logistic distribution, and also the area under h(σ(x))."""


def exact_info_gain(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """EIG in nats by quadrature, the reference for `info_gain`."""
    # By symmetry the rarer outcome is integrated, whose probability loses no digits.
    logit = _logits(-np.abs(mu), s)
    p = _average(_sigmoid(logit))
    entropy = -p * np.log(np.maximum(p, np.finfo(float).tiny)) - (1.0 - p) * np.log1p(-p)
    return np.clip(entropy - _average(_entropy(logit)), 0.0, np.log(2.0))


def exact_expected_fisher(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """ω̄ by quadrature, the reference for `expected_fisher`."""
    p = _sigmoid(_logits(mu, s))
    return _average(p * (1.0 - p))


def info_gain(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """EIG in nats, within 1e-3 of the integral for every s.

    >>> info_gain([0.0, 0.0, 3.0], [0.0, 1.0, 1.0]).round(3)
    array([0.   , 0.094, 0.029])
    """
    mu, s = np.asarray(mu, dtype=np.float64), np.asarray(s, dtype=np.float64)
    near_mu, near_s = _within_limit(mu, s)
    gain = near_s**2 * _interpolate(_tables()[0], near_mu, near_s)
    if (s > _S_LIMIT).any():
        gain = gain + _entropy_when_known(near_mu, near_s) - _entropy_when_known(mu, s)
    return np.clip(gain, 0.0, np.log(2.0))


def expected_fisher(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """ω̄, in (0, 1/4], within 1e-3 of the integral for every s."""
    mu, s = np.asarray(mu, dtype=np.float64), np.asarray(s, dtype=np.float64)
    near_mu, near_s = _within_limit(mu, s)
    return _interpolate(_tables()[1], near_mu, near_s) * _narrowing(s)


def preference_probability(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """E σ(μ + su), the chance that the first response of the pair is preferred."""
    near_mu, near_s = _within_limit(np.asarray(mu, np.float64), np.asarray(s, np.float64))
    return _average(_sigmoid(_logits(near_mu, near_s)))


def pair_moments(mean_n: FloatArray, cov_nn: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and variance (n, n) of every reward difference r_i - r_j.

    >>> pair_moments(np.array([2.0, 0.5]), np.array([[1.0, 0.9], [0.9, 1.0]]))[1].round(3)
    array([[0. , 0.2],
           [0.2, 0. ]])
    """
    variance_n = cov_nn.diagonal()
    var_nn = variance_n[:, None] + variance_n[None, :] - 2.0 * cov_nn
    return mean_n[:, None] - mean_n[None, :], np.maximum(var_nn, 0.0)


def _within_limit(mu: FloatArray, s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(μ, s) with s at most the limit and the same preference probability, up to 1e-3.

    σ(x) is the chance that logistic noise stays below x, so E σ(μ + su) depends on μ in units of
    √(s² + π²/3), the spread of Gaussian and logistic together.
    """
    return mu * _narrowing(s), np.minimum(s, _S_LIMIT)


def _narrowing(s: FloatArray) -> FloatArray:
    """Factor that keeps μ in its units when s is cut to the limit; 1 within it."""
    within = np.minimum(s, _S_LIMIT)
    return np.sqrt((within**2 + _LOGISTIC_VARIANCE) / (s**2 + _LOGISTIC_VARIANCE))


def _entropy_when_known(mu: FloatArray, s: FloatArray) -> FloatArray:
    """E h(σ(μ + su)) for large s, with h∘σ as a Gaussian bump of the same area and variance.

    Both follow from the logistic's moments: area E x² = π²/3, variance E x⁴ / (3 E x²) = 7π²/15.
    """
    variance = s**2 + 7.0 * np.pi**2 / 15.0
    density = np.exp(-0.5 * mu**2 / variance) / np.sqrt(2.0 * np.pi * variance)
    return np.asarray(_LOGISTIC_VARIANCE * density)


@cache
def _tables() -> tuple[FloatArray, FloatArray]:
    """EIG / s² and ω̄ at the grid's corners: rows are |μ| / √(1 + s²), columns are s."""
    ratio = np.linspace(0.0, _RATIO_LIMIT, _CELLS + 1)
    gain, fisher = np.empty((2, _CELLS + 1, _CELLS + 1))
    for column, s in enumerate(np.linspace(0.0, _S_LIMIT, _CELLS + 1)):
        mu = ratio * np.sqrt(1.0 + s**2)
        fisher[:, column] = exact_expected_fisher(mu, s)
        gain[:, column] = exact_info_gain(mu, s) / s**2 if s else 0.5 * fisher[:, 0]
    return gain, fisher


def _interpolate(table: FloatArray, mu: FloatArray, s: FloatArray) -> FloatArray:
    row = np.minimum(np.abs(mu) / np.sqrt(1.0 + s**2) / _RATIO_LIMIT, 1.0) * _CELLS
    column = s / _S_LIMIT * _CELLS
    i = np.minimum(row.astype(np.intp), _CELLS - 1)
    j = np.minimum(column.astype(np.intp), _CELLS - 1)
    down, right = row - i, column - j
    corner, flat = i * (_CELLS + 1) + j, table.ravel()
    upper = flat[corner] * (1.0 - right) + flat[corner + 1] * right
    lower = flat[corner + _CELLS + 1] * (1.0 - right) + flat[corner + _CELLS + 2] * right
    return np.asarray(upper * (1.0 - down) + lower * down)


def _logits(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    mu, s = np.asarray(mu, dtype=np.float64), np.asarray(s, dtype=np.float64)
    return np.asarray(mu[..., None] + s[..., None] * _NODES)


def _average(values: FloatArray) -> FloatArray:
    """Expectation over u, the last axis of `values`."""
    return np.asarray(values @ _WEIGHTS)


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)))


def _entropy(logit: FloatArray) -> FloatArray:
    """h(σ(x)) in nats, without forming a probability that rounds to 0 or 1."""
    x = np.abs(logit)
    tail = np.exp(-x)
    return np.log1p(tail) + x * tail / (1.0 + tail)
