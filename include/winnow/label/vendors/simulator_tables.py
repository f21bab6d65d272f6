"""The simulator's tables, and what is read off their rows.

The ledger has no unique key: were a task ever bought or charged twice, it would show there.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime

from winnow.ids import content_id
from winnow.label.vendor import BatchState, BatchStatus

TABLES = """
CREATE TABLE IF NOT EXISTS batches (
    ref TEXT PRIMARY KEY, batch_key TEXT NOT NULL UNIQUE, opened_at REAL NOT NULL,
    launched_at REAL, cancelled_at REAL, cancel_reason TEXT);
CREATE TABLE IF NOT EXISTS tasks (
    task_id TEXT PRIMARY KEY, ref TEXT NOT NULL, asked INTEGER NOT NULL, request TEXT NOT NULL,
    price INTEGER NOT NULL, outcome TEXT NOT NULL, ends_after REAL NOT NULL, due_at REAL,
    settled INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS tasks_by_batch ON tasks (ref, task_id);
CREATE INDEX IF NOT EXISTS tasks_by_due ON tasks (settled, due_at);
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, ref TEXT NOT NULL, task_id TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS answers_by_batch ON answers (ref, number);
CREATE TABLE IF NOT EXISTS ledger (
    entry INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, task_id TEXT NOT NULL,
    ref TEXT NOT NULL, amount INTEGER NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS ledger_by_task ON ledger (task_id, kind);
"""

_COUNTS = """
SELECT count(*) AS n_tasks,
    coalesce(sum(t.settled AND a.number IS NOT NULL), 0) AS n_answered,
    coalesce(sum(t.settled AND a.number IS NULL), 0) AS n_expired,
    coalesce(sum(NOT t.settled), 0) AS n_pending,
    coalesce(sum(CASE WHEN t.settled THEN 0 ELSE t.price END), 0) AS pending_price,
    max(CASE WHEN t.settled THEN NULL ELSE t.due_at END) AS last_due
FROM tasks t LEFT JOIN answers a USING (task_id) WHERE t.ref = ?
"""

PER_TASK = """
SELECT t.task_id, t.ref, b.batch_key, t.asked, t.price, t.request, a.record,
    (SELECT count(*) FROM ledger l WHERE l.task_id = t.task_id AND l.kind = 'bought') AS bought,
    (SELECT coalesce(sum(l.amount), 0) FROM ledger l
        WHERE l.task_id = t.task_id AND l.kind = 'charged') AS charged
FROM tasks t JOIN batches b USING (ref) LEFT JOIN answers a USING (task_id)
"""

ENTER = "INSERT INTO ledger (kind, task_id, ref, amount, at) VALUES (?, ?, ?, ?, ?)"


class UnknownBatch(Exception):
    """No batch has this ref."""


def answer_record(task: sqlite3.Row, speed: float) -> dict[str, str | int | float | None] | None:
    """The annotation as the service delivers it; None when nobody answered."""
    outcome = json.loads(task["outcome"])
    if outcome["choice"] is None:
        return None
    active = outcome["ended"] - outcome["started"]
    return {
        "annotation_id": content_id("annotation", task["task_id"]),
        "revision": 0,
        "task_id": task["task_id"],
        "annotator": outcome["annotator"],
        "choice": outcome["choice"],
        "strength": outcome["strength"],
        "rationale": None,
        "started_at": _iso(task["due_at"] - active / speed),
        "finished_at": _iso(task["due_at"]),
        "active_seconds": round(active, 3),
        "status": "submitted",
        "price": task["price"],
    }


def batch_status(db: sqlite3.Connection, ref: str) -> BatchStatus:
    """Where the batch stands.

    Raises:
        UnknownBatch: No batch has this ref.
    """
    batch = find_batch(db, ref)
    counts = one_row(db, _COUNTS, ref)
    charged = one_row(
        db, "SELECT sum(amount) AS s FROM ledger WHERE ref = ? AND kind = 'charged'", ref
    )["s"]
    last_due = counts["last_due"]
    return BatchStatus(
        state=_state(batch, counts["n_pending"]),
        n_tasks=counts["n_tasks"],
        n_answered=counts["n_answered"],
        n_expired=counts["n_expired"],
        n_pending=counts["n_pending"],
        charged=charged or 0,
        committed=(charged or 0) + counts["pending_price"],
        expected_done_at=None if last_due is None else datetime.fromtimestamp(last_due, UTC),
    )


def find_batch(db: sqlite3.Connection, ref: str) -> sqlite3.Row:
    """The row of a batch.

    Raises:
        UnknownBatch: No batch has this ref.
    """
    batch = db.execute("SELECT * FROM batches WHERE ref = ?", (ref,)).fetchone()
    if batch is None:
        raise UnknownBatch(ref)
    return batch  # type: ignore[no-any-return]


def one_row(db: sqlite3.Connection, sql: str, *values: str | int | float) -> sqlite3.Row:
    """The only row of a query that always has one."""
    return db.execute(sql, values).fetchone()  # type: ignore[no-any-return]


def _state(batch: sqlite3.Row, n_pending: int) -> BatchState:
    if batch["cancelled_at"] is not None:
        return "cancelled"
    if batch["launched_at"] is None:
        return "draft"
    return "open" if n_pending else "complete"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
