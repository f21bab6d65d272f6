"""Whose a dataset is: one campaign's, for good.

    owners/NAME.json      written once, before the campaign's first batch begins

A version knows its batches by their keys, which are days: of two campaigns with one dataset the
second would find its day published and its labels, paid, in no version. What a dataset promises is
of one campaign as well: its reward model and the gate's history learn from its own batches alone.
A campaign that is renamed is a new one, and publishes under a new name.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from winnow.errors import Corrupt, Fatal
from winnow.lake import Lake
from winnow.stored import parsed, read_sealed, sealed_json


def claim_dataset(lake: Lake, dataset: str, campaign: str) -> None:
    """Make the dataset the campaign's, unless it is one's already.

    Raises:
        Fatal: It is another campaign's.
    """
    owner = owner_of(lake, dataset)
    if owner is None:
        lake.create(_path(dataset), sealed_json({"campaign": campaign}))
        owner = owner_of(lake, dataset)
    if owner != campaign:
        raise Fatal(
            f"{owner} and {campaign} both publish {dataset}, which is {owner}'s "
            f"({lake.uri}/{_path(dataset)}) and has one batch of a day at most: give {campaign} a "
            "`publish.dataset` of its own; a batch that has begun keeps the settings it was begun "
            "with, so start it again under another `name`. Nothing was bought."
        )


def owner_of(lake: Lake, dataset: str) -> str | None:
    """The campaign that a dataset belongs to; None where it is nobody's yet.

    Of a dataset from before owners were noted, or whose note is lost, it is the one that published
    its first version, or else one that has begun a batch for it.
    """
    try:
        return parsed(lake, _path(dataset), lambda data: str(read_sealed(data)["campaign"]))
    except FileNotFoundError:
        return _publisher(lake, dataset) or _beginner(lake, dataset)


def _publisher(lake: Lake, dataset: str) -> str | None:
    folder = f"datasets/{dataset}/versions"
    first = next(lake.names(folder), None)
    if first is None:
        return None
    evidence = parsed(lake, f"{folder}/{first}", _evidence)
    named = (name for name in lake.names("batches") if lake.exists(f"batches/{name}/{evidence}"))
    return next(named, None)


def _beginner(lake: Lake, dataset: str) -> str | None:
    """The campaign of the first batch that was begun to be published in the dataset."""
    begun: list[tuple[str, str]] = []
    for campaign in lake.names("batches"):
        for key in lake.names(f"batches/{campaign}"):
            with suppress(FileNotFoundError, Corrupt):
                settings = parsed(lake, f"batches/{campaign}/{key}/campaign.json", read_sealed)
                if settings["publish"]["dataset"] == dataset:
                    begun.append((key, campaign))
    return min(begun)[1] if begun else None


def _evidence(data: bytes) -> str:
    """What lies in the folder of the campaign that published a version: its batch's verdict."""
    content: dict[str, Any] = json.loads(data)
    key = content["batches"][0]
    verdict = content["files"].get(f"quality/{key}.json")
    name = "manifest" if verdict is None else f"verdict-{verdict['sha256'][:16]}"
    return f"{key}/publish/{name}.json"


def _path(dataset: str) -> str:
    return f"owners/{dataset}.json"
