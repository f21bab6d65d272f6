"""The reward model: frozen features of responses to a joint Gaussian posterior over their rewards.

    raw features ─ Projection ─▶ φ ─ centre ─▶ z = φ_i - φ_j ─ fit ─▶ Posterior N(ŵ, Σ)

Plain functions over NumPy arrays; nothing here knows a lake, a batch or a vendor.
"""

from winnow.reward.laplace import fit
from winnow.reward.model import RewardModel
from winnow.reward.posterior import Posterior, observe_pairs, prior
from winnow.reward.projection import Projection, centre, fit_projection

__all__ = [
    "Posterior",
    "Projection",
    "RewardModel",
    "centre",
    "fit",
    "fit_projection",
    "observe_pairs",
    "prior",
]
