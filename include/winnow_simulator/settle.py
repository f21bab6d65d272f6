"""Settling: what is due by now shows in the books, is charged, and what is overdue expires.

What always holds: an answer and its charge are one transaction, that of the caller. An answer due
after its batch's deadline never comes, even when nobody looked in between. An answer is charged
once, when it is first delivered. Its edit and its retraction are revisions of the same annotation
and carry its price, but charge nothing; a second answer to the task and a broken record have ids of
their own and a price of 0. A retraction is not charged back: as with crowds, who has read and
answered is paid.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from winnow.ids import content_id, seed_from
from winnow_simulator.faults import Faults
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
SECOND_THOUGHT_SECONDS = (60.0, 1200.0)
LOG = "INSERT INTO answers (ref, task_id, kind, record) VALUES (?, ?, ?, ?)"
_PLAN = "INSERT INTO later (ref, task_id, kind, due_at, record) VALUES (?, ?, ?, ?, ?)"


def settle(db: sqlite3.Connection, now: float, speed: float, faults: Faults, seed: int) -> None:
    """Bring the books up to `now`, seconds since 1970, UTC."""
    for task in db.execute(_DUE, (now,)).fetchall():
        record = _answer_record(task, speed)
        if record is None:
            db.execute("UPDATE tasks SET state = ? WHERE task_id = ?", (EXPIRED, task["task_id"]))
            mark_changed(db, task["ref"])
            continue
        enter_answer(db, task, "answer", record, now)
        plans = [
            (task["ref"], task["task_id"], kind, task["due_at"] + after / speed, json.dumps(later))
            for kind, after, later in _what_follows(task, record, faults, seed, speed)
        ]
        db.executemany(_PLAN, plans)
    for entry in db.execute(_DUE_LATER, (now,)).fetchall():
        db.execute(LOG, (entry["ref"], entry["task_id"], entry["kind"], entry["record"]))
        db.execute("DELETE FROM later WHERE entry = ?", (entry["entry"],))
        mark_changed(db, entry["ref"])
    for batch in db.execute(_PAST_DEADLINE, (now,)).fetchall():
        expired = expire_pending(db, batch["ref"]) > 0
        db.execute(
            "UPDATE batches SET closed_at = ?, expired = ? WHERE ref = ?",
            (batch["deadline"], expired, batch["ref"]),
        )


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


def _answer_record(task: sqlite3.Row, speed: float) -> dict[str, Any] | None:
    """The answer of a task's row as it is delivered; None when nobody answered."""
    outcome = json.loads(task["outcome"])
    if outcome["choice"] is None:
        return None
    active = outcome["ended"] - outcome["started"]
    given = {name: outcome[name] for name in ("annotator", "choice", "strength", "rationale")}
    ratings = {name: {"a": a, "b": b} for name, (a, b) in outcome["ratings"].items()}
    due = task["due_at"]
    if outcome.get("choices"):
        given["dimension_choices"] = outcome["choices"]
    if outcome.get("order"):
        given["order"] = outcome["order"]
    return annotation(task, {**given, "ratings": ratings}, due, active, due - active / speed)


def annotation(
    task: sqlite3.Row,
    given: Mapping[str, Any],
    finished_at: float,
    active_seconds: float,
    started_at: float,
) -> dict[str, Any]:
    """The first revision of a task's annotation; times are seconds since 1970, UTC.

    `given` is what somebody said: annotator, choice, strength, ratings and rationale, and the order
    of a ranking.
    """
    return {
        "annotation_id": content_id("annotation", task["task_id"]),
        "revision": 0,
        "task_id": task["task_id"],
        **given,
        "started_at": _iso(started_at),
        "finished_at": _iso(finished_at),
        "active_seconds": round(active_seconds, 3),
        "status": "submitted",
        "price": task["price"],
    }


def _what_follows(
    task: sqlite3.Row, record: dict[str, Any], faults: Faults, seed: int, speed: float
) -> Iterator[tuple[str, float, Any]]:
    """Kind, simulated seconds behind the answer, and record of everything that follows it."""
    task_id = task["task_id"]
    rng = random.Random(seed_from("later", seed, task_id))
    waits = sorted(rng.uniform(*SECOND_THOUGHT_SECONDS) for _ in range(4))
    other = rng.choice([choice for choice in ("a", "b", "tie") if choice != record["choice"]])

    def at(wait: float) -> str:
        return _iso(task["due_at"] + wait / speed)

    if faults.befalls("broken_record", task_id):
        yield "broken", waits[0], _broken(record, rng)
    # Whoever skipped a ranking has no order to change.
    has_other = "order" in record or "responses" not in json.loads(task["request"])
    changes = json.loads(task["outcome"])["changes_mind"] or faults.befalls("edited", task_id)
    if changes and has_other:
        record = {
            **record,
            "revision": record["revision"] + 1,
            **(
                {"order": record["order"][::-1]}
                if "order" in record
                else {"choice": other, "strength": 0 if other == "tie" else 1}
            ),
            "finished_at": at(waits[1]),
        }
        yield "edit", waits[1], record
    if faults.befalls("answered_twice", task_id):
        own = content_id("second answer", task_id)
        again = {"annotation_id": own, "revision": 0, "finished_at": at(waits[2]), "price": 0}
        yield "second_answer", waits[2], {**record, **again}
    if faults.befalls("retracted", task_id):
        gone = {"revision": record["revision"] + 1, "status": "retracted"}
        yield "retraction", waits[3], {**record, **gone}


def _broken(record: dict[str, Any], rng: random.Random) -> Any:
    """A record beside the real one from which no annotation can be read."""
    own = {**record, "annotation_id": content_id("broken", record["task_id"]), "price": 0}
    faulty: list[Any] = [
        {**own, "choice": "ZZZ"},
        {**own, "task_id": content_id("no task", record["task_id"])},
        {**own, "started_at": "yesterday"},
        {name: own[name] for name in ("annotation_id", "annotator", "choice")},
        json.dumps(own)[:40],
        [own["annotation_id"], own["choice"]],
    ]
    return rng.choice(faulty)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
