"""A team's own suites: read from what Great Expectations wrote, and refused where they cannot run.

    read_suite   the file of a setting -> its text
    Suite.of     a text -> its expectations, each held against the table's columns

A suite is data and stays data: only kinds that look at the frame they are given are run, by the
list of them here. Those that run SQL or Python, look at another table or load an address are not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.types as types

from winnow.campaign.sections import Suite as Setting
from winnow.errors import Fatal
from winnow.text import cut
from winnow.validate.expected import Expected
from winnow.validate.tables import SCHEMAS
from winnow.validate.verdict import Severity

MOST_BYTES = 256 * 1024
"""Of a suite's file."""


def _kinds(names: str) -> frozenset[str]:
    return frozenset(f"expect_{name}" for name in names.split())


BY_ROW = _kinds(
    """
    column_value_lengths_to_be_between column_value_lengths_to_equal column_values_to_be_between
    column_values_to_be_dateutil_parseable column_values_to_be_in_set
    column_values_to_be_json_parseable column_values_to_be_null column_values_to_match_regex
    column_values_to_match_regex_list column_values_to_match_strftime_format
    column_values_to_not_be_in_set column_values_to_not_be_null column_values_to_not_match_regex
    column_values_to_not_match_regex_list
    """
)
"""Kinds that a value by itself tells of, so that a table may come in parts."""

WHOLE = _kinds(
    """
    column_distinct_values_to_be_in_set column_distinct_values_to_contain_set
    column_distinct_values_to_equal_set column_max_to_be_between column_mean_to_be_between
    column_median_to_be_between column_min_to_be_between column_most_common_value_to_be_in_set
    column_pair_values_a_to_be_greater_than_b column_pair_values_to_be_equal
    column_pair_values_to_be_in_set column_proportion_of_non_null_values_to_be_between
    column_proportion_of_unique_values_to_be_between column_quantile_values_to_be_between
    column_stdev_to_be_between column_sum_to_be_between column_unique_value_count_to_be_between
    column_value_z_scores_to_be_less_than column_values_to_be_unique
    column_values_to_not_be_outliers compound_columns_to_be_unique multicolumn_sum_to_equal
    multicolumn_values_to_be_equal select_column_values_to_be_unique_within_record
    table_row_count_to_be_between table_row_count_to_equal
    """
)
"""Kinds that are given the whole table as one frame of the columns that they name."""

_REFUSED = {
    "unexpected_rows_expectation": "runs SQL",
    "expect_query_results_to_match_comparison": "runs SQL",
    "expect_table_row_count_to_equal_other_table": "looks at a table of another source",
    "expect_column_values_to_match_json_schema": "may load schemas from addresses",
}
_IN_PARTS = "responses"
"""The table with long texts, which never lies in memory whole."""
_RUN_TIME = ("batch_id", "catch_exceptions", "condition_parser", "result_format")
"""What a suite may say of how it is run, which the gate decides."""
_COLUMNS = ("column", "column_A", "column_B")
_VALUES = ("min_value", "max_value", "value_set")
_SEVERITIES: Mapping[str | None, Severity] = {
    "critical": "block",
    "warning": "warn",
    "info": "warn",
    None: "warn",
}


class _Unfit(Exception):
    """Why an expectation cannot be run."""


@dataclass(frozen=True)
class Suite:
    """A team's expectations of a table, and the `text` that they were read from."""

    setting: Setting
    expected: Sequence[Expected]
    text: bytes

    @classmethod
    def of(cls, setting: Setting, text: bytes) -> Suite:
        """Read a suite, as its file or its batch holds it.

        Raises:
            Fatal: It is no suite, or one of its expectations cannot be run.
        """
        return cls(setting, list(_told_apart(_expected(setting, text))), text)

    def made_up(self) -> pa.Table:
        """Three rows of the columns that are looked at, of the types that the batch has."""
        schema = SCHEMAS[self.setting.table]
        names = sorted({name for each in self.expected for name in each.columns})
        columns = {name: _made_up(schema.field(name).type) for name in names}
        return pa.table(columns or {"row": [0, 1, 2]})


def read_suite(setting: Setting) -> bytes:
    """What a suite's file holds now.

    Raises:
        Fatal: It cannot be read, or is too large.
    """
    path = Path(setting.path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise Fatal(f"Suite {path} is larger than {MOST_BYTES // 1024} KiB; split it.")
        return path.read_bytes()
    except OSError as error:
        raise Fatal(
            f"Suite {path} cannot be read: {error.strerror}. Put the file there, or correct its "
            "`path` under validation.suites."
        ) from error


def refuse(path: str, number: int, kind: str, why: str) -> NoReturn:
    """Raise Fatal: the expectation of a suite, counted from 0, cannot be run, and what to do."""
    named = f" ({kind})" if kind else ""
    raise Fatal(
        f"Suite {path}: expectation {number + 1}{named} {why}. Change it or take it out; "
        'docs/publishing.md, "A team\'s own suites", lists what is run.'
    )


def _expected(setting: Setting, text: bytes) -> Iterator[Expected]:
    try:
        content = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Fatal(f"Suite {setting.path} is no JSON: {error}.") from error
    found = content.get("expectations") if isinstance(content, dict) else None
    if not isinstance(found, list) or not found:
        raise Fatal(
            f"Suite {setting.path} has no expectations: write what "
            "`ExpectationSuite.to_json_dict()` of Great Expectations gives."
        )
    for number, each in enumerate(found):
        kind = each.get("type") if isinstance(each, dict) else None
        try:
            yield _one(setting, each, kind)
        except _Unfit as error:
            refuse(setting.path, number, kind if isinstance(kind, str) else "", str(error))


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _one(setting: Setting, found: Any, kind: Any) -> Expected:
    if isinstance(found, dict) and "expectation_type" in found:
        raise _Unfit("is of Great Expectations before 1.0: save the suite by a later one")
    given = found.get("kwargs", {}) if isinstance(found, dict) else None
    if not isinstance(kind, str) or not isinstance(given, dict):
        raise _Unfit("has no `type`, or `kwargs` that are none")
    if kind not in BY_ROW | WHOLE:
        raise _Unfit(_REFUSED.get(kind, "is none of those that are run"))
    if kind in WHOLE and setting.table == _IN_PARTS:
        raise _Unfit(f"looks at all rows at once, and {_IN_PARTS} are looked at one by one")
    if any(isinstance(value, dict) and "$PARAMETER" in value for value in given.values()):
        raise _Unfit("takes a $PARAMETER, which nobody gives: write the value")
    severity = found.get("severity")
    if not isinstance(severity, str | None) or severity not in _SEVERITIES:
        raise _Unfit("has a severity that is none of critical, warning, info")
    schema = SCHEMAS[setting.table]
    given = {name: value for name, value in given.items() if name not in _RUN_TIME}
    named = [given[name] for name in _COLUMNS if name in given] + _listed(given)
    columns = [*named, *_in_condition(given.get("row_condition"), schema)]
    for column in columns:
        _check_column(column, setting.table, schema)
    if "column" in given and types.is_timestamp(schema.field(given["column"]).type):
        given |= {name: _times(given[name]) for name in _VALUES if name in given}
    expected = Expected(
        _name(setting.name, named, kind),
        setting.severity or _SEVERITIES[severity],
        _limit(given),
        "".join(part.capitalize() for part in kind.split("_")),
        {**given, **{name: found[name] for name in ("description", "notes") if found.get(name)}},
        suite=setting.name,
        columns=tuple(dict.fromkeys(columns)),
        whole=kind in WHOLE,
    )
    try:
        expected.made()
    except Exception as error:  # Of a pydantic of its own, and others of its own.
        raise _Unfit(f"cannot be made: {' '.join(str(error).split())}") from error
    return expected


def _listed(given: Mapping[str, Any]) -> list[Any]:
    listed = given.get("column_list", [])
    if not isinstance(listed, list):
        raise _Unfit("has a column_list that is none")
    return listed


def _name(suite: str, columns: Sequence[str], kind: str) -> str:
    """What a check is called: the suite, the columns, what is expected of them."""
    words = kind.removeprefix("expect_").removeprefix("column_").replace("_", " ")
    return cut(f"{suite}: {' '.join([' and '.join(columns), words]).strip()}", 200)


def _told_apart(expected: Iterator[Expected]) -> Iterator[Expected]:
    """Each with a name of its own."""
    seen: Counter[str] = Counter()
    for each in expected:
        seen[each.name] += 1
        n = seen[each.name]
        yield each if n == 1 else replace(each, name=f"{each.name} ({n})")


def _limit(given: Mapping[str, Any]) -> str:
    """What is expected, in words."""
    aside = (*_COLUMNS, "column_list")
    told = ", ".join(f"{name} {value}" for name, value in given.items() if name not in aside)
    return cut(told, 200) or "every row"


def _check_column(column: Any, table: str, schema: pa.Schema) -> None:
    plain = [each.name for each in schema if not types.is_nested(each.type)]
    if not isinstance(column, str) or column not in schema.names:
        raise _Unfit(
            f"names the column {column!r:.100}, which {table} has not; it has {', '.join(plain)}"
        )
    if column not in plain:
        raise _Unfit(f"names the column {column}, whose values are lists")


def _in_condition(condition: Any, schema: pa.Schema) -> list[Any]:
    """Columns that a condition names.

    A text would be run: pandas reads it as Python, with attributes and calls.
    """
    if condition is None:
        return []
    if not isinstance(condition, dict):
        raise _Unfit(
            "has a row_condition that is a text, which pandas would run: write it with `Column` of "
            "great_expectations.expectations.row_conditions"
        )
    kind, column, inner = (condition.get(name) for name in ("type", "column", "conditions"))
    if kind in ("and", "or") and isinstance(inner, list):
        return [name for each in inner for name in _in_condition(each, schema)]
    if kind not in ("comparison", "nullity") or not isinstance(column, dict):
        raise _Unfit("has a row_condition that compares no column")
    name, value = column.get("name"), condition.get("parameter")
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, str | int | float | bool | None):
            raise _Unfit("has a row_condition that compares with what is no text and no number")
    is_time = name in schema.names and types.is_timestamp(schema.field(name).type)
    if kind == "comparison" and is_time:
        raise _Unfit("has a row_condition that compares a time, which pandas cannot")
    return [name]


def _times(value: Any) -> Any:
    """Times, which JSON holds as text; without a zone they are UTC."""
    if isinstance(value, list):
        return [_times(each) for each in value]
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _Unfit(f"compares a time with {value!r:.100}, which is none") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _made_up(kind: pa.DataType) -> pa.Array:
    if types.is_timestamp(kind):
        start = datetime(2026, 1, 1, tzinfo=UTC)
        return pa.array([start + timedelta(hours=n) for n in range(3)], kind)
    if types.is_boolean(kind):
        return pa.array([True, False, True])
    if types.is_integer(kind) or types.is_floating(kind):
        return pa.array([1, 2, 4], kind)
    return pa.array(["1", "2", "four"])
