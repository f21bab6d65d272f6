"""A batch's responses and features as the candidate pools that selection reads, part by part.

    NightCandidates(batch)   the batch: its parts in order, its pools one after another
    Candidates               the pools of one part

Memory holds a part and the next one. What a pool is without its features (ids, clusters, what is
blocked) is stored beside them since 0.5; where it is not, or was worked out for other settings, it
is worked out from the texts.

Always holds: pools come in rising order of prompt id, the same each time they are asked for.

Shapes: r responses of a part, n responses of one prompt, c raw feature columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from winnow.arrays import BoolArray, FloatArray, IndexArray, IntArray
from winnow.batch import Batch, parts_of, read_table
from winnow.expand.calls import prompt_text
from winnow.expand.screening import how_screened, screen
from winnow.expand.vectors import Columns, columns_of, stored_vectors
from winnow.reward import RewardModel, centre
from winnow.reward.blocks import width
from winnow.select import Pool
from winnow.select.budget import Capacity, NightRules, capacity_of_rows, count_capacity
from winnow.select.curves import part_of

Row = Mapping[str, Any]

_FAILURES = {"truncated": "failure:truncated", "refusal": "failure:refusal"}
"""Flags that are a stratum, on which a campaign may put a floor."""

_PROJECTION_PROMPTS = 512
"""Prompts that a first projection is learnt from: ids are hashes, so the first are a fair draw."""

_POOLS_AT_ONCE = 32
"""Pools projected together: as many as fit the processor's cache."""

_OF_PROMPT = ("prompt_id", "dimension", "language", "tags")


@dataclass(frozen=True, eq=False)
class Candidates:
    """The responses of a part of a batch, in order of their prompts' ids, then of their own.

    Attributes:
        prompts: Rows of its prompts by id.
        response_ids: (r,).
        n_tokens: (r,).
        drawn_r: How often each text was sampled, near duplicates included.
        flags: Faults of each response, (r,).
        blocked_r: Responses that are part of no pair.
        clusters_r: Number of each response's near-duplicate cluster among those to its prompt.
        raw_rc: Raw features, float16; of no columns where nobody asked for them.
        columns: What they are.
        rows_of: Rows of each prompt's responses.
        one_dimension: Whether a choice teaches only the head of its prompt's dimension.
        rated: Further dimensions that each label teaches.
        topic_of: Cluster of each prompt, where prompts are sorted into some.
    """

    prompts: Mapping[str, Row]
    response_ids: Sequence[str]
    n_tokens: Sequence[int]
    drawn_r: IntArray
    flags: Sequence[Sequence[str] | None]
    blocked_r: BoolArray
    clusters_r: IndexArray
    raw_rc: NDArray[np.float16]
    columns: Columns
    rows_of: Mapping[str, slice]
    one_dimension: bool
    rated: tuple[str, ...] = ()
    topic_of: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def bare_pools(self) -> list[Pool]:
        """Every pool in order of prompt id, with features of no columns."""
        return list(self.pools(np.zeros((len(self.response_ids), 0))))

    def pools(self, features_rd: FloatArray) -> Iterator[Pool]:
        """Every pool in order of prompt id, with its rows of these features."""
        failures = self._failures
        for prompt, rows in self.rows_of.items():
            yield Pool(
                prompt,
                self.response_ids[rows],
                features_rd[rows],
                clusters=self.clusters_r[rows],
                blocked=self.blocked_r[rows],
                n_tokens=self.n_tokens[rows],
                asked=self.prompts[prompt]["dimension"] if self.one_dimension else None,
                rated=self.rated,
                strata=self._strata(prompt),
                response_strata=failures[rows],
            )

    def projected(self, model: RewardModel) -> FloatArray:
        """Features (r, d) as `model` reads them, centred within each pool."""
        runs, d = list(self.rows_of.values()), model.projection.n_features
        projected_rd = np.empty((len(self.response_ids), d))
        groups = [runs[k : k + _POOLS_AT_ONCE] for k in range(0, len(runs), _POOLS_AT_ONCE)]
        most = max((some[-1].stop - some[0].start for some in groups), default=0)
        # One for all groups: memory of such a size is asked of the kernel each time.
        held_xc = np.empty((most, model.n_columns))
        for some in groups:
            first, last = some[0].start, some[-1].stop
            raw_xc = held_xc[: last - first]
            raw_xc[:] = self.raw_rc[first:last, : model.n_columns]
            projected_xd = model.projection.apply(raw_xc)
            starts, sizes = (np.array([[r.start - first, r.stop - r.start] for r in some])).T
            mean_pd = np.add.reduceat(projected_xd, starts) / sizes[:, None]
            np.subtract(projected_xd, np.repeat(mean_pd, sizes, 0), out=projected_rd[first:last])
        return projected_rd

    @cached_property
    def _failures(self) -> list[frozenset[str]]:
        """Strata of each response; those of equal flags are one set."""
        strata_of = cache(_failures_of)
        return [strata_of(tuple(flags)) if flags else _NO_FAILURE for flags in self.flags]

    def sampled_centred(self, n_prompts: int) -> list[FloatArray]:
        """Raw features of the first prompts, centred within each."""
        some = list(self.rows_of.values())[:n_prompts]
        return [centre(self.raw_rc[rows].astype(np.float64)) for rows in some]

    def pools_as_sampled(self, model: RewardModel) -> Iterator[Pool]:
        """Every pool with each text as often as it was sampled."""
        for pool in self.pools(self.projected(model)):
            drawn_n = self.drawn_r[self.rows_of[pool.prompt_id]]
            yield part_of(pool, np.repeat(np.arange(len(drawn_n)), drawn_n).tolist())

    def capacity(self, rules: NightRules) -> Capacity:
        """What its pools can give."""
        if rules.floors:
            return count_capacity(self.bare_pools, rules)
        pool_r = np.repeat(np.arange(len(self.rows_of)), self.sizes)
        return capacity_of_rows(pool_r, self.clusters_r, self.blocked_r, rules)

    @property
    def n_pairs(self) -> int:
        """Pairs of all pools."""
        return sum(n * (n - 1) // 2 for n in self.sizes)

    @property
    def sizes(self) -> list[int]:
        """Responses of each prompt."""
        return [rows.stop - rows.start for rows in self.rows_of.values()]

    def mean_embeddings(self) -> Iterator[tuple[str, FloatArray]]:
        """Each prompt with the mean embedding of its responses."""
        embedding_rc = self.raw_rc[:, : self.columns.n_embedding]
        for prompt, rows in self.rows_of.items():
            yield prompt, embedding_rc[rows].mean(axis=0, dtype=np.float64)

    def _strata(self, prompt: str) -> tuple[str, ...]:
        row = self.prompts[prompt]
        strata = [f"dimension:{row['dimension']}", *(f"tag:{tag}" for tag in row["tags"] or ())]
        if row["language"]:
            strata.append(f"language:{row['language']}")
        if prompt in self.topic_of:
            strata.append(f"topic:{self.topic_of[prompt]}")
        return tuple(strata)


_NO_FAILURE = frozenset[str]()


def _failures_of(flags: Sequence[str]) -> frozenset[str]:
    return frozenset(_FAILURES[flag] for flag in flags if flag in _FAILURES)


@dataclass(frozen=True, slots=True)
class Seen:
    """What some pools hold and can give; pairs and blocked responses are counted alike."""

    n_prompts: int
    n_pairs: int
    n_blocked: int
    capacity: Capacity

    def plus(self, other: Seen) -> Seen:
        """Both together."""
        return Seen(
            self.n_prompts + other.n_prompts,
            self.n_pairs + other.n_pairs,
            self.n_blocked + other.n_blocked,
            self.capacity.plus(other.capacity),
        )


class NightCandidates:
    """The candidates of a batch that has been expanded, read part by part as they are asked for.

    Attributes:
        columns: What the raw features are.
        n_parts: How many parts there are.
    """

    def __init__(self, batch: Batch) -> None:
        ingested, expanded = batch.require("ingest"), batch.require("expand")
        self._batch, self._settings = batch, batch.campaign.select
        self.columns = columns_of(expanded, batch.campaign.expand)
        names = ["responses", "features"]
        self._is_screened = expanded.figures.get("screened") == how_screened(batch.campaign)
        if self._is_screened:
            names.append("candidates")
        self._stored = {n: parts_of(batch.lake, expanded.outputs[n]) for n in names}
        self.n_parts = len(self._stored["responses"])
        self._prompts = ingested.outputs["prompts"]
        self._only: Candidates | None = None

    def part(self, number: int) -> Candidates:
        """A part with its features.

        Raises:
            Corrupt: Responses and features do not match.
        """
        return self._sorted(self._whole(number))

    def bare_part(self, number: int) -> Candidates:
        """A part without its features, as far as it can be read without them."""
        is_bare = self._is_screened and self.n_parts > 1
        return self._sorted(self._screened(number, bare=True) if is_bare else self._whole(number))

    def seen(self, rules: NightRules) -> Seen:
        """What the batch's pools hold and can give, counted in one pass."""
        total = Seen(0, 0, 0, count_capacity((), rules))
        for number in range(self.n_parts):
            is_light = self._is_screened and self.n_parts > 1 and not rules.floors
            seen = self._counted if is_light else self._seen
            total = total.plus(seen(number, rules))
        return total

    def _seen(self, number: int, rules: NightRules) -> Seen:
        part = self.bare_part(number)
        blocked = int(part.blocked_r.sum())
        return Seen(len(part.rows_of), part.n_pairs, blocked, part.capacity(rules))

    def _counted(self, number: int, rules: NightRules) -> Seen:
        """The same from three columns of what is stored, where floors ask for no other."""
        columns = ["prompt_id", "cluster", "blocked"]
        stored = self._stored["candidates"][number]
        table = read_table(self._batch.lake, stored, columns).combine_chunks()
        pool_r = table["prompt_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        blocked_r = table["blocked"].to_numpy(zero_copy_only=False)
        cluster_r = table["cluster"].to_numpy().astype(np.intp)
        sizes = np.bincount(pool_r) if len(pool_r) else np.zeros(0, np.int64)
        capacity = capacity_of_rows(pool_r.astype(np.intp), cluster_r, blocked_r, rules)
        n_pairs = int((sizes * (sizes - 1) // 2).sum())
        return Seen(len(sizes), n_pairs, int(blocked_r.sum()), capacity)

    def bare_parts(self) -> Iterator[Candidates]:
        """Every part without its features."""
        return (self.bare_part(number) for number in range(self.n_parts))

    def parts(self, model: RewardModel) -> Iterator[tuple[Candidates, FloatArray]]:
        """Every part with its features as `model` reads them; the next one is read meanwhile."""

        def read(number: int) -> tuple[Candidates, FloatArray]:
            part = self.part(number)
            return part, part.projected(model)

        with ThreadPoolExecutor(1) as reader:
            coming: Future[tuple[Candidates, FloatArray]] = reader.submit(read, 0)
            for number in range(self.n_parts):
                part = coming.result()
                if number + 1 < self.n_parts:
                    coming = reader.submit(read, number + 1)
                yield part

    def pools_as_sampled(self, model: RewardModel) -> Iterator[Pool]:
        """Every pool with each text as often as it was sampled."""
        for number in range(self.n_parts):
            yield from self.part(number).pools_as_sampled(model)

    def sample(self) -> NDArray[np.float64]:
        """Raw features of some prompts, centred within each: what a first projection learns.

        Where no prompt has a response, one row of zeros, of which it learns nothing.
        """
        some: list[FloatArray] = []
        for number in range(self.n_parts):
            part = self.part(number)
            some += part.sampled_centred(_PROJECTION_PROMPTS - len(some))
            if len(some) >= _PROJECTION_PROMPTS:
                break
        return np.vstack(some) if some else np.zeros((1, width(self.columns.blocks)))

    @cached_property
    def dimensions(self) -> set[str]:
        """Dimensions of the prompts that have a response."""
        return {
            part.prompts[prompt]["dimension"]
            for part in self.bare_parts()
            for prompt in part.rows_of
        }

    def responses(self, number: int) -> pa.Table:
        """The rows of a part's responses."""
        return read_table(self._batch.lake, self._stored["responses"][number])

    def prompts_of(self, ids: Collection[str], columns: Sequence[str] = _OF_PROMPT) -> pa.Table:
        """Some columns of the rows of some prompts."""
        table = self._about_prompts if columns == _OF_PROMPT else self._read_prompts(columns)
        own = pc.is_in(table["prompt_id"], value_set=pa.array(sorted(ids), pa.string()))
        return table.filter(own)

    @cached_property
    def _about_prompts(self) -> pa.Table:
        return self._read_prompts(_OF_PROMPT)

    def _read_prompts(self, columns: Sequence[str]) -> pa.Table:
        return read_table(self._batch.lake, self._prompts, columns)

    def _whole(self, number: int) -> Candidates:
        if self.n_parts > 1:
            return self._screened(number) if self._is_screened else self._unscreened(number)
        if self._only is None:
            self._only = self._screened(0) if self._is_screened else self._unscreened(0)
        return self._only

    def _screened(self, number: int, *, bare: bool = False) -> Candidates:
        """A part as it was stored."""
        lake = self._batch.lake
        table = read_table(lake, self._stored["candidates"][number])
        order_r = _order(table)
        table = table.take(order_r)
        ids, rows_of = table["response_id"].to_pylist(), _runs(table["prompt_id"])
        raw_rc = np.zeros((len(ids), 0), np.float16)
        if not bare and ids:
            features = read_table(lake, self._stored["features"][number])
            raw_rc = stored_vectors(features, table["response_id"])
        prompts = self.prompts_of(rows_of).to_pylist()
        return Candidates(
            prompts={row["prompt_id"]: row for row in prompts},
            response_ids=ids,
            n_tokens=table["n_tokens"].to_pylist(),
            drawn_r=table["drawn"].to_numpy().astype(np.int64),
            flags=_flags(table["flags"]),
            blocked_r=table["blocked"].to_numpy(zero_copy_only=False),
            clusters_r=table["cluster"].to_numpy().astype(np.intp),
            raw_rc=raw_rc,
            columns=self.columns,
            rows_of=rows_of,
            one_dimension=self._settings.head_per_dimension,
            rated=self._batch.campaign.taught_dimensions,
        )

    def _unscreened(self, number: int) -> Candidates:
        """A part whose texts have to be read."""
        responses = self.responses(number)
        ids = set(responses["prompt_id"].to_pylist())
        prompts = self.prompts_of(ids, (*_OF_PROMPT, "messages"))
        features = read_table(self._batch.lake, self._stored["features"][number])
        return candidates_of(self._batch, prompts, responses, features)

    def _sorted(self, part: Candidates) -> Candidates:
        """The part with the topics of its prompts."""
        return replace(part, topic_of=self._topic_of) if self._settings.topics else part

    @cached_property
    def _topic_of(self) -> dict[str, int]:
        """k-means clusters of the prompts by the mean embedding of their responses."""
        parts = (self._whole(number) for number in range(self.n_parts))
        means = [mean for part in parts for mean in part.mean_embeddings()]
        if not means:
            return {}
        k = min(self._settings.topics, len(means))
        _, topics = kmeans2(np.array([mean for _, mean in means]), k, minit="++", seed=0)
        return dict(zip((prompt for prompt, _ in means), topics.tolist(), strict=True))


def candidates_of(
    batch: Batch,
    prompts: pa.Table,
    responses: pa.Table,
    features: pa.Table,
    *,
    fit: Collection[str] = (),
) -> Candidates:
    """Candidates from these tables of a batch, or parts of them, screened now.

    The responses `fit`, by id, are blocked for nothing.

    Raises:
        Corrupt: Responses and features do not match.
    """
    settings = batch.campaign.select
    responses = responses.take(_order(responses))
    rows, prompt_rows = responses.to_pylist(), prompts.to_pylist()
    columns = columns_of(batch.require("expand"), batch.campaign.expand)
    ids = [row["response_id"] for row in rows]
    asked = {row["prompt_id"]: prompt_text(row) for row in prompt_rows}
    stored_rc = stored_vectors(features, ids)
    screened = screen(rows, stored_rc, asked, columns, settings.near_duplicate, fit=fit)
    return Candidates(
        prompts={row["prompt_id"]: row for row in prompt_rows},
        response_ids=ids,
        n_tokens=[row["n_tokens"] for row in rows],
        drawn_r=np.array([r["duplicates"] + r["near_duplicates"] for r in rows], np.int64),
        flags=[row["flags"] for row in rows],
        blocked_r=screened.blocked_r,
        clusters_r=screened.clusters_r,
        raw_rc=screened.raw_rc,
        columns=columns,
        rows_of=_runs(responses["prompt_id"]),
        one_dimension=settings.head_per_dimension,
        rated=batch.campaign.taught_dimensions,
    )


def _order(responses: pa.Table) -> pa.Array:
    """Row numbers of responses by the ids of their prompts, then by their own."""
    by = [("prompt_id", "ascending"), ("response_id", "ascending")]
    return pc.sort_indices(responses.select(["prompt_id", "response_id"]), sort_keys=by)


def _runs(prompt_r: pa.ChunkedArray) -> dict[str, slice]:
    """The run of rows of each prompt."""
    runs = pc.run_end_encode(prompt_r.combine_chunks())
    bounds = pairwise([0, *runs.run_ends.to_pylist()])
    return {p: slice(a, b) for p, (a, b) in zip(runs.values.to_pylist(), bounds, strict=True)}


def _flags(column: pa.ChunkedArray) -> list[list[str] | None]:
    """The flags of each response; None where it has none, as most have."""
    held: list[list[str] | None] = [None] * len(column)
    some = pc.fill_null(pc.greater(pc.list_value_length(column), 0), False)
    rows = np.flatnonzero(some.to_numpy(zero_copy_only=False)).tolist()
    for row, flags in zip(rows, column.filter(some).to_pylist(), strict=True):
        held[row] = flags
    return held
