"""The gate between labels and a version: Great Expectations over the rows and over the figures.

Four frames are held against a suite each, made in code: annotations, preferences, a row per
annotator, and one row of all figures and counts of faulty rows, which SQL computed before. Behind
them come a team's own suites (`winnow.validate.team_suites`). DuckDB
itself cannot be a source of Great Expectations (it reads rows after closing the connection), so a
large table comes as several frames: a row and all that must not repeat it are in the same one.

A check passes, fails, or errs. An expectation that erred is not a pass; an empty batch is not one
either. Great Expectations takes ten seconds to import, so it is imported where it is used, inside
the task.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from threading import Lock
from typing import Any, NamedTuple

import pyarrow as pa

from winnow.batch import quarantine_table
from winnow.campaign import Validate
from winnow.sql import Source, count, database
from winnow.text import cut, plain_line
from winnow.validate.annotators import CHECKS
from winnow.validate.data_docs import Page, data_docs
from winnow.validate.expected import Expected, library
from winnow.validate.measure import Measured
from winnow.validate.rows import KEYS, MOST_ROWS
from winnow.validate.suites import (
    ROW_SUITES,
    RowSuite,
    of_annotators,
    of_faults,
    of_figures,
)
from winnow.validate.tables import SCHEMAS, schema_of
from winnow.validate.team_suites import Suite, refuse
from winnow.validate.verdict import NO_TABLE, BadRow, Check, Outcome, Verdict, worst_of

FRAME = 50_000
"""Rows of a frame, about: memory does not grow with a batch."""
_PLACE = "row_n"
_KEY_OF = {**KEYS, **{name: suite.key[0] for name, suite in ROW_SUITES.items()}}
"""The column by which a row of each table is named."""
_LONG = ("unexpected_list", "unexpected_index_list", "unexpected_index_query")
"""Parts of a result that are as long as the table where every row breaks an expectation."""
_ONE_AT_A_TIME = Lock()
"""`winnow doctor` looks at several campaigns at once."""


class Judgement(NamedTuple):
    """The verdict, every row that it speaks of as a table `records.QUARANTINE`, and Data Docs."""

    verdict: Verdict
    broken: pa.Table
    docs: str | None = None


class _Ran(NamedTuple):
    """Checks in order, the rows that break them, and what Great Expectations found."""

    checks: list[Check]
    broken: list[BadRow]
    page: Page


def judge(measured: Measured, limits: Validate) -> Judgement:
    """Hold what was measured of a batch against the campaign's limits and its team's suites."""
    context = _context()
    ran: list[_Ran] = []
    for name, suite in ROW_SUITES.items():
        frames = _frames(measured.tables[name], suite)
        ran.append(_run(context, name, frames, suite.expected, suite.key))
    annotators = pa.Table.from_pylist(_annotator_rows(measured)).to_pandas()
    ran.append(_run(context, "annotators", [annotators], of_annotators(measured, limits)))
    counts = {name: fault.n for name, fault in measured.faults.items()}
    expected = [*of_faults(measured), *of_figures(measured, limits)]
    one_row = pa.Table.from_pylist([{**measured.figures, **counts}]).to_pandas()
    ran.append(_run(context, "figures", [one_row], expected))
    ran += [_of_team(context, suite, measured.tables) for suite in measured.suites]
    checks = [check for each in ran for check in each.checks]
    checks += [
        Check(name, "warn", "not_measured", None, "")
        for name, value in measured.figures.items()
        if value is None
    ]
    short = "fewer pairs were labelled than the campaign wants"
    broken = [row for each in ran for row in each.broken]
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
    docs = data_docs([each.page for each in ran]) if limits.data_docs else None
    return Judgement(verdict, pa.concat_tables([measured.broken, quarantined]), docs)


def load() -> None:
    """Import Great Expectations now, which takes seconds."""
    _context()


def rehearse(suite: Suite) -> None:
    """Run a team's suite on rows that are made up.

    Raises:
        Fatal: An expectation errs on them, as it would on a batch.
    """
    frame = suite.made_up().to_pandas()
    with _ONE_AT_A_TIME:
        results = _results(_context(), "rehearsal", [frame], suite.expected, ())
    for number, (each, [result]) in enumerate(zip(suite.expected, results, strict=True)):
        if result is None or _erred(result):
            refuse(suite.setting.path, number, each.kind, f"errs: {_error(result)}")


def _of_team(context: Any, suite: Suite, tables: Mapping[str, Source]) -> _Ran:
    """A team's suite: what a row tells in parts of the table, the rest on the whole of it."""
    name, table = suite.setting.name, suite.setting.table
    by_row = [each for each in suite.expected if not each.whole]
    frames = partial(_team_frames, tables[table], table)
    key = [_KEY_OF[table]]
    parts = _run(context, table, frames(by_row, FRAME), by_row, key)
    whole = [each for each in suite.expected if each.whole]
    at_once = _run(context, table, frames(whole, None), whole, key)
    results = [*parts.page.results, *at_once.page.results]
    return _Ran(
        [*parts.checks, *at_once.checks],
        [*parts.broken, *at_once.broken],
        Page(f"{name}, on {table}", results),
    )


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
    context = library().get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context


def _frames(table: Source, suite: RowSuite) -> Iterator[Any]:
    """The columns of a table that a suite takes, with `_PLACE`."""
    held = schema_of(table).names
    by = [name for name in suite.unique if name in held] or [_PLACE]
    columns = [name for name in suite.columns if name in held]
    return (piece.to_pandas() for piece in _pieces(table, columns, by, FRAME))


def _team_frames(
    table: Source, name: str, expected: Sequence[Expected], size: int | None
) -> Iterator[Any]:
    """The columns that expectations look at, null where an older table lacks one."""
    looked_at = (column for each in expected for column in each.columns)
    wanted = list(dict.fromkeys([_KEY_OF[name], *looked_at]))
    held = [column for column in wanted if column in schema_of(table).names]
    for piece in _pieces(table, held, [_PLACE], size):
        for field in (SCHEMAS[name].field(each) for each in wanted if each not in held):
            piece = piece.append_column(field, pa.nulls(piece.num_rows, field.type))
        yield piece.to_pandas()


def _pieces(
    table: Source, columns: Sequence[str], by: Sequence[str], size: int | None
) -> Iterator[pa.Table]:
    """Columns of a table, with `_PLACE`, in pieces of about `size` rows; None: all at once.

    Rows of one value of `by` lie in the same; one empty piece where the table is empty.
    """
    chosen, told_apart = (", ".join(f'"{name}"' for name in names) for names in (columns, by))
    with database({"given": table}) as connection:
        n = 1 if size is None else count(connection, "given") // size + 1
        for k in range(n):
            rows = connection.sql(
                f"SELECT {chosen}, {_PLACE} FROM given WHERE hash({told_apart}) % {n} = {k} "
                f"ORDER BY {_PLACE}"
            ).to_arrow_table()
            if rows.num_rows or n == 1:
                yield rows


def _run(
    context: Any,
    name: str,
    frames: Iterable[Any],
    expected: Sequence[Expected],
    key: Sequence[str] = (),
) -> _Ran:
    """Every expectation on all frames, in order, and by `key` the rows that break one."""
    results_of = _results(context, name, frames, expected, key) if expected else []
    found = list(zip(expected, results_of, strict=True))
    checks = [_check(each, results) for each, results in found]
    rows = [
        row
        for check, (each, results) in zip(checks, found, strict=True)
        for row in _bad_rows(name, check, each, results, key)
    ]
    for result in itertools.chain.from_iterable(results_of):
        for part in _LONG if result is not None else ():
            result.result.pop(part, None)
    return _Ran(checks, rows, Page(name, results_of))


def _results(
    context: Any,
    name: str,
    frames: Iterable[Any],
    expected: Sequence[Expected],
    key: Sequence[str],
) -> list[list[Any]]:
    """What each expectation found on each frame; None where it found nothing."""
    source = context.data_sources.add_or_update_pandas(name)
    definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    expectations = [each.made() for each in expected]
    for number, expectation in enumerate(expectations):
        expectation.meta = {"number": number}
    suite = library().ExpectationSuite(name=name, expectations=expectations)
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
    return results_of


def _bad_rows(
    table: str, check: Check, expected: Expected, results: Sequence[Any], key: Sequence[str]
) -> Iterator[BadRow]:
    """The rows behind a check that failed; of a team's that has none why it did."""
    if check.outcome == "fail" and key:
        rows = sorted(_unexpected(results), key=lambda row: row[_PLACE])
        # Those that block may have to be set aside, all of them.
        most = MOST_ROWS if expected.suite and check.severity == "warn" else None
        for row in rows[:most]:
            yield BadRow(check.name, table, str(row[key[0]]), _described(row, (*key, _PLACE)))
        if rows:
            return
    if expected.suite and check.outcome in ("fail", "error"):
        told = [_error(each) if check.outcome == "error" else _observed(each) for each in results]
        yield BadRow(check.name, NO_TABLE, "", plain_line("; ".join(filter(None, told))))


def _unexpected(results: Iterable[Any]) -> Iterator[Any]:
    for result in results:
        yield from result.result.get("unexpected_index_list") or []


def _described(row: Any, key: Sequence[str]) -> str:
    beside = {name: repr(value) for name, value in row.items() if name not in key}
    return plain_line(", ".join(f"{name} is {cut(value, 200)}" for name, value in beside.items()))


def _check(expected: Expected, results: Sequence[Any]) -> Check:
    outcome: Outcome = "pass"
    if any(result is None or _erred(result) for result in results):
        outcome = "error"
    elif not _holds(expected, results):
        outcome = "fail"
    value = expected.figure
    if value is None and outcome != "error":
        told = [_number(result) for result in results]
        value = None if None in told else sum(each for each in told if each is not None)
    return Check(expected.name, expected.severity, outcome, value, expected.limit, expected.suite)


def _holds(expected: Expected, results: Sequence[Any]) -> bool:
    """Whether an expectation holds of all frames: one of `mostly` every row, of all together."""
    mostly = expected.given.get("mostly", 1.0)
    if mostly == 1.0 or len(results) == 1:
        return all(result.success for result in results)
    of_all = [result.result for result in results]
    n = sum(each["element_count"] - each.get("missing_count", 0) for each in of_all)
    n_bad = sum(each["unexpected_count"] for each in of_all)
    return n == 0 or bool((n - n_bad) / n >= mostly)


def _number(result: Any) -> float | int | None:
    """What was observed if that is a number, else how many rows or values are not as expected."""
    observed = result.result.get("observed_value")
    if observed is None:
        observed = result.result.get("unexpected_count")
    if hasattr(observed, "item"):
        observed = observed.item()
    if not isinstance(observed, int | float) or not math.isfinite(observed):
        return None
    return int(observed) if float(observed).is_integer() else observed


def _observed(result: Any) -> str:
    """What was found of a whole table."""
    told = {
        "found": result.result.get("observed_value"),
        "not expected": result.result.get("partial_unexpected_list"),
        "missing": result.result.get("partial_missing_list"),
    }
    return ", ".join(f"{name} {cut(str(value), 200)}" for name, value in told.items() if value)


def _error(result: Any) -> str:
    """Why an expectation erred, in its own words."""
    info = (result.exception_info or {}) if result is not None else {}
    entries = [info, *(each for each in info.values() if isinstance(each, dict))]
    told = [each["exception_message"] for each in entries if each.get("exception_message")]
    return cut(str(told[0]), 300) if told else "it found nothing"


def _erred(result: Any) -> bool:
    """Whether the expectation raised: its info is flat, or keyed by metric."""
    info = result.exception_info or {}
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return any(entry.get("raised_exception") for entry in info.values() if isinstance(entry, dict))
