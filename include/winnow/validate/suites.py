"""The gate's expectations, made in code: each with its name, its severity and its limit in words.

Only over what was measured: Great Expectations lets an absent figure pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

from winnow.campaign import Validate
from winnow.label.vendor import Choice, DeliveredAnnotation
from winnow.validate.annotators import CHECKS, fails
from winnow.validate.expected import Expected
from winnow.validate.limits import bounds
from winnow.validate.measure import Measured
from winnow.validate.tables import REQUIRED
from winnow.validate.verdict import Severity

CHOICES = get_args(Choice)
STATUSES = get_args(DeliveredAnnotation.model_fields["status"].annotation)
PREFERRED = ("first", "second", "tie")


class RowSuite(NamedTuple):
    """What is expected of a table's rows, which of its columns that takes, and their key.

    By `unique`, taken together, rows are told apart; by `key` a row is named.
    """

    columns: Sequence[str]
    key: Sequence[str]
    unique: Sequence[str]
    expected: list[Expected]


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
    expected = []
    for check, (setting, *_) in CHECKS.items():
        held, limit = [h for h in measured.held if h.check == check], getattr(limits, setting)
        if held and limit is not None:
            low, high = (limit, None) if setting.startswith("min_") else (None, limit)
            told = f"no annotator {'above' if low is None else 'below'} {limit}"
            n_beyond = sum(fails(each, limits) for each in held)
            expected.append(_between(check, "warn", low, high, told, n_beyond))
    return expected


def _between(
    column: str,
    severity: Severity,
    low: float | None,
    high: float | None,
    told: str,
    figure: float | None = None,
    **strict: bool,
) -> Expected:
    given = {"column": column, "min_value": low, "max_value": high, **strict}
    return Expected(column, severity, told, "ExpectColumnValuesToBeBetween", given, figure)


def _whole(table: str) -> list[Expected]:
    """That a table has rows, and no null in a column that it must have."""
    some, filled = "ExpectTableRowCountToBeBetween", "ExpectColumnValuesToNotBeNull"
    return [
        Expected(f"{table}: rows", "block", ">= 1", some, {"min_value": 1}),
        *(
            Expected(f"{table}: {name} is filled", "block", "no null", filled, {"column": name})
            for name in REQUIRED[table]
        ),
    ]


def _one_of(column: str, values: Sequence[str]) -> Expected:
    given = {"column": column, "value_set": list(values)}
    told = ", ".join(values)
    return Expected(f"{column} is known", "block", told, "ExpectColumnValuesToBeInSet", given)


def _unique(name: str, kind: str, **given: Any) -> Expected:
    return Expected(f"{name} is unique", "block", "no repeat", kind, given)


_ANNOTATION = ("annotation_id", "revision")
ROW_SUITES = {
    "annotations": RowSuite(
        (*REQUIRED["annotations"], "active_seconds"),
        ("annotation_id",),
        _ANNOTATION,
        [
            *_whole("annotations"),
            _one_of("choice", CHOICES),
            _one_of("status", STATUSES),
            _unique(
                "annotation",
                "ExpectCompoundColumnsToBeUnique",
                column_list=list(_ANNOTATION),
            ),
            _between("active_seconds", "warn", 0, None, "> 0", strict_min=True),
        ],
    ),
    "preferences": RowSuite(
        REQUIRED["preferences"],
        ("pair_id",),
        ("pair_id",),
        [
            *_whole("preferences"),
            _one_of("preferred", PREFERRED),
            _unique("preference", "ExpectColumnValuesToBeUnique", column="pair_id"),
            _between("p_preferred", "block", 0, 1, "> 0 and < 1", strict_min=True, strict_max=True),
        ],
    ),
}
