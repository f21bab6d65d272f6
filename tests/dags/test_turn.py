"""The wait for earlier batches' labels holds no worker, and ends when the batch's turn comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from winnow.errors import Corrupt, Fatal, Retryable
from winnow.stages import turn as turns
from winnow.stages.turn import Turn
from winnow_airflow import polling, turn

from .triggers import event

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WAITS = Turn(NOW + timedelta(hours=2), {"2026-11-20": NOW + timedelta(hours=2)})
COME = Turn(NOW, {"2026-11-20": NOW})


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the lake says of the turn, look by look: a turn, none, or an error to raise.

    A turn that has come is looked at again at once.
    """
    answers: list[Any] = []

    def ask(_: str, *, fresh: bool = False) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    shared = SimpleNamespace(lake=SimpleNamespace(now=lambda: NOW), turn_of=ask)
    monkeypatch.setattr(turn, "_looks", lambda _: shared)
    monkeypatch.setattr(polling, "SETTLE_SECONDS", 0.0)
    return answers


def trigger() -> turn.TurnTrigger:
    return turn.TurnTrigger("nightly", "2026-11-22", 0.001)


@pytest.mark.parametrize("end", [COME, None])
def test_it_fires_when_the_turn_has_come(looks: list[Any], end: Turn | None) -> None:
    looks += [WAITS, WAITS, end, end]
    assert event(trigger()) == {"state": "turn"}
    assert looks == []


def test_an_old_look_of_another_wait_ends_none(looks: list[Any]) -> None:
    looks += [None, WAITS, COME, WAITS, COME, COME]
    assert event(trigger()) == {"state": "turn"}
    assert looks == []


@pytest.mark.parametrize("error", [Retryable("503"), OSError("reset"), KeyError()])
def test_an_error_that_may_pass_costs_waiting_only(looks: list[Any], error: Exception) -> None:
    looks += [error, WAITS, error, COME, COME]
    assert event(trigger()) == {"state": "turn"}


def test_an_error_that_a_person_must_mend_ends_the_wait(looks: list[Any]) -> None:
    looks += [WAITS, Corrupt("the ledger is missing")]
    ended = event(trigger())
    assert ended == {"state": "error", "message": "the ledger is missing"}
    with pytest.raises(Fatal, match="ledger"):
        turn.WaitForTurn(task_id="wait_for_turn").resume({}, ended)


def test_what_it_waits_for_is_published_when_it_changes(
    looks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    values: list[Any] = []

    async def publish(_: Any, progress: Any) -> None:
        values.append(progress)

    monkeypatch.setattr(polling, "publish", publish)
    both = Turn(WAITS.at, {**WAITS.ends, "2026-11-21": WAITS.at})
    looks += [both, both, WAITS, COME, COME]
    waits = trigger()
    waits.task_instance = SimpleNamespace(task_id="wait_for_turn")
    assert event(waits) == {"state": "turn"}
    until = "2026-11-22T02:00:00+00:00"
    assert values == [
        {"waits_for": ["2026-11-20", "2026-11-21"], "until": until},
        {"waits_for": ["2026-11-20"], "until": until},
    ]


def test_a_lost_trigger_starts_again_from_its_arguments() -> None:
    lost = trigger()
    path, arguments = lost.serialize()
    assert path == "winnow_airflow.turn.TurnTrigger"
    assert turn.TurnTrigger(**arguments).serialize() == lost.serialize()


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A batch that has not chosen."""
    made = SimpleNamespace(
        manifest=lambda _: None,
        require=lambda _: SimpleNamespace(figures={}),
        campaign=SimpleNamespace(name="nightly"),
        key="2026-11-22",
        lake=SimpleNamespace(now=lambda: NOW),
    )
    monkeypatch.setattr(turn, "batch_of", lambda _: made)
    return made


@pytest.mark.parametrize(("when", "waits"), [(WAITS, True), (COME, False), (None, False)])
def test_a_worker_is_held_by_no_wait(
    batch: Any, monkeypatch: pytest.MonkeyPatch, when: Turn | None, waits: bool
) -> None:
    monkeypatch.setattr(turns, "turn", lambda *_: when)
    task = turn.WaitForTurn(task_id="wait_for_turn")
    if not waits:
        assert task.execute({"dag_run": None}) == "turn"
        return
    with pytest.raises(TaskDeferred) as deferred:
        task.execute({"dag_run": None})
    assert (deferred.value.trigger.campaign, deferred.value.trigger.key) == ("nightly", batch.key)


def test_a_batch_that_has_chosen_waits_no_more(batch: Any) -> None:
    batch.manifest = lambda _: SimpleNamespace()
    assert turn.WaitForTurn(task_id="wait_for_turn").execute({"dag_run": None}) == "chosen"


def test_the_wait_hands_on_how_it_ended() -> None:
    assert turn.WaitForTurn(task_id="wait_for_turn").resume({}, {"state": "turn"}) == "turn"
