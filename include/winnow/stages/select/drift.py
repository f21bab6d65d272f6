"""How far a night's labels moved the model, and whether what older nights taught still holds.

Both are read on the pairs of the night that were drawn uniformly, for the chosen ones are those on
which the model was in doubt. What was foreseen is told of models that had not seen the night's
votes: the one that chose its pairs, and the votes that left the window, alone.

Always holds: a night that no model with labels chose tells nothing; what was stored before is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.arrays import FloatArray
from winnow.intervals import wilson
from winnow.reward import OVERALL, RewardModel
from winnow.reward.blocks import prior_mean
from winnow.stages.select.fitting import Fit
from winnow.stages.select.older import Older
from winnow.stages.select.training import numbers, vectors_of

NAME = "drift"
"""Among the figures of the publish stage."""


@dataclass(frozen=True, slots=True)
class Drift:
    """What a night says of the models before it, on its uniformly drawn pairs.

    Attributes:
        pairs: How many have a vote.
        turned: Those that the new model orders otherwise than the one that chose.
        decided: Votes for a side.
        foreseen: Those of them for the side that the model that chose held to be the likelier one.
        older_votes: How many votes left the window.
        foreseen_by_older: Decided votes for the likelier side by those votes alone.
        only_model: Decided votes that the model foresaw and they did not.
        only_older: Those that they foresaw and the model did not.
    """

    pairs: int
    turned: int
    decided: int
    foreseen: int
    older_votes: int
    foreseen_by_older: int
    only_model: int
    only_older: int

    @property
    def is_outdated(self) -> bool:
        """Whether older votes foresee fewer than the model, beyond chance (95 %)."""
        apart = self.only_model + self.only_older
        return bool(apart) and wilson(self.only_older, apart)[1] < 0.5


def drift_figures(
    rows: pa.Table, model: RewardModel, fit: Fit, older: Older | None
) -> dict[str, Any]:
    """The drift of the newest night, for its manifest; empty where there is nothing to tell.

    Args:
        rows: Its training rows.
        model: The one fitted with them.
        fit: Behind the model.
        older: The votes that are in the fit as a sum.
    """
    drawn = rows.filter(pc.and_(pc.equal(rows["kind"], "exploration"), pc.is_valid(rows["mu"])))
    if not drawn.num_rows:
        return {}
    first_ed, second_ed = (model.projection.apply(vectors_of(drawn, s)) for s in _SIDES)
    names = [n if n in model.heads else OVERALL for n in drawn["dimension"].to_pylist()]
    rewards_e, older_e = np.zeros(len(names)), np.zeros(len(names))
    held = older.heads if older else {}
    for name in sorted(set(names)):
        own = np.flatnonzero([each == name for each in names])
        head = model.heads.get(name, model.posterior)
        rewards_e[own] = head.mean(first_ed[own]) - head.mean(second_ed[own])
        if name in held:
            weights_d = held[name].weights(
                fit.heads[name].precision_d, prior_mean(fit.projection.blocks)
            )
            older_e[own] = (first_ed[own] - second_ed[own]) @ weights_d
    return asdict(_drift(drawn, rewards_e, older_e, sum(v.n_labels for v in held.values())))


_SIDES = ("first", "second")


def _drift(drawn: pa.Table, rewards_e: FloatArray, older_e: FloatArray, n_older: int) -> Drift:
    before_e, vote_e = numbers(drawn, "p_first") - 0.5, numbers(drawn, "preference") - 0.5
    _, pair = np.unique(drawn["pair_id"].to_pylist(), return_index=True)
    decided = vote_e != 0.0
    model, past = before_e * vote_e > 0.0, older_e * vote_e > 0.0
    return Drift(
        pairs=len(pair),
        turned=int((rewards_e * before_e < 0.0)[pair].sum()),
        decided=int(decided.sum()),
        foreseen=int(model.sum()),
        older_votes=n_older,
        foreseen_by_older=int(past.sum()) if n_older else 0,
        only_model=int((model & ~past).sum()) if n_older else 0,
        only_older=int((past & ~model).sum()) if n_older else 0,
    )


def stored_drift(figures: Mapping[str, Any]) -> Drift | None:
    """The drift that a manifest's figures tell; None where they tell none, or nonsense."""
    stored = figures.get(NAME)
    if not isinstance(stored, Mapping) or stored.keys() != set(Drift.__slots__):
        return None
    if any(type(value) is not int or value < 0 for value in stored.values()):
        return None
    drift = Drift(**stored)
    parts = (drift.foreseen, drift.foreseen_by_older, drift.only_model, drift.only_older)
    fits = drift.turned <= drift.pairs and max(parts) <= drift.decided
    return drift if fits and drift.only_model + drift.only_older <= drift.decided else None
