"""The reward model: frozen features of responses to a joint Gaussian belief over their rewards.

    raw features ─ Projection ─▶ φ ─ centre ─▶ φ_i, φ_j ─ fit ─▶ Head: Posterior or Ensemble

`fit_with_annotators` learns whom to trust on the way, `temperature` and `exploration_gate` judge
the head on labels that it did not choose. Plain functions over NumPy arrays; nothing here knows a
lake, a batch or a vendor.
"""

from winnow.reward.annotators import condense, fit_with_annotators
from winnow.reward.blocks import Block, Blocks
from winnow.reward.calibration import (
    Calibration,
    expected_calibration_error,
    log_loss,
    temperature,
)
from winnow.reward.condensed import Condensed
from winnow.reward.ensemble import Ensemble
from winnow.reward.ensemble_fit import fit_ensemble
from winnow.reward.gate import (
    ExplorationNight,
    Gate,
    GateState,
    GateVerdict,
    exploration_gate,
)
from winnow.reward.laplace import fit
from winnow.reward.logistic import preference_by_quadrature
from winnow.reward.model import OVERALL, RewardModel, version_as_stored
from winnow.reward.posterior import Head, Posterior, observe_pairs, prior, prior_of
from winnow.reward.projection import Projection, centre, fit_projection

__all__ = [
    "OVERALL",
    "Block",
    "Blocks",
    "Calibration",
    "Condensed",
    "Ensemble",
    "ExplorationNight",
    "Gate",
    "GateState",
    "GateVerdict",
    "Head",
    "Posterior",
    "Projection",
    "RewardModel",
    "centre",
    "condense",
    "expected_calibration_error",
    "exploration_gate",
    "fit",
    "fit_ensemble",
    "fit_projection",
    "fit_with_annotators",
    "log_loss",
    "observe_pairs",
    "preference_by_quadrature",
    "prior",
    "prior_of",
    "temperature",
    "version_as_stored",
]
