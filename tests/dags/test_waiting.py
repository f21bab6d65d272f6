"""The wait for a vendor ends when it is done, at the deadline, or at an error for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.bases.hook import BaseHook

from winnow.errors import Fatal, Retryable
from winnow_airflow import waiting

LATER = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
BEFORE = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


def status(state: str) -> Any:
    final = state in ("complete", "cancelled", "expired")
    return SimpleNamespace(
        state=state, is_final=final, n_answered=1, n_tasks=2, expected_done_at=None
    )


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the vendor answers, look by look: a status, or an error to raise."""
    answers: list[Any] = []

    def ask(_: str) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def connection(_: str) -> Any:
        return SimpleNamespace()

    monkeypatch.setattr(BaseHook, "aget_connection", connection)
    monkeypatch.setattr(waiting, "vendor_from", lambda *_: SimpleNamespace(status=ask))
    return answers


@pytest.fixture
def event() -> Callable[[str], Any]:
    """Runs a trigger to its event."""

    def run(deadline: str) -> Any:
        trigger = waiting.VendorTrigger("simulator", "winnow_vendor", "ref", deadline, 0.001)

        async def first() -> Any:
            async for found in trigger.run():
                return found.payload
            return None

        return asyncio.run(first())

    return run


@pytest.mark.parametrize("state", ["complete", "expired", "cancelled"])
def test_it_fires_when_no_more_answers_will_come(looks, event, state: str) -> None:
    looks += [status("open"), status("open"), status(state)]
    assert event(LATER) == {"state": state}
    assert looks == []


def test_it_fires_at_the_deadline(looks, event) -> None:
    looks += [status("open")]
    assert event(BEFORE) == {"state": "deadline"}


def test_a_vendor_that_is_down_costs_waiting_only(looks, event) -> None:
    looks += [Retryable("503"), Retryable("timeout"), status("complete")]
    assert event(LATER) == {"state": "complete"}


def test_an_error_that_a_person_must_mend_ends_the_wait(looks, event) -> None:
    looks += [Fatal("the token is wrong")]
    ended = event(LATER)
    assert ended == {"state": "error", "message": "the token is wrong"}
    operator = waiting.WaitForVendor(task_id="wait")
    with pytest.raises(Fatal, match="token"):
        operator.resume({}, ended)


def test_a_lost_trigger_starts_again_from_its_arguments() -> None:
    trigger = waiting.VendorTrigger("simulator", "winnow_vendor", "ref", LATER, 5.0)
    path, arguments = trigger.serialize()
    assert path == "winnow_airflow.waiting.VendorTrigger"
    assert waiting.VendorTrigger(**arguments).serialize() == trigger.serialize()
    assert "token" not in arguments
