"""How far a night's labels moved the model, and whether what older votes taught still holds.

Both are read on the pairs of the night that were drawn uniformly, for the chosen ones are those on
which the model was in doubt. What was foreseen is told of models that had not seen the night's
votes: the one that chose its pairs, and the votes that are read no more (`Condensed`), alone.

Shapes: e votes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.arrays import FloatArray
from winnow.intervals import wilson


@dataclass(frozen=True, slots=True)
class Drift:
    """What a night says of the models before it.

    Attributes:
        pairs: How many uniformly drawn pairs have a vote.
        turned: Those that the new model orders otherwise than the one that chose.
        decided: Votes on them for a side.
        foreseen: Those of them for the side that the model that chose held to be the likelier one.
        older_votes: How many votes are read no more.
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
        """Whether older votes foresaw fewer than the model, beyond chance (95 %)."""
        apart = self.only_model + self.only_older
        return bool(apart) and wilson(self.only_older, apart)[1] < 0.5


def drift(
    stated_e: FloatArray,
    reward_e: FloatArray,
    older_e: FloatArray,
    preferred_e: FloatArray,
    pairs: Sequence[str],
    older_votes: int,
) -> Drift:
    """The drift by the votes on uniformly drawn pairs.

    Args:
        stated_e: Chance of the first response, as the model that chose stated it.
        reward_e: Reward difference by the new model.
        older_e: By the votes that are read no more; whatever it is where there are none.
        preferred_e: 1, 0 or 0.5 for a tie.
        pairs: The pair of each vote.
        older_votes: How many are read no more.
    """
    before_e, vote_e = stated_e - 0.5, preferred_e - 0.5
    _, one_each = np.unique(pairs, return_index=True)
    model, older = before_e * vote_e > 0.0, older_e * vote_e > 0.0
    if not older_votes:
        model_alone = older_alone = older = np.zeros(len(vote_e), np.bool_)
    else:
        model_alone, older_alone = model & ~older, older & ~model
    return Drift(
        pairs=len(one_each),
        turned=int((reward_e * before_e < 0.0)[one_each].sum()),
        decided=int((vote_e != 0.0).sum()),
        foreseen=int(model.sum()),
        older_votes=older_votes,
        foreseen_by_older=int(older.sum()),
        only_model=int(model_alone.sum()),
        only_older=int(older_alone.sum()),
    )


def stored_drift(stored: Any) -> Drift | None:
    """The drift as a manifest tells it; None where it tells none, or nonsense."""
    if not isinstance(stored, Mapping) or stored.keys() != set(Drift.__slots__):
        return None
    if any(type(value) is not int or value < 0 for value in stored.values()):
        return None
    drifted = Drift(**stored)
    apart = drifted.only_model + drifted.only_older
    parts = (drifted.foreseen, drifted.foreseen_by_older, apart)
    return drifted if drifted.turned <= drifted.pairs and max(parts) <= drifted.decided else None
