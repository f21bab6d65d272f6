"""Tasks as Label Studio holds them: what is sent, what stands, and records of their answers.

What an annotator sees is a task's `data`; Winnow's id and price of it are in its `meta`, which no
page shows. Nothing tells whether its answer is known or which response is the pair's first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from winnow.ids import content_id
from winnow.ingest.values import Twice, Unreadable, read_json, read_time
from winnow.label.vendor import Price, RankingRequest, TaskRequest, Whole, no_flag
from winnow.label.vendors.label_studio.page import (
    closed_data,
    read_ranking,
    read_result,
    task_data,
)
from winnow.label.vendors.label_studio.project import Marker, as_json
from winnow.label.vendors.pages import UNREAD, elements, fitting, members, only, read_part, unread


@dataclass(frozen=True, slots=True)
class StoredAnnotation:
    """An annotation in the bytes as listed; what people send the server is not checked there.

    `fields` is None where they cannot be read: it is an answer all the same.
    """

    raw: bytes
    fields: _Listed | None

    @classmethod
    def read(cls, raw: bytes) -> StoredAnnotation:
        """An annotation in a list, whatever its bytes are."""
        with suppress(Unreadable, ValidationError):
            value = read_json(raw)
            if isinstance(value, dict) and not isinstance(value, Twice):
                return cls(raw, _Listed.model_validate(value))
        return cls(raw, None)

    @property
    def was_cancelled(self) -> bool:
        """Whether the server's own skip was pressed."""
        return self.fields is not None and self.fields.was_cancelled

    @property
    def annotator(self) -> str:
        """The user's number; without one no two answers are known to be one person's."""
        if self.fields is None:
            return f"unread-{content_id(self.raw.decode('utf-8', 'replace'))}"
        user = self.fields.completed_by
        user = user.get("id") if isinstance(user, dict) else user
        return f"deleted-{self.fields.id}" if user is None else str(user)


class _Listed(BaseModel):
    id: int
    completed_by: Any = None
    was_cancelled: bool = False
    result: Any = None
    lead_time: Any = None
    created_at: Any
    updated_at: Any


@dataclass(frozen=True)
class StoredTask:
    """A task of a project as the server lists it: what can be read in its bytes `raw`.

    `id` is the server's number; None where none can be read. `meta` is `UNREAD` where it is there
    and cannot be read, so that a task is not taken for one that a person added by hand.
    """

    raw: bytes
    id: int | None
    meta: Any
    annotations: Sequence[StoredAnnotation]

    @classmethod
    def read(cls, raw: bytes) -> StoredTask:
        """A task in a list, whatever its bytes are, each of its annotations read by itself."""
        try:
            parts = members(raw, lenient=True)
        except Unreadable:
            return cls(raw, None, UNREAD, ())
        number = fitting(_NUMBER, read_part(parts.get("id", b"null")))
        meta = read_part(parts.get("meta", b"null"))
        return cls(raw, number, meta, _annotations(parts.get("annotations", b"null"), raw))

    @cached_property
    def ours(self) -> _Meta:
        """What Winnow keeps about it: nothing for a task that a person added by hand."""
        kept = only(self.meta, "winnow")
        return _Meta(
            task_id=fitting(_ID, only(kept, "task_id")),
            price=fitting(_PRICE, only(kept, "price")),
            withdrawn=fitting(_IDS, only(kept, "withdrawn")) or (),
            batch=fitting(_MARKER, only(kept, "batch")),
            is_ranking=only(kept, "ranking") is True,
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
        strange = any(each.fields is None for each in self.annotations)
        return "an annotation cannot be read" if strange else ""


class Books:
    """What a project's tasks say, each counted once however often it is there.

    A price that cannot be read is none: what stands in the project may be anybody's.

    Attributes:
        task_ids: Ids of all tasks, also of those that were withdrawn.
        answered: Ids of tasks with an answer or a skip.
        pending: Ids of tasks that stand there without an answer.
        withdrawn: Ids of tasks that were taken back, or are being.
        expired: Ids of tasks that were withdrawn without an answer.
        charged: A task's price for each annotator who answered and did not skip it, micro-dollars.
        due: What each pending task costs, micro-dollars.
        unanswered: Server's numbers of all copies without an answer, as far as they are known.
        surplus: Those of them that are there twice; an answered copy or the first stays.
        faults: Of each task that cannot be read whole where it is and why.
        is_ranking: Whether tasks ask for rankings.
        unknown: Of those among them of which it cannot be told whether they are Winnow's.
    """

    def __init__(self, stored: Sequence[StoredTask]) -> None:
        self.faults = [f"task {t.id}, {t.fault}" for t in stored if t.fault]
        self.unknown = [f"task {t.id}, {t.fault}" for t in stored if t.is_unknown]
        self.withdrawn = {task_id for task in stored for task_id in task.ours.withdrawn}
        copies: dict[str, list[StoredTask]] = {}
        for task in sorted(stored, key=lambda t: (t.id is None, t.id or 0)):
            if task.ours.task_id is not None:
                copies.setdefault(task.ours.task_id, []).append(task)
        self.is_ranking = any(task.ours.is_ranking for task in stored)
        self.task_ids = copies.keys() | self.withdrawn
        self.answered = {i for i, twins in copies.items() if any(t.annotations for t in twins)}
        self.pending = copies.keys() - self.answered
        self.expired = self.withdrawn - copies.keys()
        paid = {
            (task_id, a.annotator): t.ours.price or 0
            for task_id, twins in copies.items()
            for t in twins
            for a in t.annotations
            if not a.was_cancelled
        }
        self.charged = sum(paid.values())
        self.due = [copies[task_id][0].ours.price or 0 for task_id in self.pending]
        self.unanswered: list[int] = []
        self.surplus: list[int] = []
        for twins in copies.values():
            empty = [t.id for t in twins if not t.annotations and t.id is not None]
            self.unanswered += empty
            self.surplus += empty if len(empty) < len(twins) else empty[1:]


def task_bodies(tasks: Sequence[TaskRequest], marker: Marker) -> list[dict[str, Any]]:
    """What is imported for tasks; the first says as well which batch the project is for.

    A project's description is everybody's to edit: what only it said would be lost with it.
    """
    batch = {"batch": as_json(replace(marker, state="draft"))}
    return [
        {
            "data": task_data(task),
            "meta": {
                "winnow": {
                    "task_id": task.task_id,
                    "price": task.price,
                    **({"ranking": True} if isinstance(task, RankingRequest) else {}),
                    **(batch if n == 0 else {}),
                }
            },
        }
        for n, task in enumerate(tasks)
    ]


def notice(withdrawn: Sequence[str], is_ranking: bool) -> dict[str, Any]:
    """A task that tells people that the batch is closed, and notes what was withdrawn from it."""
    return {"data": closed_data(is_ranking), "meta": {"winnow": {"withdrawn": list(withdrawn)}}}


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
    is_ranking: bool = False


_NUMBER: TypeAdapter[int] = TypeAdapter(Whole)
_ID: TypeAdapter[str] = TypeAdapter(str)
_IDS: TypeAdapter[Sequence[str]] = TypeAdapter(list[str])
_PRICE: TypeAdapter[int] = TypeAdapter(Price)
_MARKER: TypeAdapter[Marker] = TypeAdapter(Marker)
_LEAD: TypeAdapter[float] = TypeAdapter(
    Annotated[float, BeforeValidator(no_flag), Field(strict=True, ge=0, le=366 * 86400.0)]
)


def _annotations(listed: bytes, raw: bytes) -> list[StoredAnnotation]:
    """The annotations of a task; a list that is none is one that cannot be read."""
    if listed == b"null":
        return []
    try:
        return [StoredAnnotation.read(each) for each in elements(listed)]
    except Unreadable:
        return [StoredAnnotation(listed or raw, None)]


def _record(annotation: StoredAnnotation, kept: _Meta, dimensions: Sequence[str]) -> bytes:
    with suppress(Unreadable):
        return json.dumps(_fields(annotation, kept, dimensions)).encode()
    return unread(str(kept.task_id), annotation.raw)


def _said(result: Any, kept: _Meta, dimensions: Sequence[str]) -> dict[str, Any]:
    return read_ranking(result) if kept.is_ranking else read_result(result, dimensions)


def _fields(
    annotation: StoredAnnotation, kept: _Meta, dimensions: Sequence[str]
) -> Mapping[str, Any]:
    fields = annotation.fields
    if fields is None:
        raise Unreadable("does_not_parse", "the annotation cannot be read")
    # The browser's own count, which it may send as anything.
    lead = fitting(_LEAD, fields.lead_time)
    # When it was first given: an edit must not make a second answer to the task the earlier one.
    finished = read_time(fields.created_at, "created_at")
    changed = read_time(fields.updated_at, "updated_at")
    if finished is None or changed is None:
        raise Unreadable("wrong_time", "`created_at` or `updated_at` is absent")
    if kept.price is None and not fields.was_cancelled:
        raise Unreadable("no_number", "the task's price cannot be read")
    started = None
    if lead is not None:
        with suppress(OverflowError):
            started = (finished - timedelta(seconds=lead)).isoformat()
    skip = {"choice": "skip"} if fields.was_cancelled else None
    return {
        "annotation_id": str(fields.id),
        "revision": max(0, (changed - finished) // timedelta(microseconds=1)),
        "task_id": kept.task_id,
        "annotator": annotation.annotator,
        **(skip or _said(fields.result, kept, dimensions)),
        "started_at": started,
        "finished_at": finished.isoformat(),
        "active_seconds": lead,
        "price": 0 if fields.was_cancelled else kept.price,
    }
