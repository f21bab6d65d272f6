"""Two that buy at once never show a task twice."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from winnow.batch import Batch
from winnow.errors import Retryable
from winnow.label.vendors.label_studio.client import LabelStudioVendor
from winnow.stages import label
from winnow.stages.label.turns import TURN, turn_to_buy

from ...label_studio_world import TOKEN, chosen
from ..label.label_studio_fake import LabelStudioFake
from .conftest import Night


class Meeting(httpx.BaseTransport):
    """Calls to the server: a twin comes before the k-th, and people answer from then on."""

    def __init__(self, studio: LabelStudioFake, at: int, twin: Callable[[], None]) -> None:
        self._studio, self._at, self._twin, self.n_calls = studio, at, twin, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.n_calls += 1
        if self.n_calls == self._at:
            self._twin()
        if self.n_calls >= self._at:
            answer_all(self._studio)
        return self._studio.transport().handle_request(request)


@pytest.fixture
def ready(night: Callable[..., Night]) -> Night:
    made = night(vendor="label_studio", deadline_minutes=10_000_000)
    made.choose(made.batch())
    return made


@pytest.fixture
def studio() -> LabelStudioFake:
    return LabelStudioFake()


def connected(
    studio: LabelStudioFake, transport: httpx.BaseTransport | None = None
) -> LabelStudioVendor:
    return LabelStudioVendor("http://ls", TOKEN, transport or studio.transport(), lambda _: None)


@pytest.mark.parametrize("at", range(1, 16))
def test_whenever_a_twin_comes_each_task_is_answered_and_paid_once(
    ready: Night, studio: LabelStudioFake, at: int
) -> None:
    batch = ready.batch()

    def twin() -> None:
        with suppress(Retryable):
            label.submit(batch, connected(studio))

    label.submit(batch, connected(studio, Meeting(studio, at, twin)))
    answer_all(studio)
    wanted = {task.task_id for task in label.read_plan(batch, 0).requests().priced}
    held = [task["meta"]["winnow"]["task_id"] for task in studio.tasks.values()]
    assert sorted(held) == sorted(wanted)
    status = connected(studio).status(label.read_submission(batch).ref)
    assert status.charged == 100_000 * len(wanted)


def answer_all(studio: LabelStudioFake) -> None:
    """A person each answers every task of the projects that are published."""
    for number, task in list(studio.tasks.items()):
        if studio.projects[task["project"]].get("is_published"):
            studio._annotate(task["id"], {"completed_by": number, "result": chosen("a")}, None)


def test_the_turn_of_one_that_was_killed_ends_by_itself(
    ready: Night, studio: LabelStudioFake
) -> None:
    batch = ready.batch()

    # Dies where `finally` does not run either.
    turn = turn_to_buy(batch, 0, connected(studio))
    turn.__enter__()
    with pytest.raises(Retryable, match="its turn ends at"):
        label.submit(batch, connected(studio))
    assert studio.tasks == {}
    ready.time += TURN
    assert label.submit(batch, connected(studio))["sent"] == len(studio.tasks) > 0


def test_who_was_silent_for_a_turn_adds_nothing_any_more(
    ready: Night, studio: LabelStudioFake, make_tasks: Callable[..., Any]
) -> None:
    batch, vendor = ready.batch(), connected(studio)
    with turn_to_buy(batch, 0, vendor) as slow:
        ready.time += TURN
        label.submit(batch, connected(studio))
        n_tasks = len(studio.tasks)
        with turn_to_buy(batch, 0, vendor), pytest.raises(Retryable):
            slow.add_tasks(label.read_submission(batch).ref, make_tasks(1))
    assert len(studio.tasks) == n_tasks


def test_a_wrong_clock_takes_nobodys_turn(ready: Night, studio: LabelStudioFake) -> None:
    ahead: Batch = replace(ready.batch(), clock=lambda: datetime.now(UTC) + timedelta(days=8))
    with turn_to_buy(ready.batch(), 0, connected(studio)), pytest.raises(Retryable):
        label.submit(ahead, connected(studio))
    assert not Path(ready.lake.uri, ready.batch().folder, "label/round-0/submission.json").exists()
