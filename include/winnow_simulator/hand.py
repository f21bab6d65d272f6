"""Answers given by hand: a person takes a waiting task from the simulated staff and answers it.

What always holds: a task is answered once, by hand or by the staff, whichever comes first; an
answer by hand is delivered and charged like any other.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from winnow.label.vendor import Choice
from winnow_simulator.books import Books
from winnow_simulator.settle import annotation, enter_answer
from winnow_simulator.tables import PENDING, PER_TASK, Refused, one_row

HOLD_SECONDS = 900.0
"""How long the simulated staff leaves a task alone that a person has opened to answer."""
LONGEST_LOOK_SECONDS = 3600.0

KEPT = 10
"""How many tasks of a batch wait for a person who answers one after the other."""

# Those already kept for a person first, then those that the staff would answer first.
_NEXT = """
SELECT task_id FROM tasks WHERE ref = :ref AND state = 0 AND due_at IS NOT NULL
    AND json_type(request, '$.responses') IS NULL
ORDER BY coalesce(held_until, 0) <= :now, due_at, task_id LIMIT :n
"""
_HOLD = "UPDATE tasks SET due_at = max(due_at, :until), held_until = :until WHERE task_id = :task"


@dataclass(frozen=True, slots=True)
class HandAnswer:
    """What a person said; `shown_at` is when they were shown the task, seconds since 1970.

    `choices` are those on dimensions.
    """

    annotator: str
    choice: Choice
    ratings: Mapping[str, Mapping[str, int]]
    rationale: str | None
    shown_at: float
    choices: Mapping[str, str] = field(default_factory=dict)


def find_task(books: Books, task_id: str) -> sqlite3.Row:
    """The task with its batch, answer and charge.

    Raises:
        Refused: There is no such task.
    """
    with books.transaction() as (db, _):
        return _find(db, task_id)


def why_not_waiting(task: sqlite3.Row) -> str | None:
    """Why nobody can answer the task; None when somebody can."""
    if task["record"]:
        by = json.loads(task["record"])["annotator"]
        return f"This task is answered already, by {by}. It cannot be answered again."
    if task["state"] != PENDING:
        return "This task ended without an answer, because its time was up or it was called off."
    if task["due_at"] is None:
        return "This task's batch is not launched yet; nobody can see it until then."
    if "responses" in json.loads(task["request"]):
        return "This task asks for a ranking, which this page cannot take: the staff answers it."
    return None


def hold(books: Books, task_id: str) -> None:
    """Keep the simulated staff from a waiting task for a quarter of an hour.

    Raises:
        Refused: There is no such task, or it is answered or ended.
    """
    with books.transaction() as (db, now):
        _find_waiting(db, task_id)
        db.execute(_HOLD, {"until": now + HOLD_SECONDS, "task": task_id})


def answer(books: Books, task_id: str, hand: HandAnswer) -> None:
    """Put a person's answer in the place of what the simulated staff would have said.

    Raises:
        Refused: There is no such task, or it is answered or ended.
    """
    with books.transaction() as (db, now):
        task = _find_waiting(db, task_id)
        seconds = min(max(0.0, now - hand.shown_at), LONGEST_LOOK_SECONDS)
        given = {
            "annotator": hand.annotator,
            "choice": hand.choice,
            "strength": None if hand.choice in ("a", "b", "skip") else 0,
            "ratings": dict(hand.ratings),
            **({"dimension_choices": dict(hand.choices)} if hand.choices else {}),
            "rationale": hand.rationale,
        }
        record = annotation(task, given, now, seconds, now - seconds)
        enter_answer(db, task, "hand", record, now)


def hold_next(books: Books, ref: str) -> str | None:
    """The batch's next task for a person, who keeps `KEPT` of them; None when none waits."""
    with books.transaction() as (db, now):
        rows = db.execute(_NEXT, {"ref": ref, "now": now, "n": KEPT}).fetchall()
        tasks = [row["task_id"] for row in rows]
        until = now + HOLD_SECONDS
        db.executemany(_HOLD, [{"until": until, "task": task_id} for task_id in tasks])
        return tasks[0] if tasks else None


def n_by_hand(books: Books) -> int:
    """How many answers of the account came by hand."""
    with books.transaction() as (db, _):
        n: int = one_row(db, "SELECT count(*) AS n FROM answers WHERE kind = 'hand'")["n"]
        return n


def _find(db: sqlite3.Connection, task_id: str) -> sqlite3.Row:
    task = db.execute(f"{PER_TASK} WHERE t.task_id = ?", (task_id,)).fetchone()
    if task is None:
        raise Refused("This simulator has no such task.", 404, by_hand=True)
    return task  # type: ignore[no-any-return]


def _find_waiting(db: sqlite3.Connection, task_id: str) -> sqlite3.Row:
    task = _find(db, task_id)
    why = why_not_waiting(task)
    if why:
        raise Refused(why, 409, by_hand=True)
    return task
