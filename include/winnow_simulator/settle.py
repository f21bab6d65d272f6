"""Settling: what is due by now shows in the books, is charged, and what is overdue expires.

What always holds: an answer and its charge are one transaction, that of the caller. An answer due
after its batch's deadline never comes, even when nobody looked in between.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from winnow_simulator.faults import Faults
from winnow_simulator.records import answer_record, what_follows
from winnow_simulator.tables import ANSWERED, ENTER, EXPIRED, PENDING

_DUE = """
SELECT t.* FROM tasks t JOIN batches b USING (ref)
WHERE t.state = 0 AND t.due_at <= ? AND t.due_at <= b.deadline ORDER BY t.due_at, t.task_id
"""
_DUE_LATER = """
SELECT l.* FROM later l JOIN batches b USING (ref)
WHERE l.due_at <= ? AND l.due_at <= b.deadline ORDER BY l.due_at, l.entry
"""
_PAST_DEADLINE = """
SELECT ref, deadline FROM batches
WHERE launched_at IS NOT NULL AND closed_at IS NULL AND cancelled_at IS NULL AND deadline <= ?
"""
LOG = "INSERT INTO answers (ref, task_id, kind, record) VALUES (?, ?, ?, ?)"
_PLAN = "INSERT INTO later (ref, task_id, kind, due_at, record) VALUES (?, ?, ?, ?, ?)"


def settle(db: sqlite3.Connection, now: float, speed: float, faults: Faults, seed: int) -> None:
    """Bring the books up to `now`, seconds since 1970, UTC."""
    for task in db.execute(_DUE, (now,)).fetchall():
        record = answer_record(task, speed)
        if record is None:
            db.execute("UPDATE tasks SET state = ? WHERE task_id = ?", (EXPIRED, task["task_id"]))
            mark_changed(db, task["ref"])
            continue
        enter_answer(db, task, "answer", record, now)
        plans = [
            (task["ref"], task["task_id"], one.kind, task["due_at"] + one.after / speed, one.record)
            for one in what_follows(task, record, faults, seed, speed)
        ]
        db.executemany(_PLAN, plans)
    for entry in db.execute(_DUE_LATER, (now,)).fetchall():
        db.execute(LOG, (entry["ref"], entry["task_id"], entry["kind"], entry["record"]))
        db.execute("DELETE FROM later WHERE entry = ?", (entry["entry"],))
        mark_changed(db, entry["ref"])
    for batch in db.execute(_PAST_DEADLINE, (now,)).fetchall():
        _close(db, batch["ref"], batch["deadline"])


def enter_answer(
    db: sqlite3.Connection, task: sqlite3.Row, kind: str, record: dict[str, Any], now: float
) -> None:
    """Deliver the answer of a pending task and charge it."""
    db.execute(LOG, (task["ref"], task["task_id"], kind, json.dumps(record)))
    db.execute(ENTER, ("charged", task["task_id"], task["ref"], task["price"], now))
    db.execute(
        "UPDATE tasks SET state = ?, annotator = ? WHERE task_id = ?",
        (ANSWERED, record["annotator"], task["task_id"]),
    )
    mark_changed(db, task["ref"])


def expire_pending(db: sqlite3.Connection, ref: str) -> int:
    """End the batch: no pending task is answered, no answer changed; how many tasks those were."""
    expired = db.execute(
        "UPDATE tasks SET state = ? WHERE ref = ? AND state = ?", (EXPIRED, ref, PENDING)
    ).rowcount
    dropped = db.execute("DELETE FROM later WHERE ref = ?", (ref,)).rowcount
    if expired or dropped:
        mark_changed(db, ref)
    return expired


def mark_changed(db: sqlite3.Connection, ref: str) -> None:
    """Note that there is news of the batch, for its webhook."""
    db.execute("UPDATE batches SET changes = changes + 1 WHERE ref = ?", (ref,))


def _close(db: sqlite3.Connection, ref: str, deadline: float) -> None:
    expired = expire_pending(db, ref) > 0
    db.execute(
        "UPDATE batches SET closed_at = ?, expired = ? WHERE ref = ?", (deadline, expired, ref)
    )
