"""How far the reward model can be trusted: what it said of exploration pairs before their votes.

Exploration pairs were drawn uniformly, and a batch's model never saw its votes, so their log-loss
is an honest test. From it come the temperature of the next model and the gate that closes on a
model which was shown to predict worse than a coin or the length of the responses.

Always holds: only batches chosen by a model with labels count, and only their latest annotations.
The gate's evidence is of all these batches: those that a refit reads come in order of their keys,
after the ones that left its window. All else is of the last `BATCHES`.

Shapes: e exploration votes of a night.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.arrays import FloatArray
from winnow.reward.calibration import Calibration, expected_calibration_error, temperature
from winnow.reward.gate import (
    RECENT_NIGHTS,
    ExplorationNight,
    Gate,
    GateVerdict,
    exploration_gate,
)
from winnow.stages.select.training import numbers

BATCHES = RECENT_NIGHTS


@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """A night's exploration votes.

    Attributes:
        is_judged: Whether the model that chose the batch had labels.
        p_first_e: The chance that it stated.
        mu_e: Mean of the logit by that model, at temperature 1; not a number where it had no label.
        sd_e: Its standard deviation.
        length_e: Difference of the responses' log lengths.
        preference_e: 1, 1/2 or 0.
        prompts: Whose responses they are.
    """

    is_judged: bool
    p_first_e: FloatArray
    mu_e: FloatArray
    sd_e: FloatArray
    length_e: FloatArray
    preference_e: FloatArray
    prompts: Sequence[str]

    @classmethod
    def of(cls, rows: pa.Table, is_judged: bool) -> Explored:
        """Those among a night's training rows."""
        drawn = rows.filter(pc.equal(rows["kind"], "exploration"))
        return cls(
            is_judged,
            p_first_e=numbers(drawn, "p_first"),
            mu_e=numbers(drawn, "mu"),
            sd_e=numbers(drawn, "sd"),
            length_e=numbers(drawn, "length"),
            preference_e=numbers(drawn, "preference"),
            prompts=drawn["prompt_id"].to_pylist(),
        )

    def as_json(self) -> list[list[float]]:
        """What it says of the calibration: mean, deviation, stated chance and preference."""
        parts = (self.mu_e, self.sd_e, self.p_first_e, self.preference_e)
        return [part.tolist() for part in parts]

    def night(self) -> ExplorationNight:
        """What it says to the gate."""
        stated_e = self.p_first_e if self.is_judged else None
        return ExplorationNight(stated_e, self.length_e, self.preference_e, self.prompts)


@dataclass(frozen=True, slots=True)
class Before:
    """What the nights that left the window say of trust.

    Attributes:
        gate: The gate after them (`Gate.as_json`).
        recent: Of the last `BATCHES` of them that judged a model, what `Explored.as_json` tells.
    """

    gate: dict[str, Any] | None = None
    recent: list[list[list[float]]] = field(default_factory=list)

    def plus(self, nights: Sequence[Explored]) -> Before:
        """With further nights, oldest first."""
        gate = Gate.resumed(self.gate)
        for night in nights:
            gate.add(night.night())
        recent = [*self.recent, *(night.as_json() for night in nights if night.is_judged)]
        return Before(gate.as_json(), recent[-BATCHES:])


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


def measure(nights: Sequence[Explored], before: Before | None = None) -> Trust:
    """Trust from the exploration votes of published batches, oldest first."""
    earlier = before or Before()
    judged = [*earlier.recent, *(night.as_json() for night in nights if night.is_judged)]
    mu, sd, stated, preferred = (
        [value for night in judged[-BATCHES:] for value in night[part]] for part in range(4)
    )
    return Trust(
        temperature=temperature(mu, sd, preferred, np.ones(len(mu))),
        gate=exploration_gate((night.night() for night in nights), earlier.gate),
        calibration=expected_calibration_error(stated, preferred) if stated else None,
    )
