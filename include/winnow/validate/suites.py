"""The gate's expectations, made in code: each with its name, its severity and its limit in words.

Only over what was measured: Great Expectations lets an absent figure pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from winnow.campaign import Validate
from winnow.label.vendor import Choice, DeliveredAnnotation
from winnow.validate.annotators import CHECKS, fails
from winnow.validate.limits import bounds
from winnow.validate.measure import Measured
from winnow.validate.tables import REQUIRED
from winnow.validate.verdict import Severity

CHOICES = get_args(Choice)
STATUSES = get_args(DeliveredAnnotation.model_fields["status"].annotation)
PREFERRED = ("first", "second", "tie")

_GX_SEVERITY = {"warn": "warning", "block": "critical"}


@dataclass(frozen=True, slots=True)
class Expected:
    """An expectation with its name and limit in words, and the figure it is about if any."""

    name: str
    severity: Severity
    limit: str
    expectation: Any
    figure: float | None = None


@dataclass(frozen=True, slots=True)
class RowSuite:
    """What is expected of a table's rows, which of its columns that takes, and their key."""

    columns: Sequence[str]
    key: Sequence[str]
    expected: Callable[[], list[Expected]]


def of_faults(measured: Measured) -> list[Expected]:
    """That no row breaks any of the checks of rows."""
    return [
        _between(name, measured.severities[name], None, 0, "no row", fault.n)
        for name, fault in measured.faults.items()
    ]


def of_figures(measured: Measured, limits: Validate) -> list[Expected]:
    """That each figure that was measured is within its limits."""
    return [
        _between(bound.figure, bound.severity, bound.low, bound.high, bound.told, figure)
        for bound in bounds(limits, measured.figures)
        if (figure := measured.figures.get(bound.figure)) is not None
    ]


def of_annotators(measured: Measured, limits: Validate) -> list[Expected]:
    """That no annotator is beyond a limit of their own; the figure is how many are."""
    return [
        _between(
            check,
            "warn",
            limit if setting.startswith("min_") else None,
            limit if setting.startswith("max_") else None,
            f"no annotator {'below' if setting.startswith('min_') else 'above'} {limit}",
            sum(held.check == check and fails(held, limits) for held in measured.held),
        )
        for check, setting in CHECKS.items()
        if (limit := getattr(limits, setting)) is not None
        and any(held.check == check for held in measured.held)
    ]


def _of_annotations() -> list[Expected]:
    import great_expectations.expectations as gxe

    unique = gxe.ExpectCompoundColumnsToBeUnique(
        column_list=["annotation_id", "revision"], severity="critical"
    )
    return [
        _some_rows("annotations"),
        *_filled("annotations"),
        _one_of("choice", CHOICES),
        _one_of("status", STATUSES),
        Expected("annotation is unique", "block", "no repeat", unique),
        _between("active_seconds", "warn", 0, None, "> 0", None, strict_min=True),
    ]


def _of_preferences() -> list[Expected]:
    import great_expectations.expectations as gxe

    unique = gxe.ExpectColumnValuesToBeUnique(column="pair_id", severity="critical")
    return [
        _some_rows("preferences"),
        *_filled("preferences"),
        _one_of("preferred", PREFERRED),
        Expected("preference is unique", "block", "no repeat", unique),
        _between(
            "p_preferred", "block", 0, 1, "> 0 and < 1", None, strict_min=True, strict_max=True
        ),
    ]


ROW_SUITES = {
    "annotations": RowSuite(
        (*REQUIRED["annotations"], "active_seconds"), ("annotation_id",), _of_annotations
    ),
    "preferences": RowSuite(REQUIRED["preferences"], ("pair_id",), _of_preferences),
}


def _some_rows(table: str) -> Expected:
    import great_expectations.expectations as gxe

    some = gxe.ExpectTableRowCountToBeBetween(min_value=1, severity="critical")
    return Expected(f"{table}: rows", "block", ">= 1", some)


def _filled(table: str) -> list[Expected]:
    import great_expectations.expectations as gxe

    return [
        Expected(
            f"{table}: {name} is filled",
            "block",
            "no null",
            gxe.ExpectColumnValuesToNotBeNull(column=name, severity="critical"),
        )
        for name in REQUIRED[table]
    ]


def _one_of(column: str, values: Sequence[str]) -> Expected:
    import great_expectations.expectations as gxe

    known = gxe.ExpectColumnValuesToBeInSet(
        column=column, value_set=list(values), severity="critical"
    )
    return Expected(f"{column} is known", "block", ", ".join(values), known)


def _between(
    column: str,
    severity: Severity,
    low: float | None,
    high: float | None,
    told: str,
    figure: float | None,
    **strict: bool,
) -> Expected:
    import great_expectations.expectations as gxe

    within = gxe.ExpectColumnValuesToBeBetween(
        column=column, min_value=low, max_value=high, severity=_GX_SEVERITY[severity], **strict
    )
    return Expected(column, severity, told, within, figure)
