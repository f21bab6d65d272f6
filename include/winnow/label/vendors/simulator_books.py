"""The simulator's books: batches, tasks, answers and money in one SQLite file.

What always holds: a task id is taken once in the whole account, by a unique key and not by care;
an answer is revealed and charged in one transaction; everything that happened is in the file, so
that the service may be killed at any instruction. What comes of a task is fixed when it is added;
launching only sets the time at which it shows.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from winnow.ids import content_id
from winnow.label.vendor import BatchStatus, TaskRequest
from winnow.label.vendors.annotators import work_on
from winnow.label.vendors.simulator_tables import (
    ENTER,
    PER_TASK,
    TABLES,
    answer_record,
    batch_status,
    find_batch,
    one_row,
)


class CancelledBatch(Exception):
    """The batch was cancelled and takes no more tasks."""


@dataclass(frozen=True, slots=True)
class Added:
    """Ids bought now, and ids that the account held already, with the batch that holds each."""

    added: list[str]
    duplicates: dict[str, str]


class Books:
    """All state of one simulator, in the SQLite file `database`, made if it is not there.

    `now` gives seconds since 1970, UTC. Every method may be called from any thread: one connection
    serves them in turn. Each first settles what is due.
    """

    def __init__(self, database: Path, seed: int, speed: float, now: Callable[[], float]) -> None:
        self._seed, self._speed, self._now = seed, speed, now
        self._turn = threading.Lock()
        self._db = sqlite3.connect(
            database, timeout=30.0, isolation_level=None, check_same_thread=False
        )
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.executescript(TABLES)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def open_batch(self, batch_key: str) -> str:
        """Ref of the batch with this key, made now if there is none."""
        ref = "sim-" + content_id("batch", batch_key)[:16]
        with self._transaction() as (db, now):
            db.execute(
                "INSERT OR IGNORE INTO batches (ref, batch_key, opened_at) VALUES (?, ?, ?)",
                (ref, batch_key, now),
            )
        return ref

    def add_tasks(self, ref: str, tasks: Sequence[TaskRequest]) -> Added:
        """Buy those of `tasks` that the account does not hold; count how often each was asked for.

        Raises:
            UnknownBatch: Nothing was bought.
            CancelledBatch: Nothing was bought.
        """
        outcomes = [work_on(task, self._seed) for task in tasks]
        result = Added([], {})
        with self._transaction() as (db, now):
            if find_batch(db, ref)["cancelled_at"] is not None:
                raise CancelledBatch(ref)
            for task, outcome in zip(tasks, outcomes, strict=True):
                holder = one_row(
                    db,
                    "INSERT INTO tasks (task_id, ref, asked, request, price, outcome, ends_after)"
                    " VALUES (?, ?, 1, ?, ?, ?, ?)"
                    " ON CONFLICT (task_id) DO UPDATE SET asked = asked + 1 RETURNING ref, asked",
                    task.task_id,
                    ref,
                    json.dumps(asdict(task)),
                    task.price,
                    json.dumps(asdict(outcome)),
                    outcome.ended,
                )
                if holder["asked"] > 1:
                    result.duplicates[task.task_id] = holder["ref"]
                else:
                    db.execute(ENTER, ("bought", task.task_id, ref, task.price, now))
                    result.added.append(task.task_id)
        return result

    def task_ids(self, ref: str) -> list[str]:
        """Ids of the batch's tasks, sorted."""
        with self._transaction() as (db, _):
            find_batch(db, ref)
            rows = db.execute("SELECT task_id FROM tasks WHERE ref = ? ORDER BY task_id", (ref,))
            return [row["task_id"] for row in rows]

    def launch(self, ref: str) -> BatchStatus:
        """Start the clock of every task that waits for it; a cancelled batch stays cancelled."""
        with self._transaction() as (db, now):
            if find_batch(db, ref)["cancelled_at"] is None:
                db.execute(
                    "UPDATE batches SET launched_at = coalesce(launched_at, ?) WHERE ref = ?",
                    (now, ref),
                )
                db.execute(
                    "UPDATE tasks SET due_at = ? + ends_after / ? WHERE ref = ? AND due_at IS NULL",
                    (now, self._speed, ref),
                )
            return batch_status(db, ref)

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        """Stop asking; what was due is answered and charged, the rest never will be."""
        with self._transaction() as (db, now):
            db.execute(
                "UPDATE batches SET cancelled_at = ?, cancel_reason = ?"
                " WHERE ref = ? AND cancelled_at IS NULL",
                (now, reason, ref),
            )
            db.execute("UPDATE tasks SET settled = 1 WHERE ref = ? AND settled = 0", (ref,))
            return batch_status(db, ref)

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands."""
        with self._transaction() as (db, _):
            return batch_status(db, ref)

    def answers_after(self, ref: str, number: int, limit: int) -> list[sqlite3.Row]:
        """Up to `limit` answers of the batch with a higher `number`, in the order they came."""
        with self._transaction() as (db, _):
            find_batch(db, ref)
            found = db.execute(
                "SELECT number, record FROM answers WHERE ref = ? AND number > ?"
                " ORDER BY number LIMIT ?",
                (ref, number, limit),
            )
            return found.fetchall()

    def batches(self) -> list[sqlite3.Row]:
        """All batches, the newest first."""
        with self._transaction() as (db, _):
            return db.execute("SELECT * FROM batches ORDER BY opened_at DESC, ref").fetchall()

    def per_task(self, ref: str | None = None) -> list[sqlite3.Row]:
        """Each task of the account or of one batch: how often asked for, bought, and its charge."""
        where = " WHERE t.ref = ?" if ref else ""
        with self._transaction() as (db, _):
            sql = PER_TASK + where + " ORDER BY t.task_id"
            return db.execute(sql, (ref,) if ref else ()).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        with self._turn:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                now = self._now()
                self._settle(self._db, now)
                yield self._db, now
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _settle(self, db: sqlite3.Connection, now: float) -> None:
        """Reveal and charge what is due."""
        due = db.execute(
            "SELECT * FROM tasks WHERE settled = 0 AND due_at <= ? ORDER BY due_at, task_id", (now,)
        ).fetchall()
        for task in due:
            record = answer_record(task, self._speed)
            if record is not None:
                db.execute(
                    "INSERT INTO answers (ref, task_id, record) VALUES (?, ?, ?)",
                    (task["ref"], task["task_id"], json.dumps(record)),
                )
                charge = ("charged", task["task_id"], task["ref"], task["price"], now)
                db.execute(ENTER, charge)
            db.execute("UPDATE tasks SET settled = 1 WHERE task_id = ?", (task["task_id"],))
