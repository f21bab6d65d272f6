"""Faults of single rows, found in SQL: each check names the rows that break it, by id.

One such row is one too many, so these have no limits; what becomes of it says the campaign's
`validation.row_faults` (see `winnow.validate.aside`). Great Expectations checks what a single
column can tell of annotations and preferences; here is what takes more than one row or table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from winnow.records import QUARANTINE
from winnow.sql import count
from winnow.validate.tables import REQUIRED
from winnow.validate.verdict import STAGE, BadRow, Severity

MOST_ROWS = 1000
"""Rows that a verdict names of one check; the quarantine has them all."""

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


_HEADED = re.compile(r"^-- (\w+): (block|warn), (\w+)\n(.+?)(?=^-- |\Z)", re.MULTILINE | re.DOTALL)


def row_checks(aggregation: str = "bradley_terry") -> list[RowCheck]:
    """Every check of rows; `aggregation` is how the batch's preferences were made.

    Dawid and Skene's model may find that an annotator means the opposite of what they say, so there
    a preference for what nobody named is only worth a warning.
    """
    written = _HEADED.findall(Path(__file__).with_name("row_checks.sql").read_text())
    checks = [
        *(RowCheck(f"{table}_filled", "block", table, _unfilled(table)) for table in KEYS),
        *(RowCheck(f"{table}_unique", "block", table, _repeated(table)) for table in KEYS),
        *(RowCheck(*check) for check in written),
    ]
    mild = "preference_has_a_vote" if aggregation == "dawid_skene" else None
    return [replace(check, severity="warn") if check.name == mild else check for check in checks]


@dataclass(frozen=True, slots=True)
class Faults:
    """How many rows break a check, and the first of them by id, `MOST_ROWS` at most."""

    n: int
    first: Sequence[BadRow]


def bad_rows(
    connection: duckdb.DuckDBPyConnection, checks: Sequence[RowCheck]
) -> tuple[dict[str, Faults], pa.Table]:
    """What breaks each check, by its name, and every such row as a table `records.QUARANTINE`.

    `connection` is of `tables.opened`.
    """
    faults, broken = {}, [QUARANTINE.empty_table()]
    for check in checks:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE broken (id, detail) AS {check.sql}")
        n = count(connection, "broken")
        first = connection.sql(f"FROM broken ORDER BY ALL LIMIT {MOST_ROWS}").fetchall()
        rows = [BadRow(check.name, check.table, str(row), str(detail)) for row, detail in first]
        faults[check.name] = Faults(n, rows)
        if n:
            named_by = {"stage": STAGE, "check": check.name, "table": check.table}
            named = connection.sql(_QUARANTINED, params=named_by).to_arrow_table()
            broken.append(named.cast(QUARANTINE))
    return faults, pa.concat_tables(broken)


_QUARANTINED = """
SELECT $stage AS stage, $check AS reason, $table || ': ' || detail AS detail, NULL::VARCHAR AS file,
    NULL::BIGINT AS line, id::VARCHAR AS record_id, NULL::BLOB AS raw
FROM broken ORDER BY record_id, detail
"""


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
