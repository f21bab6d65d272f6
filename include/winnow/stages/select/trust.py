"""How far the reward model can be trusted: what it said of exploration pairs before their votes.

Exploration pairs were drawn uniformly, and a batch's model never saw its votes, so their log-loss
is an honest test. From it come the temperature of the next model and the gate that closes on a
model which was shown to predict worse than a coin or the length of the responses.

Always holds: only batches chosen by a model with labels count, and only their latest annotations.
The gate's evidence is of all these batches in order of their keys, gathered anew each time: it
reads what the comparisons say, and no model. All else is of the last `BATCHES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from winnow.batch import Manifest, read_artifact
from winnow.lake import Lake
from winnow.reward import RewardModel
from winnow.reward.calibration import Calibration, expected_calibration_error, temperature
from winnow.reward.gate import (
    RECENT_NIGHTS,
    ExplorationNight,
    GateVerdict,
    exploration_gate,
)

BATCHES = RECENT_NIGHTS

PREFERENCE = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}
"""How far a vote is for the first response."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trust:
    """What exploration votes say of the models that chose them.

    Attributes:
        temperature: T of the next posterior; 1 while there are too few votes.
        gate: Whether the model may choose.
        calibration: Of the probabilities as stated; None without votes.
    """

    temperature: float
    gate: GateVerdict
    calibration: Calibration | None

    def figures(self) -> dict[str, Any]:
        """For a manifest: numbers, the gate's sentence, and bins (n, stated, observed)."""
        calibration = self.calibration
        return {
            "temperature": self.temperature,
            "gate": asdict(self.gate),
            "ece": calibration and calibration.ece,
            "ece_low": calibration and calibration.low,
            "ece_high": calibration and calibration.high,
            "reliability": calibration
            and [
                [each.n, round(each.stated, 4), round(each.observed, 4)]
                for each in calibration.bins
            ],
        }


def measure(lake: Lake, batches: Sequence[tuple[Manifest, list[Row]]]) -> Trust:
    """Trust from the select manifests of published batches, oldest first, each with its votes.

    A vote is a row with its comparison's columns, `preference` (1, 1/2 or 0), `length`, the
    difference of the responses' log lengths, and `seen`, the raw vectors that its model saw.
    """
    explored = [
        (select, [vote for vote in votes if vote["kind"] == "exploration"])
        for select, votes in batches
    ]
    judged = [(select, votes) for select, votes in explored if _has_labels(select)]
    rows = [row for each in judged[-BATCHES:] for row in _beliefs(lake, *each)]
    preferred = [row["preference"] for row in rows]
    return Trust(
        temperature=temperature(
            [row["mu"] for row in rows], [row["sd"] for row in rows], preferred, np.ones(len(rows))
        ),
        gate=exploration_gate(_night(*each) for each in explored),
        calibration=expected_calibration_error([row["p_first"] for row in rows], preferred)
        if rows
        else None,
    )


def _has_labels(select: Manifest) -> bool:
    """Whether the model that chose the batch had any."""
    return bool(select.figures["posterior_labels"])


def _night(select: Manifest, votes: Sequence[Row]) -> ExplorationNight:
    return ExplorationNight(
        [vote["p_first"] for vote in votes] if _has_labels(select) else None,
        [vote["length"] for vote in votes],
        [vote["preference"] for vote in votes],
        [vote["prompt_id"] for vote in votes],
    )


def _beliefs(lake: Lake, select: Manifest, votes: list[Row]) -> Iterator[Row]:
    """The votes with their logit's mean and deviation by the batch's model, at temperature 1."""
    if not votes:
        return
    model = RewardModel.from_bytes(read_artifact(lake, select.outputs["reward_model"]))
    for vote in votes:
        head = model.heads.get(vote["contested"], model.posterior)
        pair_2d = model.projection.apply(np.stack(vote["seen"]))
        mean_2, cov_22 = head.mean(pair_2d), head.cov(pair_2d)
        variance = cov_22[0, 0] + cov_22[1, 1] - 2.0 * cov_22[0, 1]
        yield {
            **vote,
            "mu": float(mean_2[0] - mean_2[1]) * head.temperature,
            "sd": float(np.sqrt(max(variance, 0.0))) * head.temperature,
        }
