"""The calls of all shards joined into a batch's tables: a pool a prompt, each text once.

Equal texts are one response that counts them as `duplicates`. Texts that differ by no more than a
reader would notice (white space, case, marks at the ends) are one response too, the first drawn,
which counts the others as `near_duplicates`; their words are in the calls' own tables.

Always holds: sampled = duplicates + near duplicates + empty responses; memory holds one slice of
the prompts and the compressed tables; the same calls give the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.batch import quarantine_table, read_table
from winnow.expand.calls import OF_RESPONSES
from winnow.expand.features import stored_blocks
from winnow.expand.flags import normalised
from winnow.expand.manifests import CallManifest
from winnow.lake import Lake
from winnow.records import FEATURES, QUARANTINE, RESPONSES, Quarantined, to_table
from winnow.reward import Blocks

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class MergedPool:
    """The distinct texts that answer one prompt, in the order in which they were first drawn.

    Attributes:
        drawn: Rows of the `responses` table, near duplicates among them.
        vectors_nc: Their features (n, c), float16.
        kept: Numbers of the rows that stay; they count the others as `near_duplicates`.
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
        """The rows that stay."""
        return [self.drawn[number] for number in self.kept]


@dataclass(slots=True)
class PoolTables:
    """The tables of a batch as they grow; the counts are of what was added so far."""

    sampled: int = 0
    tokens: int = 0
    in_pools: int = 0
    responses: int = 0
    near_duplicates: int = 0
    pools: int = 0
    refused: int = 0
    quarantined: int = 0
    engines: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    blocks: Blocks = ()
    _writers: dict[str, _TableWriter] = field(
        default_factory=lambda: {
            "responses": _TableWriter(RESPONSES),
            "features": _TableWriter(FEATURES),
            "quarantine": _TableWriter(QUARANTINE),
        }
    )

    def add(self, lake: Lake, slices: Iterable[Sequence[CallManifest]]) -> Iterator[MergedPool]:
        """Join the calls of one slice after another; each pool is handed on once it is written."""
        for calls in slices:
            pools, refused = _merged(lake, calls)
            self._count(calls, pools, refused)
            self._writers["responses"].add(
                to_table((row for pool in pools for row in pool.rows), RESPONSES)
            )
            self._writers["features"].add(_features(pools))
            self._writers["quarantine"].add(refused)
            yield from pools

    def finish(self) -> dict[str, tuple[bytes, int]]:
        """Each table as Parquet, with its number of rows."""
        return {name: writer.finish() for name, writer in self._writers.items()}

    def _count(
        self, calls: Sequence[CallManifest], pools: Sequence[MergedPool], refused: pa.Table
    ) -> None:
        rows = [row for pool in pools for row in pool.rows]
        self.sampled += sum(call.sampled for call in calls)
        self.tokens += sum(call.tokens for call in calls)
        self.engines |= {f"{call.engine} {call.engine_version}" for call in calls}
        self.versions |= {pool.feature_version for pool in pools}
        self.responses += len(rows)
        self.pools += len(pools)
        self.near_duplicates += sum(row["near_duplicates"] for row in rows)
        self.in_pools += sum(row["duplicates"] + row["near_duplicates"] for row in rows)
        self.quarantined += refused.num_rows
        self.refused += sum(r not in OF_RESPONSES for r in refused["reason"].to_pylist())
        for pool in pools:
            self.blocks = self.blocks or pool.blocks


class _TableWriter:
    """A table written part by part into memory, compressed."""

    def __init__(self, schema: pa.Schema) -> None:
        self._sink, self._n_rows = io.BytesIO(), 0
        self._writer = pq.ParquetWriter(self._sink, schema, compression="zstd")

    def add(self, table: pa.Table) -> None:
        self._n_rows += table.num_rows
        self._writer.write_table(table)

    def finish(self) -> tuple[bytes, int]:
        self._writer.close()
        return self._sink.getvalue(), self._n_rows


def _merged(lake: Lake, calls: Sequence[CallManifest]) -> tuple[list[MergedPool], pa.Table]:
    """The pools of a slice by prompt id, and what it refused."""
    by_prompt: dict[str, list[tuple[Row, Any, str]]] = {}
    recorded: Blocks = ()
    refused: list[Quarantined] = []
    for call in calls:
        recorded = recorded or call.blocks
        features = read_table(lake, call.outputs["features"])
        vectors, versions = features["vector"].to_numpy(), features["feature_version"].to_pylist()
        rows = read_table(lake, call.outputs["responses"]).to_pylist()
        for row, vector, version in zip(rows, vectors, versions, strict=True):
            by_prompt.setdefault(row["prompt_id"], []).append((row, vector, version))
        rows = read_table(lake, call.outputs["quarantine"]).to_pylist()
        refused += [Quarantined(**row) for row in rows]
    pools = [_pool(prompt, by_prompt[prompt], recorded) for prompt in sorted(by_prompt)]
    return pools, quarantine_table(refused)


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
    for number, row in enumerate(rows):
        key = normalised(row["message"]) or row["message"]
        first_number = first_of.setdefault(key, number)
        if first_number != number:
            rows[first_number]["near_duplicates"] += row["duplicates"]
    kept = list(first_of.values())
    vectors_nc = np.array(vectors, np.float16)
    blocks = stored_blocks(recorded, vectors_nc.shape[1])
    return MergedPool(prompt_id, rows, vectors_nc, kept, drawn[0][2], blocks)


def _features(pools: Sequence[MergedPool]) -> pa.Table:
    if not pools:
        return FEATURES.empty_table()
    vectors_rc = np.vstack([pool.vectors_nc[pool.kept] for pool in pools])
    offsets = pa.array(np.arange(len(vectors_rc) + 1, dtype=np.int32) * vectors_rc.shape[1])
    flat = pa.array(vectors_rc.reshape(-1), pa.float16())
    columns = [
        pa.array([row["response_id"] for pool in pools for row in pool.rows], pa.string()),
        pa.ListArray.from_arrays(offsets, flat),
        pa.array([pool.feature_version for pool in pools for _ in pool.rows], pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=FEATURES)
