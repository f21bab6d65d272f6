"""The bake-off of a batch: its exploration votes as they speak of every strategy's picks.

A batch is replayed on the model that chose it, and its sums are stored with its publish manifest;
what the manifest tells is of the last `BATCHES` published batches together. So a night reads its
own pools and a few small objects, however many nights there were.

Always holds: only batches chosen by a model with labels count; a batch is replayed on at most
`MOST_PROMPTS` prompts and `MOST_PAIRS` scored pairs, and memory holds the pools of those prompts.
Which prompts these are follows from their ids, which are hashes, so they are a fair draw. Texts
that answer nothing are looked for among the replayed prompts alone, so a few may stay in, or be
left out, that selection judged otherwise; one that was in a drawn pair always stays in.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.batch import (
    Artifact,
    Batch,
    parts_of,
    read_artifact,
    read_manifest,
    read_table,
)
from winnow.ingest.labels import PREFERENCE
from winnow.label.aggregation.votes import votes_in
from winnow.lake import Lake
from winnow.pieces import read_pieces
from winnow.publish.pull import fetch
from winnow.publish.versions import Version
from winnow.reward import RewardModel
from winnow.select import Pool, one_blas_thread
from winnow.select.bake_off import COMPARED, Explored, explored_pairs, worth
from winnow.select.bake_off_tally import Tally, as_figures, contenders, tally, together
from winnow.stages.label.set_aside import pairs_set_aside
from winnow.stages.select import pool_rules
from winnow.stages.select.candidates import candidates_of

BATCHES = 10
"""Batches that the figures are of, the newest ones that a model chose."""

MOST_PROMPTS = 1024
MOST_PAIRS = 4_000_000

NAME = "bake_off"
"""The sums among the outputs of the publish stage, and the figures among its figures."""

_LOOKED_AT = 50
_ROWS_AT_ONCE = 4096

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class BakeOff:
    """What a batch adds to its publish manifest."""

    outputs: Mapping[str, Artifact]
    figures: Mapping[str, Any]


def run(batch: Batch, stage: str, published: Version) -> BakeOff:
    """Replay a batch whose labels are in, and join it with those before it in its version."""
    own = replay(batch, pairs_set_aside(batch.lake, published, batch.key))
    before = list(islice(_tallies(batch, stage, published), BATCHES - (own is not None)))
    tallies = before if own is None else [own, *before]
    outputs = {}
    if own is not None:
        outputs[NAME] = batch.write_bytes(stage, NAME, "json", own.to_bytes())
    every = together(tallies)
    return BakeOff(outputs, {NAME: as_figures(contenders(every), len(tallies), every)})


@one_blas_thread()
def replay(batch: Batch, aside: frozenset[str] = frozenset()) -> Tally | None:
    """The sums of one batch; None where no model with labels chose it, or no such vote came.

    Votes on the pairs that are set `aside` are left out.
    """
    expanded, selected = batch.require("expand"), batch.require("select")
    if not selected.figures.get("posterior_labels") or "features" not in expanded.outputs:
        return None
    model = RewardModel.from_bytes(read_artifact(batch.lake, selected.outputs["reward_model"]))
    votes = list(replayed(batch, model, aside).values())
    return tally(votes, worth(votes, model.heads)) if votes else None


def replayed(
    batch: Batch, model: RewardModel, aside: frozenset[str] = frozenset()
) -> dict[str, Explored]:
    """Votes on exploration pairs by annotation id, with what `model` believed before them."""
    selected, labelled = batch.require("select"), batch.require("label")
    comparisons = read_table(batch.lake, selected.outputs["comparisons"])
    drawn: defaultdict[str, list[Row]] = defaultdict(list)
    for row in comparisons.filter(pc.equal(comparisons["kind"], "exploration")).to_pylist():
        if row["propensity"]:
            drawn[row["prompt_id"]].append(row)
    annotations = read_table(batch.lake, labelled.outputs["annotations"])
    prompt_of = {
        pair["pair_id"]: name
        for name, pairs in drawn.items()
        for pair in pairs
        if pair["pair_id"] not in aside
    }
    votes = [vote for vote in votes_in(annotations) if vote["pair_id"] in prompt_of]
    prompts = sorted({prompt_of[vote["pair_id"]] for vote in votes})[:MOST_PROMPTS]
    if not prompts:
        return {}
    explored: dict[str, Explored] = {}
    scored = 0
    for pool in _pools(batch, {prompt: drawn[prompt] for prompt in prompts}, model):
        n = len(pool.response_ids)
        scored += n * (n - 1) // 2
        if explored and scored > MOST_PAIRS:
            break
        explored |= _explored(batch, pool, model, drawn[pool.prompt_id])
    n_votes = Counter(vote["pair_id"] for vote in votes)
    return {
        vote["annotation_id"]: explored[vote["pair_id"]].voted(
            PREFERENCE[vote["preferred"]], n_votes[vote["pair_id"]]
        )
        for vote in votes
        if vote["pair_id"] in explored
    }


def _explored(
    batch: Batch, pool: Pool, model: RewardModel, drawn: Sequence[Row]
) -> dict[str, Explored]:
    """The drawn pairs of a pool by pair id."""
    name = pool.asked or next(iter(model.heads))
    explored = explored_pairs(
        pool,
        {name: model.heads[name]},
        pool_rules(batch.campaign.select),
        {(pair["first_id"], pair["second_id"]): pair["propensity"] for pair in drawn},
    )
    ends = {pair["pair_id"]: (pair["first_id"], pair["second_id"]) for pair in drawn}
    return {pair: explored[both] for pair, both in ends.items() if both in explored}


def _pools(batch: Batch, drawn: Mapping[str, Sequence[Row]], model: RewardModel) -> Iterator[Pool]:
    """Pools of the prompts of some drawn pairs, as selection saw them, in order of prompt id."""
    ends = {p[side] for ps in drawn.values() for p in ps for side in ("first_id", "second_id")}
    ingested, expanded = batch.require("ingest"), batch.require("expand")
    prompts = _rows(batch.lake, ingested.outputs["prompts"], "prompt_id", drawn)
    stored = [parts_of(batch.lake, expanded.outputs[n]) for n in ("responses", "features")]
    left = set(drawn)
    for of_responses, of_features in zip(*stored, strict=True):
        responses = _rows(batch.lake, of_responses, "prompt_id", left)
        ids = responses["response_id"].to_pylist()
        features = _rows(batch.lake, of_features, "response_id", ids)
        own = candidates_of(batch, prompts, responses, features, fit=ends)
        yield from own.pools(own.projected(model))
        left -= set(responses["prompt_id"].to_pylist())
        if not left:
            break


def _rows(lake: Lake, artifact: Artifact, column: str, wanted: Collection[str]) -> pa.Table:
    """The rows of a stored table whose `column` is one of `wanted`; the rest is never held."""
    values = pa.array(sorted(set(wanted)), pa.string())
    with tempfile.TemporaryDirectory(prefix="winnow-bake-off-") as folder:
        path = Path(folder) / "table.parquet"
        fetch(lake, artifact, path)
        parts = [
            part.filter(pc.is_in(part[column], value_set=values))
            for part in read_pieces(path, _ROWS_AT_ONCE)
        ]
        return pa.Table.from_batches(parts, pq.read_schema(path))


def _tallies(batch: Batch, stage: str, published: Version) -> Iterator[Tally]:
    """The sums of earlier batches of the version over the strategies of now, the newest first."""
    earlier = [key for key in published.batches if key != batch.key]
    for key in reversed(earlier[-_LOOKED_AT:]):
        manifest = read_manifest(batch.lake, batch.campaign.name, key, stage)
        if manifest is not None and NAME in manifest.outputs:
            earlier_tally = Tally.from_bytes(read_artifact(batch.lake, manifest.outputs[NAME]))
            if earlier_tally.names == COMPARED:
                yield earlier_tally
