"""Rows that break a rule are set aside with their pairs, and what is left breaks none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from winnow.validate.aside import Aside, find_aside, noted, without
from winnow.validate.gate import judge
from winnow.validate.limits import setting_of
from winnow.validate.rows import row_checks
from winnow.validate.tables import n_rows_of
from winnow.validate.verdict import Check, Verdict

from .faults import FAULTS, Fault
from .world import World, make_world

OF_TABLES = ("columns", "rows_lost", "annotations: rows", "preferences: rows")
"""Checks of whole tables: no row can be set aside for them."""

ROW_FAULTS = [
    each
    for each in FAULTS
    if each.severity == "block"
    and not setting_of(each.check, "block")
    and each.check not in OF_TABLES
    # Of which nothing would be left.
    if each.name != "rows_shifted_by_one"
]
IN_SQL = [each for each in ROW_FAULTS if each.check in {check.name for check in row_checks()}]
SMALL = [
    "a_vote_on_a_task_nobody_asked",
    "an_answer_not_unswapped",
    "a_task_of_an_unknown_pair",
    "a_response_without_text",
    "a_propensity_above_one",
    "votes_miscounted",
]
"""One fault of each table, which do not hide one another."""


def named(fault: Fault) -> str:
    return fault.name


def failed(world: World, **left: object) -> tuple[Verdict, object]:
    """The verdict of the checks in SQL alone, and the rows behind it."""
    measured = world.measure(**left)  # type: ignore[arg-type]
    checks = [
        Check(name, measured.severities[name], "fail", found.n, "no row")
        for name, found in measured.faults.items()
        if found.n
    ]
    return Verdict("block", checks), measured.broken


def check_whole(world: World, aside: Aside, along: object) -> None:
    """Every row is left, or goes for a reason that is told; pairs go whole."""
    tables = world.tables()
    with without(tables, aside) as left:
        for name, table in tables.items():
            assert n_rows_of(left[name]) + aside.n_rows[name] == table.num_rows
        assert n_rows_of(left["preferences"]) > 0
    told = Counter(row["detail"].split(":")[0] for row in along.to_pylist())  # type: ignore[attr-defined]
    assert set(told) <= {"annotations", "preferences"}
    assert aside.pairs and set(aside.checks)


def test_what_is_left_of_faults_in_every_table_breaks_no_rule() -> None:
    check_left([each for each in IN_SQL if each.name in SMALL])


@pytest.mark.kill
@pytest.mark.parametrize("fault", IN_SQL, ids=named)
def test_what_is_left_breaks_no_rule(fault: Fault) -> None:
    check_left([fault])


def check_left(faults: Sequence[Fault]) -> None:
    world = make_world(7)
    for fault in faults:
        fault.plant(world)
    verdict, broken = failed(world)
    aside, along = find_aside(world.tables(), verdict, broken)  # type: ignore[arg-type]
    assert {fault.check for fault in faults} <= aside.checks.keys()
    check_whole(world, aside, along)
    with without(world.tables(), aside) as left:
        again, _ = failed(world, left=left, gone=aside.n_rows)
    assert not [c for c in again.checks if c.severity == "block"]


def test_a_batch_without_faults_loses_nothing() -> None:
    world = make_world(7)
    verdict, broken = failed(world)
    aside, along = find_aside(world.tables(), verdict, broken)  # type: ignore[arg-type]
    assert not aside and not along.num_rows
    assert Aside.of(verdict) == Aside() == aside


def test_what_is_set_aside_is_a_warning_with_its_reasons_in_the_verdict() -> None:
    aside = Aside(frozenset("p"), n_rows={"preferences": 1}, checks={"sides_as_asked": 2})
    clean = Verdict("pass", [])
    told = noted(clean, aside, clean)
    assert told.verdict == "warn" and "rows_set_aside = 2" in told.reasons()[0]
    assert Aside.of(Verdict.from_bytes(told.to_bytes())) == aside


@pytest.mark.kill
@pytest.mark.parametrize("fault", ROW_FAULTS, ids=named)
def test_the_gate_lets_the_rest_pass(fault: Fault) -> None:
    world = make_world(7)
    fault.plant(world)
    verdict, broken = judge(world.measure(), world.limits)
    aside, along = find_aside(world.tables(), verdict, broken)
    check_whole(world, aside, along)
    with without(world.tables(), aside) as left:
        again = judge(world.measure(left=left, gone=aside.n_rows), world.limits).verdict
    blocking = {c.name for c in again.checks if (c.severity, c.outcome) == ("block", "fail")}
    # What these rows cost is left out of the charge by the stage; and some faults were planted
    # after the rows were counted.
    assert blocking <= {"cost_gap", "rows_lost"}, again.reasons()
