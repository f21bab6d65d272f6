"""The simulator's tables, and what is read off their rows.

The ledger has no unique key: were a task ever bought or charged twice, it would show there. Counts
and charges of a batch are sums over indexes, never kept beside the rows, so they cannot drift.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime

from winnow.label.vendor import BatchState, BatchStatus, BatchTerms

VERSION = 4
PENDING, ANSWERED, EXPIRED = 0, 1, 2

TABLES = """
CREATE TABLE IF NOT EXISTS batches (
    ref TEXT PRIMARY KEY, batch_key TEXT NOT NULL UNIQUE, opened_at REAL NOT NULL,
    launched_at REAL, cancelled_at REAL, cancel_reason TEXT, closed_at REAL,
    expired INTEGER NOT NULL DEFAULT 0, instructions TEXT NOT NULL, rubric_version TEXT NOT NULL,
    dimensions TEXT NOT NULL, deadline REAL NOT NULL, session_minutes INTEGER,
    changes INTEGER NOT NULL DEFAULT 0, announced INTEGER NOT NULL DEFAULT 0,
    mark TEXT NOT NULL DEFAULT '', choices TEXT NOT NULL DEFAULT '[]');
CREATE INDEX IF NOT EXISTS batches_by_deadline ON batches (deadline)
    WHERE launched_at IS NOT NULL AND closed_at IS NULL AND cancelled_at IS NULL;
CREATE INDEX IF NOT EXISTS batches_with_news ON batches (ref) WHERE changes > announced;
CREATE TABLE IF NOT EXISTS tasks (
    task_id TEXT PRIMARY KEY, ref TEXT NOT NULL, pair_id TEXT NOT NULL, repeats TEXT,
    asked INTEGER NOT NULL, request TEXT NOT NULL, price INTEGER NOT NULL, annotator TEXT NOT NULL,
    outcome TEXT NOT NULL, ends_after REAL NOT NULL, due_at REAL, held_until REAL,
    state INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS tasks_by_batch ON tasks (ref, task_id);
CREATE INDEX IF NOT EXISTS tasks_by_state ON tasks (ref, state, due_at, price);
CREATE INDEX IF NOT EXISTS tasks_by_due ON tasks (due_at) WHERE state = 0;
CREATE INDEX IF NOT EXISTS tasks_by_pair ON tasks (pair_id, ref, annotator);
CREATE TABLE IF NOT EXISTS answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT, ref TEXT NOT NULL, task_id TEXT NOT NULL,
    kind TEXT NOT NULL, record TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS answers_by_batch ON answers (ref, number);
CREATE INDEX IF NOT EXISTS answers_by_task ON answers (task_id, number);
CREATE UNIQUE INDEX IF NOT EXISTS one_answer ON answers (task_id) WHERE kind IN ('answer', 'hand');
CREATE TABLE IF NOT EXISTS later (
    entry INTEGER PRIMARY KEY, ref TEXT NOT NULL, task_id TEXT NOT NULL, kind TEXT NOT NULL,
    due_at REAL NOT NULL, record TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS later_by_due ON later (due_at);
CREATE INDEX IF NOT EXISTS later_by_batch ON later (ref);
CREATE TABLE IF NOT EXISTS ledger (
    entry INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, task_id TEXT NOT NULL,
    ref TEXT NOT NULL, amount INTEGER NOT NULL, at REAL NOT NULL);
CREATE INDEX IF NOT EXISTS ledger_by_task ON ledger (task_id, kind, amount);
CREATE INDEX IF NOT EXISTS ledger_by_batch ON ledger (ref, kind, amount);
"""

_CHOICES = "choices TEXT NOT NULL DEFAULT '[]'"
_ADDED = {2: ("mark TEXT NOT NULL DEFAULT ''", _CHOICES), 3: (_CHOICES,)}
"""Columns of batches that came after a version of the books."""

_COUNTS = "SELECT state, count(*) AS n, sum(price) AS price FROM tasks WHERE ref = ? GROUP BY state"
_LAST_DUE = "SELECT max(due_at) AS at FROM tasks WHERE ref = ? AND state = 0"
_CHARGED = "SELECT sum(amount) AS amount FROM ledger WHERE ref = ? AND kind = 'charged'"

PER_TASK = """
SELECT t.*, b.batch_key, b.launched_at, b.dimensions, b.choices, a.record, a.kind,
    (SELECT count(*) FROM ledger l WHERE l.task_id = t.task_id AND l.kind = 'bought') AS bought,
    (SELECT coalesce(sum(l.amount), 0) FROM ledger l
        WHERE l.task_id = t.task_id AND l.kind = 'charged') AS charged
FROM tasks t JOIN batches b USING (ref)
    LEFT JOIN answers a ON a.task_id = t.task_id AND a.kind IN ('answer', 'hand')
"""

ENTER = "INSERT INTO ledger (kind, task_id, ref, amount, at) VALUES (?, ?, ?, ?, ?)"


class Refused(Exception):
    """A call is not served; the message says why, for a person who answers `by_hand` or a vendor.

    `status` is that of the answer over HTTP.
    """

    def __init__(self, words: str, status: int, by_hand: bool = False) -> None:
        super().__init__(words)
        self.status, self.by_hand = status, by_hand


class OtherBooks(Exception):
    """The file holds books of another version."""


def make_tables(db: sqlite3.Connection) -> None:
    """Make the tables where they are not there; books of versions 2 and 3 get what they lack.

    Raises:
        OtherBooks: The file was written by another version of the simulator.
    """
    version = one_row(db, "PRAGMA user_version")["user_version"]
    used = one_row(db, "SELECT count(*) AS n FROM sqlite_master")["n"]
    if used and version in _ADDED:
        for column in _ADDED[version]:
            db.execute(f"ALTER TABLE batches ADD COLUMN {column}")
    elif used and version != VERSION:
        raise OtherBooks(f"books of version {version}, this simulator keeps version {VERSION}")
    db.executescript(TABLES + f"PRAGMA user_version = {VERSION};")


def batch_status(db: sqlite3.Connection, ref: str) -> BatchStatus:
    """Where the batch stands.

    Raises:
        Refused: No batch has this ref.
    """
    batch = find_batch(db, ref)
    rows = {row["state"]: row for row in db.execute(_COUNTS, (ref,))}
    counts = {state: row["n"] for state, row in rows.items()}
    n_pending = counts.get(PENDING, 0)
    charged = one_row(db, _CHARGED, ref)["amount"] or 0
    last_due = one_row(db, _LAST_DUE, ref)["at"]
    return BatchStatus(
        state=_state(db, batch, n_pending),
        n_tasks=sum(counts.values()),
        n_answered=counts.get(ANSWERED, 0),
        n_expired=counts.get(EXPIRED, 0),
        n_pending=n_pending,
        charged=charged,
        committed=charged + (rows[PENDING]["price"] if n_pending else 0),
        expected_done_at=None if last_due is None else _moment(min(last_due, batch["deadline"])),
    )


def terms_of(batch: sqlite3.Row) -> BatchTerms:
    """The terms under which a batch was opened."""
    texts = {name: batch[name] for name in ("instructions", "rubric_version", "mark")}
    return BatchTerms(
        **texts,
        dimensions=tuple(json.loads(batch["dimensions"])),
        choices=tuple(json.loads(batch["choices"])),
        deadline=_moment(batch["deadline"]),
        session_minutes=batch["session_minutes"],
    )


def find_batch(db: sqlite3.Connection, ref: str) -> sqlite3.Row:
    """The row of a batch.

    Raises:
        Refused: No batch has this ref.
    """
    batch = db.execute("SELECT * FROM batches WHERE ref = ?", (ref,)).fetchone()
    if batch is None:
        raise Refused(f"no batch {ref}", 404)
    return batch  # type: ignore[no-any-return]


def one_row(db: sqlite3.Connection, sql: str, *values: str | int | float | None) -> sqlite3.Row:
    """The only row of a query that always has one."""
    return db.execute(sql, values).fetchone()  # type: ignore[no-any-return]


def _state(db: sqlite3.Connection, batch: sqlite3.Row, n_pending: int) -> BatchState:
    if batch["cancelled_at"] is not None:
        return "cancelled"
    if batch["launched_at"] is None:
        return "draft"
    if batch["expired"]:
        return "expired"
    # An answer that somebody is still going to change: more will come.
    more = n_pending or db.execute("SELECT 1 FROM later WHERE ref = ?", (batch["ref"],)).fetchone()
    return "open" if more else "complete"


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
