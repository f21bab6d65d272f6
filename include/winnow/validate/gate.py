"""The gate between labels and a version: Great Expectations over the rows and over the figures.

Four frames are held against a suite each, made in code: annotations, preferences, a row per
annotator, and one row of all figures and counts of faulty rows, which SQL computed before. DuckDB
itself cannot be a source of Great Expectations (it reads rows after closing the connection), so a
large table comes as several frames: a row and all that must not repeat it are in the same one.

A check passes, fails, or errs. An expectation that erred is not a pass; an empty batch is not one
either. Great Expectations takes ten seconds to import, so it is imported where it is used, inside
the task.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

import pyarrow as pa

from winnow.batch import quarantine_table
from winnow.campaign import Validate
from winnow.sql import Source, count, database
from winnow.validate.annotators import CHECKS
from winnow.validate.measure import Measured
from winnow.validate.rows import MOST_ROWS
from winnow.validate.suites import (
    ROW_SUITES,
    Expected,
    RowSuite,
    of_annotators,
    of_faults,
    of_figures,
)
from winnow.validate.tables import schema_of
from winnow.validate.verdict import BadRow, Check, Outcome, Verdict, worst_of

FRAME = 50_000
"""Rows of a frame, about: memory does not grow with a batch."""
_PLACE = "row_n"


class Judgement(NamedTuple):
    """The verdict, and every row that it speaks of as a table `records.QUARANTINE`."""

    verdict: Verdict
    broken: pa.Table


def judge(measured: Measured, limits: Validate) -> Judgement:
    """Hold what was measured of a batch against the campaign's limits."""
    context = _context()
    checks: list[Check] = []
    broken: list[BadRow] = []
    tables = {"annotations": measured.annotations, "preferences": measured.preferences}
    for name, table in tables.items():
        suite = ROW_SUITES[name]
        frames = _frames(table, suite)
        of_table, rows = _run(context, name, frames, suite.expected, suite.key)
        checks, broken = [*checks, *of_table], [*broken, *rows]
    annotators = pa.Table.from_pylist(_annotator_rows(measured)).to_pandas()
    checks += _run(context, "annotators", [annotators], of_annotators(measured, limits))[0]
    counts = {name: fault.n for name, fault in measured.faults.items()}
    expected = [*of_faults(measured), *of_figures(measured, limits)]
    one_row = pa.Table.from_pylist([{**measured.figures, **counts}]).to_pandas()
    checks += _run(context, "figures", [one_row], expected)[0]
    checks += [
        Check(name, "warn", "not_measured", None, "")
        for name, value in measured.figures.items()
        if value is None
    ]
    short = "fewer pairs were labelled than the campaign wants"
    broken += [BadRow("floors_unmet", "strata", name, short) for name in measured.unmet_floors]
    # Of each check as many rows as a verdict names.
    places = {check: itertools.count() for check in {row.check for row in broken}}
    first = [row for row in broken if next(places[row.check]) < MOST_ROWS]
    verdict = Verdict(
        worst_of(checks),
        checks,
        figures=dict(measured.figures),
        profile=dict(measured.profile),
        bad_rows=[*first, *(row for fault in measured.faults.values() for row in fault.first)],
        suspects=list(measured.suspects),
        sessions=measured.sessions,
    )
    quarantined = quarantine_table(row.quarantined() for row in broken)
    return Judgement(verdict, pa.concat_tables([measured.broken, quarantined]))


def _annotator_rows(measured: Measured) -> list[dict[str, Any]]:
    """A row each, with every check as a column: null where there is nothing to count."""
    empty = dict.fromkeys(CHECKS)
    rows: dict[str, dict[str, Any]] = {}
    for held in measured.held:
        row = rows.setdefault(held.annotator, {"annotator": held.annotator, **empty})
        row[held.check] = held.bound
    return list(rows.values())


@cache
def _context() -> Any:
    """One for the process: making it takes longer than a batch's checks."""
    # Read when the package is imported: what passes through a pipeline is nobody else's business.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context


def _frames(table: Source, suite: RowSuite) -> Iterator[Any]:
    """The columns of a table that a suite takes, with `_PLACE`; one empty frame if it is empty."""
    held = schema_of(table).names
    columns = ", ".join(f'"{name}"' for name in (*suite.columns, _PLACE) if name in (*held, _PLACE))
    by = ", ".join(f'"{name}"' for name in suite.unique if name in held) or _PLACE
    with database({"given": table}) as connection:
        n = count(connection, "given") // FRAME + 1
        for k in range(n):
            rows = connection.sql(
                f"SELECT {columns} FROM given WHERE hash({by}) % {n} = {k} ORDER BY {_PLACE}"
            ).to_arrow_table()
            if rows.num_rows or n == 1:
                yield rows.to_pandas()


def _run(
    context: Any,
    name: str,
    frames: Iterable[Any],
    expected: Sequence[Expected],
    key: Sequence[str] = (),
) -> tuple[list[Check], list[BadRow]]:
    """Every expectation on all frames, in order, and by `key` the rows that break one."""
    if not expected:
        return [], []
    import great_expectations as gx

    source = context.data_sources.add_or_update_pandas(name)
    definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    expectations = [each.made() for each in expected]
    for number, expectation in enumerate(expectations):
        expectation.meta = {"number": number}
    suite = gx.ExpectationSuite(name=name, expectations=expectations)
    results_of: list[list[Any]] = [[] for _ in expected]
    for frame in frames:
        batch = definition.get_batch(batch_parameters={"dataframe": frame})
        wanted: dict[str, Any] = {"result_format": "COMPLETE"}
        if key and set(key) <= set(frame.columns):
            wanted["unexpected_index_column_names"] = [*key, _PLACE]
        results = batch.validate(suite, result_format=wanted).results
        result_of = {result.expectation_config.meta["number"]: result for result in results}
        for number, of_all in enumerate(results_of):
            of_all.append(result_of.get(number))
    checks = [_check(each, results) for each, results in zip(expected, results_of, strict=True)]
    rows = [
        BadRow(check.name, name, str(row[key[0]]), _described(row, (*key, _PLACE)))
        for check, results in zip(checks, results_of, strict=True)
        if check.outcome == "fail" and key
        for row in sorted(_unexpected(results), key=lambda row: row[_PLACE])
    ]
    return checks, rows


def _unexpected(results: Iterable[Any]) -> Iterator[Any]:
    for result in results:
        yield from result.result.get("unexpected_index_list") or []


def _described(row: Any, key: Sequence[str]) -> str:
    beside = {name: value for name, value in row.items() if name not in key}
    return ", ".join(f"{name} is {value!r}" for name, value in beside.items())


def _check(expected: Expected, results: Sequence[Any]) -> Check:
    outcome: Outcome = "pass"
    if any(result is None or _erred(result) for result in results):
        outcome = "error"
    elif not all(result.success for result in results):
        outcome = "fail"
    value = expected.figure
    if value is None and outcome != "error":
        # The number of rows, or of rows that break the expectation.
        told = [
            result.result.get("observed_value", result.result.get("unexpected_count"))
            for result in results
        ]
        value = None if None in told else int(sum(told))
    return Check(expected.name, expected.severity, outcome, value, expected.limit)


def _erred(result: Any) -> bool:
    """Whether the expectation raised: its info is flat, or keyed by metric."""
    info = result.exception_info or {}
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return any(entry.get("raised_exception") for entry in info.values() if isinstance(entry, dict))
