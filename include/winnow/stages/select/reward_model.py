"""The reward model of a campaign: refitted from all published labels, read by the next batch.

A model is stored by its version; one pointer names the newest. The pointer only moves forward with
the dataset's versions, so a late twin never brings an old posterior back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from math import log1p
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.arrays import FloatArray
from winnow.batch import Manifest, read_manifest, read_table
from winnow.campaign import Campaign, Select
from winnow.errors import Corrupt
from winnow.expand.features import fits_one_window
from winnow.expand.screening import rows_by_prompt
from winnow.expand.vectors import Columns, columns_of, stored_vectors
from winnow.label.aggregation.votes import votes_of
from winnow.lake import Lake
from winnow.publish.versions import Version, read_version
from winnow.reward import (
    OVERALL,
    Blocks,
    GateState,
    Head,
    Posterior,
    RewardModel,
    centre,
    fit_ensemble,
    fit_projection,
    fit_with_annotators,
    prior_of,
    version_as_stored,
)
from winnow.reward.blocks import contributions, width
from winnow.select import one_blas_thread
from winnow.stages.label.set_aside import pairs_set_aside
from winnow.stages.select.trust import PREFERENCE, Trust, measure
from winnow.stored import RESTORE, as_json, parsed, reader, refuse_lost, sealed_json

Row = Mapping[str, Any]

GUESSING = 0.5
"""Share of guesses from which an annotator is named."""


@dataclass(frozen=True, slots=True)
class Current:
    """The newest model, where it lies, whether its gate lets it choose, and what version taught it.

    `number` is that of the dataset, `gate_reason` the gate's sentence.
    """

    model: RewardModel
    gate: GateState
    path: str
    number: int
    gate_reason: str = ""


@dataclass(frozen=True, slots=True)
class _Target:
    """What the pointer says: the model, where it lies, what version taught it, its gate."""

    number: int
    path: str
    version: str
    gate: GateState
    gate_reason: str = ""


@dataclass(frozen=True, slots=True)
class Refitted:
    """A model fitted to all votes.

    Attributes:
        model: At the temperature that exploration votes ask for.
        trust: What those votes say.
        guessing: Annotators (hashes) with the share of their votes that are guesses, above
            `GUESSING`.
        listens_to: What each block of features adds to the reward difference of a labelled pair,
            root mean square in logits; empty where a head is no linear one.
    """

    model: RewardModel
    trust: Trust
    guessing: dict[str, float]
    listens_to: dict[str, float]


def newest(lake: Lake, campaign: str) -> Current | None:
    """The campaign's newest model, or None before the first labels.

    Raises:
        Corrupt: The model or the pointer to it is lost, or not what it was.
    """
    pointer = _pointer_path(campaign)
    data, _ = lake.read_tagged(pointer)
    if data is None:
        models = f"campaigns/{campaign}/reward"
        refuse_lost(lake, pointer, [f"{models}/{name}" for name in lake.names(models)])
        return None
    target = parsed(lake, pointer, reader(_Target), data)
    try:
        model, version = parsed(lake, target.path, _model_and_version)
    except FileNotFoundError as error:
        raise Corrupt(f"{lake.uri}/{target.path} is named by {pointer} but missing.") from error
    if version != target.version:
        raise Corrupt(f"{lake.uri}/{target.path} is not the model that {pointer} names; {RESTORE}.")
    return Current(model, target.gate, target.path, target.number, target.gate_reason)


def _model_and_version(data: bytes) -> tuple[RewardModel, str]:
    return RewardModel.from_bytes(data), version_as_stored(data)


@one_blas_thread()
def newest_for(lake: Lake, campaign: Campaign, columns: Columns) -> Current | None:
    """The newest model as far as it reads these columns; None if none does, or it has no labels.

    One of related columns, as after an upgrade, is fitted again to the votes that both share.
    """
    current = newest(lake, campaign.name)
    if current is None or not any(head.n_labels for head in current.model.heads.values()):
        return None
    if current.model.feature_version == columns.version:
        return current
    if not columns.are_related(current.model.feature_version):
        return None
    if not columns.n_embedding:  # No prompt has a response, so that there is nothing to read.
        return current
    version = read_version(lake, campaign.publish.dataset, current.number)
    judged = _judged(lake, campaign, version, columns)
    if not any(votes for _, _, votes in judged):
        return None
    return replace(current, model=_refitted(lake, campaign, judged, columns).model)


@one_blas_thread()
def refit(lake: Lake, campaign: Campaign, version: Version) -> Refitted:
    """Fit a model to every vote of the version's batches, on features as the newest batch has them.

    Batches whose vectors cannot be compared with these are left out. Where that leaves no vote, as
    of a night of which all was skipped, it is a prior.
    """
    newest_batch = _manifests(lake, campaign.name, version.batches[-1])[0]
    columns = columns_of(newest_batch, campaign.expand)
    return _refitted(lake, campaign, _judged(lake, campaign, version, columns), columns)


def _judged(
    lake: Lake, campaign: Campaign, version: Version, columns: Columns
) -> list[tuple[Manifest, Manifest, list[Row]]]:
    """Batches whose vectors can be compared with those of a version: expand, select and votes."""
    manifests = [_manifests(lake, campaign.name, key) for key in sorted(version.batches)]
    aside = partial(pairs_set_aside, lake, version)
    return [
        (expand, select, _votes(lake, (expand, select, label), columns, aside(label.batch)))
        for expand, select, label in manifests
        if columns.are_related(expand.figures["feature_version"])
    ]


def _refitted(
    lake: Lake,
    campaign: Campaign,
    judged: Sequence[tuple[Manifest, Manifest, list[Row]]],
    columns: Columns,
) -> Refitted:
    votes = [vote for _, _, batch_votes in judged for vote in batch_votes]
    most = campaign.select.max_components
    nothing = np.zeros((1, width(columns.blocks)))
    projection = fit_projection(_centred(votes) if votes else nothing, columns.blocks, most)
    trust = measure(lake, [(select, batch_votes) for _, select, batch_votes in judged])
    compared_2ed = np.array(
        [
            projection.apply(np.array([vote[side] for vote in votes] or nothing))
            for side in ("first", "second")
        ]
    )
    rows_of_head: dict[str, list[int]] = {}
    for row, vote in enumerate(votes):
        name = vote["dimension"] if campaign.select.head_per_dimension else OVERALL
        rows_of_head.setdefault(name, []).append(row)
    heads, epsilon = {}, dict[str, float]()
    for dimension, rows in sorted(rows_of_head.items()):
        own = [votes[row] for row in rows]
        head, guesses = _fit(projection.blocks, compared_2ed[:, rows], own, campaign.select)
        heads[dimension] = head.at_temperature(trust.temperature)
        epsilon |= {a: max(2.0 * e, epsilon.get(a, 0.0)) for a, e in guesses.items()}
    heads = heads or {OVERALL: prior_of(projection.blocks)}
    model = RewardModel(projection, heads, columns.version)
    return Refitted(
        model,
        trust,
        {a: share for a, share in sorted(epsilon.items()) if share > GUESSING},
        _listens_to(model, compared_2ed) if votes else {},
    )


def _listens_to(model: RewardModel, compared_2ed: FloatArray) -> dict[str, float]:
    head, (first_ed, second_ed) = model.posterior, compared_2ed
    if not isinstance(head, Posterior):
        return {}
    return contributions(head.mean_d, first_ed - second_ed, model.projection.blocks)


def store(lake: Lake, campaign: str, fitted: Refitted, number: int) -> str:
    """Keep the model of dataset version `number`, and point to it unless a newer one is there."""
    version = fitted.model.version
    path = f"campaigns/{campaign}/reward/{version[:16]}.npz"
    lake.create(path, fitted.model.to_bytes())
    gate = fitted.trust.gate
    target = sealed_json(as_json(_Target(number, path, version, gate.state, gate.reason)))
    while True:
        pointer = _pointer_path(campaign)
        data, tag = lake.read_tagged(pointer)
        if data is not None and parsed(lake, pointer, reader(_Target), data).number >= number:
            return path
        if lake.swap(pointer, target, tag):
            return path


def _fit(
    blocks: Blocks, compared_2ed: FloatArray, votes: list[Row], settings: Select
) -> tuple[Head, dict[str, float]]:
    """A head, and the chance ε that each annotator's vote is a guess gone wrong."""
    first, second = compared_2ed
    preferred = [vote["preference"] for vote in votes]
    side = [-1.0 if vote["swapped"] else 1.0 for vote in votes]
    length = [vote["length"] for vote in votes]
    weight = np.ones(len(votes))
    posterior, epsilon = fit_with_annotators(
        first - second,
        preferred,
        weight,
        side,
        length,
        [vote["annotator"] for vote in votes],
        blocks=blocks,
    )
    if settings.head == "laplace":
        return posterior, epsilon
    trusted = np.array([1.0 - 2.0 * epsilon[vote["annotator"]] for vote in votes])
    return fit_ensemble(first, second, preferred, trusted, side, length, blocks=blocks), epsilon


def _manifests(lake: Lake, campaign: str, key: str) -> tuple[Manifest, Manifest, Manifest]:
    manifests = [
        read_manifest(lake, campaign, key, stage) for stage in ("expand", "select", "label")
    ]
    expand, select, label = manifests
    if expand is None or select is None or label is None:
        raise Corrupt(f"Batch {key} of {campaign} is published but a manifest of it is missing.")
    return expand, select, label


def _votes(
    lake: Lake,
    stages: tuple[Manifest, Manifest, Manifest],
    columns: Columns,
    aside: frozenset[str],
) -> list[Row]:
    """A row a vote: its comparison, preference (1, 1/2, 0), lengths and raw features of both.

    `first` and `second` are in these columns, `seen` holds both as the model that chose saw them.

    Votes on a response whose vector would be another one are left out, and those on the pairs that
    are set `aside`.
    """
    expand, select, label = stages
    responses = read_table(lake, expand.outputs["responses"])
    pairs = {c["pair_id"]: c for c in read_table(lake, select.outputs["comparisons"]).to_pylist()}
    texts = zip(responses["response_id"].to_pylist(), responses["message"].to_pylist(), strict=True)
    text_of = dict(texts)
    every = columns.are_stored_as(expand.figures["feature_version"])
    compared = read_table(lake, select.outputs["compared"])
    ids = compared["response_id"].to_pylist()
    seen = dict(zip(ids, stored_vectors(compared, ids).astype(np.float64), strict=True))
    vectors = seen
    if not set(compared["feature_version"].to_pylist()) <= {columns.version}:
        vectors = dict(_vectors_again(lake, expand, columns, responses, seen.keys()))
    vectors = {
        response: vector
        for response, vector in vectors.items()
        if every or fits_one_window(text_of[response])
    }
    annotations = read_table(lake, label.outputs["annotations"]).to_pylist()
    votes: list[Row] = []
    for row in votes_of(annotations):
        if row["pair_id"] in aside:
            continue
        pair = pairs[row["pair_id"]]
        first, second = pair["first_id"], pair["second_id"]
        if first in vectors and second in vectors:
            votes.append(
                {
                    **row,
                    **pair,
                    "preference": PREFERENCE[row["preferred"]],
                    "length": log1p(len(text_of[first])) - log1p(len(text_of[second])),
                    "first": vectors[first],
                    "second": vectors[second],
                    "seen": (seen[first], seen[second]),
                }
            )
    return votes


def _vectors_again(
    lake: Lake, expand: Manifest, columns: Columns, responses: pa.Table, wanted: Set[str]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Vectors of some responses in these columns, from their whole pools.

    The comparisons of a batch of an earlier release, or of other samplers, were kept with others.
    """
    rows = responses.to_pylist()
    ids = [row["response_id"] for row in rows]
    stored_rc = stored_vectors(read_table(lake, expand.outputs["features"]), ids)
    for places in rows_by_prompt([row["prompt_id"] for row in rows]).values():
        if not wanted.isdisjoint(ids[place] for place in places):
            vectors = columns.of_pool([rows[place] for place in places], stored_rc[places])
            for place, vector in zip(places, vectors.astype(np.float64), strict=True):
                if ids[place] in wanted:
                    yield ids[place], vector


def _centred(votes: list[Row]) -> NDArray[np.float64]:
    """Raw features of the voted responses, each once, centred within their prompts."""
    prompts: dict[str, dict[str, NDArray[np.float64]]] = {}
    for vote in votes:
        vectors = prompts.setdefault(vote["prompt_id"], {})
        vectors[vote["first_id"]], vectors[vote["second_id"]] = vote["first"], vote["second"]
    return np.vstack(
        [centre(np.array([vectors[i] for i in sorted(vectors)])) for vectors in prompts.values()]
    )


def _pointer_path(campaign: str) -> str:
    return f"campaigns/{campaign}/reward/latest.json"
