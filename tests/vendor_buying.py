"""The contract's first half: a batch is bought once, and ends well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winnow.errors import Ambiguous, Fatal
from winnow.label.vendor import TaskRequest

from .vendor_faults import Fault, Strike, calls_to_strike
from .vendor_world import (
    World,
    assert_held_once,
    attempt,
    checked_status,
    latest,
    need,
    read_all,
    submit,
    terms_of,
)

Make = Callable[..., list[TaskRequest]]
every_fault = pytest.mark.parametrize("fault", list(Fault), ids=lambda f: f.name.lower())
in_a_class = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


class Buying:
    """Containers, tasks and money."""

    def test_the_container_is_found_again(self, world: World) -> None:
        ref = world.connect().open_batch("night/1", terms_of(world))
        assert world.connect().open_batch("night/1", terms_of(world)) == ref
        assert world.connect().open_batch("night/1#1", terms_of(world)) != ref
        assert world.connect().open_batch("Night/1", terms_of(world)) != ref
        status = world.connect().status(ref)
        assert (status.state, status.n_tasks, status.committed) == ("draft", 0, 0)
        assert world.connect().list_task_ids(ref) == set()

    def test_a_batch_is_bought_and_launched(self, world: World, make_tasks: Make) -> None:
        tasks = make_tasks(world.n_tasks)
        done = submit(world, "night/1", tasks)
        status = world.connect().status(done.ref)
        cost = world.connect().estimate(tasks)
        assert (status.state, status.n_tasks, status.n_pending) == ("open", len(tasks), len(tasks))
        assert (status.charged, status.committed, done.committed) == (0, cost, cost)
        assert world.connect().list_task_ids(done.ref) == {t.task_id for t in tasks}
        assert_held_once(world, tasks)

    def test_a_draft_is_not_shown(self, world: World, make_tasks: Make) -> None:
        vendor = world.connect()
        ref = vendor.open_batch("night/1", terms_of(world))
        vendor.add_tasks(ref, make_tasks(2))
        status = vendor.status(ref)
        assert (status.state, status.n_tasks, status.n_pending) == ("draft", 2, 2)
        assert status.committed == vendor.estimate(make_tasks(2))
        assert not vendor.fetch(ref, None).complete

    @pytest.mark.sampled
    @every_fault
    def test_each_task_is_held_once_whatever_the_fault(
        self, world: World, make_tasks: Make, fault: Fault
    ) -> None:
        for at in calls_to_strike(fault):
            tasks = make_tasks(world.n_tasks, subject=f"tides {at}")
            strike = Strike(fault, at)
            attempt(fault, lambda t=tasks, s=strike: submit(world, f"night/{s.at}", t, s))
            if strike.is_over:
                break
            done = submit(world, f"night/{at}", tasks)
            status = world.connect().status(done.ref)
            assert (status.state, status.n_tasks) == ("open", len(tasks)), f"call {at}"
            assert status.committed == world.connect().estimate(tasks), f"call {at}"
            assert_held_once(world, tasks)
        assert at > 3

    @given(st.lists(st.tuples(st.sampled_from(Fault), st.integers(1, 12)), max_size=5), st.uuids())
    @settings(max_examples=10, deadline=None, suppress_health_check=in_a_class)
    def test_many_faults_in_a_row_end_the_same(
        self, world: World, make_tasks: Make, strikes: list[tuple[Fault, int]], key: Any
    ) -> None:
        tasks = make_tasks(world.n_tasks, subject=str(key))
        for fault, at in strikes:
            strike = Strike(fault, at)
            attempt(fault, lambda s=strike: submit(world, f"night/{key}", tasks, s))
        done = submit(world, f"night/{key}", tasks)
        assert_held_once(world, tasks)
        assert world.connect().status(done.ref).n_tasks == len(tasks)

    def test_submitting_and_launching_again_change_nothing(
        self, world: World, make_tasks: Make
    ) -> None:
        tasks = make_tasks(world.n_tasks)
        first = submit(world, "night/1", tasks)
        world.connect().launch(first.ref)
        again = submit(world, "night/1", tasks)
        assert (again.ref, again.n_sent, again.n_already) == (first.ref, 0, len(tasks))
        assert_held_once(world, tasks)

    def test_a_task_that_is_added_twice_is_held_once(self, world: World, make_tasks: Make) -> None:
        tasks = make_tasks(2)
        ref = world.connect().open_batch("night/1", terms_of(world))
        for _ in range(2):
            world.connect().add_tasks(ref, tasks)
        world.connect().launch(ref)
        assert_held_once(world, tasks)
        status = world.connect().status(ref)
        assert (status.state, status.n_tasks, status.n_pending) == ("open", 2, 2)

    def test_a_changed_batch_buys_only_the_difference(self, world: World, make_tasks: Make) -> None:
        submit(world, "night/1", make_tasks(4))
        done = submit(world, "night/1", make_tasks(6)[2:])
        assert (done.n_sent, done.n_already, done.n_extra) == (2, 2, 2)
        assert_held_once(world, make_tasks(6))
        status = world.connect().status(done.ref)
        assert (status.n_tasks, status.n_pending) == (6, 6)

    def test_a_task_of_another_batch_is_not_bought_again(
        self, world: World, make_tasks: Make
    ) -> None:
        need(world.can.account_keys)
        submit(world, "night/1", make_tasks(3))
        with pytest.raises(Ambiguous):
            submit(world, "night/2", make_tasks(5))
        assert_held_once(world, make_tasks(5))

    def test_an_empty_batch_is_complete_at_once(self, world: World) -> None:
        done = submit(world, "night/1", [])
        assert world.connect().status(done.ref).state == "complete"
        records, last = read_all(world.connect(), done.ref)
        assert (records, last.complete) == ([], True)

    def test_what_nobody_answers_expires(self, world: World, make_tasks: Make) -> None:
        need(world.can.expire)
        tasks = make_tasks(4)
        ref = submit(world, "night/1", tasks).ref
        world.answer(ref, tasks[0].task_id, "ann", "b")
        world.expire(ref)
        status = checked_status(world, ref)
        assert status.is_final
        assert (status.n_answered, status.n_expired, status.n_pending) == (1, 3, 0)
        assert status.charged == status.committed == tasks[0].price
        records, last = read_all(world.connect(), ref)
        assert ([a.choice for a in latest(records)], last.complete) == (["b"], True)

    def test_cancelling_keeps_answers(self, world: World, make_tasks: Make) -> None:
        tasks = make_tasks(4)
        ref = submit(world, "night/1", tasks).ref
        world.answer(ref, tasks[0].task_id, "ann", "b")
        answers = [world.connect().cancel(ref, "deadline passed") for _ in range(2)]
        world.connect().launch(ref)
        for status in [*answers, checked_status(world, ref)]:
            assert (status.state, status.n_answered, status.n_expired) == ("cancelled", 1, 3)
            assert status.charged == status.committed == tasks[0].price
        records, last = read_all(world.connect(), ref)
        assert ([a.choice for a in latest(records)], last.complete) == (["b"], True)

    def test_a_draft_that_was_cancelled_is_not_launched(
        self, world: World, make_tasks: Make
    ) -> None:
        ref = world.connect().open_batch("night/1", terms_of(world))
        world.connect().add_tasks(ref, make_tasks(2))
        assert world.connect().cancel(ref, "enough").state == "cancelled"
        world.connect().launch(ref)
        status = checked_status(world, ref)
        assert (status.state, status.n_expired, status.committed) == ("cancelled", 2, 0)

    @pytest.mark.sampled
    @every_fault
    def test_cancelling_again_after_a_fault(
        self, world: World, make_tasks: Make, fault: Fault
    ) -> None:
        for at in calls_to_strike(fault):
            tasks = make_tasks(2, subject=f"tides {at}")
            ref = submit(world, f"night/{at}", tasks).ref
            world.answer(ref, tasks[0].task_id, "ann", "b")
            strike = Strike(fault, at)
            attempt(fault, lambda s=strike, r=ref: world.connect(s).cancel(r, "enough"))
            status = world.connect().cancel(ref, "enough")
            assert (status.state, status.n_answered, status.n_pending) == ("cancelled", 1, 0)
            assert len(latest(read_all(world.connect(), ref)[0])) == 1
            if strike.is_over:
                break

    def test_a_cancelled_batch_is_not_reopened(self, world: World, make_tasks: Make) -> None:
        ref = submit(world, "night/1", make_tasks(3)).ref
        world.connect().cancel(ref, "deadline passed")
        assert submit(world, "night/1", make_tasks(3)).n_sent == 0
        assert world.connect().status(ref).state == "cancelled"
        with pytest.raises(Fatal, match="cancelled"):
            submit(world, "night/1", make_tasks(4))

    @pytest.mark.parametrize("ref", ["nobody-knows-this", "../books?", "9" * 30])
    def test_an_unknown_batch_is_fatal(self, world: World, make_tasks: Make, ref: str) -> None:
        vendor = world.connect()
        calls: list[Callable[[], object]] = [
            lambda: vendor.status(ref),
            lambda: vendor.fetch(ref, None),
            lambda: vendor.list_task_ids(ref),
            lambda: vendor.add_tasks(ref, make_tasks(1)),
            lambda: vendor.launch(ref),
            lambda: vendor.cancel(ref, "enough"),
        ]
        for call in calls:
            with pytest.raises(Fatal):
                call()

    def test_a_wrong_token_is_fatal(self, world: World) -> None:
        need(world.can.refuse_tokens)
        with pytest.raises(Fatal) as raised:
            world.connect(token="wrong-secret").open_batch("night/1", terms_of(world))
        assert "wrong-secret" not in str(raised.value)
