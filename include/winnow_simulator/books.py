"""The simulator's books: batches, tasks, answers and money in one SQLite file.

What always holds: a task id is taken once in the whole account, by a unique key and not by care;
an answer is revealed and charged in one transaction; everything that happened is in the file, so
that the service may be killed at any instruction. What comes of a task is fixed when its batch is
launched; launching also sets the time at which it shows. Terms are those of the first opening.
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
from winnow.label.vendor import BatchStatus, BatchTerms, TaskRequest
from winnow_simulator.assign import Staffing, assign_again
from winnow_simulator.faults import Faults
from winnow_simulator.settle import expire_pending, settle
from winnow_simulator.tables import (
    ENTER,
    PER_TASK,
    Refused,
    batch_status,
    find_batch,
    make_tables,
    one_row,
    terms_of,
)

_TAKE = """
INSERT INTO tasks (task_id, ref, pair_id, repeats, asked, request, price, annotator, outcome,
    ends_after) VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?)
ON CONFLICT (task_id) DO UPDATE SET asked = asked + 1 RETURNING ref, asked
"""
_BACK = """
SELECT number FROM answers WHERE ref = ? AND number <= ? ORDER BY number DESC LIMIT 1 OFFSET ?
"""
_AFTER = "SELECT number, record FROM answers WHERE ref = ? AND number > ? ORDER BY number LIMIT ?"
_OPEN = """
INSERT OR IGNORE INTO batches (ref, batch_key, opened_at, instructions, rubric_version, dimensions,
    deadline, session_minutes, mark, choices) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


@dataclass(frozen=True, slots=True)
class Added:
    """Ids bought now, and ids that the account held already, with the batch that holds each."""

    added: list[str]
    duplicates: dict[str, str]


class Books:
    """All state of one simulator, in the SQLite file `database`, made if it is not there.

    `now` gives seconds since 1970, UTC; simulated people work `speed` times as fast as that clock.
    Every method may be called from any thread: one connection serves them in turn. Each first
    settles what is due.

    Raises:
        OtherBooks: The file was written by another version of the simulator.
    """

    def __init__(
        self,
        database: Path,
        seed: int,
        speed: float,
        now: Callable[[], float],
        staffing: Staffing | None = None,
    ) -> None:
        self._speed, self._now = speed, now
        self._staffing = staffing or Staffing(seed)
        self._seed = seed
        self._turn = threading.Lock()
        self._db = sqlite3.connect(
            database, timeout=30.0, isolation_level=None, check_same_thread=False
        )
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        make_tables(self._db)

    @property
    def faults(self) -> Faults:
        """The faults that are switched on."""
        return self._staffing.faults

    def now(self) -> float:
        """The time by which the books are kept, seconds since 1970, UTC."""
        return self._now()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Ref of the batch with this key, made now under `terms` if there is none."""
        ref = "sim-" + content_id("batch", batch_key)[:16]
        rubric = (terms.instructions, terms.rubric_version, json.dumps(terms.dimensions))
        ends = (terms.deadline.timestamp(), terms.session_minutes, terms.mark)
        choices = json.dumps(terms.choices)
        with self.transaction() as (db, now):
            db.execute(_OPEN, (ref, batch_key, now, *rubric, *ends, choices))
        return ref

    def terms(self, ref: str) -> BatchTerms:
        """The terms under which a batch was opened.

        Raises:
            Refused: No batch has this ref.
        """
        with self.transaction() as (db, _):
            return terms_of(find_batch(db, ref))

    def add_tasks(self, ref: str, tasks: Sequence[TaskRequest]) -> Added:
        """Buy those of `tasks` that the account does not hold; count how often each was asked for.

        Raises:
            Refused: The batch is unknown or closed; nothing was bought.
        """
        terms = self.terms(ref)
        outcomes = [self._staffing.assign(task, terms) for task in tasks]
        result = Added([], {})
        with self.transaction() as (db, now):
            batch = find_batch(db, ref)
            if batch["cancelled_at"] is not None:
                raise Refused(f"batch {ref} was cancelled", 410)
            if batch["closed_at"] is not None:
                raise Refused(f"the deadline of batch {ref} is over", 410)
            for task, outcome in zip(tasks, outcomes, strict=True):
                outcome_json, request = json.dumps(asdict(outcome)), json.dumps(asdict(task))
                row = (task.task_id, ref, task.pair_id, task.repeats, request, task.price)
                holder = one_row(db, _TAKE, *row, outcome.annotator, outcome_json, outcome.ended)
                if holder["asked"] > 1:
                    result.duplicates[task.task_id] = holder["ref"]
                else:
                    db.execute(ENTER, ("bought", task.task_id, ref, task.price, now))
                    result.added.append(task.task_id)
        return result

    def task_ids(self, ref: str) -> list[str]:
        """Ids of the batch's tasks, sorted."""
        rows = self._rows("SELECT task_id FROM tasks WHERE ref = ? ORDER BY task_id", ref, of=ref)
        return [row["task_id"] for row in rows]

    def launch(self, ref: str) -> BatchStatus:
        """Start the clock of every task that waits for it; a cancelled batch stays cancelled."""
        with self.transaction() as (db, now):
            if find_batch(db, ref)["cancelled_at"] is None:
                assign_again(db, ref, self._staffing)
                db.execute(
                    "UPDATE batches SET launched_at = coalesce(launched_at, ?) WHERE ref = ?",
                    (now, ref),
                )
                db.execute(
                    "UPDATE tasks SET due_at = ? + ends_after / ? WHERE ref = ? AND due_at IS NULL",
                    (now, self._speed, ref),
                )
                # The deadline may be over already.
                self._settle(db, now)
            return batch_status(db, ref)

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        """Stop asking; what was due is answered and charged, the rest never will be."""
        with self.transaction() as (db, now):
            batch = find_batch(db, ref)
            if batch["cancelled_at"] is None and batch["closed_at"] is None:
                db.execute(
                    "UPDATE batches SET cancelled_at = ?, cancel_reason = ? WHERE ref = ?",
                    (now, reason, ref),
                )
                expire_pending(db, ref)
            return batch_status(db, ref)

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands."""
        with self.transaction() as (db, _):
            return batch_status(db, ref)

    def answers_after(self, ref: str, number: int, limit: int) -> list[sqlite3.Row]:
        """Up to `limit` records of the batch with a higher `number`, in the order they came."""
        return self._rows(_AFTER, ref, number, limit, of=ref)

    def number_before(self, ref: str, number: int, n_records: int) -> int | None:
        """Number of the batch's record `n_records` before `number`; None if there are fewer."""
        rows = self._rows(_BACK, ref, number, n_records)
        return int(rows[0]["number"]) if rows else None

    def batches(self) -> list[sqlite3.Row]:
        """All batches, the newest first."""
        return self._rows("SELECT * FROM batches ORDER BY opened_at DESC, ref")

    def per_task(self, ref: str | None = None, limit: int = -1) -> list[sqlite3.Row]:
        """Each task of the account or of one batch: how often asked for, bought, and its charge."""
        where = "WHERE t.ref = ?" if ref else ""
        values = (ref, limit) if ref else (limit,)
        return self._rows(f"{PER_TASK} {where} ORDER BY t.task_id LIMIT ?", *values)

    def news(self) -> list[tuple[str, int]]:
        """Batches of which something is new since it was announced, with their count of changes."""
        rows = self._rows("SELECT ref, changes FROM batches WHERE changes > announced")
        return [(row["ref"], row["changes"]) for row in rows]

    def announced(self, ref: str, changes: int) -> None:
        """Remember that the batch's news up to `changes` were announced."""
        with self.transaction() as (db, _):
            db.execute(
                "UPDATE batches SET announced = max(announced, ?) WHERE ref = ?", (changes, ref)
            )

    @contextmanager
    def transaction(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        """The books' connection and the time, everything due settled; all or nothing is kept."""
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

    def _rows(self, sql: str, *values: str | int, of: str | None = None) -> list[sqlite3.Row]:
        """What a query finds; the batch `of` which it asks has to be there."""
        with self.transaction() as (db, _):
            if of is not None:
                find_batch(db, of)
            return db.execute(sql, values).fetchall()

    def _settle(self, db: sqlite3.Connection, now: float) -> None:
        settle(db, now, self._speed, self.faults, self._seed)
