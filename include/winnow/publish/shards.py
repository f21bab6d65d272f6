"""The files of a batch's views in a version's folder: `data/VIEW/SPLIT/BATCH-DIGEST.parquet`.

A version has the shards of all its batches, those of earlier ones merged (`compaction`), so a split
of a view is a list of files that `datasets` reads as one. A folder holds one split only, for
trainers that are pointed at a folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.batch import Artifact
from winnow.campaign import Publish
from winnow.errors import Corrupt, Fatal
from winnow.publish.compaction import ROW_GROUP, shard_name
from winnow.publish.labelled import Labelled
from winnow.publish.objects import Shelf
from winnow.publish.splits import SPLITS, fitting_share, places_of
from winnow.publish.versions import Version
from winnow.publish.views import VIEWS, expected_rows, highest_places, prepare, read_view


def cut(labelled: Labelled, settings: Publish, parent: Version | None) -> float:
    """Prepare a batch's views and say which share of the prompts is for testing.

    The first version of a dataset fixes the test share: the campaign's, or less if a view of its
    few prompts would have nothing to train on. A prompt never changes sides after that.

    Raises:
        Fatal: The dataset was published without splits.
    """
    prepare(labelled, settings.min_p_chosen)
    if parent is not None:
        return _share_of(parent)
    return fitting_share(settings.test_share, highest_places(labelled))


def store_shards(shelf: Shelf, labelled: Labelled, test_share: float) -> dict[str, Artifact]:
    """Store the rows of each view and split; the files of the next version by name.

    A split without rows has no file, for `datasets` loads none: it would refuse the whole view.

    Raises:
        Corrupt: The files of a view hold another number of rows than the batch's tables call for.
    """
    stored = {}
    for view, n_expected in expected_rows(labelled).items():
        n_written = 0
        for split in SPLITS:
            artifact = _store(shelf, labelled, view, places_of(split, test_share))
            if artifact is not None:
                stored[shard_name(f"data/{view}/{split}", [labelled.batch], artifact)] = artifact
                n_written += artifact.n_rows
        if n_written != n_expected:
            raise Corrupt(
                f"Batch {labelled.batch}: its tables hold {n_expected} rows for the view {view}, "
                f"and {n_written} were written; nothing is published."
            )
    return stored


def _store(
    shelf: Shelf, labelled: Labelled, view: str, places: tuple[float, float]
) -> Artifact | None:
    with tempfile.TemporaryDirectory(prefix="winnow-shard-") as folder:
        file = Path(folder) / "shard.parquet"
        with pq.ParquetWriter(file, VIEWS[view], compression="zstd") as writer:
            for table in read_view(labelled, view, places, ROW_GROUP):
                writer.write_table(table.combine_chunks(), row_group_size=ROW_GROUP)
        # As the file says, not as many as were handed to its writer.
        n_rows = pq.read_metadata(file).num_rows
        return shelf.put_file(file, "parquet", n_rows) if n_rows else None


def configs(version: Version) -> list[dict[str, Any]]:
    """The `configs` of the card's head, by which `datasets` finds the files of views and splits.

    Files are named one by one, so that a stray one never joins a view. Views without rows have no
    entry, nor have splits. Format: https://huggingface.co/docs/hub/datasets-manual-configuration.
    """
    entries = []
    for view in VIEWS:
        folders = {split: f"data/{view}/{split}/" for split in SPLITS}
        files = {
            split: sorted(name for name in version.files if name.startswith(folder))
            for split, folder in folders.items()
        }
        data = [{"split": split, "path": names} for split, names in files.items() if names]
        default = {"default": True} if view == next(iter(VIEWS)) else {}
        entries.append({"config_name": view, "data_files": data, **default})
    return [config for config in entries if config["data_files"]]


def told_features(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The `dataset_info` of the card's head: the columns of each view that has an entry.

    Files of an earlier release may lack some, which `datasets` fills with nulls where it knows
    them; else it takes the columns of the first file and refuses the others.
    """
    views = [config["config_name"] for config in configs]
    return [{"config_name": view, "features": _fields(VIEWS[view])} for view in views]


def _fields(fields: Iterable[pa.Field]) -> list[dict[str, Any]]:
    return [{"name": field.name, **_type(field.type)} for field in fields]


def _type(kind: pa.DataType) -> dict[str, Any]:
    """A type as `datasets` writes it down."""
    if pa.types.is_struct(kind):
        return {"struct": _fields(kind)}
    if pa.types.is_list(kind):
        inner = _type(kind.value_type)
        return {"list": inner.get("dtype") or inner.get("struct") or inner}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind))}


def _share_of(version: Version) -> float:
    if "test_share" not in version.figures:
        raise Fatal(
            f"Dataset {version.dataset} has no splits: its version {version.name} is from before "
            "them. Give publish.dataset a new name."
        )
    return float(version.figures["test_share"])
