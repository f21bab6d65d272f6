"""Labels to a posterior: logistic (Bradley-Terry) regression with a Laplace approximation.

    P(i preferred to j) = σ(wᵀ(φ_i - φ_j) + b·side + γ·length)

Side and length are nuisance effects: fitted with w, so that w does not have to explain them, then
left out of the reward. The prior precision λ of each block of features is chosen by the Laplace
evidence at every fit.

Always holds: the order of labels does not matter, (i, j, y) and (j, i, 1 - y) fit alike, a label
of weight 0 changes nothing, and separable labels give finite weights.

Shapes: e labels, d features, k = d + 2 effects (with side and length).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from winnow.reward.blocks import Blocks, one_block
from winnow.reward.condensed import Condensed
from winnow.reward.evidence import fit_at, fit_by_evidence
from winnow.reward.logistic import N_NUISANCE, checked_labels
from winnow.reward.posterior import Posterior, prior_of


def fit(
    z_ed: ArrayLike,
    preferred_e: ArrayLike,
    weight_e: ArrayLike,
    side_e: ArrayLike,
    length_e: ArrayLike,
    prior_precision: float | None = None,
    blocks: Blocks | None = None,
    older: Condensed | None = None,
) -> Posterior:
    """Posterior after labels of pairs (i, j).

    Args:
        z_ed: Feature differences φ_i - φ_j.
        preferred_e: 1 when i was preferred, 0 when j was, 0.5 for a tie.
        weight_e: Trust in each label; 1 is one vote of a good annotator, 0 leaves it out.
        side_e: +1 when i was shown first, -1 when j was.
        length_e: Length of i less that of j, in a unit where 1 is a large difference.
        prior_precision: λ of every feature; chosen by evidence, a number a block, when absent.
        blocks: The features' blocks; all are one when absent.
        older: Labels beside these, condensed.

    Raises:
        Corrupt: A value is not finite, a preference outside [0, 1] or a weight below 0.
    """
    labels = checked_labels(z_ed, preferred_e, weight_e, side_e, length_e)
    d = labels.effects_ek.shape[1] - N_NUISANCE
    blocks = one_block(d) if blocks is None else blocks
    n_labels = len(labels.weight_e) + (older.n_labels if older else 0)
    if not n_labels:
        return prior_of(blocks, prior_precision)
    if prior_precision is None:
        precision_d, mode = fit_by_evidence(labels, blocks, older)
    else:
        precision_d = np.full(d, prior_precision)
        mode = fit_at(labels, precision_d, blocks, older=older)
    # The block of the whole inverse: uncertainty about side and length stays in the reward's.
    cov_dd = np.linalg.inv(mode.hessian_kk)[:d, :d]
    return Posterior(
        mean_d=mode.theta_k[:d],
        cov_dd=0.5 * (cov_dd + cov_dd.T),
        precision_d=precision_d,
        n_labels=n_labels,
        side=float(mode.theta_k[d]),
        length=float(mode.theta_k[d + 1]),
    )
