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
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from winnow.ids import content_id
from winnow.ingest.values import Twice, Unreadable, read_json, read_time
from winnow.label.vendor import Price, TaskRequest, Whole
from winnow.label.vendors.label_studio.page import CLOSED_PAGE, read_result, task_data
from winnow.label.vendors.label_studio.project import Marker, as_json
from winnow.label.vendors.pages import UNREAD, elements, members, read_part, told_once, unread

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


@dataclass(frozen=True)
class StoredTask:
    """A task of a project as the server lists it: what can be read in its bytes `raw`.

    `id` is the server's number; None where none can be read. `meta` is `UNREAD` where it is there
    and cannot be read, so that a task is not taken for one that a person added by hand.
    """

    raw: bytes
    id: int | None
    meta: Any
    annotations: Sequence[StoredAnnotation | UnreadAnnotation]

    @classmethod
    def read(cls, raw: bytes) -> StoredTask:
        """A task in a list, whatever its bytes are, each of its annotations read by itself."""
        try:
            parts = members(raw, lenient=True)
        except Unreadable:
            return cls(raw, None, UNREAD, ())
        number = _fitting(_NUMBER, read_part(parts.get("id", b"null")))
        meta = read_part(parts.get("meta", b"null"))
        return cls(raw, number, meta, _annotations(parts.get("annotations", b"null"), raw))

    @cached_property
    def ours(self) -> _Meta:
        """What Winnow keeps about it: nothing for a task that a person added by hand."""
        kept = told_once(self.meta, "winnow")
        return _Meta(
            task_id=_fitting(_ID, told_once(kept, "task_id")),
            price=_fitting(_PRICE, told_once(kept, "price")),
            withdrawn=_fitting(_IDS, told_once(kept, "withdrawn")) or (),
            batch=_fitting(_MARKER, told_once(kept, "batch")),
        )

    @property
    def is_unknown(self) -> bool:
        """Whether it may be one of Winnow's, and does not say which."""
        if self.ours.task_id or self.ours.withdrawn or self.ours.batch:
            return False
        is_marked = isinstance(self.meta, dict) and "winnow" in self.meta
        return is_marked or self.meta is UNREAD or self.id is None

    @property
    def fault(self) -> str:
        """What of it cannot be read, in words that quote nothing of it; empty where all can be."""
        if self.is_unknown:
            return "its `meta` does not say which task it is"
        if self.ours.task_id is None:
            return ""
        if self.id is None:
            return "its number cannot be read"
        if self.ours.price is None:
            return "the `price` in its `meta` is none"
        strange = any(isinstance(each, UnreadAnnotation) for each in self.annotations)
        return "an annotation cannot be read" if strange else ""


class Books:
    """What a project's tasks say, each counted once however often it is there.

    `faults` says of each task that cannot be read whole where it is and why; `unknown` of those
    among them of which it cannot be told whether they are Winnow's.
    """

    def __init__(self, stored: Sequence[StoredTask]) -> None:
        self._copies: dict[str, list[StoredTask]] = {}
        self.withdrawn: set[str] = set()
        self.faults = [f"task {t.id}, {t.fault}" for t in stored if t.fault]
        self.unknown = [f"task {t.id}, {t.fault}" for t in stored if t.is_unknown]
        for task in sorted(stored, key=lambda t: (t.id is None, t.id or 0)):
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
        """Micro-dollars: a task's price for each annotator who answered and did not skip it.

        A price that cannot be read is none: what stands in the project may be anybody's.
        """
        paid = {
            (task_id, a.annotator): t.ours.price or 0
            for task_id, copies in self._copies.items()
            for t in copies
            for a in t.annotations
            if not a.was_cancelled
        }
        return sum(paid.values())

    @property
    def still_due(self) -> int:
        """Micro-dollars that all pending tasks cost."""
        return sum(self._copies[task_id][0].ours.price or 0 for task_id in self.pending)

    def unanswered(self) -> list[int]:
        """Server's numbers of all copies without an answer."""
        return [n for copies in self._copies.values() for n in _unanswered(copies)]

    def surplus(self) -> list[int]:
        """Numbers of unanswered copies of what is there twice; an answered or the first stays."""
        extra: list[int] = []
        for copies in self._copies.values():
            unanswered = _unanswered(copies)
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
    then its `result` is in it, or it is there as it came. So is what may be Winnow's task.
    """
    if task.is_unknown:
        return [task.raw]
    if task.ours.task_id is None:
        return []
    return [_record(annotation, task.ours, dimensions) for annotation in task.annotations]


@dataclass(frozen=True, slots=True)
class _Meta:
    """What Winnow keeps about a task, each as far as it can be read by itself."""

    task_id: str | None = None
    price: int | None = None
    withdrawn: Sequence[str] = ()
    batch: Marker | None = None


_NUMBER: TypeAdapter[int] = TypeAdapter(Whole)
_ID: TypeAdapter[str] = TypeAdapter(str)
_IDS: TypeAdapter[Sequence[str]] = TypeAdapter(list[str])
_PRICE: TypeAdapter[int] = TypeAdapter(Price)
_MARKER: TypeAdapter[Marker] = TypeAdapter(Marker)

_T = TypeVar("_T")


def _fitting(shape: TypeAdapter[_T], value: Any) -> _T | None:
    """The value in its shape; None where it is not of it."""
    try:
        return shape.validate_python(value)
    except ValidationError:
        return None


def _unanswered(copies: Sequence[StoredTask]) -> list[int]:
    """Server's numbers of the copies without an answer, as far as they are known."""
    return [task.id for task in copies if not task.annotations and task.id is not None]


def _annotations(listed: bytes, raw: bytes) -> list[StoredAnnotation | UnreadAnnotation]:
    """The annotations of a task; a list that is none is one that cannot be read."""
    if listed == b"null":
        return []
    try:
        return [_annotation(each) for each in elements(listed)]
    except Unreadable:
        return [UnreadAnnotation(listed or raw)]


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
    return unread(str(kept.task_id), annotation.raw)


def _fields(
    annotation: StoredAnnotation, kept: _Meta, dimensions: Sequence[str]
) -> Mapping[str, Any]:
    lead = _seconds(annotation.lead_time)
    # When it was first given: an edit must not make a second answer to the task the earlier one.
    finished = _time(annotation.created_at, "created_at")
    changed = _time(annotation.updated_at, "updated_at")
    answer = {"choice": "skip"} if annotation.was_cancelled else None
    if kept.price is None and not annotation.was_cancelled:
        raise Unreadable("no_number", "the task's price cannot be read")
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
