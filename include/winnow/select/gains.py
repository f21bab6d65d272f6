"""What one label for a pair is expected to teach, for all pairs of a pool at once.

A pair's reward difference is Gaussian, N(μ, s²). With u ~ N(0, 1) and h the binary entropy:

    info gain        EIG(μ, s) = h(E σ(μ + su)) - E h(σ(μ + su))     nats
    expected Fisher  ω̄(μ, s)  = E σ'(μ + su)

`exact_*` integrate on 61 equispaced nodes over [-6, 6] (error below 1e-5 for s <= 8; Gauss-Hermite
rules of 16 to 64 nodes are off by up to 6e-2). The two that score whole pools are approximations
within 1e-3 for every s: `expected_fisher` takes σ' for a mixture of three normal densities, whose
expectation is the same mixture with s² added to each variance; `info_gain` reads a table, bilinear
in (|μ| r, r) with r = 1 / √(s² + π²/3), which keeps the interesting pairs of every s inside one
rectangle. The table holds EIG / (1 - r² π²/3), so that pairs with little variance keep their order.

Always holds: 0 <= EIG <= ln 2, both are symmetric in μ and exactly EIG = 0 at s = 0.

Sources: docs/choosing_pairs.md, "info_gain"; Monahan and Stefanski (1992), "Normal scale mixture
approximations to F*(z)", for the mixture.
"""

from __future__ import annotations

from functools import cache
from math import pi, sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from winnow.arrays import FloatArray, gaussian_nodes

Precision = TypeVar("Precision", np.float32, np.float64)

_REACH = 6.0
"""Integrals run over u in [-6, 6]."""

MIXTURE = ((0.185846, 1.049185**2), (0.578149, 1.617771**2), (0.235749, 2.562200**2))
"""Weight and variance of each normal, fitted to σ' for the least largest error."""

_TOTAL_WEIGHT = sum(weight for weight, _ in MIXTURE)

NARROWEST = MIXTURE[0][1]
"""Smallest variance of the mixture: ω̄ (NARROWEST + s²) never falls as s rises."""

CELLS = 160
"""Table cells per side: the error stays below 1e-3 nats."""

LOGISTIC_VARIANCE = pi**2 / 3.0
"""Variance of the logistic distribution."""

_R_LIMIT = 1.0 / sqrt(LOGISTIC_VARIANCE)
"""Value of r at s = 0, the largest of the table."""

_RATIO_LIMIT = 8.0
"""Largest |μ| r of the table; beyond it a label is worth less than 1e-3 of a nat."""

ROWS_PER_RATIO = CELLS / _RATIO_LIMIT
COLUMNS_PER_R = CELLS / _R_LIMIT


def exact_info_gain(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """EIG in nats by quadrature, the reference for `info_gain`; for s <= 8."""
    return _integrate_info_gain(np.asarray(mu, np.float64), np.asarray(s, np.float64), 61)


def exact_expected_fisher(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """ω̄ by quadrature, the reference for `expected_fisher`; for s <= 8."""
    u, weight = gaussian_nodes(61)
    p = _sigmoid(np.asarray(mu)[..., None] + np.asarray(s)[..., None] * u)
    return np.asarray((p * (1.0 - p)) @ weight)


def info_gain(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """EIG in nats, within 1e-3 of the integral for every s.

    >>> info_gain([0.0, 0.0, 3.0], [0.0, 1.0, 1.0]).round(3)
    array([0.   , 0.094, 0.029])
    """
    return info_gain_of_variance(np.asarray(mu, np.float64), np.square(s, dtype=np.float64))


def expected_fisher(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """ω̄, within 1e-4 of the integral for every s.

    >>> expected_fisher([0.0, 3.0], [0.0, 1.0]).round(3)
    array([0.25, 0.06])
    """
    mu, s = np.broadcast_arrays(np.asarray(mu, np.float64), np.asarray(s, np.float64))
    fisher = expected_fisher_of_variance(mu.reshape(-1), np.square(s).reshape(-1))
    return fisher.reshape(mu.shape)


def info_gain_of_variance(mu: FloatArray, var: FloatArray) -> FloatArray:
    """`info_gain` at s² = `var`."""
    r = 1.0 / np.sqrt(var + LOGISTIC_VARIANCE)
    row = np.minimum(np.abs(mu) * r * ROWS_PER_RATIO, float(CELLS))
    share = np.maximum(1.0 - LOGISTIC_VARIANCE * (r * r), 0.0)
    return np.asarray(share * _interpolate(info_gain_table(), row, r * COLUMNS_PER_R))


def expected_fisher_of_variance(
    mu: NDArray[Precision], var: NDArray[Precision]
) -> NDArray[Precision]:
    """`expected_fisher` at s² = `var`, arrays of one shape, at the precision that they have."""
    exponent, total = -0.5 * np.square(mu), np.zeros_like(var)
    for weight, narrow in MIXTURE:
        variance = var + narrow
        density = exponent / variance
        np.exp(density, out=density)
        density /= np.sqrt(variance, out=variance)
        density *= weight / sqrt(2.0 * pi)
        total += density
    return total


def preference_by_mixture(mu: ArrayLike, s: ArrayLike) -> FloatArray:
    """E σ(μ + su), the chance that the first response of the pair is preferred, within 2e-4.

    σ is the distribution function of the same mixture of normals (Monahan and Stefanski 1992), its
    weights brought to sum to 1. `winnow.reward` integrates the same chance by quadrature.

    >>> preference_by_mixture([0.0, 2.0], [1.0, 0.0]).round(3)
    array([0.5  , 0.881])
    """
    mu, var = np.asarray(mu, np.float64), np.square(s, dtype=np.float64)
    normals = [weight * ndtr(mu / np.sqrt(var + variance)) for weight, variance in MIXTURE]
    return np.asarray(sum(normals) / _TOTAL_WEIGHT)


def pair_moments(mean_n: FloatArray, cov_nn: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and variance (n, n) of every reward difference r_i - r_j.

    >>> pair_moments(np.array([2.0, 0.5]), np.array([[1.0, 0.9], [0.9, 1.0]]))[1].round(3)
    array([[0. , 0.2],
           [0.2, 0. ]])
    """
    variance_n = cov_nn.diagonal()
    var_nn = variance_n[:, None] + variance_n[None, :] - 2.0 * cov_nn
    return mean_n[:, None] - mean_n[None, :], np.maximum(var_nn, 0.0)


@cache
def info_gain_table() -> FloatArray:
    """EIG / (1 - r² π²/3) at the grid's corners, flat: rows are |μ| r, columns are r."""
    ratio = np.linspace(0.0, _RATIO_LIMIT, CELLS + 1)
    table = np.empty((CELLS + 1, CELLS + 1))
    table[:, 0] = _entropy_of(ndtr(-ratio))
    p = _sigmoid(ratio / _R_LIMIT)
    table[:, -1] = 0.5 * LOGISTIC_VARIANCE * p * (1.0 - p)
    for column in range(1, CELLS):
        r = _R_LIMIT * column / CELLS
        s = np.sqrt(1.0 / r**2 - LOGISTIC_VARIANCE)
        # The trapezoid rule is as exact as 61 nodes are at s = 8 while a step of u moves the logit
        # by no more than 8 * 12 / 60.
        nodes = max(61, 2 * int(np.ceil(s * _REACH / 1.6)) + 1)
        share = 1.0 - LOGISTIC_VARIANCE * r**2
        table[:, column] = _integrate_info_gain(ratio / r, np.full_like(ratio, s), nodes) / share
    return table.ravel()


def _interpolate(flat: FloatArray, row: FloatArray, column: FloatArray) -> FloatArray:
    """Bilinear interpolation in a table of `CELLS + 1` points per side."""
    i = np.minimum(row.astype(np.intp), CELLS - 1)
    j = np.minimum(column.astype(np.intp), CELLS - 1)
    down, right = row - i, column - j
    corner = i * (CELLS + 1) + j
    upper, lower = flat.take(corner), flat.take(corner + (CELLS + 1))
    upper += right * (flat.take(corner + 1) - upper)
    lower += right * (flat.take(corner + (CELLS + 2)) - lower)
    return np.asarray(upper + down * (lower - upper))


def _integrate_info_gain(mu: FloatArray, s: FloatArray, n_nodes: int) -> FloatArray:
    # By symmetry the rarer outcome is integrated, whose probability loses no digits.
    u, weight = gaussian_nodes(n_nodes)
    logit = -np.abs(mu)[..., None] + s[..., None] * u
    p = np.asarray(_sigmoid(logit) @ weight)
    return np.clip(_entropy_of(p) - _entropy(logit) @ weight, 0.0, np.log(2.0))


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)))


def _entropy_of(p: FloatArray) -> FloatArray:
    """h(p) in nats for p < 1."""
    return np.asarray(-p * np.log(np.maximum(p, np.finfo(float).tiny)) - (1.0 - p) * np.log1p(-p))


def _entropy(logit: FloatArray) -> FloatArray:
    """h(σ(x)) in nats, without forming a probability that rounds to 0 or 1."""
    x = np.abs(logit)
    tail = np.exp(-x)
    return np.asarray(np.log1p(tail) + x * tail / (1.0 + tail))
