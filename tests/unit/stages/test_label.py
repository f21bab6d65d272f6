"""Buying stops at the budget, waiting at the deadline, and too few answers stop the batch."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from winnow.batch import Manifest
from winnow.errors import Blocked, Fatal, Retryable
from winnow.stages import label

from .conftest import SALT, Night


def submitted(night: Night) -> Night:
    night.choose(night.batch())
    label.submit(night.batch(), night.simulator.connect())
    return night


def collect(night: Night) -> Manifest:
    return label.collect(night.batch(), night.simulator.connect(), SALT)


def test_nothing_is_bought_over_the_budget(night: Callable[..., Night]) -> None:
    poor = night(budget_usd=0.5)
    poor.choose(poor.batch())
    with pytest.raises(Blocked, match=r"over the budget of \$0\.50"):
        label.submit(poor.batch(), poor.simulator.connect())
    assert poor.simulator.bought() == {}
    assert not label.is_submitted(poor.batch())


def test_collecting_needs_a_submission(night: Callable[..., Night]) -> None:
    early = night()
    early.choose(early.batch())
    with pytest.raises(Fatal, match="submit_tasks first"):
        collect(early)


def test_an_open_batch_is_waited_for(night: Callable[..., Night]) -> None:
    waiting = submitted(night())
    with pytest.raises(Retryable, match="still open"):
        collect(waiting)
    waiting.simulator.finish()
    assert collect(waiting).counts["tasks"] == len(waiting.simulator.bought())


def test_after_the_deadline_too_few_answers_stop_the_batch(night: Callable[..., Night]) -> None:
    late = submitted(night(deadline_minutes=1, min_completion=0.9))
    late.time += timedelta(minutes=2)
    with pytest.raises(Blocked, match=r"0 of \d+ tasks were answered.*90%"):
        collect(late)


def test_after_the_deadline_what_came_goes_on_and_the_rest_is_called_off(
    night: Callable[..., Night],
) -> None:
    late = submitted(night(deadline_minutes=1, min_completion=0.1))
    late.simulator.clock.seconds += 8.0
    late.time += timedelta(minutes=2)
    manifest = collect(late)
    n_tasks = len(late.simulator.bought())
    assert 0 < manifest.counts["annotations"] < n_tasks
    assert manifest.counts["unanswered"] == n_tasks - manifest.counts["annotations"]
    assert manifest.cost == 100_000 * manifest.counts["annotations"]
    status = late.simulator.connect().status(label.read_submission(late.batch()).ref)
    assert status.state == "cancelled"
