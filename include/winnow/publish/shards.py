"""The files of a batch's views in a version's folder: `data/VIEW/SPLIT/BATCH-DIGEST.parquet`.

A version has the shards of all its batches, so a split of a view is a list of files that `datasets`
reads as one. A folder holds one split only, for trainers that are pointed at a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from winnow.batch import Artifact, table_bytes
from winnow.errors import Fatal
from winnow.lake import Lake
from winnow.publish.splits import SPLITS, fitting_share, place, split_table
from winnow.publish.versions import Version, store_object
from winnow.publish.views import VIEWS


@dataclass(frozen=True, slots=True)
class Shards:
    """A batch's rows by `VIEW/SPLIT`, and the share of prompts that the dataset tests on."""

    tables: Mapping[str, pa.Table]
    test_share: float


def cut_shards(
    views: Mapping[str, pa.Table],
    prompts: Mapping[str, Mapping[str, Any]],
    wanted_share: float,
    parent: Version | None,
) -> Shards:
    """Cut each view into train and test by its rows' prompts; `prompts` has `messages` by id.

    The first version of a dataset fixes the test share: `wanted_share`, or less if a view of its
    few prompts would have nothing to train on. A prompt never changes sides after that.

    Raises:
        Fatal: The dataset was published without splits.
    """
    places = {name: place(prompt["messages"]) for name, prompt in prompts.items()}
    if parent is None:
        used = ([places[p] for p in table["prompt_id"].to_pylist()] for table in views.values())
        share = fitting_share(wanted_share, used)
    else:
        share = _share_of(parent)
    tables = {
        f"{view}/{split}": part
        for view, table in views.items()
        for split, part in split_table(table, places, share).items()
    }
    return Shards(tables, share)


def store_shards(lake: Lake, dataset: str, batch: str, shards: Shards) -> dict[str, Artifact]:
    """Store the tables that have rows; the files of the next version by name.

    A split without rows has no file, for `datasets` loads none: it would refuse the whole view.
    """
    stored = {
        name: store_object(lake, dataset, table_bytes(table), "parquet", table.num_rows)
        for name, table in shards.tables.items()
        if table.num_rows
    }
    return {f"data/{name}/{batch}-{a.sha256[:8]}.parquet": a for name, a in stored.items()}


def configs(version: Version) -> list[dict[str, Any]]:
    """The `configs` of the card's head, by which `datasets` finds the files of views and splits.

    Files are named one by one, so that a stray one never joins a view. Views without rows have no
    entry, nor have splits. Format: https://huggingface.co/docs/hub/datasets-manual-configuration.
    """
    found = []
    for view in VIEWS:
        folders = {split: f"data/{view}/{split}/" for split in SPLITS}
        files = {
            split: sorted(name for name in version.files if name.startswith(folder))
            for split, folder in folders.items()
        }
        data = [{"split": split, "path": names} for split, names in files.items() if names]
        default = {"default": True} if view == next(iter(VIEWS)) else {}
        found.append({"config_name": view, "data_files": data, **default})
    return [config for config in found if config["data_files"]]


def _share_of(version: Version) -> float:
    if "test_share" not in version.figures:
        raise Fatal(
            f"Dataset {version.dataset} has no splits: its version {version.name} is from before "
            "them. Give publish.dataset a new name."
        )
    return float(version.figures["test_share"])
