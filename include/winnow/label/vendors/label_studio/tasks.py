"""Tasks as Label Studio holds them: what is sent, what stands, and records of their answers.

What an annotator sees is a task's `data`; Winnow's id and price of it are in its `meta`, which no
page shows. Nothing tells whether its answer is known or which response is the pair's first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from winnow.ids import content_id
from winnow.ingest.values import Twice, Unreadable, read_json, read_time
from winnow.label.vendor import TaskRequest
from winnow.label.vendors.label_studio.page import CLOSED_PAGE, read_result, task_data
from winnow.label.vendors.label_studio.project import Marker, as_json
from winnow.label.vendors.pages import elements, members

_LONGEST_LEAD_SECONDS = 366 * 86400.0
_MICROSECOND = timedelta(microseconds=1)


class StoredAnnotation(BaseModel):
    """An annotation as the server lists it; what people send it is not checked there.

    `raw` are its bytes.
    """

    id: int
    completed_by: Any = None
    was_cancelled: bool = False
    result: Any = None
    lead_time: Any = None
    created_at: Any
    updated_at: Any
    raw: bytes = b""

    @property
    def annotator(self) -> str:
        """The user's number; of a user who was deleted, no two answers are known to be one's."""
        user = self.completed_by
        user = user.get("id") if isinstance(user, dict) else user
        return f"deleted-{self.id}" if user is None else str(user)


@dataclass(frozen=True, slots=True)
class UnreadAnnotation:
    """An annotation that cannot be read, in the bytes as listed: an answer all the same."""

    raw: bytes

    was_cancelled = False

    @property
    def annotator(self) -> str:
        """Of such answers no two are known to be one person's."""
        return f"unread-{content_id(self.raw.decode('utf-8', 'replace'))}"


class StoredTask(BaseModel):
    """A task of a project."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    id: int
    meta: Any = None
    annotations: list[StoredAnnotation | UnreadAnnotation] = Field(default_factory=list)

    @classmethod
    def read(cls, raw: bytes) -> StoredTask:
        """A task in a list, each of its annotations read by itself.

        Raises:
            Unreadable: The task is none.
        """
        parts = members(raw)
        listed = parts.get("annotations", b"null")
        found = [] if listed == b"null" else [_annotation(each) for each in elements(listed)]
        known = {name: read_json(parts[name]) for name in ("id", "meta") if name in parts}
        try:
            return cls.model_validate({**known, "annotations": found})
        except ValidationError as error:
            raise Unreadable("does_not_parse", "a task without a number") from error

    @cached_property
    def ours(self) -> _Meta:
        """What Winnow keeps about it: nothing for a task that a person added by hand."""
        meta = self.meta.get("winnow") if isinstance(self.meta, dict) else None
        try:
            return _Meta.model_validate(meta or {})
        except ValidationError:
            return _Meta()


class Books:
    """What a project's tasks say, each counted once however often it is there."""

    def __init__(self, stored: Sequence[StoredTask]) -> None:
        self._copies: dict[str, list[StoredTask]] = {}
        self.withdrawn: set[str] = set()
        for task in sorted(stored, key=lambda t: t.id):
            self.withdrawn.update(task.ours.withdrawn)
            if task.ours.task_id is not None:
                self._copies.setdefault(task.ours.task_id, []).append(task)

    @property
    def task_ids(self) -> set[str]:
        """Ids of all tasks, also of those that were withdrawn."""
        return self._copies.keys() | self.withdrawn

    @property
    def answered(self) -> set[str]:
        """Ids of tasks with an answer or a skip."""
        return {i for i, copies in self._copies.items() if any(t.annotations for t in copies)}

    @property
    def pending(self) -> set[str]:
        """Ids of tasks that stand there without an answer."""
        return self._copies.keys() - self.answered

    @property
    def expired(self) -> set[str]:
        """Ids of tasks that were withdrawn without an answer."""
        return self.withdrawn - self._copies.keys()

    @property
    def charged(self) -> int:
        """Micro-dollars: a task's price for each annotator who answered and did not skip it."""
        paid = {
            (task_id, a.annotator): t.ours.price
            for task_id, copies in self._copies.items()
            for t in copies
            for a in t.annotations
            if not a.was_cancelled
        }
        return sum(paid.values())

    @property
    def still_due(self) -> int:
        """Micro-dollars that all pending tasks cost."""
        return sum(self._copies[task_id][0].ours.price for task_id in self.pending)

    def unanswered(self) -> list[int]:
        """Server's numbers of all copies without an answer."""
        return [t.id for copies in self._copies.values() for t in copies if not t.annotations]

    def surplus(self) -> list[int]:
        """Numbers of unanswered copies of what is there twice; an answered or the first stays."""
        extra: list[int] = []
        for copies in self._copies.values():
            unanswered = [t.id for t in copies if not t.annotations]
            extra += unanswered if len(unanswered) < len(copies) else unanswered[1:]
        return extra


def task_bodies(tasks: Sequence[TaskRequest], marker: Marker) -> list[dict[str, Any]]:
    """What is imported for tasks; the first says as well which batch the project is for.

    A project's description is everybody's to edit: what only it said would be lost with it.
    """
    kept = [{"task_id": task.task_id, "price": task.price} for task in tasks]
    bodies = [
        {"data": task_data(task), "meta": {"winnow": known}}
        for task, known in zip(tasks, kept, strict=True)
    ]
    for body in bodies[:1]:
        body["meta"]["winnow"]["batch"] = as_json(replace(marker, state="draft"))
    return bodies


def notice(withdrawn: Sequence[str]) -> dict[str, Any]:
    """A task that tells people that the batch is closed, and notes what was withdrawn from it."""
    return {"data": CLOSED_PAGE, "meta": {"winnow": {"withdrawn": list(withdrawn)}}}


def records_of(task: StoredTask, dimensions: Sequence[str]) -> list[bytes]:
    """One record for each annotation of a task; none for a task that is not Winnow's.

    Every annotation becomes a record, also one that will not parse as a `DeliveredAnnotation`:
    then its `result` is in it, or it is there as it came.
    """
    if task.ours.task_id is None:
        return []
    return [_record(annotation, task.ours, dimensions) for annotation in task.annotations]


class _Meta(BaseModel):
    task_id: str | None = None
    price: int = 0
    withdrawn: list[str] = Field(default_factory=list)
    batch: Marker | None = None


def _annotation(raw: bytes) -> StoredAnnotation | UnreadAnnotation:
    try:
        value = read_json(raw)
        if isinstance(value, dict) and not isinstance(value, Twice):
            return StoredAnnotation.model_validate({**value, "raw": raw})
    except (Unreadable, ValidationError):
        pass
    return UnreadAnnotation(raw)


def _record(
    annotation: StoredAnnotation | UnreadAnnotation, kept: _Meta, dimensions: Sequence[str]
) -> bytes:
    if isinstance(annotation, StoredAnnotation):
        try:
            return json.dumps(_fields(annotation, kept, dimensions)).encode()
        except Unreadable:
            pass
    return b'{"task_id": %s, "unread": %s}' % (json.dumps(kept.task_id).encode(), annotation.raw)


def _fields(
    annotation: StoredAnnotation, kept: _Meta, dimensions: Sequence[str]
) -> Mapping[str, Any]:
    lead = _seconds(annotation.lead_time)
    # When it was first given: an edit must not make a second answer to the task the earlier one.
    finished = _time(annotation.created_at, "created_at")
    changed = _time(annotation.updated_at, "updated_at")
    answer = {"choice": "skip"} if annotation.was_cancelled else None
    return {
        "annotation_id": str(annotation.id),
        "revision": max(0, (changed - finished) // _MICROSECOND),
        "task_id": kept.task_id,
        "annotator": annotation.annotator,
        **(answer or read_result(annotation.result, dimensions)),
        "started_at": None if lead is None else _earlier(finished, lead),
        "finished_at": finished.isoformat(),
        "active_seconds": lead,
        "price": 0 if annotation.was_cancelled else kept.price,
    }


def _time(raw: Any, name: str) -> datetime:
    found = read_time(raw, name)
    if found is None:
        raise Unreadable("wrong_time", f"`{name}` is absent")
    return found


def _earlier(time: datetime, seconds: float) -> str | None:
    try:
        return (time - timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        return None


def _seconds(lead_time: Any) -> float | None:
    """The browser's own count, which it may send as anything."""
    if isinstance(lead_time, bool) or not isinstance(lead_time, int | float):
        return None
    return float(lead_time) if 0 <= lead_time <= _LONGEST_LEAD_SECONDS else None
