"""The reward model of a campaign: refitted from all published labels, read by the next batch.

A model is stored by its version; one pointer names the newest. The pointer only moves forward with
the dataset's versions, so a late twin never brings an old posterior back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import log1p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.batch import Manifest, read_manifest, read_table
from winnow.campaign import Campaign
from winnow.errors import Corrupt
from winnow.ids import canonical_json
from winnow.label.aggregate import latest_revisions
from winnow.label.annotation import NOT_COUNTED
from winnow.lake import Lake
from winnow.publish.versions import Version
from winnow.reward import RewardModel, centre, fit, fit_projection

Row = Mapping[str, Any]
Vectors = dict[str, NDArray[np.float64]]

_PREFERRED = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}


def newest(lake: Lake, campaign: str) -> RewardModel | None:
    """The campaign's newest model, or None before the first labels."""
    data, _ = lake.read_tagged(_pointer_path(campaign))
    if data is None:
        return None
    return RewardModel.from_bytes(lake.read(json.loads(data)["path"]))


def refit(lake: Lake, campaign: Campaign, version: Version) -> RewardModel:
    """Fit a model to every vote of the version's batches.

    Batches whose features are of another version than the newest batch's are left out: their
    vectors cannot be compared.
    """
    manifests = [_manifests(lake, campaign.name, key) for key in sorted(version.batches)]
    wanted = _manifests(lake, campaign.name, version.batches[-1])[0].figures
    usable = [m for m in manifests if m[0].figures["feature_version"] == wanted["feature_version"]]
    votes = [vote for found in usable for vote in _votes(lake, *found)]
    vectors = {k: v for found in usable for k, v in _vectors(lake, found[1]).items()}
    projection = fit_projection(
        _centred(votes, vectors), wanted["n_embedding"], campaign.select.max_components
    )
    first, second = (
        projection.apply(np.array([vectors[vote[side]] for vote in votes]).reshape(len(votes), -1))
        for side in ("first_id", "second_id")
    )
    posterior = fit(
        first - second,
        [_PREFERRED[vote["preferred"]] for vote in votes],
        np.ones(len(votes)),
        [-1.0 if vote["swapped"] else 1.0 for vote in votes],
        [vote["length"] for vote in votes],
    )
    return RewardModel(projection, posterior, wanted["feature_version"])


def store(lake: Lake, campaign: str, model: RewardModel, number: int) -> str:
    """Keep the model of dataset version `number`, and point to it unless a newer one is there."""
    path = f"campaigns/{campaign}/reward/{model.version[:16]}.npz"
    lake.create(path, model.to_bytes())
    target = canonical_json({"number": number, "path": path, "version": model.version})
    while True:
        data, tag = lake.read_tagged(_pointer_path(campaign))
        if data is not None and json.loads(data)["number"] >= number:
            return path
        if lake.swap(_pointer_path(campaign), target, tag):
            return path


def _manifests(lake: Lake, campaign: str, key: str) -> tuple[Manifest, Manifest, Manifest]:
    found = [read_manifest(lake, campaign, key, stage) for stage in ("expand", "select", "label")]
    expand, select, label = found
    if expand is None or select is None or label is None:
        raise Corrupt(f"Batch {key} of {campaign} is published but a manifest of it is missing.")
    return expand, select, label


def _votes(lake: Lake, expand: Manifest, select: Manifest, label: Manifest) -> list[Row]:
    """One row a vote: pair, sides, preference, and the log-length difference of its responses."""
    texts = read_table(lake, expand.outputs["responses"]).select(["response_id", "message"])
    lengths = {row["response_id"]: log1p(len(row["message"])) for row in texts.to_pylist()}
    pairs = {c["pair_id"]: c for c in read_table(lake, select.outputs["comparisons"]).to_pylist()}
    annotations = read_table(lake, label.outputs["annotations"]).to_pylist()
    return [
        {
            **pairs[row["pair_id"]],
            **row,
            "length": lengths[pairs[row["pair_id"]]["first_id"]]
            - lengths[pairs[row["pair_id"]]["second_id"]],
        }
        for row in latest_revisions(annotations)
        if row["preferred"] is not None and row["status"] not in NOT_COUNTED
    ]


def _vectors(lake: Lake, select: Manifest) -> Vectors:
    compared = read_table(lake, select.outputs["compared"]).to_pylist()
    return {row["response_id"]: np.array(row["vector"], dtype=np.float64) for row in compared}


def _centred(votes: list[Row], vectors: Vectors) -> NDArray[np.float64]:
    """Vectors of the voted responses, centred within their prompts."""
    prompts: dict[str, set[str]] = {}
    for vote in votes:
        prompts.setdefault(vote["prompt_id"], set()).update((vote["first_id"], vote["second_id"]))
    return np.vstack(
        [centre(np.array([vectors[i] for i in sorted(ids)])) for ids in prompts.values()]
    )


def _pointer_path(campaign: str) -> str:
    return f"campaigns/{campaign}/reward/latest.json"
