"""Labels to a posterior: logistic (Bradley-Terry) regression with a Laplace approximation.

    P(i preferred to j) = σ(wᵀ(φ_i - φ_j) + b·side + γ·length)

Side and length are nuisance effects: fitted with w, so that w does not have to explain them, then
left out of the reward. The prior precision λ is chosen by the Laplace evidence at every fit.

Always holds: the order of labels does not matter, (i, j, y) and (j, i, 1 - y) fit alike, a label
of weight 0 changes nothing, and separable labels give finite weights.

Shapes: e labels, d features, r directions that the labels compare, k = r + 2 effects (with side
and length).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import FloatArray
from winnow.reward.evidence import precision_by_evidence
from winnow.reward.logistic import (
    N_NUISANCE,
    Labels,
    checked_labels,
    most_probable,
    precisions,
)
from winnow.reward.posterior import Posterior, prior


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
    labels = checked_labels(z_ed, preferred_e, weight_e, side_e, length_e)
    n_labels, d = len(labels.weight_e), labels.effects_ek.shape[1] - N_NUISANCE
    if not n_labels:
        # Standardised features: this λ puts the prior variance of a pair near 2.
        return prior(d, float(max(d, 1)) if prior_precision is None else prior_precision)
    if n_labels >= d:
        return _fit_labels(labels, prior_precision)
    directions_dr = np.linalg.qr(labels.effects_ek[:, :d].T)[0]
    return _embed(_fit_labels(_along(labels, directions_dr), prior_precision), directions_dr)


def _fit_labels(labels: Labels, prior_precision: float | None) -> Posterior:
    k = labels.effects_ek.shape[1]
    start_k = np.zeros(k)
    if prior_precision is None:
        prior_precision, start_k = precision_by_evidence(labels)
    mode = most_probable(labels, precisions(prior_precision, k), start_k)
    d = k - N_NUISANCE
    # The block of the whole inverse: uncertainty about side and length stays in the reward's.
    cov_dd = np.linalg.inv(mode.hessian_kk)[:d, :d]
    return Posterior(
        mean_d=mode.theta_k[:d],
        cov_dd=0.5 * (cov_dd + cov_dd.T),
        prior_precision=prior_precision,
        n_labels=len(labels.weight_e),
        side=float(mode.theta_k[d]),
        length=float(mode.theta_k[d + 1]),
    )


def _along(labels: Labels, directions_dr: FloatArray) -> Labels:
    """Labels with their features in orthonormal directions that hold every z.

    Fewer labels than features: the other directions keep their prior exactly, and the evidence
    does not see them.
    """
    d = len(directions_dr)
    z_er = labels.effects_ek[:, :d] @ directions_dr
    return replace(labels, effects_ek=np.hstack([z_er, labels.effects_ek[:, d:]]))


def _embed(posterior: Posterior, directions_dr: FloatArray) -> Posterior:
    """A posterior along directions as one over all features: the prior holds in the others."""
    variance = 1.0 / posterior.prior_precision
    learnt_rr = posterior.cov_dd - variance * np.eye(len(posterior.cov_dd))
    cov_dd = directions_dr @ learnt_rr @ directions_dr.T + variance * np.eye(len(directions_dr))
    return replace(
        posterior, mean_d=directions_dr @ posterior.mean_d, cov_dd=0.5 * (cov_dd + cov_dd.T)
    )
