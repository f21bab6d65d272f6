"""Annotations as the simulator delivers them, and what else becomes of an answer later.

What always holds: an answer is charged once, when it is first delivered. Its edit and its
retraction are revisions of the same annotation and carry its price, but charge nothing; a second
answer to the task and a broken record have ids of their own and a price of 0. A retraction is not
charged back: as with crowds, who has read and answered is paid.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from winnow.ids import content_id, seed_from
from winnow_simulator.faults import Faults

Kind = Literal["answer", "hand", "edit", "retraction", "second_answer", "broken"]
Record = dict[str, Any]

SECOND_THOUGHT_SECONDS = (60.0, 1200.0)


@dataclass(frozen=True, slots=True)
class Later:
    """A record of the log that comes `after` simulated seconds behind the answer."""

    kind: Kind
    after: float
    record: str


def answer_record(task: sqlite3.Row, speed: float) -> Record | None:
    """The answer of a task's row as it is delivered; None when nobody answered."""
    outcome = json.loads(task["outcome"])
    if outcome["choice"] is None:
        return None
    active = outcome["ended"] - outcome["started"]
    return annotation(
        task,
        annotator=outcome["annotator"],
        choice=outcome["choice"],
        strength=outcome["strength"],
        ratings={name: {"a": a, "b": b} for name, (a, b) in outcome["ratings"].items()},
        rationale=outcome["rationale"],
        started_at=task["due_at"] - active / speed,
        finished_at=task["due_at"],
        active_seconds=active,
    )


def annotation(
    task: sqlite3.Row,
    *,
    annotator: str,
    choice: str,
    strength: int | None,
    ratings: Mapping[str, Mapping[str, int]],
    rationale: str | None,
    started_at: float,
    finished_at: float,
    active_seconds: float,
) -> Record:
    """The first revision of a task's annotation; times are seconds since 1970, UTC."""
    return {
        "annotation_id": content_id("annotation", task["task_id"]),
        "revision": 0,
        "task_id": task["task_id"],
        "annotator": annotator,
        "choice": choice,
        "strength": strength,
        "ratings": dict(ratings),
        "rationale": rationale,
        "started_at": _iso(started_at),
        "finished_at": _iso(finished_at),
        "active_seconds": round(active_seconds, 3),
        "status": "submitted",
        "price": task["price"],
    }


def what_follows(
    task: sqlite3.Row, record: Record, faults: Faults, seed: int, speed: float
) -> Iterator[Later]:
    """Everything that comes of an answered task after its answer, in the order of time."""
    task_id = task["task_id"]
    rng = random.Random(seed_from("later", seed, task_id))
    waits = sorted(rng.uniform(*SECOND_THOUGHT_SECONDS) for _ in range(4))
    other = rng.choice([choice for choice in ("a", "b", "tie") if choice != record["choice"]])

    def at(wait: float) -> str:
        return _iso(task["due_at"] + wait / speed)

    if faults.befalls("broken_record", task_id):
        yield Later("broken", waits[0], _broken(record, rng))
    if json.loads(task["outcome"])["changes_mind"] or faults.befalls("edited", task_id):
        record = {
            **record,
            "revision": record["revision"] + 1,
            "choice": other,
            "strength": 0 if other == "tie" else 1,
            "finished_at": at(waits[1]),
        }
        yield Later("edit", waits[1], json.dumps(record))
    if faults.befalls("answered_twice", task_id):
        own = content_id("second answer", task_id)
        again = {"annotation_id": own, "revision": 0, "finished_at": at(waits[2]), "price": 0}
        yield Later("second_answer", waits[2], json.dumps({**record, **again}))
    if faults.befalls("retracted", task_id):
        gone = {"revision": record["revision"] + 1, "status": "retracted"}
        yield Later("retraction", waits[3], json.dumps({**record, **gone}))


def _broken(record: Record, rng: random.Random) -> str:
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
    return json.dumps(rng.choice(faulty))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
