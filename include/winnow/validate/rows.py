"""Faults of single rows, found in SQL: each check names the rows that break it, by id.

One such row is one too many, so these have no limits. Great Expectations checks what a single
column can tell of annotations and preferences; here is what takes more than one row or table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from winnow.validate.row_queries import QUERIES
from winnow.validate.tables import REQUIRED
from winnow.validate.verdict import BadRow, Severity

KEYS = {
    "prompts": "prompt_id",
    "responses": "response_id",
    "comparisons": "pair_id",
    "tasks": "task_id",
}
"""Tables whose rows have an id of their own that only one of them may have."""


@dataclass(frozen=True, slots=True)
class RowCheck:
    """`sql` selects id and detail of each row of `table` that breaks the check."""

    name: str
    severity: Severity
    table: str
    sql: str


def row_checks(aggregation: str = "bradley_terry") -> list[RowCheck]:
    """Every check of rows; `aggregation` is how the batch's preferences were made.

    Dawid and Skene's model may find that an annotator means the opposite of what they say, so there
    a preference for what nobody named is only worth a warning.
    """
    filled = [RowCheck(f"{table}_filled", "block", table, _unfilled(table)) for table in KEYS]
    unique = [RowCheck(f"{table}_unique", "block", table, _repeated(table)) for table in KEYS]
    others = [RowCheck(*query) for query in QUERIES]
    if aggregation == "dawid_skene":
        others = [_milder(check) for check in others]
    return [*filled, *unique, *others]


def bad_rows(
    connection: duckdb.DuckDBPyConnection, checks: Sequence[RowCheck]
) -> dict[str, list[BadRow]]:
    """The rows that break each check, by its name; `connection` is of `tables.opened`."""
    return {
        check.name: [
            BadRow(check.name, check.table, str(row_id), str(detail))
            for row_id, detail in connection.sql(check.sql).fetchall()
        ]
        for check in checks
    }


def _milder(check: RowCheck) -> RowCheck:
    if check.name != "preference_has_a_vote":
        return check
    return RowCheck(check.name, "warn", check.table, check.sql)


def _unfilled(table: str) -> str:
    missing = ", ".join(f"CASE WHEN {c} IS NULL THEN '{c}' END" for c in REQUIRED[table])
    return f"""
        SELECT coalesce({KEYS[table]}, '') AS id, concat_ws(', ', {missing}) || ' is null' AS detail
        FROM {table} WHERE concat_ws('', {missing}) <> '' ORDER BY 1"""


def _repeated(table: str) -> str:
    key = KEYS[table]
    return f"""
        SELECT {key}, 'the id of ' || count(*) || ' rows' FROM {table}
        WHERE {key} IS NOT NULL GROUP BY {key} HAVING count(*) > 1 ORDER BY 1"""
