"""Labels to a posterior: logistic (Bradley-Terry) regression with a Laplace approximation.

    P(i preferred to j) = σ(wᵀ(φ_i - φ_j) + b·side + γ·length)

Side and length are nuisance effects: fitted with w, so that w does not have to explain them, then
left out of the reward. The prior precision λ is chosen by the Laplace evidence at every fit,
because a fixed λ costs calibration (up to 0.19 ECE where it was measured). A weak log-normal prior
on λ decides while labels are too few to speak.

Always holds: the order of labels does not matter, (i, j, y) and (j, i, 1 - y) fit alike, a label
of weight 0 changes nothing, and separable labels give finite weights. Newton steps are halved until
the loss falls: undamped steps diverge on logistic losses.

Source: MacKay (1992), "The evidence framework applied to classification networks".

Shapes: e labels, d features, k = d + 2 effects (the features, side, length).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from winnow.errors import Corrupt
from winnow.reward.posterior import Posterior, prior

FloatArray = NDArray[np.float64]

NUISANCE_PRECISION = 1.0
"""Prior precision of side and length: an effect of one logit is unremarkable."""

_GRID = np.logspace(3.0, -3.0, 13)
"""λ candidates in units of the mean squared length of z: prior variances of a pair 0.001 to 1000.

Largest first: each fit starts from the one before, and a strong prior is the easy start."""

_GRID_SPREAD = np.log(10.0)
"""Standard deviation of the prior on log λ: one decade around a pair variance of 1."""

_MAX_NEWTON_STEPS = 100
_SHORTEST_STEP = 1e-8
"""Share of a Newton step below which halving it on is rounding."""
_CONVERGED = 1e-10
"""Newton decrement, in nats, below which another step cannot matter."""


@dataclass(frozen=True, slots=True, eq=False)
class _Labels:
    effects_ek: FloatArray
    preferred_e: FloatArray
    weight_e: FloatArray

    def loss(self, theta_k: FloatArray) -> float:
        """Negative log-likelihood in nats; a tie (0.5) is two half-weight labels."""
        logit_e = self.effects_ek @ theta_k
        return float(self.weight_e @ (np.logaddexp(0.0, logit_e) - self.preferred_e * logit_e))

    def slopes(self, theta_k: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Gradient (k,) and Hessian (k, k) of `loss`."""
        p_e = 0.5 * (1.0 + np.tanh(0.5 * (self.effects_ek @ theta_k)))
        gradient_k = self.effects_ek.T @ (self.weight_e * (p_e - self.preferred_e))
        weighted_ek = self.effects_ek * (self.weight_e * p_e * (1.0 - p_e))[:, None]
        return gradient_k, self.effects_ek.T @ weighted_ek


def fit(
    z_ed: ArrayLike,
    preferred_e: ArrayLike,
    weight_e: ArrayLike,
    side_e: ArrayLike,
    length_e: ArrayLike,
    prior_precision: float | None = None,
) -> Posterior:
    """Posterior after labels of pairs (i, j).

    Args:
        z_ed: Feature differences φ_i - φ_j.
        preferred_e: 1 when i was preferred, 0 when j was, 0.5 for a tie.
        weight_e: Trust in each label; 1 is one vote of a good annotator, 0 leaves it out.
        side_e: +1 when i was shown first, -1 when j was.
        length_e: Length of i less that of j, in a unit where 1 is a large difference.
        prior_precision: λ; chosen by evidence when absent.

    Raises:
        Corrupt: A value is not finite, a preference outside [0, 1] or a weight below 0.
    """
    z_ed = np.asarray(z_ed, dtype=np.float64)
    labels = _checked_labels(z_ed, preferred_e, weight_e, side_e, length_e)
    d, n_labels = z_ed.shape[1], len(labels.weight_e)
    if not n_labels:
        # Standardised features: this λ puts the prior variance of a pair near 2.
        return prior(d, float(max(d, 1)) if prior_precision is None else prior_precision)
    if prior_precision is None:
        prior_precision = _precision_by_evidence(labels)
    theta_k, hessian_kk = _newton(labels, prior_precision, np.zeros(d + 2))
    # The block of the whole inverse: uncertainty about side and length stays in the reward's.
    cov_dd = np.linalg.inv(hessian_kk)[:d, :d]
    return Posterior(
        mean_d=theta_k[:d],
        cov_dd=0.5 * (cov_dd + cov_dd.T),
        prior_precision=prior_precision,
        n_labels=n_labels,
        side=float(theta_k[d]),
        length=float(theta_k[d + 1]),
    )


def _checked_labels(z_ed: FloatArray, *columns: ArrayLike) -> _Labels:
    columns_e = [np.asarray(column, dtype=np.float64) for column in columns]
    preferred_e, weight_e, side_e, length_e = columns_e
    finite = all(np.isfinite(values).all() for values in (z_ed, *columns_e))
    if not finite or (weight_e < 0).any() or ((preferred_e < 0) | (preferred_e > 1)).any():
        raise Corrupt(
            f"Among {len(z_ed)} labels there are values that are not finite, preferences outside "
            "[0, 1] or weights below 0: check what the vendor returned."
        )
    counts_e = weight_e > 0
    effects_ek = np.column_stack([z_ed, side_e, length_e])
    return _Labels(effects_ek[counts_e], preferred_e[counts_e], weight_e[counts_e])


def _precision_by_evidence(labels: _Labels) -> float:
    """λ of the highest evidence on a log grid, refined by the parabola through the best three."""
    z_ed = labels.effects_ek[:, :-2]
    unit = float((z_ed**2).sum(axis=1).mean()) or 1.0
    start_k, scores = np.zeros(labels.effects_ek.shape[1]), []
    for ratio in _GRID:
        start_k, hessian_kk = _newton(labels, unit * ratio, start_k)
        scores.append(
            _log_evidence(labels, unit * ratio, start_k, hessian_kk)
            - 0.5 * (np.log(ratio) / _GRID_SPREAD) ** 2
        )
    best = int(np.argmax(scores))
    log_ratio = np.log(_GRID[best])
    if 0 < best < len(_GRID) - 1:
        below, peak, above = scores[best - 1 : best + 2]
        shift = 0.5 * (below - above) / (below - 2.0 * peak + above)
        log_ratio += shift * np.log(_GRID[1] / _GRID[0])
    return float(unit * np.exp(log_ratio))


def _log_evidence(
    labels: _Labels, prior_precision: float, theta_k: FloatArray, hessian_kk: FloatArray
) -> float:
    """Laplace approximation of log p(labels | λ), in nats."""
    precision_k = _precisions(prior_precision, len(theta_k))
    log_prior = 0.5 * (np.log(precision_k).sum() - precision_k @ theta_k**2)
    return float(log_prior - labels.loss(theta_k) - 0.5 * np.linalg.slogdet(hessian_kk)[1])


def _newton(
    labels: _Labels, prior_precision: float, start_k: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Most probable effects and the Hessian there."""
    precision_k = _precisions(prior_precision, len(start_k))

    def objective(theta_k: FloatArray) -> float:
        return labels.loss(theta_k) + 0.5 * float(precision_k @ theta_k**2)

    theta_k = start_k
    for _ in range(_MAX_NEWTON_STEPS):
        gradient_k, hessian_kk = labels.slopes(theta_k)
        gradient_k = gradient_k + precision_k * theta_k
        hessian_kk = hessian_kk + np.diag(precision_k)
        step_k = np.linalg.solve(hessian_kk, gradient_k)
        decrement = float(gradient_k @ step_k)
        if decrement < _CONVERGED:
            break
        here, size = objective(theta_k), 1.0
        while (
            size > _SHORTEST_STEP
            and objective(theta_k - size * step_k) > here - 0.25 * size * decrement
        ):
            size *= 0.5
        theta_k = theta_k - size * step_k
    return theta_k, hessian_kk


def _precisions(prior_precision: float, k: int) -> FloatArray:
    precision_k = np.full(k, prior_precision)
    precision_k[-2:] = NUISANCE_PRECISION
    return precision_k
