"""A dear purchase waits for a person; a no buys nothing, and says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.standard.operators.hitl import ApprovalOperator

from winnow.campaign import Label
from winnow.errors import Blocked
from winnow.stages import label
from winnow_airflow import approval

PLAN: dict[str, Any] = {
    "tasks": 1200,
    "pairs": 1000,
    "estimate_usd": 120.0,
    "most_usd": 150.0,
    "budget_usd": 200.0,
    "vendor": "scale",
    "pii": {"email": 3, "phone": 0},
    "submitted": False,
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The questions that reached a person."""
    questions: list[Any] = []
    monkeypatch.setattr(
        ApprovalOperator, "execute", lambda self, _: questions.append((self.subject, self.body))
    )
    return questions


@pytest.fixture
def approve(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the approval of a plan under a campaign's limit."""

    def run(limit: float | None, **changes: Any) -> None:
        settings = Label(budget_usd=200.0, vendor="scale", approve_above_usd=limit)
        campaign = SimpleNamespace(name="nightly", label=settings)
        batch = SimpleNamespace(campaign=campaign, key="2026-11-22")
        monkeypatch.setattr(approval, "batch_of", lambda _: batch)
        operator = approval.ApprovePurchase(task_id="approve", plan={**PLAN, **changes})
        operator.execute({"dag_run": None})

    return run


@pytest.mark.parametrize(("limit", "asks"), [(None, 0), (150.0, 0), (149.99, 1), (130.0, 1)])
def test_it_asks_above_the_limit_follow_ups_included(approve, asked, limit, asks: int) -> None:
    approve(limit)
    assert len(asked) == asks


def test_a_limit_of_nothing_asks_always(approve, asked) -> None:
    approve(0.0)
    assert len(asked) == 1


def test_what_the_vendor_has_already_is_not_asked_about(approve, asked) -> None:
    approve(0.0, submitted=True)
    assert asked == []


def test_the_question_shows_what_would_be_bought(approve, asked) -> None:
    approve(100.0)
    subject, body = asked[0]
    assert "2026-11-22" in subject and "$150.00" in subject
    for shown in ("1,200", "1,000 pairs", "$120.00", "$150.00", "$200.00", "scale", "3 email"):
        assert shown in body
    assert "phone" not in body


@pytest.fixture
def approved(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Who approved, as the lake is told."""
    told: list[Any] = []
    monkeypatch.setattr(approval, "batch_of", lambda _: "the batch")
    monkeypatch.setattr(label, "approve", lambda *given: told.append(given))
    return told


def answer(chosen: str) -> Any:
    operator = approval.ApprovePurchase(task_id="approve", plan=PLAN)
    event = {
        "chosen_options": [chosen],
        "params_input": {},
        "responded_at": SimpleNamespace(isoformat=lambda: "2026-11-22"),
        "responded_by_user": {"id": "1", "name": "Ada"},
    }
    return operator.execute_complete({"dag_run": None}, event)


def test_a_yes_is_noted_and_lets_the_run_go_on(approved) -> None:
    assert answer("Approve")["chosen_options"] == ["Approve"]
    assert approved == [("the batch", "Ada", 150.0)]


def test_a_no_fails_the_run_and_says_that_nothing_was_bought(approved) -> None:
    with pytest.raises(Blocked, match=r"by Ada.*1200.*\$150\.00.*Nothing was bought"):
        answer("Reject")
    assert approved == []
