"""Submission reconciles: killed at any call and run again, each task is bought exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winnow.errors import Ambiguous, Blocked, Fatal
from winnow.label.submit import Submission, submit_tasks
from winnow.label.vendor import BatchTerms, LabelVendor, TaskRequest

from_here = [HealthCheck.function_scoped_fixture]
Make = Callable[..., list[TaskRequest]]
BUDGET = 10**9
TERMS = BatchTerms("Which is better?", "r-1", (), datetime(2027, 1, 1, tzinfo=UTC))


def buy(vendor: LabelVendor, key: str, tasks: Sequence[TaskRequest], budget: int) -> Submission:
    return submit_tasks(vendor, key, TERMS, tasks, budget)


class Killed(BaseException):
    """The process died here."""


@dataclass
class Faulty(httpx.BaseTransport):
    """Passes calls on, except that call number `at` raises `fault` before or after it is served."""

    inner: httpx.BaseTransport
    at: int
    fault: BaseException
    before: bool
    n_calls: int = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.n_calls += 1
        if self.n_calls == self.at and self.before:
            raise self.fault
        response = self.inner.handle_request(request)
        if self.n_calls == self.at:
            response.read()
            raise self.fault
        return response


def test_a_batch_is_bought_in_chunks_and_launched(simulator, make_tasks: Make) -> None:
    tasks = make_tasks(250)
    done = buy(simulator.connect(), "day-1", tasks, BUDGET)
    assert (done.n_tasks, done.n_sent, done.n_already, done.n_extra) == (250, 250, 0, 0)
    assert done.estimate == done.committed == 250 * 100_000
    assert simulator.connect().status(done.ref).state == "open"
    assert simulator.bought() == {t.task_id: 1 for t in tasks}


def test_submitting_again_buys_nothing(simulator, make_tasks: Make) -> None:
    tasks = make_tasks(5)
    first = buy(simulator.connect(), "day-1", tasks, BUDGET)
    again = buy(simulator.connect(), "day-1", tasks, BUDGET)
    assert (again.ref, again.n_sent, again.n_already) == (first.ref, 0, 5)
    assert set(simulator.bought().values()) == {1}


def test_a_changed_batch_buys_only_the_difference(simulator, make_tasks: Make) -> None:
    buy(simulator.connect(), "day-1", make_tasks(4), BUDGET)
    changed = make_tasks(6)[2:]
    done = buy(simulator.connect(), "day-1", changed, BUDGET)
    assert (done.n_sent, done.n_already, done.n_extra) == (2, 2, 2)
    assert simulator.bought() == {t.task_id: 1 for t in make_tasks(6)}
    simulator.finish()
    assert simulator.connect().status(done.ref).n_pending == 0


@pytest.mark.parametrize("before", [True, False])
def test_killed_at_each_call_and_run_again_it_ends_the_same(
    simulator, make_tasks: Make, before: bool
) -> None:
    for at in count(1):
        tasks = make_tasks(120, subject=f"tides{at}")
        faulty = Faulty(simulator.transport, at, Killed(), before)
        try:
            buy(simulator.connect(faulty), f"day-{at}", tasks, BUDGET)
        except Killed:
            done = buy(simulator.connect(), f"day-{at}", tasks, BUDGET)
        else:
            break
        status = simulator.connect().status(done.ref)
        assert (status.state, status.n_tasks) == ("open", 120)
        bought = simulator.bought()
        assert [bought[t.task_id] for t in tasks] == [1] * 120
    assert at > 6


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=6), st.uuids())
@settings(max_examples=15, deadline=None, suppress_health_check=from_here)
def test_many_kills_in_a_row_end_the_same(simulator, make_tasks, kills, subject) -> None:
    tasks = make_tasks(110, subject=str(subject))
    for at, before in kills:
        try:
            vendor = simulator.connect(Faulty(simulator.transport, at, Killed(), before))
            buy(vendor, str(subject), tasks, BUDGET)
        except Killed:
            continue
    done = buy(simulator.connect(), str(subject), tasks, BUDGET)
    bought = simulator.bought()
    assert [bought[t.task_id] for t in tasks] == [1] * 110
    assert simulator.connect().status(done.ref).committed == 110 * 100_000


@pytest.mark.parametrize("fault", [httpx.ReadTimeout("late"), httpx.ConnectError("refused")])
@pytest.mark.parametrize("before", [True, False])
def test_a_time_out_at_any_call_is_safe_within_one_submission(
    simulator, make_tasks: Make, fault: Exception, before: bool
) -> None:
    faulty = Faulty(simulator.transport, 0, fault, before)
    for at in range(1, 8):
        tasks = make_tasks(3, subject=f"tides{at}")
        faulty.at = faulty.n_calls + at
        buy(simulator.connect(faulty), f"day-{at}", tasks, BUDGET)
        bought = simulator.bought()
        assert [bought[t.task_id] for t in tasks] == [1] * 3
    assert len(simulator.sleeps) >= 6


def test_an_estimate_over_the_budget_is_blocked_before_any_call(make_tasks: Make) -> None:
    vendor = SilentVendor()
    with pytest.raises(Blocked, match=r"\$0\.30.*\$0\.29"):
        buy(vendor, "day-1", make_tasks(3), 290_000)
    assert vendor.calls == []


def test_what_the_batch_holds_counts_against_the_budget(simulator, make_tasks: Make) -> None:
    buy(simulator.connect(), "day-1", make_tasks(4), 500_000)
    with pytest.raises(Blocked, match=r"\$0\.60.*\$0\.50"):
        buy(simulator.connect(), "day-1", make_tasks(6)[2:], 500_000)
    assert simulator.bought() == {t.task_id: 1 for t in make_tasks(4)}


def test_what_a_twin_buys_meanwhile_ends_the_purchase_before_its_next_part(
    simulator, make_tasks: Make
) -> None:
    vendor, tasks = simulator.connect(), make_tasks(220)
    ours, twins = tasks[:150], tasks[150:]

    class Meanwhile:
        def __getattr__(self, name: str) -> Any:
            return getattr(vendor, name)

        def add_tasks(self, ref: str, part: Sequence[TaskRequest]) -> None:
            vendor.add_tasks(ref, part)
            vendor.add_tasks(ref, twins)

    with pytest.raises(Blocked, match="No further task was sent"):
        buy(Meanwhile(), "day-1", ours, 200 * 100_000)
    first = ours[: vendor.max_request]
    assert simulator.bought() == {task.task_id: 1 for task in (*first, *twins)}


def test_a_task_bought_in_a_twin_batch_is_not_bought_again(simulator, make_tasks: Make) -> None:
    buy(simulator.connect(), "day-1", make_tasks(3), BUDGET)
    with pytest.raises(Ambiguous, match="2 of 5 tasks; 3 are not there"):
        buy(simulator.connect(), "day-2", make_tasks(5), BUDGET)
    assert simulator.bought() == {t.task_id: 1 for t in make_tasks(5)}
    ref = simulator.connect().open_batch("day-2", TERMS)
    assert simulator.connect().status(ref).state == "draft"


def test_tasks_that_share_an_id_are_refused(simulator, make_tasks: Make) -> None:
    with pytest.raises(Fatal, match="1 of 4 tasks repeat"):
        buy(simulator.connect(), "day-1", make_tasks(3) + make_tasks(1), BUDGET)
    assert simulator.bought() == {}


def test_an_empty_batch_is_complete_at_once(simulator) -> None:
    done = buy(simulator.connect(), "day-1", [], 0)
    assert simulator.connect().status(done.ref).state == "complete"


def test_a_cancelled_batch_is_not_reopened(simulator, make_tasks: Make) -> None:
    done = buy(simulator.connect(), "day-1", make_tasks(3), BUDGET)
    simulator.connect().cancel(done.ref, "deadline")
    again = buy(simulator.connect(), "day-1", make_tasks(3), BUDGET)
    assert again.n_sent == 0
    assert simulator.connect().status(done.ref).state == "cancelled"
    with pytest.raises(Fatal, match="cancelled"):
        buy(simulator.connect(), "day-1", make_tasks(4), BUDGET)


class SilentVendor:
    """Knows its prices and writes down everything else it is asked."""

    name = "silent"
    max_request = 10

    def __init__(self) -> None:
        self.calls: list[str] = []

    def estimate(self, tasks: list[TaskRequest]) -> int:
        return sum(task.price for task in tasks)

    def __getattr__(self, call: str) -> Callable[..., None]:
        return lambda *_: self.calls.append(call)
