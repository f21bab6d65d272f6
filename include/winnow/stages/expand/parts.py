"""The parts of a batch's pools: runs of prompts, each merged, screened and audited on its own.

    expand/parts/000003.json    part 3 is done: its tables, counts and sums

A part holds at most about `winnow.expand.shard.PART_RESPONSES` responses, so that whoever works on
pools holds no more, and several workers gather parts side by side. Each is written once.

Always holds: the same calls give the same bytes, whoever gathers, and in whatever order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.batch import Artifact, Batch
from winnow.expand import audit
from winnow.expand.audit import PoolAuditor
from winnow.expand.calls import prompt_text
from winnow.expand.features import (
    earlier_version,
    feature_version,
    n_embedding,
    stored_blocks,
    vectors_table,
    version_of,
)
from winnow.expand.manifests import CallManifest
from winnow.expand.screening import Screened, screen
from winnow.expand.vectors import new_columns
from winnow.records import CANDIDATES, to_table
from winnow.select import one_blas_thread
from winnow.stages.expand.pool_tables import MergedPart, MergedPool, merge_calls
from winnow.stored import as_json, parsed, reader, sealed_json

STAGE = "expand"
POOL_TABLES = ("responses", "features", "candidates")
"""Tables with a row a response, which stay in parts."""
TABLES = (*POOL_TABLES, "audit", "quarantine")

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PoolPart:
    """What a part that is done holds.

    Attributes:
        outputs: Its `TABLES`.
        counts: Of rows: what came, what went out, what was refused, and what the stage counts.
        engines: Which made the responses.
        feature_version: Identity of the stored vectors; empty where there are none.
        blocks: Their columns, name and size.
        audited: Sums of its audits (`winnow.expand.audit.PoolAuditor.sums`).
        profile: How many responses there are of each trait, see `profile_of`.
    """

    outputs: dict[str, Artifact]
    counts: dict[str, int]
    engines: list[str]
    feature_version: str
    blocks: list[tuple[str, int]]
    audited: dict[str, Any]
    profile: dict[str, dict[str, int]]


def read_part(batch: Batch, number: int) -> PoolPart | None:
    """A part that is done; None if it is not."""
    try:
        return parsed(batch.lake, _path(batch, number), reader(PoolPart))
    except FileNotFoundError:
        return None


@one_blas_thread()
def gather_part(
    batch: Batch,
    number: int,
    calls: Sequence[CallManifest],
    prompts: Sequence[Row],
    n_prompts: int,
) -> PoolPart:
    """Merge, screen and audit the pools of a part, unless it is done.

    Args:
        batch: The batch.
        number: Of the part, from 0.
        calls: All calls of its prompts.
        prompts: Their rows.
        n_prompts: Prompts of the batch.
    """
    done = read_part(batch, number)
    if done is not None:
        return done
    settings = batch.campaign.expand
    row_of = {row["prompt_id"]: row for row in prompts}
    merged = merge_calls(batch.lake, calls)
    auditor = PoolAuditor(n_prompts, settings.audit)
    audits = [auditor.add(_as_drawn(pool, row_of[pool.prompt_id])) for pool in merged.pools]
    version = _version(batch, merged)
    outputs = {
        "responses": batch.write_table(STAGE, "responses", merged.responses),
        "audit": batch.write_table(
            STAGE, "audit", to_table(filter(None, audits), audit.POOL_AUDITS)
        ),
        "quarantine": batch.write_table(STAGE, "quarantine", merged.quarantine),
        **_write_screened(batch, merged, row_of, version),
    }
    part = PoolPart(
        outputs=outputs,
        counts={
            "rows_in": merged.sampled + merged.refused,
            "rows_out": merged.in_pools,
            "quarantined": merged.quarantine.num_rows,
            "sampled": merged.sampled,
            "responses": len(merged.rows),
            "near_duplicates": merged.near_duplicates,
            "tokens": merged.tokens,
            "pools": len(merged.pools),
        },
        engines=sorted(merged.engines),
        feature_version=version if merged.pools else "",
        blocks=[(block.name, block.size) for block in merged.blocks],
        audited=auditor.sums(),
        profile=profile_of(merged.pools, row_of),
    )
    batch.lake.create(_path(batch, number), sealed_json(as_json(part)))
    return read_part(batch, number) or part


def profile_of(pools: Sequence[MergedPool], row_of: Mapping[str, Row]) -> dict[str, dict[str, int]]:
    """How many responses there are by `language`, `dimension`, `tag`, `flag` and `length`.

    The length is in characters; a response counts once for each of its tags and flags.
    """
    counted: dict[str, Counter[str]] = {name: Counter() for name in PROFILED}
    for pool in pools:
        prompt, rows = row_of[pool.prompt_id], pool.rows
        counted["language"][prompt["language"] or ""] += len(rows)
        if prompt["dimension"] is not None:
            counted["dimension"][prompt["dimension"]] += len(rows)
        for tag in set(prompt["tags"] or ()):
            counted["tag"][tag] += len(rows)
        for row in rows:
            counted["length"][str(len(row["message"] or ""))] += 1
            counted["flag"].update(set(row["flags"] or ()))
    return {name: dict(sorted(counts.items())) for name, counts in counted.items()}


PROFILED = ("language", "dimension", "tag", "flag", "length")
"""What `profile_of` counts."""


def _write_screened(
    batch: Batch, merged: MergedPart, row_of: Mapping[str, Row], version: str
) -> dict[str, Artifact]:
    """The tables beside the responses: whole vectors, and what selection asks of each."""
    rows, settings = merged.rows, batch.campaign.expand
    stored_rc = np.zeros((0, 0), np.float16)
    if merged.pools:
        stored_rc = np.vstack([pool.vectors_nc[pool.kept] for pool in merged.pools])
    columns = new_columns(version, stored_blocks(merged.blocks, stored_rc.shape[1]), settings)
    asked = {pool.prompt_id: prompt_text(dict(row_of[pool.prompt_id])) for pool in merged.pools}
    near_duplicate = batch.campaign.select.near_duplicate
    screened = screen(rows, stored_rc, asked, columns, near_duplicate)
    ids = [row["response_id"] for row in rows]
    features = vectors_table(ids, screened.raw_rc, columns.version)
    return {
        "features": batch.write_table(STAGE, "features", features),
        "candidates": batch.write_table(STAGE, "candidates", _candidates(rows, screened)),
    }


def _candidates(rows: Sequence[Row], screened: Screened) -> pa.Table:
    of_row = {name: [row[name] for row in rows] for name in ("response_id", "prompt_id", "flags")}
    return (
        pa.table(
            {
                **of_row,
                "cluster": screened.clusters_r.astype(np.int32),
                "blocked": screened.blocked_r,
                "drawn": [row["duplicates"] + row["near_duplicates"] for row in rows],
                "n_tokens": [row["n_tokens"] for row in rows],
            },
        )
        .select(CANDIDATES.names)
        .cast(CANDIDATES)
    )


def _version(batch: Batch, merged: MergedPart) -> str:
    """Where calls were done before an upgrade, the earlier version.

    Of the two it promises less, that responses of one window are read alike.
    """
    settings = batch.campaign.expand
    is_earlier = merged.versions - {feature_version(settings)}
    version = version_of(settings, merged.blocks)
    return earlier_version(version) if is_earlier else version


def _as_drawn(pool: MergedPool, prompt: Row) -> audit.Pool:
    """The pool as it was drawn, before near duplicates are merged."""
    return audit.Pool(
        prompt_id=pool.prompt_id,
        language=prompt["language"],
        texts=[row["message"] for row in pool.drawn],
        duplicates=[row["duplicates"] for row in pool.drawn],
        n_tokens=[row["n_tokens"] for row in pool.drawn],
        flags=[row["flags"] for row in pool.drawn],
        embedding_nc=pool.vectors_nc[:, : n_embedding(pool.blocks)].astype(np.float32),
    )


def _path(batch: Batch, number: int) -> str:
    return f"{batch.folder}/{STAGE}/parts/{number:06d}.json"
