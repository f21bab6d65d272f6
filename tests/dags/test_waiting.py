"""The wait for a vendor ends when it is done, at the deadline, or at an error for a person."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.bases.hook import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException, TaskDeferred

from winnow.campaign import Label
from winnow.errors import Fatal, Retryable
from winnow.label import unreadable
from winnow.label.vendor import BatchState, BatchStatus
from winnow.label.webhooks import Nudges, take
from winnow.lake import FolderLake
from winnow.stages import label
from winnow_airflow import polling, waiting
from winnow_airflow.context import WebhookAccount

from .triggers import event

LATER = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
BEFORE = (datetime.now(UTC) - timedelta(hours=1)).isoformat()


def status(
    state: BatchState, n_answered: int = 1, expected: datetime | None = None, n_unreadable: int = 0
) -> BatchStatus:
    n_open = 2 - n_answered
    return BatchStatus(
        state=state,
        n_tasks=2,
        n_answered=n_answered,
        n_expired=0,
        n_pending=n_open,
        charged=0,
        committed=0,
        expected_done_at=expected,
        n_unreadable=n_unreadable,
        unreadable="answer 1 of a.jsonl, invalid_json" if n_unreadable else "",
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
    monkeypatch.setattr(waiting, "webhook_account", lambda *_: None)
    monkeypatch.setattr(polling, "SETTLE_SECONDS", 0.0)
    return answers


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a wait put into its task's XCom."""
    values: list[Any] = []

    async def publish(_: Any, progress: Any) -> None:
        values.append(progress)

    monkeypatch.setattr(polling, "publish", publish)
    return values


def trigger(deadline: str = LATER, poll: float = 0.001, most: float = 0.001) -> Any:
    return waiting.VendorTrigger("simulator", "winnow_vendor", "ref", deadline, poll, most)


@pytest.mark.parametrize("state", ["complete", "expired", "cancelled"])
def test_it_fires_when_no_more_answers_will_come(looks, state: str) -> None:
    looks += [status("open"), status("open"), status(state)]
    assert event(trigger()) == {"state": state}
    assert looks == []


def test_it_lasts_longer_than_a_beat_of_the_scheduler(looks, monkeypatch) -> None:
    monkeypatch.setattr(polling, "SETTLE_SECONDS", 0.3)
    looks += [status("complete")]
    began = time.monotonic()
    assert event(trigger()) == {"state": "complete"}
    assert time.monotonic() - began >= 0.3


def test_it_fires_at_the_deadline(looks) -> None:
    looks += [status("open")]
    assert event(trigger(BEFORE)) == {"state": "deadline"}


@pytest.mark.parametrize("off", [timedelta(days=8), timedelta(days=-8)])
def test_the_deadline_passes_by_the_lakes_clock(looks, monkeypatch, off: timedelta) -> None:
    # This machine's clock is ahead of the lake's, or behind it.
    lake = SimpleNamespace(now=lambda: datetime.now(UTC) - off)
    monkeypatch.setattr(waiting, "the_lake", lambda: lake)
    looks += [status("open"), status("complete")] if off > timedelta(0) else [status("open")]
    deadline = (datetime.now(UTC) - off / 2).isoformat()
    wanted = "complete" if off > timedelta(0) else "deadline"
    assert event(trigger(deadline)) == {"state": wanted}


def test_it_does_not_sleep_past_the_deadline(looks) -> None:
    looks += [status("open"), status("open")]
    soon = (datetime.now(UTC) + timedelta(seconds=0.2)).isoformat()
    assert event(trigger(soon, poll=3600.0, most=3600.0)) == {"state": "deadline"}


def test_a_vendor_that_is_done_at_the_deadline_is_done(looks) -> None:
    looks += [status("complete")]
    assert event(trigger(BEFORE)) == {"state": "complete"}


@pytest.mark.parametrize(
    "error",
    [Retryable("503"), OSError("reset"), RuntimeError("the API server is away"), KeyError()],
)
def test_an_error_that_may_pass_costs_waiting_only(looks, error: Exception) -> None:
    looks += [error, error, status("complete")]
    assert event(trigger()) == {"state": "complete"}


def test_a_vendor_that_stays_away_is_given_up_at_the_deadline(looks) -> None:
    looks += [Retryable("503")]
    assert event(trigger(BEFORE)) == {"state": "deadline"}


def test_a_lost_connection_to_airflow_costs_waiting_only(looks, monkeypatch) -> None:
    answers: list[Any] = [ConnectionError("away"), ConnectionError("away")]

    async def connection(_: str) -> Any:
        if answers:
            raise answers.pop()
        return SimpleNamespace()

    monkeypatch.setattr(BaseHook, "aget_connection", connection)
    looks += [status("complete")]
    assert event(trigger()) == {"state": "complete"}


@pytest.mark.parametrize("error", [Fatal("the token is wrong"), AirflowNotFoundException("token")])
def test_an_error_that_a_person_must_mend_ends_the_wait(looks, error: Exception) -> None:
    looks += [error]
    ended = event(trigger())
    assert ended == {"state": "error", "message": str(error)}
    operator = waiting.WaitForVendor(task_id="wait")
    with pytest.raises(Fatal, match="token"):
        operator.resume({}, ended)


def test_looks_grow_rarer_up_to_a_limit(looks, monkeypatch) -> None:
    looks += [*[status("open")] * 9, status("complete")]
    pauses: list[float] = []

    async def rest(self: Any, seconds: float, *_: Any) -> bool:
        pauses.append(seconds)
        return False

    monkeypatch.setattr(waiting.VendorTrigger, "_rest", rest)
    assert event(trigger(poll=10.0, most=60.0)) == {"state": "complete"}
    assert 8.0 <= pauses[0] <= 12.0
    assert all(pause <= 72.0 for pause in pauses)
    assert all(pause >= 48.0 for pause in pauses[5:])
    assert len(set(pauses)) == len(pauses)


def test_it_looks_when_the_vendor_expects_to_be_done(looks, monkeypatch) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=30)
    looks += [status("open", expected=soon), status("complete")]
    pauses: list[float] = []

    async def rest(self: Any, seconds: float, *_: Any) -> bool:
        pauses.append(seconds)
        return False

    monkeypatch.setattr(waiting.VendorTrigger, "_rest", rest)
    assert event(trigger(poll=1000.0, most=1000.0)) == {"state": "complete"}
    looks += [status("open", expected=soon), status("complete")]
    event(trigger(poll=1.0, most=1000.0))
    assert 800.0 <= pauses[0] <= 1200.0, "never sooner than the campaign's poll_seconds"
    assert pauses[1] <= 1.2


def test_a_webhook_ends_the_pause(looks, monkeypatch, tmp_path) -> None:
    lake = FolderLake(tmp_path)
    monkeypatch.setattr(waiting, "NUDGE_SECONDS", 0.01)
    monkeypatch.setattr("winnow.label.webhooks.NUDGE_SECONDS", 0.0)
    nudges = Nudges(lake, "simulator")
    monkeypatch.setattr(waiting, "_nudges", lambda _: nudges)
    monkeypatch.setattr(
        waiting, "webhook_account", lambda *_: WebhookAccount("standard", "s", None)
    )
    ask = iter([status("open"), status("complete")])

    def look(ref: str) -> Any:
        found = next(ask)
        take(lake, "simulator", f"msg-{found.state}", ref, datetime.now(UTC))
        return found

    monkeypatch.setattr(waiting, "vendor_from", lambda *_: SimpleNamespace(status=look))
    began = time.monotonic()
    assert event(trigger(poll=3600.0, most=3600.0)) == {"state": "complete"}
    assert time.monotonic() - began < 5.0


def test_a_lake_that_is_away_leaves_polling(looks, monkeypatch) -> None:
    def away(_: str) -> Any:
        raise Retryable("the store is away")

    monkeypatch.setattr(waiting, "_nudges", away)
    monkeypatch.setattr(
        waiting, "webhook_account", lambda *_: WebhookAccount("standard", "s", None)
    )
    looks += [status("open"), status("complete")]
    assert event(trigger()) == {"state": "complete"}


def test_progress_is_published_when_it_changes(looks, published) -> None:
    looks += [status("open", 0), status("open", 0), status("open", 1), status("complete", 2)]
    waits = trigger()
    waits.task_instance = SimpleNamespace(task_id="wait_for_vendor")
    assert event(waits) == {"state": "complete"}
    assert [(p["answered"], p["tasks"], p["share"]) for p in published] == [
        (0, 2, 0.0),
        (1, 2, 0.5),
        (2, 2, 1.0),
    ]


def test_what_cannot_be_read_is_noted_where_status_looks(looks, monkeypatch, tmp_path) -> None:
    lake, seen = FolderLake(tmp_path), []
    monkeypatch.setattr(waiting, "the_lake", lambda: lake)
    waits = trigger()

    def look(ref: str) -> BatchStatus:
        seen.append(unreadable.told(lake, ref))
        return looks.pop(0)

    monkeypatch.setattr(waiting, "vendor_from", lambda *_: SimpleNamespace(status=look))
    looks += [status("open", 1, n_unreadable=1), status("open"), status("complete", 2)]
    assert event(waits) == {"state": "complete"}
    assert "1 answers cannot be read while 1 tasks wait" in seen[1]
    assert seen[0] == seen[2] == ""


def test_progress_that_cannot_be_published_costs_nothing(looks, monkeypatch) -> None:
    async def publish(*_: Any) -> None:
        raise ConnectionError("the API server is away")

    monkeypatch.setattr(polling, "publish", publish)
    looks += [status("open"), status("complete")]
    waits = trigger()
    waits.task_instance = SimpleNamespace(task_id="wait_for_vendor")
    assert event(waits) == {"state": "complete"}


def test_a_lost_trigger_starts_again_from_its_arguments() -> None:
    lost = trigger(poll=5.0, most=50.0)
    path, arguments = lost.serialize()
    assert path == "winnow_airflow.waiting.VendorTrigger"
    assert waiting.VendorTrigger(**arguments).serialize() == lost.serialize()
    assert "token" not in arguments


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A batch whose first round is with the vendor and whose second bought nothing."""
    settings = Label(budget_usd=1.0)
    found = SimpleNamespace(
        manifest=lambda _: None, campaign=SimpleNamespace(label=settings), key="2026-11-22"
    )
    rounds = {0: SimpleNamespace(ref="sim-0", deadline=LATER), 1: None}
    monkeypatch.setattr(waiting, "batch_of", lambda _: found)
    monkeypatch.setattr(label, "read_submission", lambda _, number: rounds[number])
    return found


def test_a_round_is_waited_for_without_a_worker(batch) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        waiting.WaitForVendor(task_id="wait").execute({"dag_run": None})
    assert deferred.value.trigger.ref == "sim-0"
    assert deferred.value.trigger.max_poll_seconds == 900.0


def test_a_round_that_bought_nothing_is_not_waited_for(batch) -> None:
    assert waiting.WaitForVendor(task_id="wait", round=1).execute({"dag_run": None}) == "nothing"


def test_a_batch_that_is_collected_is_not_waited_for(batch) -> None:
    batch.manifest = lambda _: SimpleNamespace()
    assert waiting.WaitForVendor(task_id="wait").execute({"dag_run": None}) == "collected"


@pytest.mark.parametrize("state", ["complete", "expired", "cancelled"])
def test_the_wait_hands_on_how_it_ended(state: str) -> None:
    assert waiting.WaitForVendor(task_id="wait").resume({}, {"state": state}) == state
