"""What to select with when the reward model has not earned trust: diversity and more exploration.

Gains computed from such a model mean nothing. Diversity needs only the features, and the larger
exploration share buys the labels that show when the model can be trusted again.

Always holds: the exploration share is never lowered here, and the reason is empty exactly when the
campaign's own rules stand.

Sources: docs/choosing_pairs.md, "Trust"; MacKay (1992), "Bayesian interpolation", for the
effective number of parameters.
"""

from __future__ import annotations

from dataclasses import replace

from winnow.reward.gate import GateState
from winnow.reward.posterior import Posterior
from winnow.select.rules import Rules

FALLBACK_STRATEGY = "diversity"
FALLBACK_EXPLORATION = 0.5

MIN_LABELS = 100
"""Labels before which no model is trusted, however few directions its features have.

Twice as many were tried: on the label bench's homogeneous pool (200 prompts in 5 nights, 4 labels
each, 10 seeds, `residual_sd` 0) they made the second night explore as well, and the win rate over
K = 8 fell from +0.006 ± 0.004 to -0.001 ± 0.003."""

LABELS_PER_DIRECTION = 2
"""Labels wanted for each direction that they have pinned down."""


def effective_dimension(posterior: Posterior) -> float:
    """How many directions of the weights the labels have pinned down, between 0 and d.

    With Λ the prior precisions of the weights, this is d - tr(Λ Σ): each weight counts by how much
    less is unknown of it than before any label.

    >>> from winnow.reward import prior
    >>> effective_dimension(prior(3, 2.0))
    0.0
    """
    unpinned = float(posterior.precision_d @ posterior.cov_dd.diagonal())
    return min(max(len(posterior.cov_dd) - unpinned, 0.0), float(len(posterior.cov_dd)))


def effective_rules(
    rules: Rules, n_labels: int, effective_dimension: float, gate_state: GateState
) -> tuple[Rules, str]:
    """The rules to select by tonight, with a sentence that says why they are not the campaign's.

    `effective_dimension` counts the directions that the labels have pinned down; a gate that is
    "undecided" trusts the model.
    """
    needed = max(MIN_LABELS, LABELS_PER_DIRECTION * effective_dimension)
    if n_labels < needed:
        return _fall_back(
            rules, f"the reward model has {n_labels} labels and needs {needed:.0f} to be trusted"
        )
    if gate_state == "closed":
        return _fall_back(
            rules,
            "the gate is closed: on the exploration labels the reward model does not beat a coin "
            "and the length of the responses",
        )
    return rules, ""


def _fall_back(rules: Rules, cause: str) -> tuple[Rules, str]:
    exploration = max(rules.exploration, FALLBACK_EXPLORATION)
    reason = (
        f"Pairs are chosen by {FALLBACK_STRATEGY} with {exploration:.0%} drawn uniformly: {cause}."
    )
    return replace(rules, strategy=FALLBACK_STRATEGY, exploration=exploration), reason
