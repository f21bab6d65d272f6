"""A batch's responses and features as the candidate pools that selection reads.

Features are projected when a pool is asked for, so that memory holds the raw ones and the projected
ones of one shard; the ids, clusters and strata of all pools are worked out once.

Always holds: pools come in rising order of prompt id, the same each time they are asked for.

Shapes: r responses of the batch, n responses of one prompt, c raw feature columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from winnow.batch import Batch, read_table
from winnow.reward import RewardModel, centre
from winnow.reward.blocks import width
from winnow.select import Pool
from winnow.select.curves import part_of
from winnow.select.screen import answers_nothing, near_duplicates
from winnow.stages.select.vectors import Columns, columns_of, stored_vectors

Row = Mapping[str, Any]

UNFIT = frozenset({"looping", "echo"})
"""Flags of responses that are part of no pair."""

_FAILURES = {"truncated": "failure:truncated", "refusal": "failure:refusal"}
"""Flags that are a stratum, on which a campaign may put a floor."""

_PROJECTION_PROMPTS = 512
"""Prompts that a first projection is learnt from: ids are hashes, so the first are a fair draw."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """The responses of a batch, by prompt.

    Attributes:
        prompts: Rows of the batch's prompts by id.
        response_ids: (r,).
        n_tokens: (r,).
        duplicates: How often each text was sampled, near duplicates included, (r,).
        flags: Faults of each response, (r,).
        blocked_r: Responses that are part of no pair.
        raw_rc: Raw features, float16.
        columns: What they are.
        rows_of: Row numbers of each prompt's responses.
        one_dimension: Whether a label teaches only the head of its prompt's dimension.
        topics: Clusters that prompts are sorted into; 0: none.
        clusters: Number of each response's near-duplicate cluster among those to its prompt, (r,).
    """

    prompts: Mapping[str, Row]
    response_ids: list[str]
    n_tokens: list[int]
    duplicates: list[int]
    flags: list[list[str]]
    blocked_r: NDArray[np.bool_]
    raw_rc: NDArray[np.float16]
    columns: Columns
    rows_of: Mapping[str, list[int]]
    one_dimension: bool
    topics: int
    clusters: list[int]

    @cached_property
    def bare_pools(self) -> list[Pool]:
        """Every pool in order of prompt id, with features of no columns."""
        return [
            Pool(
                prompt,
                [self.response_ids[row] for row in rows],
                np.zeros((len(rows), 0)),
                clusters=[self.clusters[row] for row in rows],
                blocked=self.blocked_r[rows],
                n_tokens=[self.n_tokens[row] for row in rows],
                asked=self.prompts[prompt]["dimension"] if self.one_dimension else None,
                strata=self._strata(prompt),
                response_strata=[self._failures(row) for row in rows],
            )
            for prompt, rows in self.rows_of.items()
        ]

    def pools(self, model: RewardModel) -> Iterator[Pool]:
        """Every pool in order of prompt id, with the features that `model` reads."""
        for pool in self.bare_pools:
            raw_nc = self.raw_rc[self.rows_of[pool.prompt_id], : model.n_columns].astype(np.float64)
            yield replace(pool, features_nd=model.features(raw_nc))

    def sample(self) -> NDArray[np.float64]:
        """Raw features of some prompts, centred within each: what a first projection learns.

        Where no prompt has a response, one row of zeros, of which it learns nothing.
        """
        some = list(self.rows_of.values())[:_PROJECTION_PROMPTS]
        if not some:
            return np.zeros((1, self.raw_rc.shape[1]))
        return np.vstack([centre(self.raw_rc[rows].astype(np.float64)) for rows in some])

    def pools_as_sampled(self, model: RewardModel) -> Iterator[Pool]:
        """Every pool with each text as often as it was sampled."""
        for pool in self.pools(model):
            rows = self.rows_of[pool.prompt_id]
            counts = [self.duplicates[row] for row in rows]
            yield part_of(pool, np.repeat(np.arange(len(rows)), counts).tolist())

    @property
    def n_pairs(self) -> int:
        """Pairs of all pools."""
        return sum(len(rows) * (len(rows) - 1) // 2 for rows in self.rows_of.values())

    def _strata(self, prompt: str) -> tuple[str, ...]:
        row = self.prompts[prompt]
        strata = [f"dimension:{row['dimension']}", *(f"tag:{tag}" for tag in row["tags"] or ())]
        if row["language"]:
            strata.append(f"language:{row['language']}")
        if self.topics:
            strata.append(f"topic:{self._topic_of[prompt]}")
        return tuple(strata)

    def _failures(self, row: int) -> frozenset[str]:
        return frozenset(_FAILURES[flag] for flag in self.flags[row] if flag in _FAILURES)

    @cached_property
    def _topic_of(self) -> dict[str, int]:
        """k-means clusters of the prompts by the mean embedding of their responses."""
        embedding_rc = self.raw_rc[:, : self.columns.n_embedding]
        means = [
            embedding_rc[rows].mean(axis=0, dtype=np.float64) for rows in self.rows_of.values()
        ]
        k = min(self.topics, len(means))
        _, topics = kmeans2(np.array(means), k, minit="++", seed=0)
        return dict(zip(self.rows_of, topics.tolist(), strict=True))


def read_candidates(batch: Batch) -> Candidates:
    """The candidates of a batch that has been expanded.

    Raises:
        Corrupt: Responses and features do not match.
    """
    ingested, expanded = batch.require("ingest"), batch.require("expand")
    return candidates_of(
        batch,
        read_table(batch.lake, ingested.outputs["prompts"]),
        read_table(batch.lake, expanded.outputs["responses"]),
        read_table(batch.lake, expanded.outputs["features"]),
        topics=batch.campaign.select.topics,
    )


def candidates_of(
    batch: Batch,
    prompts: pa.Table,
    responses: pa.Table,
    features: pa.Table,
    *,
    topics: int = 0,
    fit: Collection[str] = (),
) -> Candidates:
    """Candidates from these tables of a batch, or parts of them.

    The responses `fit`, by id, are blocked for nothing; raises as `read_candidates` does.
    """
    settings = batch.campaign.select
    ids, prompt_of = responses["response_id"].to_pylist(), responses["prompt_id"].to_pylist()
    flags, texts = responses["flags"].to_pylist(), responses["message"].to_pylist()
    duplicates = pc.add(responses["duplicates"], responses["near_duplicates"]).to_pylist()
    prompt_row = {row["prompt_id"]: row for row in prompts.to_pylist()}
    text_of = {
        prompt: "\n".join(message["content"] or "" for message in row["messages"])
        for prompt, row in prompt_row.items()
    }
    blocked_r = np.array([not UNFIT.isdisjoint(each or ()) for each in flags], dtype=np.bool_)
    blocked_r |= answers_nothing(
        prompt_of,
        texts,
        responses["model"].to_pylist(),
        duplicates,
        [text_of[prompt] for prompt in prompt_of],
    )
    blocked_r &= np.array([each not in fit for each in ids], dtype=np.bool_)
    columns = columns_of(batch.require("expand"), batch.campaign.expand)
    stored_rc, rows_of = stored_vectors(features, ids), rows_by_prompt(prompt_of)
    in_pool = responses.select(["message", "logprob", "n_tokens", "model"]).to_pylist()
    raw_rc = np.zeros((len(ids), width(columns.blocks)), np.float16)
    clusters_r = np.zeros(len(ids), np.intp)
    for rows in rows_of.values():
        raw_rc[rows] = columns.of_pool([in_pool[row] for row in rows], stored_rc[rows])
        embedding_nh = stored_rc[rows, : columns.n_embedding]
        text_n = [texts[row] for row in rows]
        clusters_r[rows] = near_duplicates(embedding_nh, settings.near_duplicate, text_n)
    return Candidates(
        prompts=prompt_row,
        response_ids=ids,
        n_tokens=responses["n_tokens"].to_pylist(),
        duplicates=duplicates,
        flags=flags,
        blocked_r=blocked_r,
        raw_rc=raw_rc,
        rows_of=rows_of,
        columns=columns,
        one_dimension=settings.head_per_dimension,
        topics=topics,
        clusters=clusters_r.tolist(),
    )


def rows_by_prompt(prompt_of: Sequence[str]) -> dict[str, list[int]]:
    """Row numbers of each prompt's responses, in rising order of prompt id."""
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompt_of):
        rows_of[prompt].append(row)
    return dict(sorted(rows_of.items()))
