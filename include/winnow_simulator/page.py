"""The simulator's pages for people: batches, each task with its answer and charge, and the form.

Every text on them comes from prompts and models and is hostile: the templates show it as text. What
always holds: a page loads nothing but itself. Its style and its one script are inline and named by
their hashes in the policy, so nothing that a prompt or a model wrote can run or be styled.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from winnow.pages.render import policy, render, style_of
from winnow_simulator.books import Books
from winnow_simulator.form import LONGEST_NAME, LONGEST_RATIONALE, Sitting
from winnow_simulator.hand import HOLD_SECONDS, KEPT, n_by_hand, why_not_waiting

TASKS_SHOWN = 200

_TEMPLATES = Path(__file__).with_name("templates")
_KEYS = (_TEMPLATES / "keys.js").read_text()
"""Digits press buttons."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"{policy(style_of(_TEMPLATES), _KEYS)}; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def overview_page(books: Books) -> str:
    """All batches with their counts and charges."""
    batches = [
        (
            batch["batch_key"],
            batch["ref"],
            datetime.fromtimestamp(batch["opened_at"], UTC),
            books.status(batch["ref"]),
        )
        for batch in books.batches()
    ]
    return render("overview.html", _TEMPLATES, batches=batches, n_by_hand=n_by_hand(books))


def batch_page(books: Books, ref: str, form_token: str) -> str:
    """One batch with its tasks, the first `TASKS_SHOWN` of them, and buttons to answer by hand.

    Raises:
        UnknownBatch: No batch has this ref.
    """
    status = books.status(ref)
    tasks = [_task(row) for row in books.per_task(ref, TASKS_SHOWN)]
    return render(
        "batch.html",
        _TEMPLATES,
        ref=ref,
        status=status,
        tasks=tasks,
        n_more=status.n_tasks - len(tasks),
        form_token=form_token,
        kept=KEPT,
        hold_minutes=f"{HOLD_SECONDS / 60:.0f}",
        n_by_hand=n_by_hand(books),
    )


def task_page(row: sqlite3.Row, sitting: Sitting) -> str:
    """One task, with the form to answer it, or a word why it cannot be answered."""
    task = _task(row)
    return render(
        "task.html",
        _TEMPLATES,
        task=row,
        request=task["request"],
        answer=task["answer"],
        refused=why_not_waiting(row),
        dimensions=json.loads(row["dimensions"]),
        sitting=sitting,
        n_by_hand=sitting.n_by_hand,
        longest_name=LONGEST_NAME,
        longest_rationale=LONGEST_RATIONALE,
    )


def sorry_page(words: str, n_by_hand: int) -> str:
    """A page that says why something was not done."""
    return render("frame.html", _TEMPLATES, words=words, n_by_hand=n_by_hand)


def _task(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "row": dict(row),
        "request": json.loads(row["request"]),
        "answer": json.loads(row["record"]) if row["record"] else None,
        "waits": why_not_waiting(row) is None,
    }
