"""What the votes that left the window of a refit taught, as it is stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from winnow.ids import canonical_json
from winnow.reward import Condensed, Projection
from winnow.reward.model import (
    block_names,
    npz_bytes,
    npz_entries,
    projection_arrays,
    projection_of,
)
from winnow.stages.select.trust import Before


@dataclass(frozen=True, slots=True, eq=False)
class Older:
    """Votes that are read no more.

    Attributes:
        projection: Whose features they are condensed in.
        heads: The votes, by the head that learns from them.
        trust: What the nights say of trust that left as a whole.
    """

    projection: Projection
    heads: Mapping[str, Condensed]
    trust: Before

    def to_bytes(self) -> bytes:
        """As an .npz file; equal contents, equal bytes."""
        entries: dict[str, Any] = {
            **projection_arrays(self.projection),
            **block_names(self.projection),
            "heads": np.array(sorted(self.heads), np.str_),
            "trust": canonical_json(asdict(self.trust)).decode(),
        }
        for k, (_, votes) in enumerate(sorted(self.heads.items())):
            entries |= {f"head{k}_{name}": array for name, array in votes.arrays().items()}
            entries[f"head{k}_annotators"] = np.array(sorted(votes.guesses), np.str_)
        return npz_bytes(entries)

    @classmethod
    def from_bytes(cls, data: bytes) -> Older:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError, LookupError, TypeError: It is nothing of the kind.
        """
        entries = npz_entries(data)
        heads = {}
        for k, name in enumerate(entries["heads"].tolist()):
            prefix = f"head{k}_"
            own = {n.removeprefix(prefix): a for n, a in entries.items() if n.startswith(prefix)}
            heads[name] = Condensed.from_arrays(own, own["annotators"].tolist())
        trust = Before(**json.loads(str(entries["trust"])))
        return cls(projection_of(entries), heads, trust)
