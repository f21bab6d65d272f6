"""Where a batch stands, from its manifests alone: what waits, what is stuck, what mends it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.batch import STAGES, Manifest
from winnow.records import QUARANTINE
from winnow.stages import label, publish
from winnow.stages.tasks import DAG_OF
from winnow.stages.trouble import COLLECTING, PATIENCE, BatchState, state_of, trouble_of
from winnow.validate.gate import Judgement
from winnow.validate.verdict import Check, Verdict

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def manifest(stage: str, hours_ago: float, rows_out: int = 3) -> Manifest:
    counts = {"rows_in": 3, "rows_out": rows_out, "quarantined": 3 - rows_out}
    at = (NOW - timedelta(hours=hours_ago)).isoformat(timespec="seconds")
    return Manifest("small", "d", stage, {}, {}, "", "0.1.0", counts, committed_at=at)


def state(n_done: int, hours_ago: float = 0.0, **more: Any) -> BatchState:
    return BatchState("small", "d", {s: manifest(s, hours_ago) for s in STAGES[:n_done]}, **more)


@given(st.floats(0, 1000))
def test_a_published_batch_has_no_trouble(hours: float) -> None:
    assert trouble_of(state(5, hours), NOW) is None


@pytest.mark.parametrize("n_done", [1, 2, 4])
def test_a_stage_that_is_long_due_is_stuck_and_named(n_done: int) -> None:
    patience = PATIENCE / timedelta(hours=1)
    assert trouble_of(state(n_done, patience), NOW) is None
    found = trouble_of(state(n_done, patience + 1), NOW)
    assert found is not None
    assert (found.level, found.stage) == ("stuck", STAGES[n_done])
    assert found.mend == f"airflow dags clear {DAG_OF[STAGES[n_done]]} --partition-key d -y"


def test_a_run_that_goes_on_is_no_trouble_and_one_that_failed_is() -> None:
    late = state(1, 1000)
    assert trouble_of(late, NOW, {"expand": "running"}) is None
    found = trouble_of(state(1), NOW, {"expand": "failed", "label": "running"})
    assert found is not None and found.level == "failed"
    assert "--only-failed" in found.mend


def test_a_stage_that_left_nothing_ends_the_batch() -> None:
    done = {"ingest": manifest("ingest", 1000, rows_out=0)}
    found = trouble_of(BatchState("small", "d", done), NOW)
    assert found is not None
    assert (found.level, found.mend) == ("ended", "winnow quarantine --batch d")


@pytest.mark.parametrize(("late", "level"), [(timedelta(0), "waits"), (COLLECTING, "waits")])
def test_a_vendor_in_time_is_waited_for(late: timedelta, level: str) -> None:
    found = trouble_of(state(3, 1000, deadline=NOW - late), NOW)
    assert found is not None
    assert (found.level, found.mend) == (level, "")


def test_answers_that_nobody_collects_are_stuck() -> None:
    gone = NOW - COLLECTING - timedelta(seconds=1)
    found = trouble_of(state(3, 1000, deadline=gone), NOW)
    assert found is not None
    assert (found.level, found.heading) == ("stuck", "Labels are late")


def test_a_dear_purchase_waits_for_a_person_until_it_is_approved(night: Callable[..., Any]) -> None:
    small = night(approve_above_usd=0.0)
    batch = small.batch()
    small.choose(batch)
    before = state_of(small.lake, small.campaign, batch.key)
    assert (before.stage, before.approval_usd) == ("label", None)
    most = label.plan(batch)["most_usd"]
    asked = state_of(small.lake, small.campaign, batch.key)
    assert asked.approval_usd == most > 0.0
    found = trouble_of(asked, small.time)
    assert found is not None and found.level == "waits" and f"${most:.2f}" in found.cause
    label.approve(batch, "Ada")
    assert state_of(small.lake, small.campaign, batch.key).approval_usd is None
    label.submit(batch, small.simulator.connect())
    bought = state_of(small.lake, small.campaign, batch.key)
    assert bought.deadline == small.time + timedelta(minutes=batch.campaign.label.deadline_minutes)


def test_a_blocked_batch_says_which_check(
    night: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = night()
    small.run()
    whole = state_of(small.lake, small.campaign, "2026-11-22")
    assert whole.stage is None and trouble_of(whole, small.time) is None
    (small.lake.root / "batches/small/2026-11-22/publish/manifest.json").unlink()
    assert state_of(small.lake, small.campaign, "2026-11-22").blocked == ()
    failed = Check("agreement_high", "block", "fail", 0.41, ">= 0.45")
    judged = Judgement(Verdict("block", [failed]), QUARANTINE.empty_table())
    monkeypatch.setattr(publish, "judge", lambda *_: judged)
    publish.check(small.batch())
    found = trouble_of(state_of(small.lake, small.campaign, "2026-11-22"), small.time)
    assert found is not None
    assert (found.level, found.heading) == ("stuck", "The gate blocked the batch")
    assert "agreement_high = 0.41 (limit >= 0.45)" in found.cause
    assert found.mend == "airflow dags clear publish_dataset --partition-key 2026-11-22 -y"
