"""The compared responses of a batch: all that the stages after `select` know of its pools.

`select` writes them as its table `compared` (`winnow.records.COMPARED`), so that nothing after it
opens the pools again. Versions before 0.5 stored vectors alone; of their batches, the rest is read
from the pools.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.batch import Manifest, read_manifest, read_table, table_file
from winnow.errors import Corrupt
from winnow.lake import Lake
from winnow.records import COMPARED, RESPONSES
from winnow.sql import Source


def read_compared(lake: Lake, campaign: str, key: str) -> pa.Table:
    """Every compared response of a batch, by prompt.

    Raises:
        Corrupt: A stage of the batch is not there, or a table is not what its manifest says.
    """
    table = read_table(lake, _of(lake, campaign, key, "select").outputs["compared"])
    return table if _is_whole(table.schema) else _joined(lake, campaign, key, table)


@contextmanager
def compared_source(lake: Lake, campaign: str, key: str) -> Iterator[Source]:
    """The same for DuckDB: a file where it is whole, else a table without the vectors."""
    stored = _of(lake, campaign, key, "select").outputs["compared"]
    with table_file(lake, stored) as file:
        if _is_whole(pq.read_schema(file)):
            yield file
        else:
            # DuckDB takes no half floats of Arrow's.
            yield _joined(lake, campaign, key, read_table(lake, stored)).drop_columns(["vector"])


def with_pool_columns(vectors: pa.Table, responses: pa.Table, prompts: pa.Table) -> pa.Table:
    """Rows of `COMPARED` in the order of `vectors`.

    Args:
        vectors: `response_id`, `vector` and `feature_version`.
        responses: Rows of `RESPONSES`, those of `vectors` among them.
        prompts: Their rows of `PROMPTS`.

    Raises:
        Corrupt: A response or its prompt is not there.
    """
    rows = responses.take(_places(vectors["response_id"], responses["response_id"]))
    languages = prompts["language"].take(_places(rows["prompt_id"], prompts["prompt_id"]))
    columns = {name: rows[name] for name in RESPONSES.names}
    columns |= {"language": languages}
    columns |= {name: vectors[name] for name in ("vector", "feature_version")}
    return pa.table([columns[name] for name in COMPARED.names], schema=COMPARED)


def _is_whole(schema: pa.Schema) -> bool:
    return set(COMPARED.names) <= set(schema.names)


def _joined(lake: Lake, campaign: str, key: str, vectors: pa.Table) -> pa.Table:
    ingest, expand = (_of(lake, campaign, key, stage) for stage in ("ingest", "expand"))
    responses = read_table(lake, expand.outputs["responses"])
    joined = with_pool_columns(vectors, responses, read_table(lake, ingest.outputs["prompts"]))
    return joined.sort_by([("prompt_id", "ascending"), ("response_id", "ascending")])


def _of(lake: Lake, campaign: str, key: str, stage: str) -> Manifest:
    manifest = read_manifest(lake, campaign, key, stage)
    if manifest is None:
        raise Corrupt(f"Stage {stage} of batch {key} of {campaign} has no manifest.")
    return manifest


def _places(wanted: pa.ChunkedArray, among: pa.ChunkedArray) -> pa.Array:
    """Row numbers of `wanted` in `among`."""
    places = pc.index_in(wanted, value_set=among)
    if places.null_count:
        raise Corrupt(f"{places.null_count} compared responses are not in their pools.")
    return places
