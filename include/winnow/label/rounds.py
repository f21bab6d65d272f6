"""What the first answers call for: a third vote where two cancel, and what nobody answered.

A third vote is asked where one annotator prefers the first response and another the second, and
nobody else said anything: the two votes leave the pair where it was, and a third decides. A tie
beside a preference is no such case: the pair leans already, and a third vote moves it no more than
a first vote moves a pair that nobody judged. Gold and repeats are not bought again; what they tell
of an annotator, others tell as well.

What always holds: pure and deterministic, and no id is one that was asked before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from winnow.campaign import Label
from winnow.ids import task_id
from winnow.label.aggregation.votes import COMPARISON, by_pair, votes_of
from winnow.label.tasks import BuiltTasks, Task
from winnow.label.vendor import TaskRequest

Row = Mapping[str, Any]
_Asked = tuple[Task, TaskRequest]


def follow_up(
    tasks: Sequence[Task],
    requests: Sequence[TaskRequest],
    annotations: Sequence[Row],
    unanswered: Collection[str],
    label: Label,
    round: int,
) -> BuiltTasks:
    """Tasks of round number `round`, those bought again first, then third votes.

    In that order a budget that ends early leaves the fewest pairs without any vote.

    Args:
        tasks: All that was asked so far.
        requests: `requests[i]` is what `tasks[i]` showed.
        annotations: Rows of `records.ANNOTATIONS`, every revision.
        unanswered: Ids of tasks that nobody answered; of the round before, they are bought again
            if the campaign says so.
        label: Says whether there are third votes, and what becomes of `unanswered`.
        round: Of the new tasks, 1 or more.
    """
    asked = list(zip(tasks, requests, strict=True))
    lost = set(unanswered) if label.unanswered == "buy_again" else set()
    again = [
        (task, request)
        for task, request in asked
        if task.kind == COMPARISON and task.round == round - 1 and task.task_id in lost
    ]
    contested = contested_pairs(annotations) if label.third_votes else set()
    contested -= {task.pair_id for task, _ in again}
    # Each with the next free number of its pair.
    next_free: defaultdict[str, int] = defaultdict(int)
    for task in tasks:
        next_free[task.pair_id] = max(next_free[task.pair_id], task.repetition + 1)
    new = BuiltTasks([], [], [], {})
    for task, request in [*again, *_third_votes(asked, contested)]:
        number = next_free[task.pair_id]
        next_free[task.pair_id] += 1
        new_id = task_id(task.pair_id, task.shown_a, task.shown_b, task.rubric_version, number)
        unsent = replace(task, task_id=new_id, vendor_ref=None, submitted_at=None)
        new.tasks.append(replace(unsent, round=round, repetition=number))
        new.requests.append(replace(request, task_id=new_id))
    return new


def contested_pairs(annotations: Sequence[Row]) -> set[str]:
    """Pairs with two votes, one for each side, by two people."""
    votes = by_pair(votes_of(annotations))
    return {
        pair
        for pair, rows in votes.items()
        if len(rows) == 2
        and {row["preferred"] for row in rows} == {"first", "second"}
        and rows[0]["annotator"] != rows[1]["annotator"]
    }


def _third_votes(asked: Sequence[_Asked], contested: Collection[str]) -> list[_Asked]:
    """The first task of each contested pair: a third vote shows the same sides.

    Its sides were random, and say nothing of how the two votes went. Of a pair that held one vote
    before anything was asked it is the second vote; a pair that held two was asked its third one.
    """
    first: dict[str, _Asked] = {}
    for each in sorted(asked, key=lambda each: each[0].repetition):
        task = each[0]
        if task.kind == COMPARISON and task.repetition < 2 and task.pair_id in contested:
            first.setdefault(task.pair_id, each)
    return [each for each in asked if first.get(each[0].pair_id) is each]
