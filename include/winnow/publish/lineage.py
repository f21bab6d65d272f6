"""Lineage: from a published row back to everything that made it.

What a row went through lies in the tables of its batch, each found by a manifest. The batch is
looked for from the newest to the oldest, by ids alone. A row that a rollback took out keeps its
lineage, which says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.compute as pc

from winnow.batch import Artifact, Manifest, read_manifest
from winnow.errors import Fatal
from winnow.label.aggregation.votes import latest_revisions
from winnow.lake import Lake
from winnow.publish.batch_rows import (
    Kind,
    Row,
    find_batch,
    read_columns,
    rows_with,
    stage_manifests,
)
from winnow.publish.versions import Version, newest, read_version


@dataclass(frozen=True, slots=True)
class Place:
    """A row of the dataset: its file in the version's folder, and its number there from 0."""

    file: str
    row: int


@dataclass(frozen=True, slots=True)
class PairStory:
    """What became of a pair; rows are those of `winnow.records`, annotations at their last word.

    `preference` is None where no vote decides; `cost` is what its annotations cost, in
    micro-dollars; `places` are its rows in the version that first held them.
    """

    comparison: Row
    first: Row
    second: Row
    tasks: Sequence[Row]
    annotations: Sequence[Row]
    preference: Row | None
    cost: int
    places: Sequence[Place]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where the row `asked` comes from, with the pairs that it is, is in, or judges.

    `newest` is the dataset's newest version, and `is_in_newest` whether it still has the batch.
    """

    asked: str
    kind: Kind
    campaign: str
    batch: str
    dataset: str
    first_version: str
    published_at: str
    newest: str
    is_in_newest: bool
    engine: str | None
    prompt: Row
    pairs: Sequence[PairStory]

    def as_dict(self) -> dict[str, Any]:
        """The lineage as a mapping; times are datetimes."""
        return asdict(self)


def trace(lake: Lake, campaign: str, dataset: str, row: str, batch: str | None = None) -> Lineage:
    """Lineage of a pair, response or annotation by its id, of the newest batch that has it.

    Args:
        lake: Where batches and dataset lie.
        campaign: Name of the campaign whose batches the dataset holds.
        dataset: Name of the dataset.
        row: A pair_id, response_id or annotation_id.
        batch: Look in this batch only; None: in every batch that was published.

    Raises:
        Fatal: Nothing was published, or no published batch has such a row.
        Corrupt: A batch is published but a manifest or table of it is missing.
    """
    last = newest(lake, dataset)
    if last is None:
        raise Fatal(f"Dataset {dataset} in {lake.uri} has no version yet; run a batch first.")
    keys = [*reversed(last.batches), *reversed(last.withdrawn)]
    key, kind = find_batch(lake, campaign, [k for k in keys if batch in (None, k)], row)
    stages = stage_manifests(lake, campaign, key)
    first = _first_version(lake, campaign, key, last)
    pairs = _pairs(lake, stages, kind, row)
    added = _added_files(lake, first)
    prompts = rows_with(lake, stages["ingest"], "prompts", "prompt_id", [pairs[0]["prompt_id"]])
    return Lineage(
        asked=row,
        kind=kind,
        campaign=campaign,
        batch=key,
        dataset=dataset,
        first_version=first.name,
        published_at=first.published_at,
        newest=last.name,
        is_in_newest=key in last.batches,
        engine=stages["expand"].figures.get("engine"),
        prompt=prompts[0],
        pairs=[_story(lake, stages, pair, added) for pair in pairs],
    )


def _pairs(lake: Lake, stages: Mapping[str, Manifest], kind: Kind, row: str) -> list[Row]:
    """The comparisons that the row is, is in, or judges, in the order of their ranks."""
    select = stages["select"]
    if kind == "response":
        sides = [
            rows_with(lake, select, "comparisons", side, [row])
            for side in ("first_id", "second_id")
        ]
        found = [pair for side in sides for pair in side]
    elif kind == "annotation":
        judged = rows_with(lake, stages["label"], "annotations", "annotation_id", [row])
        found = rows_with(lake, select, "comparisons", "pair_id", [judged[0]["pair_id"]])
    else:
        found = rows_with(lake, select, "comparisons", "pair_id", [row])
    return sorted(found, key=lambda pair: (pair["rank"] or 0, pair["pair_id"]))


def _story(
    lake: Lake,
    stages: Mapping[str, Manifest],
    pair: Row,
    added: Mapping[str, Artifact],
) -> PairStory:
    ids = [pair["first_id"], pair["second_id"]]
    found = rows_with(lake, stages["expand"], "responses", "response_id", ids)
    responses = {row["response_id"]: row for row in found}
    label, wanted = stages["label"], [pair["pair_id"]]
    annotations = latest_revisions(rows_with(lake, label, "annotations", "pair_id", wanted))
    preferences = rows_with(lake, label, "preferences", "pair_id", wanted)
    return PairStory(
        comparison=pair,
        first=responses[ids[0]],
        second=responses[ids[1]],
        tasks=rows_with(lake, label, "tasks", "pair_id", wanted),
        annotations=annotations,
        preference=preferences[0] if preferences else None,
        cost=sum(row["price"] for row in annotations),
        places=list(_places(lake, added, pair["pair_id"])),
    )


def _places(lake: Lake, files: Mapping[str, Artifact], pair: str) -> Iterator[Place]:
    for name, artifact in sorted(files.items()):
        ids = read_columns(lake, artifact, ["pair_id", "pair_ids"])
        if "pair_id" in ids.column_names:
            hits = pc.indices_nonzero(pc.equal(ids["pair_id"], pair))
        elif "pair_ids" in ids.column_names:
            held = ids["pair_ids"].combine_chunks()
            hits = pc.list_parent_indices(held).filter(pc.equal(pc.list_flatten(held), pair))
        else:
            continue
        yield from (Place(name, hit) for hit in hits.to_pylist())


def _added_files(lake: Lake, version: Version) -> dict[str, Artifact]:
    """The data files that `version` has and its parent has not."""
    parent = read_version(lake, version.dataset, version.parent).files if version.parent else {}
    return {
        name: artifact
        for name, artifact in version.files.items()
        if name.startswith("data/") and name not in parent
    }


def _first_version(lake: Lake, campaign: str, key: str, last: Version) -> Version:
    """The version that brought the batch; its publish manifest names it, once that is written."""
    done = read_manifest(lake, campaign, key, "publish")
    if done is not None:
        return read_version(lake, last.dataset, int(done.figures["version"].removeprefix("v")))
    numbers = range(1, last.number + 1)
    versions = (read_version(lake, last.dataset, number) for number in numbers)
    return next(version for version in versions if key in version.batches)
