"""Pools that stop growing when they stop helping: what a pool holds when that is asked.

Who answers is not decided here: `Grows` is given the pools after a round, and says which go on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.batch import read_table
from winnow.expand.manifests import CallManifest
from winnow.lake import Lake
from winnow.reward.blocks import Blocks


@dataclass(frozen=True, slots=True, eq=False)
class PoolSoFar:
    """The distinct responses to one prompt after some rounds.

    Attributes:
        rows: Rows of the `responses` table, in the order in which they were drawn.
        response_ids: Their ids.
        duplicates: How often each was drawn.
        flags: Faults of each, by name.
        mean_tokens: Tokens of a response on average, over all draws.
        vectors_nc: Raw features (n, c), float16.
        blocks: What their columns are, as recorded.
    """

    prompt_id: str
    rows: Sequence[Mapping[str, Any]]
    response_ids: list[str]
    duplicates: list[int]
    flags: list[list[str]]
    vectors_nc: NDArray[np.float16]
    mean_tokens: float
    blocks: Blocks = ()

    @property
    def n_sampled(self) -> int:
        """Responses drawn so far, empty ones left out."""
        return sum(self.duplicates)


Grows = Callable[[Sequence[PoolSoFar], int], Sequence[bool]]
"""Which pools go on, asked with the number of responses that each would have then."""


def pools_so_far(
    store: Lake, calls: Iterable[CallManifest], prompts: Sequence[str]
) -> list[PoolSoFar]:
    """The pools of those prompts that have responses, in the order of `prompts`."""
    rows_of: defaultdict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    recorded: Blocks = ()
    wanted = set(prompts)
    for call in calls:
        recorded = recorded or call.blocks
        vectors = read_table(store, call.outputs["features"])["vector"].to_pylist()
        responses = read_table(store, call.outputs["responses"]).to_pylist()
        for row, vector in zip(responses, vectors, strict=True):
            if row["prompt_id"] not in wanted:
                continue
            pool = rows_of[row["prompt_id"]]
            first = pool.setdefault(row["response_id"], {**row, "duplicates": 0, "vector": vector})
            first["duplicates"] += row["duplicates"]
    return [
        _pool(prompt, list(rows_of[prompt].values()), recorded)
        for prompt in prompts
        if prompt in rows_of
    ]


def _pool(prompt_id: str, rows: Sequence[dict[str, Any]], recorded: Blocks) -> PoolSoFar:
    return PoolSoFar(
        prompt_id=prompt_id,
        rows=rows,
        response_ids=[row["response_id"] for row in rows],
        duplicates=[row["duplicates"] for row in rows],
        flags=[row["flags"] for row in rows],
        vectors_nc=np.array([row["vector"] for row in rows], np.float16),
        mean_tokens=float(
            np.average([r["n_tokens"] for r in rows], weights=[r["duplicates"] for r in rows])
        ),
        blocks=recorded,
    )
