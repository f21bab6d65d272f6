"""Published datasets made up for tests: batches of sure pairs, published night by night."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import yaml

from winnow.campaign import Publish
from winnow.lake import FolderLake
from winnow.publish.shards import configs, cut, store_shards
from winnow.publish.versions import Version, newest, publish, shelf, store_object
from winnow.publish.views import dataset_info

from .batch_rows import BatchRows

NOW = datetime(2026, 11, 23, tzinfo=UTC)


RATED = [{"dimension": "truth", "first": 4, "second": 2}]
"""Ratings that put every pair into every view of pairs."""


def labelled(
    batch: str, asked: Sequence[str | dict[str, Any]], ratings: Sequence[dict[str, Any]] = ()
) -> BatchRows:
    """A pair a prompt, a text or what else a prompt has; sure enough for every view."""
    voted = {"kind": "comparison", "preferred": "first", "status": "submitted", "revision": 0}
    given = {**voted, "ratings": list(ratings)} if ratings else {}
    pairs = [f"{batch}{i}" for i in range(len(asked))]
    prompts = {f"q{p}": prompt(each) for p, each in zip(pairs, asked, strict=True)}
    return BatchRows(
        batch=batch,
        prompts=prompts,
        responses={
            f"{p}{side}": {"prompt_id": f"q{p}", "message": f"text {p}{side}"}
            for p in pairs
            for side in "ab"
        },
        comparisons={p: comparison(p) for p in pairs},
        preferences=[preference(p) for p in pairs],
        annotations=[{"pair_id": p, "annotation_id": f"n{p}", **given} for p in pairs],
    )


def prompt(asked: str | dict[str, Any]) -> dict[str, Any]:
    """A prompt as ingest has it."""
    told = {"language": "en", "tools": None, "dimension": "helpfulness"}
    if isinstance(asked, str):
        return {**told, "messages": [{"role": "user", "content": asked}]}
    return {**told, **asked}


def comparison(pair: str) -> dict[str, Any]:
    """The comparison of a pair."""
    ids = {"pair_id": pair, "prompt_id": f"q{pair}", "first_id": f"{pair}a"}
    names = ("kind", "strategy", "info_gain", "propensity", "dimension")
    return {**ids, "second_id": f"{pair}b", **dict.fromkeys(names)}


def preference(pair: str) -> dict[str, Any]:
    """The first response of a pair won."""
    votes = {"preferred": "first", "p_preferred": 0.9, "votes": 1, "agreement": None, "cost": 1}
    return {**comparison(pair), **votes}


def night(lake: FolderLake, batch: BatchRows, share: float) -> Version:
    """Publish a batch as the next version of the dataset `d`, with the head of a card."""
    parent = newest(lake, "d")
    with batch.opened() as found:
        test_share = cut(found, wanting(share), parent)
        shards = store_shards(shelf(lake, "d", parent), found, test_share)
    files = {
        **shards,
        "dataset_info.json": store_object(lake, "d", dataset_info("d"), "json"),
    }
    figures = {"test_share": test_share}
    return publish(lake, "d", batch.batch, files, figures, head, NOW)


def wanting(share: float) -> Publish:
    """A campaign's settings with this test share."""
    return Publish(dataset="d", test_share=share, min_p_chosen=0.75)


def head(version: Version) -> str:
    """What of a card the loaders read."""
    return f"---\n{yaml.safe_dump({'configs': configs(version)})}---\n"
