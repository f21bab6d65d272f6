"""A team's own suites: what is run, what is refused with its reason, what a batch hears of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.campaign import Validate
from winnow.campaign.sections import Suite as Setting
from winnow.errors import Fatal
from winnow.validate import gate
from winnow.validate.aside import find_aside
from winnow.validate.gate import judge, rehearse
from winnow.validate.measure import Measured
from winnow.validate.rows import MOST_ROWS
from winnow.validate.team_suites import BY_ROW, MOST_BYTES, WHOLE, Suite, read_suite
from winnow.validate.verdict import Verdict

from .world import make_world

LIMITS = Validate()
WORLD = make_world(7)
CLEAN = WORLD.measure()
ANNOTATIONS = CLEAN.tables["annotations"]
N = ANNOTATIONS.num_rows
HOSTILE = (
    "</td><script>alert(1)</script><img src=x onerror=alert(2)>&lt;b&gt; $column ${x} *a* \u202e"
)

BETWEEN = {"min_value": 0, "max_value": 1000}
RUN: dict[str, dict[str, Any]] = {
    "expect_column_distinct_values_to_be_in_set": {"column": "choice", "value_set": ["a", "b"]},
    "expect_column_distinct_values_to_contain_set": {"column": "choice", "value_set": ["z"]},
    "expect_column_distinct_values_to_equal_set": {"column": "choice", "value_set": ["a", "z"]},
    "expect_column_max_to_be_between": {"column": "active_seconds", **BETWEEN},
    "expect_column_mean_to_be_between": {"column": "active_seconds", **BETWEEN},
    "expect_column_median_to_be_between": {"column": "active_seconds", **BETWEEN},
    "expect_column_min_to_be_between": {"column": "active_seconds", **BETWEEN},
    "expect_column_most_common_value_to_be_in_set": {"column": "choice", "value_set": ["tie"]},
    "expect_column_pair_values_a_to_be_greater_than_b": {
        "column_A": "finished_at",
        "column_B": "started_at",
    },
    "expect_column_pair_values_to_be_equal": {"column_A": "choice", "column_B": "preferred"},
    "expect_column_pair_values_to_be_in_set": {
        "column_A": "kind",
        "column_B": "status",
        "value_pairs_set": [["gold", "submitted"]],
    },
    "expect_column_proportion_of_non_null_values_to_be_between": {
        "column": "rationale",
        "max_value": 0.5,
    },
    "expect_column_proportion_of_unique_values_to_be_between": {
        "column": "annotator",
        "max_value": 0.5,
    },
    "expect_column_quantile_values_to_be_between": {
        "column": "active_seconds",
        "quantile_ranges": {"quantiles": [0.1, 0.9], "value_ranges": [[0, 60], [None, 900]]},
    },
    "expect_column_stdev_to_be_between": {"column": "active_seconds", **BETWEEN},
    "expect_column_sum_to_be_between": {"column": "price", "max_value": 10},
    "expect_column_unique_value_count_to_be_between": {"column": "annotator", **BETWEEN},
    "expect_column_value_lengths_to_be_between": {"column": "annotator", **BETWEEN},
    "expect_column_value_lengths_to_equal": {"column": "annotation_id", "value": 5},
    "expect_column_value_z_scores_to_be_less_than": {
        "column": "active_seconds",
        "threshold": 3,
        "double_sided": True,
    },
    "expect_column_values_to_be_between": {
        "column": "started_at",
        "min_value": "2026-11-22",
        "max_value": "2026-11-22T09:00:00+00:00",
    },
    "expect_column_values_to_be_dateutil_parseable": {"column": "choice"},
    "expect_column_values_to_be_in_set": {"column": "swapped", "value_set": [True]},
    "expect_column_values_to_be_json_parseable": {"column": "choice"},
    "expect_column_values_to_be_null": {"column": "rationale"},
    "expect_column_values_to_be_unique": {"column": "task_id"},
    "expect_column_values_to_match_regex": {"column": "annotator", "regex": "^hash-[0-9]$"},
    "expect_column_values_to_match_regex_list": {"column": "kind", "regex_list": ["g", "r"]},
    "expect_column_values_to_match_strftime_format": {
        "column": "choice",
        "strftime_format": "%Y",
    },
    "expect_column_values_to_not_be_in_set": {"column": "revision", "value_set": [1]},
    "expect_column_values_to_not_be_null": {"column": "active_seconds"},
    "expect_column_values_to_not_be_outliers": {
        "column": "active_seconds",
        "method": "iqr",
        "multiplier": 1.5,
    },
    "expect_column_values_to_not_match_regex": {"column": "choice", "regex": "^tie$"},
    "expect_column_values_to_not_match_regex_list": {"column": "kind", "regex_list": ["x"]},
    "expect_compound_columns_to_be_unique": {"column_list": ["annotation_id", "revision"]},
    "expect_multicolumn_sum_to_equal": {"column_list": ["revision", "price"], "sum_total": 7},
    "expect_multicolumn_values_to_be_equal": {"column_list": ["choice", "preferred"]},
    "expect_select_column_values_to_be_unique_within_record": {
        "column_list": ["task_id", "pair_id"]
    },
    "expect_table_row_count_to_be_between": {"min_value": 1},
    "expect_table_row_count_to_equal": {"value": 3},
}
"""Each kind that is run, with what it may be given."""


def expectation(kind: str, severity: str | None = "critical", /, **given: Any) -> dict[str, Any]:
    return {"type": kind, "kwargs": given, "severity": severity, "meta": {}}


def text_of(*expectations: Any) -> bytes:
    return json.dumps({"name": "theirs", "expectations": list(expectations)}).encode()


def setting(table: str = "annotations", severity: Any = None, name: str = "rules") -> Setting:
    return Setting(path=f"/teams/{name}.json", table=table, severity=severity)  # type: ignore[arg-type]


def suite(*expectations: Any, **of: Any) -> Suite:
    return Suite.of(setting(**of), text_of(*expectations))


def judged(*suites: Suite, measured: Measured = CLEAN, limits: Validate = LIMITS) -> Any:
    return judge(replace(measured, suites=suites), limits)


def of_team(verdict: Verdict) -> dict[str, Any]:
    return {check.name: check for check in verdict.checks if check.suite}


SHORT = expectation("expect_column_values_to_be_between", column="active_seconds", max_value=10)


def test_every_kind_that_is_run_is_known_rehearsed_and_told_in_data_docs() -> None:
    assert set(RUN) == BY_ROW | WHOLE
    every = suite(*(expectation(kind, **given) for kind, given in RUN.items()))
    rehearse(every)
    found = judged(every)
    outcomes = {name: check.outcome for name, check in of_team(found.verdict).items()}
    assert len(outcomes) == len(RUN)
    assert set(outcomes.values()) == {"pass", "fail"}
    assert (
        outcomes["rules: finished_at and started_at pair values a to be greater than b"] == "pass"
    )
    assert found.docs is not None and "rules, on annotations" in found.docs


def test_what_great_expectations_writes_is_read(tmp_path: Path) -> None:
    import great_expectations as gx
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    written = gx.ExpectationSuite(
        "theirs",
        expectations=[
            gxe.ExpectColumnValuesToBeInSet(
                column="choice",
                value_set=["a"],
                row_condition=(Column("kind") == "gold") & Column("rationale").is_null(),
                severity="warning",
            ),
            gxe.ExpectColumnMeanToBeBetween(column="active_seconds", max_value=1),
        ],
    )
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(written.to_json_dict()))
    own = Setting(path=str(file), table="annotations")
    read = Suite.of(own, read_suite(own))
    rehearse(read)
    in_set, mean = of_team(judged(read).verdict).values()
    rows = ANNOTATIONS.to_pylist()
    wrong = sum(row["kind"] == "gold" and row["choice"] != "a" for row in rows)
    assert (in_set.value, in_set.outcome, in_set.severity) == (wrong, "fail", "warn")
    seconds = [row["active_seconds"] for row in rows]
    assert mean.value == pytest.approx(sum(seconds) / len(seconds))
    assert (mean.outcome, mean.severity) == ("fail", "block")


@pytest.mark.parametrize(
    ("said", "of_entry", "severity", "verdict"),
    [
        ("critical", None, "block", "block"),
        ("warning", None, "warn", "warn"),
        ("info", None, "warn", "warn"),
        (None, None, "warn", "warn"),
        ("critical", "warn", "warn", "warn"),
        ("info", "block", "block", "block"),
    ],
)
def test_what_fails_warns_or_blocks(said: Any, of_entry: Any, severity: str, verdict: str) -> None:
    short = {**SHORT, "severity": said}
    found = judged(suite(short, severity=of_entry)).verdict
    (check,) = of_team(found).values()
    assert (check.severity, found.verdict) == (severity, verdict)
    assert (check.name, check.suite) == ("rules: active_seconds values to be between", "rules")
    assert f"{severity}: {check.name} = {check.value} (limit max_value 10)" in found.reasons()


def test_rows_behind_it_are_named_and_may_be_set_aside() -> None:
    found = judged(suite(SHORT))
    late = [row for row in ANNOTATIONS.to_pylist() if row["active_seconds"] > 10]
    (check,) = of_team(found.verdict).values()
    named = [row for row in found.verdict.bad_rows if row.check == check.name]
    assert [row.row_id for row in named] == [row["annotation_id"] for row in late]
    aside, _ = find_aside(CLEAN.tables, found.verdict, found.broken)
    assert aside.pairs >= {row["pair_id"] for row in late}
    assert dict(aside.checks) == {check.name: len(late)}


def test_what_no_row_breaks_says_what_was_found_and_sets_no_row_aside() -> None:
    mean = expectation("expect_column_mean_to_be_between", column="active_seconds", max_value=1)
    known = expectation(
        "expect_column_distinct_values_to_be_in_set", column="choice", value_set=["a", "b"]
    )
    found = judged(suite(mean, known))
    told = {row.check: row.detail for row in found.verdict.bad_rows}
    assert re.fullmatch(r"found [0-9.]+", told["rules: active_seconds mean to be between"])
    assert told["rules: choice distinct values to be in set"] == "not expected ['tie']"
    aside, _ = find_aside(CLEAN.tables, found.verdict, found.broken)
    assert not aside


def test_one_of_the_same_kind_has_a_name_of_its_own() -> None:
    found = judged(suite(SHORT, {**SHORT, "kwargs": {**SHORT["kwargs"], "max_value": 1}})).verdict
    assert [*of_team(found)] == [
        "rules: active_seconds values to be between",
        "rules: active_seconds values to be between (2)",
    ]


def test_a_table_in_several_frames_is_told_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = sorted(row["active_seconds"] for row in ANNOTATIONS.to_pylist())
    suites = [
        suite(
            expectation(
                "expect_column_values_to_be_between",
                column="active_seconds",
                max_value=seconds[int(0.8 * N)],
                mostly=mostly,
            ),
            expectation("expect_column_values_to_be_unique", column="task_id"),
            expectation("expect_column_mean_to_be_between", column="active_seconds", max_value=0),
            expectation("expect_table_row_count_to_equal", value=N),
            name=f"mostly-{mostly}",
        )
        for mostly in (0.5, 0.79, 0.82)
    ]
    at_once = judged(*suites)
    monkeypatch.setattr(gate, "FRAME", N // 7)
    in_frames = judged(*suites)
    assert in_frames.verdict == at_once.verdict
    values = [
        c for c in at_once.verdict.checks if c.suite and c.name.endswith("values to be between")
    ]
    assert [check.outcome for check in values] == ["pass", "pass", "fail"]
    n_bad = sum(value > seconds[int(0.8 * N)] for value in seconds)
    assert f"{n_bad} unexpected values found." in in_frames.docs
    assert f"of {N} total rows" in in_frames.docs


def test_a_column_that_an_older_table_lacks_is_null() -> None:
    older = {**CLEAN.tables, "annotations": ANNOTATIONS.drop_columns(["model", "log_odds"])}
    filled, between = of_team(
        judged(
            suite(
                expectation("expect_column_values_to_not_be_null", column="model"),
                expectation("expect_column_max_to_be_between", column="log_odds", max_value=1),
            ),
            measured=replace(CLEAN, tables=older),
        ).verdict
    ).values()
    assert (filled.outcome, filled.value) == ("fail", N)
    assert between.outcome != "error"


def test_of_what_warns_not_more_rows_are_named_than_a_verdict_names() -> None:
    many = make_world(7)
    many["annotations"].extend(many["annotations"] * (MOST_ROWS // N + 1))
    measured = many.measure()
    broken = judged(suite({**SHORT, "severity": "info"}), measured=measured).broken
    reasons = broken["reason"].to_pylist()
    assert reasons.count("rules: active_seconds values to be between") == MOST_ROWS


COLUMN = {"name": "choice"}
COMPARED = {"type": "comparison", "column": COLUMN, "operator": "==", "parameter": "a"}


@pytest.mark.parametrize(
    ("table", "found", "why"),
    [
        ("annotations", {"type": "expect_column_values_to_be_odd", "kwargs": {}}, "none of those"),
        (
            "annotations",
            {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": "SELECT"}},
            "runs SQL",
        ),
        (
            "annotations",
            {"type": "expect_query_results_to_match_comparison", "kwargs": {}},
            "runs SQL",
        ),
        (
            "annotations",
            {
                "type": "expect_column_values_to_match_json_schema",
                "kwargs": {"column": "choice", "json_schema": {"$ref": "http://x.test/"}},
            },
            "may load schemas",
        ),
        (
            "annotations",
            {"expectation_type": "expect_column_values_to_be_unique", "kwargs": {"column": "kind"}},
            "before 1.0",
        ),
        ("annotations", 3, "no `type`"),
        ("annotations", {"type": "expect_column_values_to_be_unique", "kwargs": []}, "no `type`"),
        ("annotations", expectation("expect_column_values_to_be_unique"), "cannot be made"),
        (
            "annotations",
            expectation("expect_column_values_to_be_unique", column="task"),
            "names the column 'task', which annotations has not; it has annotation_id, revision",
        ),
        ("annotations", expectation("expect_column_values_to_be_unique", column=7), "column 7"),
        (
            "annotations",
            expectation("expect_column_values_to_be_unique", column="ratings"),
            "whose values are lists",
        ),
        (
            "annotations",
            expectation("expect_compound_columns_to_be_unique", column_list="kind"),
            "column_list that is none",
        ),
        (
            "responses",
            expectation("expect_column_values_to_be_unique", column="response_id"),
            "all rows at once",
        ),
        (
            "annotations",
            expectation("expect_column_values_to_be_unique", "urgent", column="kind"),
            "severity",
        ),
        (
            "annotations",
            expectation("expect_column_values_to_be_unique", column="kind", colour="red"),
            "cannot be made",
        ),
        (
            "annotations",
            expectation("expect_column_values_to_be_unique", column="kind", severity="critical"),
            "cannot be made",
        ),
        (
            "annotations",
            expectation(
                "expect_column_max_to_be_between", column="price", max_value={"$PARAMETER": "x"}
            ),
            r"takes a \$PARAMETER",
        ),
        (
            "annotations",
            expectation(
                "expect_column_values_to_be_between", column="started_at", min_value="Monday"
            ),
            "compares a time with 'Monday'",
        ),
        *(
            (
                "annotations",
                expectation(
                    "expect_column_values_to_be_null", column="kind", row_condition=condition
                ),
                why,
            )
            for condition, why in [
                ("@__import__('os').system('true')", "a text, which pandas would run"),
                ({"type": "pass_through", "pass_through_filter": "x"}, "compares no column"),
                ({**COMPARED, "column": {"name": "choice.__class__"}}, "names the column"),
                ({**COMPARED, "parameter": {"a": 1}}, "no text and no number"),
                ({**COMPARED, "operator": "; import os"}, "cannot be made"),
                ({**COMPARED, "column": {"name": "started_at"}}, "compares a time"),
                ({"type": "and", "conditions": [COMPARED, "choice == 'a'"]}, "a text, which"),
            ]
        ),
    ],
)
def test_what_is_not_run_is_refused_by_name(table: str, found: Any, why: str) -> None:
    with pytest.raises(Fatal, match=why) as stop:
        suite(SHORT if table == "annotations" else RESPONSE, found, table=table)
    told = str(stop.value)
    assert "/teams/rules.json" in told and "expectation 2" in told
    if isinstance(found, dict) and "type" in found:
        assert found["type"] in told
    assert "docs/publishing.md" in told


RESPONSE = expectation("expect_column_values_to_not_be_null", column="message")


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (expectation("expect_column_values_to_match_regex", column="kind", regex="("), "errs: "),
        (expectation("expect_column_values_to_be_between", column="kind", min_value=1), "errs: "),
        (expectation("expect_column_mean_to_be_between", column="kind", min_value=1), "errs: "),
        (
            expectation(
                "expect_column_values_to_be_null",
                column="kind",
                row_condition={**COMPARED, "operator": ">", "parameter": 3},
            ),
            "errs: ",
        ),
    ],
)
def test_what_would_err_is_known_before_the_night(found: Any, why: str) -> None:
    with pytest.raises(Fatal, match=f"expectation 2 .*{why}"):
        rehearse(suite(SHORT, found))


def test_a_condition_that_looks_like_code_is_a_text() -> None:
    odd = "a' or @x or `y` or \" __import__('os')"
    condition = {**COMPARED, "parameter": odd}
    rules = suite(
        expectation(
            "expect_column_values_to_not_be_null", column="rationale", row_condition=condition
        )
    )
    rehearse(rules)
    (check,) = of_team(judged(rules).verdict).values()
    assert (check.outcome, check.value) == ("pass", 0)


def test_what_errs_on_the_batch_blocks_and_says_why() -> None:
    given = {"column": "choice", "max_value": 3}
    odd = replace(suite(SHORT).expected[0], given=given, columns=("choice",))
    broken = replace(suite(SHORT), expected=[odd])
    found = judged(broken)
    (check,) = of_team(found.verdict).values()
    assert (check.outcome, found.verdict.verdict) == ("error", "block")
    [row] = [row for row in found.verdict.bad_rows if row.check == check.name]
    assert "must either be None or of the same type" in row.detail
    assert found.docs is not None and "site-packages" not in found.docs
    assert judged(broken).docs == found.docs


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"expectations": [{"type": "a", "kwargs": {"x": NaN}}]}', "NaN is no number"),
        (b"[]", "has no expectations"),
        (b'{"expectations": []}', "has no expectations"),
    ],
)
def test_what_is_no_suite_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(Fatal, match=f"/teams/rules.json.*{why}"):
        Suite.of(setting(), text)


def test_a_file_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=r"cannot be read: No such file.*validation\.suites"):
        read_suite(Setting(path=str(tmp_path / "none.json"), table="tasks"))
    (tmp_path / "large.json").write_bytes(b" " * (MOST_BYTES + 1))
    with pytest.raises(Fatal, match="larger than 256 KiB"):
        read_suite(Setting(path=str(tmp_path / "large.json"), table="tasks"))


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
)
COLUMNS = st.sampled_from(["choice", "active_seconds", "started_at", "ratings", "no"]) | SCALARS
VALUES = st.recursive(
    SCALARS | COLUMNS,
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3)
    ),
    max_leaves=5,
)
CONDITIONS = st.recursive(
    VALUES
    | st.fixed_dictionaries(
        {"type": st.sampled_from(["comparison", "nullity"])},
        optional={
            "column": st.fixed_dictionaries({"name": COLUMNS}) | VALUES,
            "operator": st.sampled_from(["==", "IN", "x"]),
            "parameter": VALUES,
            "is_null": st.booleans(),
        },
    ),
    lambda each: st.fixed_dictionaries(
        {"type": st.sampled_from(["and", "or"]), "conditions": st.lists(each, max_size=3)}
    ),
    max_leaves=4,
)
GIVEN = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("column", "column_A", "column_B"), COLUMNS),
        "column_list": st.lists(COLUMNS, max_size=3) | VALUES,
        "row_condition": CONDITIONS,
        **dict.fromkeys(("min_value", "max_value", "value_set", "mostly", "regex"), VALUES),
    },
)
EXPECTATIONS = st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(RUN)) | VALUES, "kwargs": GIVEN | VALUES},
    optional=dict.fromkeys(("severity", "description", "notes", "meta"), VALUES),
)


@given(st.lists(EXPECTATIONS | VALUES, max_size=2) | VALUES)
@settings(max_examples=300, deadline=None)
def test_any_json_is_a_suite_or_refused(found: Any) -> None:
    try:
        read = Suite.of(setting(), json.dumps({"expectations": found}).encode())
    except Fatal:
        return
    assert all(column in ANNOTATIONS.schema.names for e in read.expected for column in e.columns)
    assert all(each.severity in ("warn", "block") for each in read.expected)


class Seen(HTMLParser):
    """A page's elements, the addresses in it, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str | None] = []
        self.texts: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_data_docs_load_nothing_and_show_rows_as_text() -> None:
    world = make_world(7)
    for row in world["annotations"]:
        row["rationale"] = HOSTILE
    rules = suite(
        expectation("expect_column_values_to_be_null", "info", column="rationale"),
        {
            **expectation(
                "expect_column_values_to_be_in_set",
                "info",
                column="rationale",
                value_set=[HOSTILE + "x"],
            ),
            "notes": HOSTILE,
            "description": f"They must say {HOSTILE}",
        },
        expectation(
            "expect_column_values_to_match_regex", "info", column="rationale", regex=r"(?<!\s)$x"
        ),
        name="a.b-c",
    )
    measured = world.measure()
    docs = judged(rules, measured=measured).docs
    assert docs is not None
    seen = Seen()
    seen.feed(docs)
    assert not seen.tags & {"script", "img", "link", "iframe", "b"}
    assert seen.handlers == [] and all(str(each).startswith("#") for each in seen.addresses)
    assert "default-src 'none'" in docs.partition("<style>")[0]
    visible = HOSTILE.replace("\u202e", "").strip()
    texts = "".join(seen.texts)
    assert texts.count(visible) >= 3 and f"They must say {visible}" in texts
    assert r"(?<!\s)$x" in texts
    assert {"annotations", "preferences", "figures", "a.b-c, on annotations"} <= {
        text.strip() for text in seen.texts
    }
    assert judged(rules, measured=world.measure()).docs == docs
    assert judged(rules, measured=measured, limits=Validate(data_docs=False)).docs is None


def test_a_renderer_that_fails_does_not_stop_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    from great_expectations.render.renderer import ValidationResultsPageRenderer

    def fails(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ValidationResultsPageRenderer, "render", fails)
    found = judged(suite(SHORT))
    assert found.verdict.verdict == "block"
    assert "could not show them (ZeroDivisionError)" in found.docs
