"""Rows of published batches by their ids, found by the manifests of their stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.batch import Artifact, Manifest, arrow_file, read_artifact, read_manifest
from winnow.errors import Corrupt, Fatal
from winnow.lake import Lake

Row = Mapping[str, Any]
Kind = Literal["pair", "response", "annotation"]

_AT_ONCE = 4
_STAGES = ("ingest", "expand", "select", "label")


def find_batch(lake: Lake, campaign: str, keys: Sequence[str], row: str) -> tuple[str, Kind]:
    """The first batch of `keys` that has the row, and what the row is.

    Raises:
        Fatal: None of them has it.
        Corrupt: A manifest or table of one is missing.
    """

    def look(key: str) -> Kind | None:
        return _kind_in(lake, stage_manifests(lake, campaign, key), row)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            for key, kind in zip(some, pool.map(look, some), strict=True):
                if kind is not None:
                    return key, kind
    raise Fatal(
        f"None of {len(keys)} published batches of {campaign} in {lake.uri} has a pair, compared "
        f"response or annotation {row!r}; ids are the columns pair_id, response_id, chosen_id, "
        "rejected_id and annotation_id of a version's views."
    )


def _kind_in(lake: Lake, stages: Mapping[str, Manifest], row: str) -> Kind | None:
    comparisons = stages["select"].outputs["comparisons"]
    pairs = read_columns(lake, comparisons, ["pair_id", "first_id", "second_id"])
    if _has(pairs["pair_id"], row):
        return "pair"
    if _has(pairs["first_id"], row) or _has(pairs["second_id"], row):
        return "response"
    annotations = stages["label"].outputs["annotations"]
    judged = read_columns(lake, annotations, ["annotation_id", "kind"])
    voted = judged.filter(pc.not_equal(judged["kind"], "gold"))
    return "annotation" if _has(voted["annotation_id"], row) else None


def stage_manifests(lake: Lake, campaign: str, key: str) -> dict[str, Manifest]:
    """Manifests of a published batch, up to its labels.

    Raises:
        Corrupt: One is missing.
    """
    found = {stage: read_manifest(lake, campaign, key, stage) for stage in _STAGES}
    missing = [stage for stage, manifest in found.items() if manifest is None]
    if missing:
        raise Corrupt(
            f"Batch {key} is published but campaign {campaign} in {lake.uri} has no manifest of "
            f"{', '.join(missing)}; name the batch's campaign with --campaign, or restore it."
        )
    return {stage: manifest for stage, manifest in found.items() if manifest is not None}


def rows_with(
    lake: Lake, manifest: Manifest, table: str, column: str, wanted: Sequence[str]
) -> list[Row]:
    """The rows of a stage's table whose `column` is among `wanted`."""
    source = arrow_file(read_artifact(lake, manifest.outputs[table]))
    return list(pq.read_table(source, filters=[(column, "in", wanted)]).to_pylist())


def read_columns(lake: Lake, artifact: Artifact, names: Sequence[str]) -> pa.Table:
    """Those of the columns that the table has."""
    file = pq.ParquetFile(arrow_file(read_artifact(lake, artifact)))
    return file.read(columns=[name for name in names if name in file.schema_arrow.names])


def _has(column: pa.ChunkedArray, value: str) -> bool:
    return pc.any(pc.equal(column, value)).as_py() is True
