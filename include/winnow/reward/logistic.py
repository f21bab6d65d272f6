"""Weighted logistic regression under a Gaussian prior: the most probable effects, by Newton.

Newton steps are halved until the loss falls: undamped steps diverge on logistic losses.

Always holds: the order of labels does not matter, a label of weight 0 changes nothing, and
separable labels give finite effects.

Shapes: e labels, k effects, of which the last `N_NUISANCE` are side and length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import FloatArray, gaussian_nodes
from winnow.errors import Corrupt

N_NUISANCE = 2
"""Side and length: fitted with the reward and left out of it."""

NUISANCE_PRECISION = 1.0
"""Prior precision of side and length: an effect of one logit is unremarkable."""

_MAX_NEWTON_STEPS = 100
_SHORTEST_STEP = 1e-8
"""Share of a Newton step below which halving it on is rounding."""
_CONVERGED = 1e-10
"""Newton decrement, in nats, below which another Hessian cannot matter."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What was compared (the effects), what was preferred, and how much each vote counts."""

    effects_ek: FloatArray
    preferred_e: FloatArray
    weight_e: FloatArray

    def loss(self, logit_e: FloatArray) -> float:
        """Negative log-likelihood in nats; a tie (0.5) is two half-weight labels."""
        return float(self.weight_e @ (np.logaddexp(0.0, logit_e) - self.preferred_e * logit_e))

    def slopes(self, logit_e: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradient (k,) and Hessian (k, k) of `loss` in the effects."""
        p_e = sigmoid(logit_e)
        gradient_k = self.effects_ek.T @ (self.weight_e * (p_e - self.preferred_e))
        # One factor only: NumPy sees a matrix times its own transpose and halves the work.
        root_ek = self.effects_ek * np.sqrt(self.weight_e * p_e * (1.0 - p_e))[:, None]
        return gradient_k, root_ek.T @ root_ek


@dataclass(frozen=True, slots=True, eq=False)
class Mode:
    """The most probable effects, with the loss of the labels and the whole Hessian there."""

    theta_k: FloatArray
    hessian_kk: FloatArray
    loss: float


@dataclass(frozen=True, slots=True, eq=False)
class Quadratic:
    """A part of the loss that is ½ θᵀHθ - hᵀθ, nats: H (k, k) and h (k,)."""

    hessian_kk: FloatArray
    linear_k: FloatArray

    def of(self, theta_k: FloatArray) -> float:
        """The loss at some effects."""
        return float(theta_k @ (0.5 * (self.hessian_kk @ theta_k) - self.linear_k))

    def slope(self, theta_k: FloatArray) -> FloatArray:
        """Its gradient there."""
        return self.hessian_kk @ theta_k - self.linear_k

    def around(self, theta_k: FloatArray) -> Quadratic:
        """The same, up to a constant, of effects that are counted from `theta_k`."""
        return Quadratic(self.hessian_kk, -self.slope(theta_k))


def checked_labels(
    z_ed: ArrayLike,
    preferred_e: ArrayLike,
    weight_e: ArrayLike,
    side_e: ArrayLike,
    length_e: ArrayLike,
) -> Labels:
    """Labels of weight above 0, with the effects [z, side, length].

    Raises:
        Corrupt: A value is not finite, a preference outside [0, 1] or a weight below 0.
    """
    given = (z_ed, preferred_e, weight_e, side_e, length_e)
    z, preferred, weight, side, length = (np.asarray(v, dtype=np.float64) for v in given)
    finite = all(np.isfinite(values).all() for values in (z, preferred, weight, side, length))
    if not finite or (weight < 0).any() or ((preferred < 0) | (preferred > 1)).any():
        raise Corrupt(
            f"Among {len(z)} labels there are values that are not finite, preferences outside "
            "[0, 1] or weights below 0: check what the vendor returned."
        )
    counts = weight > 0
    effects_ek = np.column_stack([z, side, length])
    return Labels(effects_ek[counts], preferred[counts], weight[counts])


def with_nuisance(precision_d: FloatArray) -> FloatArray:
    """Prior precision of each effect (k,): of the features as given, one for side and length."""
    return np.append(precision_d, [NUISANCE_PRECISION] * N_NUISANCE)


def most_probable(
    labels: Labels,
    precision_k: FloatArray,
    start_k: FloatArray,
    known_e: FloatArray | float = 0.0,
    beside: Quadratic | None = None,
) -> Mode:
    """Effects of the highest posterior density, searched from `start_k`.

    `known_e` is the part of each logit that is known and not fitted, `beside` a loss beside that of
    the labels.
    """
    here = _Point(start_k, labels.effects_ek @ start_k + known_e)
    for _ in range(_MAX_NEWTON_STEPS):
        gradient_k, hessian_kk = labels.slopes(here.logit_e)
        gradient_k = gradient_k + precision_k * here.theta_k
        hessian_kk[np.diag_indices_from(hessian_kk)] += precision_k
        if beside is not None:
            gradient_k += beside.slope(here.theta_k)
            hessian_kk += beside.hessian_kk
        step_k: FloatArray = np.asarray(np.linalg.solve(hessian_kk, gradient_k), np.float64)
        step = _Point(step_k, labels.effects_ek @ step_k)
        decrement = float(gradient_k @ step_k)
        if decrement < _CONVERGED:
            here = here.less(step, 1.0)
            break
        here = _line_search(labels, precision_k, beside, here, step, decrement)
    return Mode(here.theta_k, hessian_kk, labels.loss(here.logit_e))


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """Effects with the logits that they give the labels: a step costs no second product."""

    theta_k: FloatArray
    logit_e: FloatArray

    def less(self, step: _Point, size: float) -> _Point:
        return _Point(self.theta_k - size * step.theta_k, self.logit_e - size * step.logit_e)


def _line_search(
    labels: Labels,
    precision_k: FloatArray,
    beside: Quadratic | None,
    here: _Point,
    step: _Point,
    decrement: float,
) -> _Point:
    """Where the longest of 1, 1/2, 1/4, ... of a Newton step that falls enough leads."""

    def objective(point: _Point) -> float:
        loss = labels.loss(point.logit_e) + 0.5 * float(precision_k @ point.theta_k**2)
        return loss if beside is None else loss + beside.of(point.theta_k)

    start, size = objective(here), 1.0
    while size > _SHORTEST_STEP:
        there = here.less(step, size)
        if objective(there) <= start - 0.25 * size * decrement:
            break
        size *= 0.5
    return there


def sigmoid(x: FloatArray) -> FloatArray:
    """σ(x) without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


_NODES, _WEIGHTS = gaussian_nodes(61)

_S_LIMIT = 8.0
"""Largest s that the nodes resolve."""

_LOGISTIC_VARIANCE = np.pi**2 / 3.0
"""Variance of the logistic distribution."""


def preference_by_quadrature(mu_e: ArrayLike, sd_e: ArrayLike) -> FloatArray:
    """E σ(μ + su), the chance that the first response of each pair is preferred, u ~ N(0, 1).

    Integrated on 61 equispaced nodes over [-6, 6] with normalised Gaussian weights; for s above 8,
    where those nodes get too coarse, μ and s are shrunk together first. Always holds: it lies in
    [0, 1], P(μ, s) + P(-μ, s) = 1, and it is within 1e-3 of the integral for every s. Where whole
    pools are scored, `winnow.select.gains.preference_by_mixture` is faster.

    >>> preference_by_quadrature([2.0, 2.0], [0.0, 3.0]).round(2)
    array([0.88, 0.72])
    """
    mu, sd = np.asarray(mu_e, dtype=np.float64), np.asarray(sd_e, dtype=np.float64)
    within = np.minimum(sd, _S_LIMIT)
    # σ(x) is the chance that logistic noise stays below x: μ counts in units of the joint spread.
    narrowing = np.sqrt((within**2 + _LOGISTIC_VARIANCE) / (sd**2 + _LOGISTIC_VARIANCE))
    logits = (mu * narrowing)[..., None] + within[..., None] * _NODES
    return np.asarray(sigmoid(logits) @ _WEIGHTS)
