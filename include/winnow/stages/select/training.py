"""A night's votes as a refit reads them: a row a vote, with the raw features of both responses.

They are stored once, when the night is published, so that no later refit opens its tables again: by
then it is settled which pairs are set aside, a night that is dropped never gets here, and one that
is killed in between stores the same bytes again. Rows lie in pieces of `PIECE`, so that a window
may begin within a large night. A night of a version before 0.5 is read from its own tables, and so
is one whose features are to be in other columns than they were.

Always holds: rows come in the order of their annotations' ids; a vote on a pair that is set aside
is in no row, nor is one on a response whose vector would be another one in these columns.

Shapes: e votes, r compared responses, c raw feature columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log1p
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from winnow.arrays import BoolArray, FloatArray, IndexArray
from winnow.batch import (
    Artifact,
    Manifest,
    parts_of,
    read_artifact,
    read_manifest,
    read_table,
    table_file,
)
from winnow.errors import Corrupt
from winnow.expand.features import fits_one_window
from winnow.expand.screening import rows_by_prompt
from winnow.expand.vectors import Columns, HalfArray, stored_vectors
from winnow.expand.vectors import vectors_of as vectors_of_features
from winnow.ingest.labels import PREFERENCE, far_for
from winnow.label.aggregation.votes import COMPARISON
from winnow.label.annotation import NOT_COUNTED
from winnow.lake import Lake
from winnow.pieces import read_pieces
from winnow.records import ANNOTATIONS, RANKED_TRAINING, RATINGS, TRAINING, VERDICTS
from winnow.reward import RewardModel
from winnow.sql import Source, database
from winnow.stages.compared import compared_source, read_compared

PIECE = 2_000
"""Rows of a Parquet row group."""

AT_ONCE = 5 * PIECE
"""Rows that are worked on at once."""

RATING = "rating"
"""Kind of a training row that is a rating beside a choice: a vote on a dimension of its own."""


@dataclass(frozen=True, slots=True)
class Stages:
    """The manifests of a published batch that its votes come from."""

    expand: Manifest
    select: Manifest
    label: Manifest

    @property
    def is_judged(self) -> bool:
        """Whether the model that chose the batch had labels."""
        return bool(self.select.figures["posterior_labels"])


def stages_of(lake: Lake, campaign: str, key: str) -> Stages:
    """The manifests of a published batch.

    Raises:
        Corrupt: One is missing.
    """
    manifests = [read_manifest(lake, campaign, key, s) for s in ("expand", "select", "label")]
    expand, select, label = manifests
    if expand is None or select is None or label is None:
        raise Corrupt(f"Batch {key} of {campaign} is published but a manifest of it is missing.")
    return Stages(expand, select, label)


def training_rows(
    lake: Lake,
    stages: Stages,
    columns: Columns,
    aside: frozenset[str],
    schema: pa.Schema = TRAINING,
    rated: bool = False,
) -> Iterator[pa.Table]:
    """The votes of a batch, in these columns, from its tables: some whole pieces at once.

    With `rated`, what somebody says of a pair on another dimension than that of the choice is a
    vote of its own there. Votes on the pairs that are set `aside` are left out. `schema` is that of
    `training_schema`; with `VERDICTS` they are what models said beside people's votes, which are no
    votes then.
    """
    select, label = stages.select, stages.label
    with (
        table_file(lake, label.outputs["annotations"]) as annotations,
        table_file(lake, select.outputs["comparisons"]) as comparisons,
        compared_source(lake, select.campaign, select.batch) as compared,
    ):
        votes = voted(annotations, comparisons, compared, aside, schema is VERDICTS, rated)
    if not votes.num_rows:
        return
    ids, seen_rc, vectors_rc, usable_r = _vectors(lake, stages, columns)
    first_e, second_e = (
        np.asarray(pc.index_in(votes[side], value_set=ids)) for side in ("first_id", "second_id")
    )
    usable_e = usable_r[first_e] & usable_r[second_e]
    votes, pair_2e = votes.filter(pa.array(usable_e)), np.stack([first_e, second_e])[:, usable_e]
    model = None
    if stages.is_judged:
        model = RewardModel.from_bytes(read_artifact(lake, stages.select.outputs["reward_model"]))
    weights = _pair_weights(lake, select)
    for some, places in _told(votes):
        own_2e = pair_2e[:, places]
        said = (some[name].to_pylist() for name in ("preferred", "grades"))
        lengths = zip(*(some[side].to_pylist() for side in ("n_first", "n_second")), strict=True)
        belief_2e = _beliefs(model, some, seen_rc, own_2e)
        made: dict[str, Any] = {
            "preference": list(map(_preference, *said)),
            "length": [log1p(first) - log1p(second) for first, second in lengths],
            "mu": pa.array(belief_2e[0], from_pandas=True),
            "sd": pa.array(belief_2e[1], from_pandas=True),
            "first": lists_of(vectors_rc, own_2e[0]),
            "second": lists_of(vectors_rc, own_2e[1]),
            "feature_version": pa.array([columns.version] * some.num_rows, pa.string()),
        }
        if schema is RANKED_TRAINING:
            made["weight"] = [weights[name] for name in some["first_id"].to_pylist()]
        yield pa.table({n: made[n] if n in made else some[n] for n in schema.names}, schema)


def _told(votes: pa.Table) -> Iterator[tuple[pa.Table, IndexArray]]:
    """Votes, and behind each its ratings as votes of the kind `RATING`, `AT_ONCE` of them at once.

    `grades` is how far the first response is ahead, null of a choice. Beside them the place of the
    vote that each comes from.
    """
    n_rated_e = np.asarray(pc.fill_null(pc.list_value_length(votes["rated"]), 0))
    vote_r = np.repeat(np.arange(len(n_rated_e)), 1 + n_rated_e)
    is_choice_r = np.diff(vote_r, prepend=-1) > 0
    ratings, rating_r = pc.list_flatten(votes["rated"]), np.cumsum(~is_choice_r) - 1
    for start in range(0, len(vote_r), AT_ONCE):
        own = slice(start, start + AT_ONCE)
        some = votes.take(vote_r[own])
        rating = ratings.take(pa.array(rating_r[own], mask=is_choice_r[own]))
        dimension, first, second = (pc.struct_field(rating, n) for n in RATINGS.value_type.names)
        told = {
            "kind": pc.if_else(pc.is_valid(dimension), RATING, some["kind"]),
            "dimension": pc.coalesce(dimension, some["dimension"]),
            "grades": pc.subtract(first, second),
        }
        kept = {name: some[name] for name in some.column_names}
        yield pa.table({**kept, **told}), vote_r[own]


def _preference(preferred: str, grades: int | None) -> float:
    """How far a vote is for the first response; of a rating by the `grades` that it is ahead."""
    if grades is None:
        return PREFERENCE[preferred]
    return far_for(grades)


def training_schema(select: Manifest) -> pa.Schema:
    """Columns of the training rows of a batch, by what was chosen."""
    return RANKED_TRAINING if "rankings" in select.outputs else TRAINING


def _pair_weights(lake: Lake, select: Manifest) -> dict[str, float]:
    """What a pair of each ranked response weighs in votes: 2 / K."""
    if "rankings" not in select.outputs:
        return {}
    rankings = read_table(lake, select.outputs["rankings"], ["response_ids"])
    return {n: 2.0 / len(ids) for ids in rankings["response_ids"].to_pylist() for n in ids}


def voted(
    annotations: Source,
    comparisons: Source,
    compared: Source,
    aside: frozenset[str],
    beside_people: bool = False,
    rated: bool = False,
) -> pa.Table:
    """The votes among annotations (`winnow.label.aggregation.votes`) on compared responses.

    Each has the columns of its comparison, and how many characters its two responses have. A
    model's are votes where no person voted in the whole batch: beside people's they would teach its
    own taste as theirs. Those, `beside_people`, are asked for apart (`winnow.reward.judges`).
    `rated`, where it is asked for, holds the ratings that came with it; one on the dimension of the
    choice is left out: somebody has one vote on a dimension of a pair.

    Raises:
        Corrupt: A vote is on a pair that was not compared.
    """
    tables = {
        "annotations": annotations,
        "comparisons": comparisons,
        "compared": compared,
        "aside": pa.table({"pair_id": pa.array(sorted(aside), pa.string())}),
        # Of a time before there were kinds all are comparisons, before there were judges people's.
        "kinds": _KINDS.empty_table(),
    }
    with database(tables) as connection:
        params = {"beside": beside_people, "rated": rated}
        votes = connection.sql(_VOTED, params=params).to_arrow_table()
    if votes["prompt_id"].null_count:
        raise Corrupt(f"{votes['prompt_id'].null_count} votes are on no comparison of their batch.")
    return votes.filter(pc.and_(pc.is_valid(votes["n_first"]), pc.is_valid(votes["n_second"])))


_KINDS = pa.schema([(n, ANNOTATIONS.field(n).type) for n in ("kind", "model", "mode", "log_odds")])
_VOTED = f"""
WITH latest AS (
    SELECT annotation_id, pair_id, kind, annotator, preferred, swapped, status, model, mode,
        log_odds, ratings
    FROM (FROM annotations UNION ALL BY NAME FROM kinds)
    QUALIFY row_number() OVER (PARTITION BY annotation_id ORDER BY revision DESC, row_n) = 1
), counted AS (
    SELECT * FROM latest WHERE coalesce(kind, '') IN ('', '{COMPARISON}')
        AND preferred IS NOT NULL AND status NOT IN {NOT_COUNTED}
), texts AS (
    SELECT response_id, length(message) AS n FROM compared
)
SELECT vote.pair_id, pair.prompt_id, pair.first_id, pair.second_id, pair.kind, pair.dimension,
    vote.annotator, vote.model, vote.mode, vote.log_odds, vote.preferred,
    coalesce(vote.swapped, false) AS swapped, pair.p_first, one.n AS n_first, other.n AS n_second,
    CASE WHEN $rated THEN
        list_filter(ratings, lambda rating: rating.dimension IS DISTINCT FROM pair.dimension)
    END AS rated
FROM counted AS vote LEFT JOIN comparisons AS pair USING (pair_id)
LEFT JOIN texts AS one ON one.response_id = pair.first_id
LEFT JOIN texts AS other ON other.response_id = pair.second_id
WHERE vote.pair_id NOT IN (SELECT pair_id FROM aside)
    AND (vote.model IS NOT NULL AND EXISTS (FROM counted WHERE model IS NULL)) = $beside
ORDER BY vote.annotation_id
"""


def _vectors(
    lake: Lake, stages: Stages, columns: Columns
) -> tuple[pa.Array, HalfArray, HalfArray, BoolArray]:
    """Ids of the compared responses, with their vectors as the model saw them and as asked for.

    At last which of them can be taken.
    """
    ids, seen_rc, versions = _seen(lake, stages.select.outputs["compared"])
    usable_r = np.ones(len(ids), np.bool_)
    if versions <= {columns.version}:
        return ids, seen_rc, seen_rc, usable_r
    wanted, names = ids.to_pylist(), set(ids.to_pylist())
    vectors = dict(_vectors_again(lake, stages.expand, columns, names))
    if not columns.are_stored_as(stages.expand.figures["feature_version"]):
        texts = read_compared(lake, stages.select.campaign, stages.select.batch)
        pairs = zip(texts["response_id"].to_pylist(), texts["message"].to_pylist(), strict=True)
        fit = {response for response, text in pairs if fits_one_window(text)}
        usable_r = np.array([response in fit for response in wanted], np.bool_)
    return ids, seen_rc, np.array([vectors[response] for response in wanted]), usable_r


def _seen(lake: Lake, stored: Artifact) -> tuple[pa.Array, HalfArray, set[str]]:
    """Ids of the compared responses, their vectors as they are stored, and the vectors' versions.

    Vectors are most of what a refit holds, so that there is one copy of them.
    """
    seen_rc, n_read = np.zeros((stored.n_rows, 0), np.float16), 0
    with table_file(lake, stored) as file:
        with pq.ParquetFile(file, pre_buffer=False) as whole:
            about = whole.read(["response_id", "feature_version"])
        for piece in read_pieces(file, PIECE, ["vector"]):
            some_xc = vectors_of_features(pa.table(piece))
            if not n_read:
                seen_rc = np.empty((stored.n_rows, some_xc.shape[1]), np.float16)
            seen_rc[n_read : n_read + len(some_xc)] = some_xc
            n_read += len(some_xc)
    versions = set(pc.unique(about["feature_version"]).to_pylist())
    return about["response_id"].combine_chunks(), seen_rc, versions


def _vectors_again(
    lake: Lake, expand: Manifest, columns: Columns, wanted: set[str]
) -> Iterator[tuple[str, NDArray[np.float16]]]:
    """Vectors of some responses in these columns, from their whole pools.

    The comparisons of a batch of an earlier release, or of other samplers, were kept with others.
    """
    parts = (parts_of(lake, expand.outputs[name]) for name in ("responses", "features"))
    for responses, features in zip(*parts, strict=True):
        rows = read_table(lake, responses).to_pylist()
        ids = [row["response_id"] for row in rows]
        stored_rc = stored_vectors(read_table(lake, features), ids)
        for places in rows_by_prompt([row["prompt_id"] for row in rows]).values():
            if not wanted.isdisjoint(ids[place] for place in places):
                vectors = columns.of_pool([rows[place] for place in places], stored_rc[places])
                for place, vector in zip(places, vectors, strict=True):
                    if ids[place] in wanted:
                        yield ids[place], vector


def _beliefs(
    model: RewardModel | None, votes: pa.Table, seen_rc: HalfArray, pair_2e: IndexArray
) -> FloatArray:
    """Mean and deviation (2, e) of the logit by the batch's model, at temperature 1.

    Of exploration votes on a model with labels, which is absent else; not a number for others.
    """
    belief_2e = np.full((2, votes.num_rows), np.nan)
    explored = np.flatnonzero(np.asarray(pc.equal(votes["kind"], "exploration")))
    if not len(explored) or model is None:
        return belief_2e
    dimensions = votes["dimension"].to_pylist()
    for vote in explored:
        head = model.heads.get(dimensions[vote], model.posterior)
        pair_2d = model.projection.apply(seen_rc[pair_2e[:, vote]].astype(np.float64))
        mean_2, cov_22 = head.mean(pair_2d), head.cov(pair_2d)
        variance = cov_22[0, 0] + cov_22[1, 1] - 2.0 * cov_22[0, 1]
        belief_2e[0, vote] = float(mean_2[0] - mean_2[1]) * head.temperature
        belief_2e[1, vote] = float(np.sqrt(max(variance, 0.0))) * head.temperature
    return belief_2e


def lists_of(vectors_rc: HalfArray, rows_e: IndexArray) -> pa.ChunkedArray:
    """Rows of vectors as a column; an array a piece, so that no offset outgrows its type."""
    n = vectors_rc.shape[1]
    pieces = [rows_e[start : start + PIECE] for start in range(0, len(rows_e), PIECE)]
    arrays = [
        pa.ListArray.from_arrays(
            pa.array(np.arange(len(rows) + 1) * n, pa.int32()), pa.array(vectors_rc[rows].ravel())
        )
        for rows in pieces
    ]
    return pa.chunked_array(arrays, TRAINING.field("first").type)


def write_training(file: Path, rows: Iterable[pa.Table], schema: pa.Schema = TRAINING) -> int:
    """Training rows of a schema as Parquet, `PIECE` of them a row group; equal rows, equal bytes.

    Returns:
        How many they are.
    """
    n_rows = 0
    vectors = ("first.list.element", "second.list.element")
    texts = [name for name in schema.names if schema.field(name).type == pa.string()]
    with pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=texts,
        column_encoding=dict.fromkeys(vectors, "BYTE_STREAM_SPLIT"),
    ) as writer:
        for some in rows:
            writer.write_table(some, row_group_size=PIECE)
            n_rows += some.num_rows
    return n_rows


def halves_of(rows: pa.Table, side: str) -> HalfArray:
    """Raw features (e, c) of the responses of one side, as they are stored."""
    flat = rows[side].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.float16).reshape(rows.num_rows, -1)


def vectors_of(rows: pa.Table, side: str) -> FloatArray:
    """The same, as they are reckoned with."""
    return halves_of(rows, side).astype(np.float64)


def numbers(rows: pa.Table, name: str) -> FloatArray:
    """A column of numbers (e,)."""
    return np.asarray(rows[name].to_numpy(), np.float64)


def weights_of(rows: pa.Table) -> FloatArray:
    """What each vote weighs (e,): 1, but of pairs of a ranking."""
    if "weight" not in rows.column_names:
        return np.ones(rows.num_rows)
    return np.asarray(pc.fill_null(rows["weight"], 1.0).to_numpy(), np.float64)


def pieces_of(n_rows: int) -> Sequence[tuple[int, int]]:
    """The row groups of a stored table of so many rows: number and rows."""
    return [(k, min(PIECE, n_rows - k * PIECE)) for k in range(-(-n_rows // PIECE))]
