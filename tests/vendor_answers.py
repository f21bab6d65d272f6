"""The contract's second half: every answer comes home, with what became of it later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from winnow.label.vendor import TaskRequest

from .vendor_faults import Fault, Strike, calls_to_strike
from .vendor_world import (
    World,
    answered_batch,
    assert_equal_where_same,
    attempt,
    checked_status,
    latest,
    need,
    read_all,
    submit,
)

Make = Callable[..., list[TaskRequest]]
every_fault = pytest.mark.parametrize("fault", list(Fault), ids=lambda f: f.name.lower())


class Answers:
    """Pages, edits, retractions."""

    def test_counts_add_up_to_the_last_answer(self, world: World, make_tasks: Make) -> None:
        tasks = make_tasks(4)
        ref = submit(world, "night/1", tasks).ref
        for n_answered, task in enumerate(tasks):
            status = checked_status(world, ref)
            assert (status.state, status.n_answered) == ("open", n_answered)
            assert not read_all(world.connect(), ref)[1].complete
            world.answer(ref, task.task_id, "ann", "a")
        status = checked_status(world, ref)
        assert (status.state, status.n_answered, status.n_pending) == ("complete", 4, 0)
        assert status.charged == status.committed == world.connect().estimate(tasks)
        assert read_all(world.connect(), ref)[1].complete

    def test_every_answer_arrives_as_it_was_given(self, world: World, make_tasks: Make) -> None:
        tasks = make_tasks(len(world.can.choices))
        ref = submit(world, "night/1", tasks).ref
        given_choices = dict(zip([t.task_id for t in tasks], world.can.choices, strict=True))
        for i, (task_id, choice) in enumerate(given_choices.items()):
            world.answer(ref, task_id, f"person {i}", choice)
        standing = latest(read_all(world.connect(), ref)[0])
        assert {a.task_id: a.choice for a in standing} == given_choices
        n_people = len(tasks) if world.can.name_people else 1
        assert len({a.annotator for a in standing}) == n_people
        assert all(a.price == tasks[0].price for a in standing)
        assert all(a.finished_at is not None for a in standing)

    def test_texts_of_any_kind_are_taken(self, world: World, make_tasks: Make) -> None:
        plain = make_tasks(1)[0]
        odd = (
            '<img src=x onerror="alert(1)"> {{ task.input }} ${x} "\' \\ \n\t 日本語 🏳️‍🌈 \u202f'
            * 40
        )
        task = replace(plain, response_a=odd, response_b=odd[::-1], instructions=odd[:900])
        ref = submit(world, "night/<&> \"'", [task]).ref
        world.answer(ref, task.task_id, "Zoë <b>", "b")
        assert [a.choice for a in latest(read_all(world.connect(), ref)[0])] == ["b"]

    def test_pages_end_and_hold_each_answer(self, world: World, make_tasks: Make) -> None:
        ref, tasks = answered_batch(world, make_tasks(world.n_paged))
        records, last = read_all(world.connect(), ref)
        assert last.complete
        assert sorted(a.task_id for a in latest(records)) == sorted(t.task_id for t in tasks)

    def test_records_that_come_twice_and_out_of_order(self, world: World, make_tasks: Make) -> None:
        need(world.can.misdeliver)
        ref, tasks = answered_batch(world, make_tasks(world.n_paged))
        world.misdeliver()
        records, _ = read_all(world.connect(), ref)
        assert sorted(a.task_id for a in latest(records)) == sorted(t.task_id for t in tasks)
        assert_equal_where_same(records)

    @pytest.mark.sampled
    @every_fault
    def test_reading_survives_a_fault_at_any_call(
        self, world: World, make_tasks: Make, fault: Fault
    ) -> None:
        ref, _ = answered_batch(world, make_tasks(4))
        expected = read_all(world.connect(), ref)[0]
        status = world.connect().status(ref)
        for at in calls_to_strike(fault):
            strike = Strike(fault, at)
            vendor = attempt(fault, lambda s=strike: world.connect(s))
            if vendor is not None:
                got = attempt(fault, lambda v=vendor: (read_all(v, ref)[0], v.status(ref)))
                assert got in (None, (expected, status)), f"call {at}"
            if strike.is_over:
                break
        assert at > 1

    def test_an_edit_has_a_higher_revision(self, world: World, make_tasks: Make) -> None:
        need(world.can.edit)
        ref, tasks = answered_batch(world, make_tasks(3))
        before = {a.task_id: a for a in latest(read_all(world.connect(), ref)[0])}
        edited = tasks[1].task_id
        for choice in ("b", "tie"):
            world.edit(ref, edited, choice)
            records, _ = read_all(world.connect(), ref)
            after = {a.task_id: a for a in latest(records)}
            assert after[edited].choice == choice
            assert after[edited].annotation_id == before[edited].annotation_id
            assert after[edited].revision > before[edited].revision
            assert {k: v for k, v in after.items() if k != edited} == {
                k: v for k, v in before.items() if k != edited
            }
            assert_equal_where_same(records)
            before = after

    def test_a_retraction_shows(self, world: World, make_tasks: Make) -> None:
        need(world.can.retract)
        ref, tasks = answered_batch(world, make_tasks(3))
        gone = tasks[2].task_id
        before = {a.task_id: a for a in latest(read_all(world.connect(), ref)[0])}
        world.retract(ref, gone)
        after = {a.task_id: a for a in latest(read_all(world.connect(), ref)[0])}
        if gone in after:
            assert after[gone].status in ("retracted", "rejected")
            assert after[gone].revision > before[gone].revision
        else:
            assert world.connect().snapshot
        assert after.keys() | {gone} == before.keys()
        checked_status(world, ref)

    def test_a_later_look_sees_what_is_new(self, world: World, make_tasks: Make) -> None:
        tasks = make_tasks(5)
        ref = submit(world, "night/1", tasks).ref
        for task in tasks[:3]:
            world.answer(ref, task.task_id, "ann", "a")
        seen, last = read_all(world.connect(), ref)
        for task in tasks[3:]:
            world.answer(ref, task.task_id, "bob", "b")
            if world.can.edit:
                world.edit(ref, tasks[0].task_id, "tie")
            new, last = read_all(world.connect(), ref, last.resume_cursor)
            assert task.task_id in {a.task_id for a in latest(new)}
            seen += new
        assert last.complete
        assert {a.task_id for a in latest(seen)} == {t.task_id for t in tasks}
        if world.can.edit:
            assert [a.choice for a in latest(seen) if a.task_id == tasks[0].task_id] == ["tie"]
        again, _ = read_all(world.connect(), ref, last.resume_cursor)
        assert_equal_where_same(seen + again)

    def test_an_unknown_choice_is_delivered(self, world: World, make_tasks: Make) -> None:
        need(world.can.odd_choices)
        task = make_tasks(1)[0]
        ref = submit(world, "night/1", [task]).ref
        world.answer(ref, task.task_id, "ann", "ZZZ")
        records, _ = read_all(world.connect(), ref)
        assert len(records) == 1 and b"ZZZ" in records[0]
