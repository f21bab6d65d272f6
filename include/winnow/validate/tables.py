"""A batch's tables as the checks see them: in DuckDB, with every column that is asked for.

A table that lacks a column is a fault to name, and no reason to stop looking: the column is filled
with nulls here, and reported.

Views beside the tables:

    latest    of each annotation its highest revision
    answers   of those, what was not rejected or retracted, skips included
    judged    of those, what is no skip
    votes     of those, comparisons: what preferences are made of
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from winnow.records import (
    ANNOTATIONS,
    COMPARISONS,
    PREFERENCES,
    PROMPTS,
    RESPONSES,
    TASKS,
)
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

VIEWS = """
CREATE TEMP TABLE latest AS SELECT * FROM annotations
    QUALIFY row_number() OVER (PARTITION BY annotation_id ORDER BY revision DESC) = 1;
CREATE TEMP TABLE answers AS SELECT * FROM latest WHERE status NOT IN ('rejected', 'retracted');
CREATE TEMP VIEW judged AS SELECT * FROM answers WHERE preferred IS NOT NULL;
CREATE TEMP VIEW votes AS SELECT * FROM judged WHERE kind = 'comparison';
"""
"""What makes them, where a table or view `annotations` is."""


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

    tables: Mapping[str, pa.Table]
    n_rows: Mapping[str, int] = field(default_factory=dict)
    charged: int = 0
    floors: Mapping[str, int] = field(default_factory=dict)
    unmet_floors: Sequence[str] = ()


def wrong_columns(tables: Mapping[str, pa.Table]) -> list[BadRow]:
    """Required columns that are missing, and columns of another type than the schema's."""
    return [
        BadRow("columns", name, column, fault)
        for name, schema in SCHEMAS.items()
        for column in schema.names
        if (fault := _fault(name, tables[name], column, schema.field(column).type)) is not None
    ]


@contextmanager
def opened(tables: Mapping[str, pa.Table]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory with the tables and the views above."""
    with duckdb.connect() as connection:
        for name, schema in SCHEMAS.items():
            connection.register(f"given_{name}", _fitted(tables[name], schema))
            connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM given_{name}")
        connection.execute(VIEWS)
        yield connection


def _fault(name: str, table: pa.Table, column: str, wanted: pa.DataType) -> str | None:
    if column not in table.column_names:
        return "the column is missing" if column in REQUIRED[name] else None
    held = table.schema.field(column).type
    return None if held == wanted or _cast(table, column, wanted) is not None else f"is a {held}"


def _cast(table: pa.Table, column: str, wanted: pa.DataType) -> pa.ChunkedArray | None:
    try:
        return table.column(column).cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return None


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table in `schema`, with nulls for what it lacks or what is of another type."""
    columns = []
    for entry in schema:
        held = entry.name in table.column_names
        column = _cast(table, entry.name, entry.type) if held else None
        columns.append(pa.nulls(table.num_rows, entry.type) if column is None else column)
    return pa.table(columns, schema=schema)
