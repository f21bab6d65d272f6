"""The calls of a part's shards joined into pools: a pool a prompt, each text once.

Equal texts are one response that counts them as `duplicates`. Texts that differ by no more than a
reader would notice (white space, case, marks at the ends) are one response too, the first drawn,
which counts the others as `near_duplicates`; their words are in the calls' own tables.

Always holds: sampled = duplicates + near duplicates + empty responses; pools are in order of their
prompts' ids; the same calls give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.batch import quarantine_table, read_table
from winnow.campaign.sections import BROUGHT
from winnow.expand.alike import keys_of_form
from winnow.expand.calls import OF_RESPONSES
from winnow.expand.features import stored_blocks
from winnow.expand.manifests import CallManifest
from winnow.lake import Lake
from winnow.records import RESPONSES, Quarantined, to_table
from winnow.reward import Blocks

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class MergedPool:
    """The distinct texts that answer one prompt, in the order in which they were first drawn.

    Attributes:
        drawn: Rows of the `responses` table, near duplicates among them.
        vectors_nc: Their features (n, c), float16.
        kept: Numbers of the rows that stay, in order of their ids, as selection reads them; they
            count the others as `near_duplicates`.
        feature_version: Identity of these features.
        blocks: What their columns are.
    """

    prompt_id: str
    drawn: list[Row]
    vectors_nc: NDArray[np.float16]
    kept: list[int]
    feature_version: str
    blocks: Blocks

    @property
    def rows(self) -> list[Row]:
        """The rows that stay, in the order of `kept`."""
        return [self.drawn[number] for number in self.kept]


@dataclass(frozen=True)
class MergedPart:
    """What the calls of a part gave.

    Attributes:
        pools: In order of prompt id.
        quarantine: What went no further.
        refused: Prompts and calls there, beside the responses.
        sampled: Responses drawn.
        tokens: Those they are made of.
        engines: Which made them.
    """

    pools: list[MergedPool]
    quarantine: pa.Table
    refused: int
    sampled: int
    tokens: int
    engines: frozenset[str]

    @cached_property
    def rows(self) -> list[Row]:
        """Rows of the `responses` table."""
        return [row for pool in self.pools for row in pool.rows]

    @property
    def responses(self) -> pa.Table:
        """The `responses` table."""
        return to_table(self.rows, RESPONSES)

    @property
    def versions(self) -> set[str]:
        """Versions of the features."""
        return {pool.feature_version for pool in self.pools}

    @property
    def blocks(self) -> Blocks:
        """What the columns of the features are; none where there is no pool."""
        return next((pool.blocks for pool in self.pools if pool.blocks), ())

    @property
    def in_pools(self) -> int:
        """Draws that the pools count."""
        return sum(int(row["duplicates"]) for row in self.rows) + self.near_duplicates

    @property
    def near_duplicates(self) -> int:
        """Draws that are counted as near duplicates of another one."""
        return sum(int(row["near_duplicates"]) for row in self.rows)


def merge_calls(lake: Lake, calls: Iterable[CallManifest]) -> MergedPart:
    """The pools of some calls, all those of their prompts."""
    by_prompt: dict[str, list[tuple[Row, Any, str]]] = {}
    recorded: Blocks = ()
    quarantined: list[Quarantined] = []
    sampled = tokens = refused = 0
    engines: set[str] = set()
    for call in calls:
        sampled, tokens = sampled + call.sampled, tokens + call.tokens
        engines.add(f"{call.engine} {call.engine_version}".rstrip())
        recorded = recorded or call.blocks
        features = read_table(lake, call.outputs["features"])
        vectors, versions = features["vector"].to_numpy(), features["feature_version"].to_pylist()
        rows = read_table(lake, call.outputs["responses"]).to_pylist()
        for row, vector, version in zip(rows, vectors, versions, strict=True):
            by_prompt.setdefault(row["prompt_id"], []).append((row, vector, version))
        rows = read_table(lake, call.outputs["quarantine"]).to_pylist()
        quarantined += [Quarantined(**row) for row in rows]
        if call.engine != BROUGHT:
            # Of what was brought all are responses, which are quarantined for many reasons.
            refused += sum(row["reason"] not in OF_RESPONSES for row in rows)
    pools = [_pool(prompt, by_prompt.pop(prompt), recorded) for prompt in sorted(by_prompt)]
    return MergedPart(
        pools, quarantine_table(quarantined), refused, sampled, tokens, frozenset(engines)
    )


def _pool(prompt_id: str, drawn: Sequence[tuple[Row, Any, str]], recorded: Blocks) -> MergedPool:
    texts: dict[str, Row] = {}
    vectors: list[Any] = []
    for row, vector, _ in drawn:
        first = texts.setdefault(row["response_id"], row)
        if first is row:
            vectors.append(vector)
        else:
            first["duplicates"] += row["duplicates"]
    rows = list(texts.values())
    first_of: dict[str, int] = {}
    keys = keys_of_form([row["message"] for row in rows])
    for number, (row, key) in enumerate(zip(rows, keys, strict=True)):
        first_number = first_of.setdefault(key or row["message"], number)
        if first_number != number:
            rows[first_number]["near_duplicates"] += row["duplicates"]
    kept = sorted(first_of.values(), key=lambda number: str(rows[number]["response_id"]))
    vectors_nc = np.array(vectors, np.float16)
    blocks = stored_blocks(recorded, vectors_nc.shape[1])
    return MergedPool(prompt_id, rows, vectors_nc, kept, drawn[0][2], blocks)
