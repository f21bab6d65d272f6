"""The gate between labels and a version: Great Expectations over the rows and over the figures.

A check passes, fails, or errs. An expectation that erred is not a pass; an empty batch is not one
either. Great Expectations takes ten seconds to import, so it is imported where it is used, inside
the task.

DuckDB cannot be a Great Expectations source (it reads rows after closing the connection), so the
figures are computed in SQL first and handed over as a frame of one row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import pyarrow as pa

from winnow.campaign import Validate
from winnow.label.vendor import Choice
from winnow.validate.metrics import LabelFigures

Severity = Literal["warn", "block"]
Outcome = Literal["pass", "fail", "error", "not_measured"]
CHOICES = get_args(Choice)
FILLED = ["annotation_id", "revision", "task_id", "annotator", "choice"]
ROW_COLUMNS = [*FILLED, "active_seconds"]
"""What the gate looks at of each row; how long an answer took is not known of every vendor."""


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation and how it went; `limit` is what `value` was held against."""

    name: str
    severity: Severity
    outcome: Outcome
    value: float | int | None
    limit: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of a batch: the worst of its checks."""

    verdict: Literal["pass", "warn", "block"]
    checks: Sequence[Check]

    def to_bytes(self) -> bytes:
        """The verdict as JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Verdict:
        """Read back what `to_bytes` wrote."""
        content = json.loads(data)
        return cls(content["verdict"], [Check(**check) for check in content["checks"]])

    def reasons(self) -> list[str]:
        """A line for each check that did not pass, the blocking ones first."""
        bad = [c for c in self.checks if c.outcome in ("fail", "error")]
        bad.sort(key=lambda check: check.severity)
        return [f"{c.severity}: {c.name} = {_told(c.value)} (limit {c.limit})" for c in bad]


def _told(value: float | None) -> str:
    return "an error" if value is None else f"{value:.3g}"


@dataclass(frozen=True, slots=True)
class _Expected:
    """An expectation with its name and limit in words, and the figure it is about if any."""

    name: str
    severity: Severity
    limit: str
    expectation: Any
    figure: float | None = None


def judge(annotations: pa.Table, figures: LabelFigures, limits: Validate) -> Verdict:
    """Hold a batch's annotations and figures against the campaign's limits."""
    context = _context()
    rows = annotations.select(ROW_COLUMNS).to_pandas()
    checks = _run(context, "rows", rows, _of_rows())
    measured = pa.Table.from_pylist([figures.as_dict()]).to_pandas()
    checks += _run(context, "figures", measured, _of_figures(figures, limits))
    checks += [
        Check(name, "warn", "not_measured", None, "")
        for name, value in figures.as_dict().items()
        if value is None
    ]
    return Verdict(_worst(checks), checks)


def _worst(checks: Sequence[Check]) -> Literal["pass", "warn", "block"]:
    if any(c.outcome == "error" or (c.outcome == "fail" and c.severity == "block") for c in checks):
        return "block"
    return "warn" if any(c.outcome == "fail" for c in checks) else "pass"


def _of_rows() -> list[_Expected]:
    import great_expectations.expectations as gxe

    filled = [
        _Expected(f"{n} is filled", "block", "no null", gxe.ExpectColumnValuesToNotBeNull(column=n))
        for n in FILLED
    ]
    known = gxe.ExpectColumnValuesToBeInSet(column="choice", value_set=list(CHOICES))
    unique = gxe.ExpectCompoundColumnsToBeUnique(column_list=["annotation_id", "revision"])
    took_time = gxe.ExpectColumnValuesToBeBetween(
        column="active_seconds", min_value=0, strict_min=True
    )
    return [
        _Expected("rows", "block", ">= 1", gxe.ExpectTableRowCountToBeBetween(min_value=1)),
        *filled,
        _Expected("choice is known", "block", ", ".join(CHOICES), known),
        _Expected("annotation is unique", "block", "no repeat", unique),
        _Expected("active_seconds is positive", "warn", "> 0", took_time),
    ]


def _of_figures(figures: LabelFigures, limits: Validate) -> list[_Expected]:
    """Only over what was measured: Great Expectations lets an absent figure pass.

    Agreement and gold accuracy are measured on few answers, so they fail a limit only where their
    whole interval does.
    """
    measured = figures.as_dict()
    bounds: list[tuple[str, Severity, float | None, float | None]] = [
        ("agreement_high", "warn", limits.min_agreement_warn, None),
        ("agreement_high", "block", limits.min_agreement_block, None),
        ("side_bias", "warn", None, limits.max_side_bias_warn),
        ("side_bias", "block", None, limits.max_side_bias_block),
        ("gold_accuracy_high", "warn", limits.min_gold_accuracy_warn, None),
        ("gold_accuracy_high", "block", limits.min_gold_accuracy_block, None),
        ("tie_rate", "warn", None, limits.max_tie_rate_warn),
        ("tie_rate", "block", None, limits.max_tie_rate_block),
    ]
    return [
        _within(name, severity, low, high, measured[name])
        for name, severity, low, high in bounds
        if measured[name] is not None
    ]


def _within(
    name: str, severity: Severity, low: float | None, high: float | None, figure: float
) -> _Expected:
    import great_expectations.expectations as gxe

    limit = f">= {low}" if high is None else f"<= {high}"
    bounded = gxe.ExpectColumnValuesToBeBetween(column=name, min_value=low, max_value=high)
    return _Expected(name, severity, limit, bounded, figure)


def _context() -> Any:
    # Read when the package is imported: what passes through a pipeline is nobody else's business.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context


def _run(context: Any, name: str, frame: Any, expected: Sequence[_Expected]) -> list[Check]:
    source = context.data_sources.add_pandas(name)
    definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    batch = definition.get_batch(batch_parameters={"dataframe": frame})
    return [_check(each, batch.validate(each.expectation)) for each in expected]


def _check(expected: _Expected, result: Any) -> Check:
    outcome: Outcome = "error" if _erred(result) else "pass" if result.success else "fail"
    value = expected.figure if expected.figure is not None else _observed(result)
    return Check(expected.name, expected.severity, outcome, value, expected.limit)


def _erred(result: Any) -> bool:
    """Whether the expectation raised: its info is flat, or keyed by metric."""
    info = result.exception_info or {}
    if "raised_exception" in info:
        return bool(info["raised_exception"])
    return any(entry.get("raised_exception") for entry in info.values() if isinstance(entry, dict))


def _observed(result: Any) -> int | None:
    """The number of rows, or of rows that break the expectation."""
    observed = result.result.get("observed_value", result.result.get("unexpected_count"))
    return None if observed is None else int(observed)
