"""Where a batch stands: what waits, what is stuck, why, and what mends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.batch import STAGES
from winnow.operate.facts import facts_of
from winnow.operate.standing import PATIENCE, QUIET, Facts, Run, standing_of
from winnow.records import QUARANTINE
from winnow.stages import label, publish
from winnow.stages.tasks import DAG_OF
from winnow.stages.turn import Turn
from winnow.validate.gate import Judgement
from winnow.validate.verdict import Check, Verdict

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def state(n_done: int, hours_ago: float = 0.0, **more: Any) -> Facts:
    return Facts(
        "nightly", "d", dict.fromkeys(STAGES[:n_done], NOW - timedelta(hours=hours_ago)), **more
    )


def run(stage: str, state: str) -> Run:
    return Run("nightly", stage, "d", "r1", state, NOW - timedelta(minutes=2))


WAITS = Turn(NOW + timedelta(hours=5), {"c": NOW + timedelta(hours=5)})


@pytest.mark.parametrize(
    "runs",
    [
        None,
        [],
        [run("select", "running")],
        [replace(run("select", "running"), began=NOW - timedelta(days=9))],
        [run("select", "success")],
    ],
)
def test_who_waits_for_the_labels_of_earlier_batches_is_not_stuck(
    runs: list[Run] | None,
) -> None:
    found = standing_of(state(2, 300, turn=WAITS), NOW, runs)
    assert (found.level, found.kind, found.command) == ("waits", "turn", "")
    assert "the labels of c before it chooses, until 2026-11-23 17:00 UTC" in found.cause
    assert found.since == NOW - timedelta(hours=300)


def test_what_went_wrong_while_a_batch_waits_is_said_all_the_same() -> None:
    facts = state(2, 300, turn=WAITS)
    assert standing_of(facts, NOW, [run("select", "failed")]).kind == "failed_run"
    assert standing_of(facts, NOW, [], paused={"select"}).kind == "paused"


@pytest.mark.parametrize(
    ("hours", "runs", "kind"),
    [
        (0.1, [], "goes_on"),
        (0.1, None, "goes_on"),
        (23, [replace(run("select", "running"), began=NOW - timedelta(days=9))], "goes_on"),
        (25, [replace(run("select", "running"), began=NOW - timedelta(days=9))], "hangs"),
        (2, [], "lost_event"),
        (2, None, "lost_event"),
    ],
)
def test_a_batch_is_late_from_its_turn_on(hours: float, runs: list[Run] | None, kind: str) -> None:
    come = Turn(NOW - timedelta(hours=hours), {"c": NOW - timedelta(hours=hours)})
    assert standing_of(state(2, 300, turn=come), NOW, runs).kind == kind


@given(st.floats(0, 1000))
def test_a_published_batch_has_no_trouble(hours: float) -> None:
    assert not standing_of(state(5, hours), NOW).is_trouble


@pytest.mark.parametrize("n_done", [1, 2, 4])
def test_a_stage_that_is_long_due_is_stuck_and_named(n_done: int) -> None:
    patience = PATIENCE / timedelta(hours=1)
    assert not standing_of(state(n_done, patience), NOW).is_trouble
    found = standing_of(state(n_done, patience + 1), NOW)
    assert (found.level, found.stage) == ("stuck", STAGES[n_done])
    # Of a stage that has left nothing there may be no run; of the one before there is.
    before, begun = STAGES[n_done - 1], replace(state(n_done, 20), touched=NOW - QUIET * 2)
    assert found.mend == f"airflow dags clear nightly.{DAG_OF[before]} --partition-key d -y"
    again = f"airflow dags clear nightly.{DAG_OF[STAGES[n_done]]} --partition-key d -y"
    assert standing_of(begun, NOW).mend == again


def test_a_run_that_goes_on_is_no_trouble_and_one_that_failed_is() -> None:
    late = state(1, 1000)
    assert not standing_of(late, NOW, [run("expand", "running")]).is_trouble
    found = standing_of(state(1), NOW, [run("expand", "failed"), run("label", "running")])
    assert found.level == "failed"
    assert "--only-failed" in found.mend


def test_a_stage_that_left_nothing_ends_the_batch() -> None:
    found = standing_of(state(1, 1000, ended=True), NOW)
    assert (found.level, found.mend) == ("ended", "winnow quarantine --batch d --campaign nightly")


@pytest.mark.parametrize(("late", "level"), [(timedelta(0), "waits"), (QUIET, "waits")])
def test_a_vendor_in_time_is_waited_for(late: timedelta, level: str) -> None:
    found = standing_of(state(3, 1000, deadline=NOW - late), NOW)
    assert (found.level, found.mend) == (level, "")


def test_answers_that_nobody_collects_are_stuck() -> None:
    gone = NOW - QUIET - timedelta(seconds=1)
    found = standing_of(state(3, 1000, deadline=gone), NOW)
    assert (found.level, found.heading) == ("stuck", "Labels are late")


def test_a_dear_purchase_waits_for_a_person_until_it_is_approved(night: Callable[..., Any]) -> None:
    small = night(approve_above_usd=0.0)
    batch = small.batch()
    small.choose(batch)
    before = facts_of(small.lake, small.campaign, batch.key)
    assert (before.stage, before.approval_usd) == ("label", None)
    most = label.plan(batch)["most_usd"]
    asked = facts_of(small.lake, small.campaign, batch.key)
    assert asked.approval_usd == most > 0.0
    found = standing_of(asked, small.time)
    assert found.level == "waits" and f"${most:.2f}" in found.cause
    label.approve(batch, "Ada")
    assert facts_of(small.lake, small.campaign, batch.key).approval_usd is None
    label.submit(batch, small.simulator.connect())
    bought = facts_of(small.lake, small.campaign, batch.key)
    assert bought.deadline == small.time + timedelta(minutes=batch.campaign.label.deadline_minutes)


def test_a_blocked_batch_says_which_check(
    night: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = night()
    small.run()
    whole = facts_of(small.lake, small.campaign, "2026-11-22")
    assert whole.stage is None and not standing_of(whole, small.time).is_trouble
    (small.lake.root / "batches/small/2026-11-22/publish/manifest.json").unlink()
    assert facts_of(small.lake, small.campaign, "2026-11-22").checks == ()
    failed = Check("agreement_high", "block", "fail", 0.41, ">= 0.45")
    judged = Judgement(Verdict("block", [failed]), QUARANTINE.empty_table())
    monkeypatch.setattr(publish, "judge", lambda *_: judged)
    publish.check(small.batch())
    found = standing_of(facts_of(small.lake, small.campaign, "2026-11-22"), small.time)
    assert (found.level, found.heading) == ("stuck", "The gate blocked the batch")
    assert "agreement_high = 0.41 (limit >= 0.45)" in found.cause
    assert found.mend == "airflow dags clear small.publish_dataset --partition-key 2026-11-22 -y"
