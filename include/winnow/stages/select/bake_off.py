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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.batch import Artifact, Batch, read_artifact, read_manifest, read_table
from winnow.label.aggregation.votes import votes_of
from winnow.lake import Lake
from winnow.publish.fetch import fetch
from winnow.publish.versions import Version
from winnow.reward import RewardModel
from winnow.select import Pool, one_blas_thread
from winnow.select.bake_off import COMPARED, Explored, explored_pairs, worth
from winnow.select.bake_off_tally import Tally, as_figures, contenders, tally, together
from winnow.select.screen import answers_nothing
from winnow.stages.label.set_aside import pairs_set_aside
from winnow.stages.select import pool_rules
from winnow.stages.select.candidates import UNFIT, Candidates, clustered, rows_by_prompt, said_by

BATCHES = 10
"""Batches that the figures are of, the newest ones that a model chose."""

MOST_PROMPTS = 1024
MOST_PAIRS = 4_000_000

NAME = "bake_off"
"""The sums among the outputs of the publish stage, and the figures among its figures."""

_LOOKED_AT = 50
_ROWS_AT_ONCE = 4096
_PREFERRED = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}

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
    drawn = _drawn(comparisons.filter(pc.equal(comparisons["kind"], "exploration")).to_pylist())
    annotations = read_table(batch.lake, labelled.outputs["annotations"]).to_pylist()
    prompt_of = {
        pair["pair_id"]: name
        for name, pairs in drawn.items()
        for pair in pairs
        if pair["pair_id"] not in aside
    }
    votes = [vote for vote in votes_of(annotations) if vote["pair_id"] in prompt_of]
    prompts = sorted({prompt_of[vote["pair_id"]] for vote in votes})[:MOST_PROMPTS]
    if not prompts:
        return {}
    found: dict[str, Explored] = {}
    scored = 0
    for pool in _pools(batch, {prompt: drawn[prompt] for prompt in prompts}, model):
        n = len(pool.response_ids)
        scored += n * (n - 1) // 2
        if found and scored > MOST_PAIRS:
            break
        found |= _explored(batch, pool, model, drawn[pool.prompt_id])
    n_votes = Counter(vote["pair_id"] for vote in votes)
    return {
        vote["annotation_id"]: found[vote["pair_id"]].voted(
            _PREFERRED[vote["preferred"]], n_votes[vote["pair_id"]]
        )
        for vote in votes
        if vote["pair_id"] in found
    }


def _drawn(comparisons: Sequence[Row]) -> dict[str, list[Row]]:
    """Exploration pairs by prompt."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in comparisons:
        if row["propensity"]:
            found[row["prompt_id"]].append(row)
    return found


def _explored(
    batch: Batch, pool: Pool, model: RewardModel, drawn: Sequence[Row]
) -> dict[str, Explored]:
    """The drawn pairs of a pool by pair id."""
    name = pool.asked or next(iter(model.heads))
    found = explored_pairs(
        pool,
        {name: model.heads[name]},
        pool_rules(batch.campaign.select),
        {(pair["first_id"], pair["second_id"]): pair["propensity"] for pair in drawn},
    )
    ends = {pair["pair_id"]: (pair["first_id"], pair["second_id"]) for pair in drawn}
    return {pair: found[both] for pair, both in ends.items() if both in found}


def _pools(batch: Batch, drawn: Mapping[str, Sequence[Row]], model: RewardModel) -> Iterator[Pool]:
    """Pools of the prompts of some drawn pairs, as selection saw them, in order of prompt id."""
    prompts = list(drawn)
    compared = {p[side] for ps in drawn.values() for p in ps for side in ("first_id", "second_id")}
    ingested, expanded = batch.require("ingest"), batch.require("expand")
    asked = _rows(batch.lake, ingested.outputs["prompts"], "prompt_id", prompts)
    responses = _rows(batch.lake, expanded.outputs["responses"], "prompt_id", prompts)
    ids, prompt_of = responses["response_id"].to_pylist(), responses["prompt_id"].to_pylist()
    features = _rows(batch.lake, expanded.outputs["features"], "response_id", ids)
    vectors = dict(zip(features["response_id"].to_pylist(), features["vector"], strict=True))
    rows_of = rows_by_prompt(prompt_of)
    flags = responses["flags"].to_pylist()
    unfit_r = np.array([not UNFIT.isdisjoint(each or ()) for each in flags], dtype=np.bool_)
    texts, models = responses["message"].to_pylist(), responses["model"].to_pylist()
    prompt_row = {row["prompt_id"]: row for row in asked.to_pylist()}
    times = pc.add(responses["duplicates"], responses["near_duplicates"]).to_pylist()
    unfit_r |= answers_nothing(prompt_of, texts, models, times, said_by(prompt_row, prompt_of))
    unfit_r &= np.array([each not in compared for each in ids], dtype=np.bool_)
    settings = batch.campaign.select
    raw_rc = np.array([vectors[each].values.to_numpy() for each in ids], dtype=np.float16)
    n_embedding = expanded.figures["n_embedding"]
    candidates = Candidates(
        prompts=prompt_row,
        response_ids=ids,
        n_tokens=responses["n_tokens"].to_pylist(),
        duplicates=responses["duplicates"].to_pylist(),
        flags=flags,
        blocked_r=unfit_r,
        raw_rc=raw_rc,
        rows_of=rows_of,
        n_embedding=n_embedding,
        one_dimension=settings.head_per_dimension,
        topics=0,
        clusters=clustered(rows_of, raw_rc[:, :n_embedding], texts, settings.near_duplicate),
    )
    return candidates.pools(model)


def _rows(lake: Lake, artifact: Artifact, column: str, wanted: Collection[str]) -> pa.Table:
    """The rows of a stored table whose `column` is one of `wanted`; the rest is never held."""
    values = pa.array(sorted(set(wanted)), pa.string())
    with tempfile.TemporaryDirectory(prefix="winnow-bake-off-") as folder:
        path = Path(folder) / "table.parquet"
        fetch(lake, artifact, path)
        with pq.ParquetFile(path) as file:
            parts = [
                part.filter(pc.is_in(part[column], value_set=values))
                for part in file.iter_batches(_ROWS_AT_ONCE)
            ]
            return pa.Table.from_batches(parts, file.schema_arrow)


def _tallies(batch: Batch, stage: str, published: Version) -> Iterator[Tally]:
    """The sums of earlier batches of the version over the strategies of now, the newest first."""
    earlier = [key for key in published.batches if key != batch.key]
    for key in reversed(earlier[-_LOOKED_AT:]):
        manifest = read_manifest(batch.lake, batch.campaign.name, key, stage)
        if manifest is not None and NAME in manifest.outputs:
            found = Tally.from_bytes(read_artifact(batch.lake, manifest.outputs[NAME]))
            if found.names == COMPARED:
                yield found
