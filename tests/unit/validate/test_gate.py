"""The gate blocks, warns or passes by its limits; an error or an empty batch never passes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from winnow.campaign import Validate
from winnow.validate import gate
from winnow.validate.gate import judge
from winnow.validate.measure import Measured
from winnow.validate.rows import MOST_ROWS
from winnow.validate.verdict import Verdict

from ...label_rows import label_figures
from .faults import FAULTS, SPAMMER, hire
from .world import make_world

LIMITS = Validate()
CLEAN = make_world(7).measure()


def judged(measured: Measured = CLEAN, **figures: Any) -> Verdict:
    return judge(replace(measured, figures={**measured.figures, **figures}), LIMITS).verdict


def planted(name: str) -> Any:
    world = make_world(7)
    next(fault for fault in FAULTS if fault.name == name).plant(world)
    return world


def test_a_clean_batch_passes() -> None:
    verdict = judged()
    assert (verdict.verdict, verdict.reasons(), verdict.bad_rows) == ("pass", [], [])


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"agreement_high": 0.5}, "warn"),
        ({"agreement_high": 0.4}, "block"),
        ({"agreement": 0.2, "agreement_low": 0.04, "agreement_high": 0.62}, "pass"),
        ({"side_bias_low": 0.2}, "warn"),
        ({"side_bias_low": 0.4}, "block"),
        ({"side_bias": 0.4, "side_bias_low": 0.1}, "pass"),
        ({"tie_rate_low": 0.95}, "block"),
        ({"cost_gap": 0.1}, "warn"),
        ({"content_selection_shift": 0.51}, "warn"),
        ({"content_choice_shift": 0.31}, "warn"),
        ({"content_choice_shift": 0.3}, "pass"),
        ({"injected_chosen": 0.001}, "warn"),
        ({"agreement": None, "agreement_high": None, "n_agreement": 0}, "pass"),
    ],
)
def test_figures_are_held_against_their_limits(figures: dict[str, Any], expected: str) -> None:
    verdict = judged(**figures)
    assert verdict.verdict == expected
    name, value = next(iter(figures.items()))
    if expected != "pass":
        assert any(f"{name} = {value}" in reason for reason in verdict.reasons())


def test_a_limit_of_null_is_never_crossed() -> None:
    open_limits = Validate(min_agreement_warn=None, min_agreement_block=None)
    bad = replace(CLEAN, figures={**CLEAN.figures, "agreement_high": 0.0})
    assert judge(bad, open_limits).verdict.verdict == "pass"


def test_a_figure_that_was_not_measured_says_so() -> None:
    outcomes = {check.name: check.outcome for check in judged(agreement=None).checks}
    assert outcomes["agreement"] == "not_measured"


def test_an_expectation_that_errs_blocks() -> None:
    rows = CLEAN.tables["annotations"]
    n = rows.num_rows
    odd = rows.set_column(1, "revision", pa.array([{"x": 1}] * n, pa.struct([("x", pa.int64())])))
    verdict = judged(replace(CLEAN, tables={**CLEAN.tables, "annotations": odd}))
    assert verdict.verdict == "block"
    assert "error" in {check.outcome for check in verdict.checks}
    assert any("an error" in reason for reason in verdict.reasons())


def test_a_missing_column_is_named_and_the_rest_is_still_checked() -> None:
    world = planted("votes_miscounted")
    world.without = (("annotations", "status"),)
    verdict = world.judge()
    named = {(row.check, row.table, row.row_id) for row in verdict.bad_rows}
    assert ("columns", "annotations", "status") in named
    assert "votes_add_up" in {row.check for row in verdict.bad_rows}
    errors = {check.name for check in verdict.checks if check.outcome == "error"}
    assert "status is known" in errors


def test_a_batch_without_a_row_is_blocked() -> None:
    world = make_world(7)
    for rows in world.rows.values():
        rows.clear()
    world.charged, world.n_rows = 0, {}
    assert world.judge().verdict == "block"


def test_rows_behind_a_failed_check_go_to_quarantine_by_id() -> None:
    world = planted("a_choice_nobody_offered")
    (row,) = judge(world.measure(), world.limits).broken.to_pylist()
    assert (row["stage"], row["reason"]) == ("publish", "choice is known")
    assert row["record_id"] == world["annotations"][3]["annotation_id"]
    assert "ZZZ" in row["detail"]


def test_a_verdict_names_the_first_rows_of_a_check_and_the_quarantine_all() -> None:
    world = make_world(7)
    nameless = {**world["responses"][0], "response_id": None}
    world["responses"].extend([nameless] * (MOST_ROWS + 1))
    found = judge(world.measure(), world.limits)
    named = [row for row in found.verdict.bad_rows if row.check == "responses_filled"]
    [check] = [check for check in found.verdict.checks if check.name == "responses_filled"]
    assert (len(named), check.value) == (MOST_ROWS, MOST_ROWS + 1)
    assert found.broken["reason"].to_pylist().count("responses_filled") == MOST_ROWS + 1


def test_a_suspect_is_named_with_the_batch_without_them() -> None:
    world = make_world(7)
    for row in hire(world, 0.3):
        world.say(row, "a")
    world.aggregate()
    verdict = world.judge()
    suspect = next(s for s in verdict.suspects if s.check == "annotator_same_choice")
    others = [row for row in world["annotations"] if row["annotator"] != SPAMMER]
    by_hand = label_figures(others, world["tasks"])
    assert suspect.annotator == SPAMMER
    assert suspect.agreement == pytest.approx(by_hand.agreement)
    assert suspect.gold_accuracy == pytest.approx(by_hand.gold_accuracy)
    assert suspect.agreement > verdict.figures["agreement"]


def test_a_verdict_is_read_back_as_it_was_written() -> None:
    for verdict in (judged(agreement_high=0.5), planted("a_leaked_prompt").judge()):
        assert Verdict.from_bytes(verdict.to_bytes()) == verdict


def test_a_verdict_of_an_earlier_release_is_still_read() -> None:
    check = {"name": "rows", "severity": "block", "outcome": "pass", "value": 3, "limit": ">= 1"}
    old = Verdict.from_bytes(json.dumps({"verdict": "pass", "checks": [check]}).encode())
    assert (old.verdict, old.checks[0].value, dict(old.profile)) == ("pass", 3, {})


def test_a_second_judgement_that_collection_made_a_repeat_is_no_fault() -> None:
    world = planted("the_same_annotator_twice_on_a_pair")
    again = [row for row in world["annotations"] if row["annotator"] == "hash-77"][1]
    again["kind"] = "repeat"
    world.aggregate()
    assert {name for name, found in world.measure().faults.items() if found.n} == set()


def test_a_large_batch_is_judged_in_several_frames_as_it_is_in_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make_world(7)
    annotations, preferences = world["annotations"], world["preferences"]
    annotations.extend([annotations[100], annotations[3]])
    annotations[50]["status"] = annotations[7]["status"] = "unheard of"
    preferences.append(preferences[5])
    preferences[2]["p_preferred"] = preferences[40]["p_preferred"] = 1.0
    preferences[9]["pair_id"] = preferences[30]["pair_id"] = None
    measured = world.measure()
    at_once = judge(measured, LIMITS).verdict
    monkeypatch.setattr(gate, "FRAME", len(preferences) // 3)
    assert judge(measured, LIMITS).verdict == at_once
    failed = {check.name for check in at_once.checks if check.outcome == "fail"}
    assert {"annotation is unique", "preference is unique", "p_preferred"} <= failed
