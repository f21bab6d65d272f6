"""The gate between labels and a version: Great Expectations over the rows and over the figures.

Four frames are held against a suite each, made in code: annotations, preferences, a row per
annotator, and one row of all figures and counts of faulty rows, which SQL computed before. DuckDB
itself cannot be a source of Great Expectations (it reads rows after closing the connection).

A check passes, fails, or errs. An expectation that erred is not a pass; an empty batch is not one
either. Great Expectations takes ten seconds to import, so it is imported where it is used, inside
the task.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from itertools import count
from typing import Any, NamedTuple

import pyarrow as pa

from winnow.batch import quarantine_table
from winnow.campaign import Validate
from winnow.validate.annotators import CHECKS
from winnow.validate.measure import Measured
from winnow.validate.rows import MOST_ROWS
from winnow.validate.suites import ROW_SUITES, Expected, of_annotators, of_faults, of_figures
from winnow.validate.tables import read_columns
from winnow.validate.verdict import BadRow, Check, Outcome, Verdict, worst_of


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
        frame = read_columns(table, suite.columns).to_pandas()
        of_table, rows = _run(context, name, frame, suite.expected, suite.key)
        checks, broken = [*checks, *of_table], [*broken, *rows]
    annotators = pa.Table.from_pylist(_annotator_rows(measured)).to_pandas()
    checks += _run(context, "annotators", annotators, of_annotators(measured, limits))[0]
    counts = {name: fault.n for name, fault in measured.faults.items()}
    expected = [*of_faults(measured), *of_figures(measured, limits)]
    one_row = pa.Table.from_pylist([{**measured.figures, **counts}]).to_pandas()
    checks += _run(context, "figures", one_row, expected)[0]
    checks += [
        Check(name, "warn", "not_measured", None, "")
        for name, value in measured.figures.items()
        if value is None
    ]
    short = "fewer pairs were labelled than the campaign wants"
    broken += [BadRow("floors_unmet", "strata", name, short) for name in measured.unmet_floors]
    # Of each check as many rows as a verdict names.
    places = {check: count() for check in {row.check for row in broken}}
    first = [row for row in broken if next(places[row.check]) < MOST_ROWS]
    verdict = Verdict(
        worst_of(checks),
        checks,
        figures=dict(measured.figures),
        profile=dict(measured.profile),
        bad_rows=[*first, *(row for fault in measured.faults.values() for row in fault.first)],
        suspects=list(measured.suspects),
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


def _run(
    context: Any, name: str, frame: Any, expected: Sequence[Expected], key: Sequence[str] = ()
) -> tuple[list[Check], list[BadRow]]:
    """Every expectation on the frame, in order, and by `key` the rows that break one."""
    if not expected:
        return [], []
    import great_expectations as gx

    source = context.data_sources.add_or_update_pandas(name)
    definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    batch = definition.get_batch(batch_parameters={"dataframe": frame})
    expectations = [each.made() for each in expected]
    for number, expectation in enumerate(expectations):
        expectation.meta = {"number": number}
    suite = gx.ExpectationSuite(name=name, expectations=expectations)
    wanted: dict[str, Any] = {"result_format": "COMPLETE"}
    if key and set(key) <= set(frame.columns):
        wanted["unexpected_index_column_names"] = list(key)
    results = batch.validate(suite, result_format=wanted).results
    result_of = {result.expectation_config.meta["number"]: result for result in results}
    checks = [_check(each, result_of.get(number)) for number, each in enumerate(expected)]
    rows = [
        BadRow(check.name, name, str(row[key[0]]), _described(row, key))
        for number, check in enumerate(checks)
        if check.outcome == "fail"
        for row in result_of[number].result.get("unexpected_index_list") or []
        if key
    ]
    return checks, rows


def _described(row: Any, key: Sequence[str]) -> str:
    beside = {name: value for name, value in row.items() if name not in key}
    return ", ".join(f"{name} is {value!r}" for name, value in beside.items())


def _check(expected: Expected, result: Any) -> Check:
    outcome: Outcome = "pass"
    if result is None or _erred(result):
        outcome = "error"
    elif not result.success:
        outcome = "fail"
    value = expected.figure
    if value is None and outcome != "error":
        # The number of rows, or of rows that break the expectation.
        value = result.result.get("observed_value", result.result.get("unexpected_count"))
        value = None if value is None else int(value)
    return Check(expected.name, expected.severity, outcome, value, expected.limit)


def _erred(result: Any) -> bool:
    """Whether the expectation raised: its info is flat, or keyed by metric."""
    info = result.exception_info or {}
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return any(entry.get("raised_exception") for entry in info.values() if isinstance(entry, dict))
