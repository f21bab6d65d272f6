"""What to select with when the reward model has not earned trust: diversity and more exploration.

Gains computed from a model with next to no labels, or from one that was shown to do harm, mean
nothing. Diversity needs only the features, and the larger exploration share buys the labels that
show when the model can be trusted again. Where a score says something of a response before any
label does, the campaign's strategy starts on it, with that larger share. While the model is shown
neither to help nor to harm, the strategy goes on, with an exploration share that falls as labels
come.

Only a strategy that reads the model is replaced: what a campaign compares itself with (`random`,
`traditional`, `diversity`) does what it says from the first night, and so does an exploration share
of 0, which buys no evidence on the model by name.

Always holds: the exploration share is never lowered here, nor raised from 0, and the reason is
empty exactly when the campaign's own rules stand.

Sources: docs/choosing_pairs.md, "Trust"; MacKay (1992), "Bayesian interpolation", for the
effective number of parameters.
"""

from __future__ import annotations

from dataclasses import replace

from winnow.reward.gate import GateState
from winnow.reward.posterior import Posterior
from winnow.select.rules import Rules, is_guided

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


def untrusted_because(n_labels: int, effective_dimension: float, gate_state: GateState) -> str:
    """Why the model may not choose tonight; empty where it may.

    `effective_dimension` counts the directions that the labels have pinned down.
    """
    needed = _needed(effective_dimension)
    if n_labels < needed:
        return f"the reward model has {n_labels} labels and needs {needed:.0f} to be trusted"
    if gate_state == "closed":
        return (
            "the gate is closed: on the exploration labels the reward model was shown to predict "
            "worse than a coin or the length of the responses"
        )
    return ""


def effective_rules(
    rules: Rules,
    n_labels: int,
    effective_dimension: float,
    gate_state: GateState,
    *,
    has_score: bool = False,
) -> tuple[Rules, str]:
    """The rules to select by tonight, with a sentence that says why they are not the campaign's.

    `has_score` says that a score is among the features: the model then guides without labels.

    While the gate is "undecided" the model chooses; the share drawn uniformly falls from the
    fallback's to the campaign's with one over the labels. On the label bench's mixed pool (200
    prompts in 10 nights, 4 labels each, 24 seeds) that cost 0.0 ± 0.4 points of win rate, falling
    with the root of the labels 0.8 ± 0.4, and staying at a half 2.1 ± 0.6.
    """
    if not is_guided(rules.strategy):
        return rules, ""
    cause = untrusted_because(n_labels, effective_dimension, gate_state)
    explores = rules.exploration > 0.0
    if cause:
        share = max(rules.exploration, FALLBACK_EXPLORATION) if explores else 0.0
        if has_score and gate_state != "closed":
            if share == rules.exploration:
                return rules, ""
            return _explored(rules, share, f"{cause}; until then it starts on the score")
        return _explored(replace(rules, strategy=FALLBACK_STRATEGY), share, cause)
    if gate_state == "undecided" and explores:
        share = FALLBACK_EXPLORATION * _needed(effective_dimension) / n_labels
        if share > rules.exploration:
            cause = (
                "the gate is undecided, so more are drawn than the "
                f"{rules.exploration:.0%} asked for until there are more labels"
            )
            return _explored(rules, share, cause)
    return rules, ""


def _needed(effective_dimension: float) -> float:
    return max(MIN_LABELS, LABELS_PER_DIRECTION * effective_dimension)


def _explored(rules: Rules, share: float, cause: str) -> tuple[Rules, str]:
    reason = f"Pairs are chosen by {rules.strategy} with {share:.0%} drawn uniformly: {cause}."
    return replace(rules, exploration=share), reason
