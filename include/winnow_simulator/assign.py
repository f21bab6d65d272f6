"""Who gets which task: the staff that the simulator was started with, and what they know already.

What always holds: a person who judged a pair in an earlier batch is not asked about it again, as
long as anybody else is there, unless a task repeats theirs. Both are settled when a batch is
launched, because the task that is repeated may be sent after its repeat.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from winnow.label.vendor import BatchTerms, Message, RankedResponse, RankingRequest, TaskRequest
from winnow_simulator.annotators import (
    RETURN_SECONDS,
    SESSION_MINUTES,
    Briefing,
    Outcome,
    never_touched,
    work_on,
)
from winnow_simulator.faults import Faults
from winnow_simulator.staff import StaffKind
from winnow_simulator.tables import find_batch, terms_of

_SPECIAL = """
SELECT t.task_id, t.pair_id, t.repeats, t.request FROM tasks t
WHERE t.ref = ? AND t.due_at IS NULL AND (t.repeats IS NOT NULL
    OR EXISTS (SELECT 1 FROM tasks p WHERE p.pair_id = t.pair_id AND p.ref <> t.ref))
ORDER BY t.repeats IS NOT NULL
"""
_REPEATED = "SELECT outcome FROM tasks WHERE task_id = ?"
_JUDGED_BY = "SELECT DISTINCT annotator FROM tasks WHERE pair_id = ? AND ref <> ?"


@dataclass(frozen=True, slots=True)
class Staffing:
    """Whom the simulator hires for `seed`, and what goes wrong with their tasks."""

    seed: int
    kind: StaffKind = "careful"
    faults: Faults = field(default_factory=Faults)

    def assign(self, task: TaskRequest, terms: BatchTerms, **known: Any) -> Outcome:
        """What comes of `task`; `known` are further fields of its `Briefing`."""
        if self.faults.befalls("overdue", task.task_id):
            return never_touched()
        minutes = terms.session_minutes or SESSION_MINUTES
        briefing = Briefing(self.kind, terms.dimensions, minutes, choices=terms.choices, **known)
        outcome = work_on(task, self.seed, briefing)
        if self.faults.befalls("unanswered", task.task_id):
            return replace(outcome, choice=None)
        return outcome


def assign_again(db: sqlite3.Connection, ref: str, staffing: Staffing) -> None:
    """Give the batch's unlaunched tasks to others, or to the same, where somebody knows the pair.

    A repeat goes to whoever answered the task that it repeats; a pair that was judged in another
    batch goes to people who have not seen it.
    """
    terms = terms_of(find_batch(db, ref))
    for row in db.execute(_SPECIAL, (ref,)).fetchall():
        judged_by = db.execute(_JUDGED_BY, (row["pair_id"], ref))
        known: dict[str, Any] = {"avoid": frozenset(other["annotator"] for other in judged_by)}
        repeated = db.execute(_REPEATED, (row["repeats"],)).fetchone()
        first = json.loads(repeated["outcome"]) if repeated else None
        if first and first["choice"] is not None:
            known["returning"] = first["annotator"]
            known["not_before"] = first["ended"] + RETURN_SECONDS
        outcome = staffing.assign(_request(json.loads(row["request"])), terms, **known)
        db.execute(
            "UPDATE tasks SET annotator = ?, outcome = ?, ends_after = ? WHERE task_id = ?",
            (outcome.annotator, json.dumps(asdict(outcome)), outcome.ended, row["task_id"]),
        )


def _request(stored: Mapping[str, Any]) -> TaskRequest:
    messages = tuple(Message(**message) for message in stored["messages"])
    if "responses" in stored:
        ranked = tuple(RankedResponse(**each) for each in stored["responses"])
        return RankingRequest(**{**stored, "messages": messages, "responses": ranked})
    return TaskRequest(**{**stored, "messages": messages})
