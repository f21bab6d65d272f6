"""What a night did: pairs spent and left, exploration, gains, and every floor met or not.

Always holds: spent + unspent = budget; the floors are all listed, with exact counts.

Shapes: k floors, in order of their strata.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from winnow.arrays import IntArray
from winnow.select.coverage import CONTESTED, floor_members
from winnow.select.pool import Pool
from winnow.select.rules import Choice


@dataclass(frozen=True, slots=True)
class Floor:
    """What became of one floor."""

    stratum: str
    wanted: int
    got: int

    @property
    def met(self) -> bool:
        """Whether the batch holds as many of its pairs as wanted."""
        return self.got >= self.wanted


@dataclass(frozen=True, slots=True)
class NightReport:
    """What a night did, so far.

    Attributes:
        budget: Pairs that it may take.
        spent: Pairs that it took.
        carried: Pairs that shards could not give and left to later ones.
        explored: Pairs of the exploration arm.
        without_pairs: Prompts from which nothing was chosen.
        mean_info_gain: Nats; None without pairs.
        mean_decision_gain: Squared logits; None where the strategy does not work it out.
        floors: Every floor with the pairs that it wanted and got.
    """

    budget: int
    spent: int
    carried: int
    explored: int
    without_pairs: int
    mean_info_gain: float | None
    mean_decision_gain: float | None
    floors: tuple[Floor, ...]

    @property
    def unspent(self) -> int:
        """Pairs that no prompt could give."""
        return self.budget - self.spent

    @property
    def unmet(self) -> tuple[Floor, ...]:
        """The floors that the batch does not reach."""
        return tuple(floor for floor in self.floors if not floor.met)


@dataclass(slots=True)
class Tally:
    """Running totals over the choices of a night; `got_k` counts for the floors of `strata`."""

    strata: Sequence[str]
    spent: int = 0
    carried: int = 0
    explored: int = 0
    without_pairs: int = 0
    info_gain: float = 0.0
    decision_gain: float = 0.0
    with_decision_gain: int = 0
    got_k: IntArray = field(init=False)

    def __post_init__(self) -> None:
        self.got_k = np.zeros(len(self.strata), dtype=np.int64)

    def add(self, chosen: Iterable[tuple[Pool, Sequence[Choice]]]) -> None:
        """Count the choices of some pools."""
        for pool, choices in chosen:
            self.got_k += floor_counts(pool, choices, self.strata)
            self.spent += len(choices)
            self.without_pairs += not choices
            for choice in choices:
                self.explored += choice.arm == "explore"
                self.info_gain += choice.info_gain
                if choice.decision_gain is not None:
                    self.decision_gain += choice.decision_gain
                    self.with_decision_gain += 1

    def report(self, budget: int, floors: Mapping[str, int]) -> NightReport:
        """The totals as a report."""
        return NightReport(
            budget=budget,
            spent=self.spent,
            carried=self.carried,
            explored=self.explored,
            without_pairs=self.without_pairs,
            mean_info_gain=_mean(self.info_gain, self.spent),
            mean_decision_gain=_mean(self.decision_gain, self.with_decision_gain),
            floors=tuple(
                Floor(stratum, floors[stratum], got)
                for stratum, got in zip(self.strata, self.got_k.tolist(), strict=True)
            ),
        )


def floor_counts(pool: Pool, choices: Sequence[Choice], strata: Sequence[str]) -> IntArray:
    """How many of a pool's choices count for each stratum (k,)."""
    i_e = np.array([choice.i for choice in choices], dtype=np.intp)
    j_e = np.array([choice.j for choice in choices], dtype=np.intp)
    count_k: IntArray = floor_members(pool, i_e, j_e, strata).sum(axis=1, dtype=np.int64)
    for k, stratum in enumerate(strata):
        if stratum.startswith(CONTESTED):
            count_k[k] = sum(CONTESTED + choice.contested == stratum for choice in choices)
    return count_k


def _mean(total: float, n: int) -> float | None:
    return total / n if n else None
