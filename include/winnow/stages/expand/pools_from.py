"""Pools of another campaign: a batch takes over what the batch of its key was generated.

    pools_from: nightly

The manifests of `ingest` and `expand` then name the same objects as those of the other campaign,
and those manifests as their inputs. Nothing is copied, nothing generated, no prompt file read.

Always holds: a prompt is in one batch of a campaign, taken over or not. So no reward model, which
learns from its own campaign's batches alone, knew a vote on a pair that it chose, and votes on
exploration pairs stay an honest test of it, whoever bought them.
"""

from __future__ import annotations

from dataclasses import dataclass

from winnow.batch import Batch, Manifest, read_batch, read_manifest, read_table
from winnow.campaign import Expand
from winnow.errors import Fatal, Retryable
from winnow.expand.features import are_related, stored_blocks, version_of
from winnow.ingest.ledger import Earlier, Entry, read_ledger
from winnow.stages.expand.brought_labels import Gathered, commit, without_labels


@dataclass(frozen=True, slots=True)
class Source:
    """The batch whose pools are taken over, with its two manifests."""

    batch: Batch
    ingested: Manifest
    expanded: Manifest


def source_of(batch: Batch) -> Source | None:
    """Where the batch's prompts and pools come from; None if it makes its own.

    Raises:
        Retryable: The other campaign has no pools for this key yet.
        Fatal: They are not what this campaign describes.
    """
    name = batch.campaign.pools_from
    if name is None:
        return None
    check_exists(batch, name, "pools_from")
    source = read_batch(batch.lake, name, batch.key, batch.clock)
    manifests = [
        read_manifest(batch.lake, name, batch.key, stage) for stage in ("ingest", "expand")
    ]
    ingested, expanded = manifests
    if source is None or ingested is None or expanded is None:
        dropped = read_ledger(batch.lake, name).dropped(batch.key)
        if dropped is not None:
            raise Fatal(
                f"Batch {batch.key} of campaign {name} was dropped before it had pools: "
                f"{batch.campaign.name} leaves the day out."
            )
        raise Retryable(
            f"Batch {batch.key} of campaign {name} has no pools yet, which batch {batch.key} of "
            f"{batch.campaign.name} takes over: wait for its gather_pools, run that day of {name}, "
            "or leave the day out if it had no prompts."
        )
    _check_fits(batch, source, expanded)
    return Source(source, ingested, expanded)


def check_exists(batch: Batch, name: str, setting: str) -> None:
    """Raise Fatal if no batch of campaign `name` is in the lake: it is misspelt, or elsewhere."""
    if not read_ledger(batch.lake, name).n_taken:
        raise Fatal(
            f"{setting} of campaign {batch.campaign.name}: campaign {name} has no batch in "
            f"{batch.lake.uri}. Correct the name or the lake; a batch keeps the settings it was "
            "started with, so start again under another `name`."
        )


def entry_of(batch: Batch, source: Source, earlier: Earlier) -> Entry:
    """What the batch takes, for its campaign's ledger.

    Args:
        batch: The batch.
        source: Where its prompts come from.
        earlier: Says which prompts the campaign has already.

    Raises:
        Fatal: An earlier batch of the campaign has one of the prompts.
    """
    outputs = source.ingested.outputs
    ids = read_table(batch.lake, outputs["prompt_ids"]).column(0).to_pylist()
    accepted = earlier(ids)
    taken = [prompt for prompt in ids if prompt in accepted]
    if taken:
        raise Fatal(
            f"{len(taken)} prompts of batch {batch.key} of {source.batch.campaign.name} are in "
            f"{batch.campaign.name} already ({taken[0]} by {accepted[taken[0]]}): votes on them "
            "would test a reward model that knows them. Take these pools over under another `name`."
        )
    return Entry(batch.key, {}, outputs, source.ingested.counts)


def take_pools(batch: Batch, source: Source, labels: Gathered | None = None) -> Manifest:
    """Commit the expand stage with the pools of `source`, and with the labels of its own."""
    theirs = source.expanded
    outputs, counts, figures = without_labels(theirs.outputs, theirs.counts, theirs.figures)
    return commit(
        batch,
        labels,
        inputs=[batch.require("ingest"), theirs],
        outputs=outputs,
        counts=counts,
        figures={**figures, "pools_from": source.batch.campaign.name},
    )


def _check_fits(batch: Batch, source: Batch, expanded: Manifest) -> None:
    theirs, ours = source.campaign, batch.campaign
    differing = _differing(theirs.expand, ours.expand)
    version = version_of(ours.expand, stored_blocks(expanded.figures.get("blocks", ()), 0))
    held = expanded.figures["feature_version"]
    if not differing and not are_related(held, version):
        differing = [f"features are of version {held}, now they are {version}"]
    if differing:
        raise Fatal(
            f"The pools of batch {batch.key} of {theirs.name} are not those that {ours.name} "
            f"describes: {'; '.join(differing)}. Copy the section `expand` of {theirs.name}, or "
            "generate new pools without pools_from; either way under another `name`, for a batch "
            "keeps the settings it was started with."
        )


def _differing(theirs: Expand, ours: Expand) -> list[str]:
    """The settings by which two campaigns' pools would differ, in words."""
    held, wanted = theirs.shape, ours.shape
    return [
        f"expand.{name} is {held[name]!r}, here it is {wanted[name]!r}"
        for name in held
        if held[name] != wanted[name]
    ]
