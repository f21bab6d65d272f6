"""A batch's tables as the checks see them: in DuckDB, with every column that is asked for.

A table that lacks a column is a fault to name, and no reason to stop looking: the column is filled
with nulls here, and reported. Beside the tables are the views of `winnow.label.database`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.label.database import add_views
from winnow.pieces import read_pieces
from winnow.records import (
    ANNOTATIONS,
    COMPARISONS,
    PREFERENCES,
    PROMPTS,
    RESPONSES,
    TASKS,
)
from winnow.sql import Source, database
from winnow.validate.verdict import BadRow

SCHEMAS = {
    "prompts": PROMPTS,
    "responses": RESPONSES,
    "comparisons": COMPARISONS,
    "tasks": TASKS,
    "annotations": ANNOTATIONS,
    "preferences": PREFERENCES,
}
REQUIRED = {
    "prompts": ("prompt_id", "messages"),
    "responses": ("response_id", "prompt_id", "message"),
    "comparisons": ("pair_id", "prompt_id", "first_id", "second_id", "kind", "strategy"),
    "tasks": ("task_id", "pair_id", "kind", "shown_a", "shown_b", "swapped", "price"),
    "annotations": (
        *("annotation_id", "revision", "task_id", "pair_id", "kind", "annotator"),
        *("choice", "swapped", "status", "price"),
    ),
    "preferences": (
        *("pair_id", "prompt_id", "first_id", "second_id"),
        *("preferred", "p_preferred", "votes", "cost"),
    ),
}
"""Columns without which a table cannot be checked; none of them may hold a null."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchTables:
    """What a batch brought to the gate.

    Attributes:
        tables: The tables of `SCHEMAS`, by name.
        n_rows: Rows that each table had when its stage committed, by table.
        charged: What the vendor charged, micro-dollars.
        floors: Least number of labelled pairs of each stratum that the campaign wants.
        unmet_floors: Those that the choice of pairs could not meet.
    """

    tables: Mapping[str, Source]
    n_rows: Mapping[str, int] = field(default_factory=dict)
    charged: int = 0
    floors: Mapping[str, int] = field(default_factory=dict)
    unmet_floors: Sequence[str] = ()


def wrong_columns(tables: Mapping[str, Source]) -> list[BadRow]:
    """Required columns that are missing, and columns of another type than the schema's."""
    return [
        BadRow("columns", name, column, fault)
        for name, schema in SCHEMAS.items()
        for column in schema.names
        if (fault := _fault(name, tables[name], column, schema.field(column).type)) is not None
    ]


@contextmanager
def opened(tables: Mapping[str, Source]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the tables and the views."""
    fitted = {name: _fitted(tables[name], schema) for name, schema in SCHEMAS.items()}
    with database(fitted) as connection:
        add_views(connection)
        yield connection


def read_columns(source: Source, names: Sequence[str]) -> pa.Table:
    """Those of the columns that the table has."""
    held = [name for name in names if name in schema_of(source).names]
    return pq.read_table(source, columns=held) if isinstance(source, Path) else source.select(held)


def rows_of(source: Source, names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """The rows of those columns, one after another; a file is read in pieces."""
    return (row for piece in read_pieces(source, names=names) for row in piece.to_pylist())


def n_rows_of(source: Source) -> int:
    """Rows that the table has."""
    return int(pq.read_metadata(source).num_rows if isinstance(source, Path) else source.num_rows)


def schema_of(source: Source) -> pa.Schema:
    """The table's own columns."""
    return pq.read_schema(source) if isinstance(source, Path) else source.schema


def _fault(name: str, source: Source, column: str, wanted: pa.DataType) -> str | None:
    schema = schema_of(source)
    if column not in schema.names:
        return "the column is missing" if column in REQUIRED[name] else None
    held = schema.field(column).type
    if held == wanted or _cast(read_columns(source, [column]), column, wanted) is not None:
        return None
    return f"is a {held}"


def _cast(table: pa.Table, column: str, wanted: pa.DataType) -> pa.ChunkedArray | None:
    try:
        return table.column(column).cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return None


def _fitted(source: Source, schema: pa.Schema) -> Source:
    """The table in `schema`, with nulls for what it lacks or what is of another type."""
    # By equality: of equal lists whose items have another name in the file the hashes differ.
    held_fields = list(schema_of(source))
    if all(entry in held_fields for entry in schema):
        return source
    table = read_columns(source, schema.names)
    columns = []
    for entry in schema:
        held = entry.name in table.column_names
        column = _cast(table, entry.name, entry.type) if held else None
        columns.append(pa.nulls(table.num_rows, entry.type) if column is None else column)
    return pa.table(columns, schema=schema)
