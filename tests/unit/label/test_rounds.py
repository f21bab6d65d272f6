"""Round 1 buys third votes and what nobody answered, and nothing twice."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.campaign import Label
from winnow.ids import pair_id, response_id
from winnow.label import rounds
from winnow.label.gold import read_gold
from winnow.label.tasks import BuiltTasks, Task, build_tasks, requests_of, tasks_of
from winnow.label.vendor import TaskRequest
from winnow.records import ANNOTATIONS, ASKED, to_table

Row = dict[str, Any]
LABEL = Label(budget_usd=100.0, second_vote_share=1.0, repeat_share=0.5, unanswered="buy_again")
_NUMBERS = count()


def first_round(n: int = 6) -> BuiltTasks:
    texts = [f"answer {i}" for i in range(n + 1)]
    ids = [response_id("p", text) for text in texts]
    comparisons = [
        {
            "pair_id": pair_id(ids[i], ids[i + 1]),
            "prompt_id": "p",
            "first_id": ids[i],
            "second_id": ids[i + 1],
            "dimension": None,
            "p_first": 0.5,
        }
        for i in range(n)
    ]
    rows = [{"response_id": i, "message": t} for i, t in zip(ids, texts, strict=True)]
    prompts = [{"prompt_id": "p", "messages": [{"role": "user", "content": "Why?"}]}]
    gold, _ = read_gold("g", b'{"prompt": "q", "chosen": "a", "rejected": "b"}')
    return build_tasks(comparisons, rows, prompts, gold, LABEL, 0)


BUILT = first_round()
PAIRS = sorted({task.pair_id for task in BUILT.tasks if task.kind == "comparison"})


def votes_of(pair: str) -> list[Task]:
    found = [t for t in BUILT.tasks if t.pair_id == pair and t.kind == "comparison"]
    return sorted(found, key=lambda task: task.repetition)


def annotation(task: Task, preferred: str | None, annotator: str) -> Row:
    return {
        "annotation_id": f"a{next(_NUMBERS):06}",
        "revision": 0,
        "task_id": task.task_id,
        "pair_id": task.pair_id,
        "kind": task.kind,
        "annotator": annotator,
        "preferred": preferred,
        "status": "submitted",
    }


def judged(pair: str, one: str | None, other: str | None, **more: Any) -> list[Row]:
    tasks = votes_of(pair)
    return [annotation(tasks[0], one, "ann"), annotation(tasks[1], other, "bob") | more]


def round_1(annotations: list[Row], lost: Collection[str] = (), **label: Any) -> BuiltTasks:
    asked = LABEL.model_copy(update=label)
    return follow_up(BUILT.tasks, BUILT.requests, annotations, lost, asked, 1)


def follow_up(
    tasks: Sequence[Task],
    requests: Sequence[TaskRequest],
    annotations: list[Row],
    lost: Collection[str],
    label: Label,
    round: int,
) -> BuiltTasks:
    """The round that the answers call for, in lists."""
    asked = to_table(
        [{**asdict(r), **asdict(t)} for r, t in zip(requests, tasks, strict=True)], ASKED
    )
    unanswered = pa.table({"task_id": pa.array(sorted(lost), pa.string())})
    said = to_table(annotations, ANNOTATIONS)
    pages = rounds.follow_up(asked, said, unanswered, label, round)
    rows = [row for page in pages for row in page.to_pylist()]
    return BuiltTasks(tasks_of(rows), requests_of(rows, LABEL.instructions), [], {})


def test_two_who_disagree_are_joined_by_a_third_on_the_first_ones_sides() -> None:
    built = round_1(judged(PAIRS[0], "first", "second") + judged(PAIRS[1], "first", "first"))
    (task,), (request,) = built.tasks, built.requests
    first = votes_of(PAIRS[0])[0]
    assert (task.pair_id, task.kind, task.round) == (PAIRS[0], "comparison", 1)
    assert task.repetition == 1 + max(t.repetition for t in BUILT.tasks if t.pair_id == PAIRS[0])
    assert (task.shown_a, task.shown_b, task.swapped) == (
        first.shown_a,
        first.shown_b,
        first.swapped,
    )
    shown = BUILT.requests[BUILT.tasks.index(first)]
    assert (request.response_a, request.messages) == (shown.response_a, shown.messages)
    assert request.task_id == task.task_id
    assert request.repeats is None
    assert (built.quarantined, built.pii) == ([], {})


def test_a_third_vote_is_asked_once() -> None:
    contested = judged(PAIRS[0], "first", "second")
    third = round_1(contested).tasks[0]
    for answer in ("first", "tie"):
        assert not round_1([*contested, annotation(third, answer, "cat")]).tasks
    assert not round_1(contested, third_votes=False).tasks


@pytest.mark.parametrize(
    ("one", "other", "more"),
    [
        ("first", "tie", {}),
        ("tie", "both_bad", {}),
        ("first", None, {}),
        ("first", "second", {"status": "retracted"}),
        ("first", "second", {"status": "rejected"}),
        ("first", "second", {"annotator": "ann"}),
        ("first", "second", {"kind": "repeat"}),
    ],
)
def test_what_is_no_contest_gets_no_third_vote(one: str, other: str | None, more: Row) -> None:
    assert not round_1(judged(PAIRS[0], one, other, **more)).tasks


def test_an_edit_that_ends_the_contest_counts() -> None:
    rows = judged(PAIRS[0], "first", "second")
    edited = {**rows[1], "revision": 1, "preferred": "first"}
    assert not round_1([edited, *rows]).tasks


def test_an_edit_that_begins_a_contest_counts() -> None:
    rows = judged(PAIRS[0], "first", "first")
    edited = {**rows[1], "revision": 1, "preferred": "second"}
    assert len(round_1([edited, *rows]).tasks) == 1


def test_a_vote_that_is_bought_again_is_the_third_one() -> None:
    one, other = votes_of(PAIRS[0])
    rows = [annotation(one, "first", "ann"), annotation(one, "second", "bob")]
    built = round_1(rows, {other.task_id})
    assert [task.swapped for task in built.tasks] == [other.swapped]


def test_unanswered_votes_are_bought_again_under_a_new_id_and_nothing_else() -> None:
    everything = {task.task_id for task in BUILT.tasks}
    again = round_1([], everything).tasks
    comparisons = [task for task in BUILT.tasks if task.kind == "comparison"]
    assert [(t.pair_id, t.swapped) for t in again] == [(t.pair_id, t.swapped) for t in comparisons]
    assert not {t.task_id for t in again} & everything
    assert len({t.task_id for t in again}) == len(again) == 12
    assert not round_1([], everything, unanswered="drop").tasks


def test_what_is_bought_again_comes_before_third_votes() -> None:
    lost = votes_of(PAIRS[0])[1]
    rows = judged(PAIRS[1], "first", "second") + judged(PAIRS[2], "second", "first")
    tasks = round_1(rows, {lost.task_id}).tasks
    assert tasks[0].pair_id == PAIRS[0]
    assert {t.pair_id for t in tasks[1:]} == {PAIRS[1], PAIRS[2]}


def test_a_new_task_is_not_yet_with_the_vendor() -> None:
    told = [
        Task(**{**asdict(t), "vendor_ref": "r", "submitted_at": datetime(2026, 1, 1, tzinfo=UTC)})
        for t in BUILT.tasks
    ]
    rows = judged(PAIRS[0], "first", "second")
    (task,) = follow_up(told, BUILT.requests, rows, (), LABEL, 1).tasks
    assert (task.vendor_ref, task.submitted_at) == (None, None)


def test_a_later_round_buys_only_what_the_round_before_it_lost() -> None:
    lost = {votes_of(PAIRS[0])[0].task_id}
    one = round_1([], lost)
    tasks, requests = BUILT.tasks + one.tasks, BUILT.requests + one.requests
    two = follow_up(tasks, requests, [], lost | {one.tasks[0].task_id}, LABEL, 2)
    assert [task.round for task in two.tasks] == [2]
    assert two.tasks[0].task_id not in {task.task_id for task in tasks}


@given(
    st.lists(st.sampled_from(["first", "second", "tie", None, "lost"]), min_size=12, max_size=12)
)
@settings(max_examples=30, deadline=None)
def test_nothing_is_bought_twice_and_every_run_buys_the_same(answers: list[str | None]) -> None:
    asked = [task for pair in PAIRS for task in votes_of(pair)]
    given_ = list(zip(asked, answers, strict=True))
    lost = {task.task_id for task, answer in given_ if answer == "lost"}
    rows = [
        annotation(task, answer, f"person {i}")
        for i, (task, answer) in enumerate(given_)
        if answer != "lost"
    ]
    built, again = round_1(rows, lost), round_1(rows[::-1], lost)
    assert built == again
    ids = [task.task_id for task in built.tasks]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & {task.task_id for task in BUILT.tasks}
    assert [r.task_id for r in built.requests] == ids
    n_contests = sum(
        {answers[i], answers[i + 1]} == {"first", "second"} for i in range(0, len(answers), 2)
    )
    assert len(ids) == len(lost) + n_contests
