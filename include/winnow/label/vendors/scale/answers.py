"""What came of a Scale task, as an annotation.

A finished task has `response.annotations`, one entry a field, keyed by `field_id`
(https://scale.com/docs/api-reference/generative-ai-reference, "Text Collection Response Format").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from winnow.ingest.values import Unreadable, read_time, tidy
from winnow.label.vendor import DeliveredAnnotation, Price, Rating, id_text
from winnow.label.vendors.pages import fitting, members, only, read_part, unread

ANNOTATOR = "scale"
"""Scale does not say who answered: this one id, which stands on every answer, is nobody's."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PRICE: TypeAdapter[int] = TypeAdapter(Price)
_SECONDS: TypeAdapter[float] = TypeAdapter(Annotated[float, Field(strict=True, ge=0, lt=10**9)])
"""Of work, where Scale says it."""

_MEANT = {"cancelled": "canceled", "complete": "completed", "done": "completed"}
_ENDED = ("canceled", "error")
_KNOWN = ("pending", "completed", *_ENDED)
_TIMES = ("created_at", "updated_at", "completed_at")
_FIELDS = ("task_id", "unique_id", "status", "metadata", "response", "customer_review_status")


@dataclass(frozen=True)
class ScaleTask:
    """A task as Scale lists it: what can be read in its bytes `raw`, by name.

    A part that cannot be read is `UNREAD`, so that a strange answer is still an answer.

    Attributes:
        raw: Its bytes.
        parts: What can be read of them.
        task_id: Scale's own id; None where none can be read.
        asked: Winnow's id; None where none can be read.
        price: Micro-dollars that Winnow wrote on the task; None where they cannot be read.
        status: Scale's word for where the task stands, whatever its case; empty where none is read.
    """

    raw: bytes
    parts: Mapping[str, Any]
    task_id: str | None
    asked: str | None
    price: int | None
    status: str

    @property
    def is_answered(self) -> bool:
        """It is done and was not taken back; under an unknown status, it has a response."""
        has_response = self.parts.get("response") is not None
        return self.status == "completed" or (self.status not in _KNOWN and has_response)

    @property
    def is_expired(self) -> bool:
        """It ended without an answer."""
        return self.status in _ENDED

    @cached_property
    def fault(self) -> str:
        """What of it cannot be read, in words that quote nothing of it; empty where all can be."""
        if self.asked is None:
            return "its `metadata` names no task of Winnow's"
        if self.price is None:
            return "the `price` in its `metadata` is none"
        if self.status not in _KNOWN:
            return "its `status` is none of " + ", ".join(_KNOWN)
        try:
            if self.is_answered:
                DeliveredAnnotation.of(_delivered(self).model_dump())
        except _NO_ANSWER as error:
            return str(error) if isinstance(error, Unreadable) else "its `response` cannot be read"
        return ""


_NO_ANSWER = (KeyError, IndexError, TypeError, ValueError, Unreadable)


def read_task(raw: bytes) -> ScaleTask:
    """A task in a list, whatever its bytes are: with what can be read of it."""
    try:
        parts = members(raw, lenient=True)
    except Unreadable:
        parts = {}
    named = {n: read_part(parts[n]) for n in (*_FIELDS, *_TIMES) if n in parts}
    metadata, unique = named.get("metadata"), named.get("unique_id")
    kept = only(metadata, "task_id")
    return ScaleTask(
        raw=raw,
        parts=named,
        task_id=_id(named.get("task_id")),
        # It stands on the task twice. What Winnow writes is text: a number there is somebody
        # else's. Scale itself holds that no two tasks have one `unique_id`, and `metadata` may be
        # edited.
        asked=_id(unique if isinstance(unique, str) else kept) or _id(kept) or _id(unique),
        price=fitting(_PRICE, only(metadata, "price")),
        status=word(named.get("status")),
    )


def word(value: Any) -> str:
    """A word of Scale's for where something stands, in its usual spelling; empty for no text.

    >>> word("Completed"), word("cancelled"), word(7)
    ('completed', 'canceled', '')
    """
    given = value.strip().lower() if isinstance(value, str) else ""
    return _MEANT.get(given, given)


def _id(value: Any) -> str | None:
    name = id_text(value)
    return name if isinstance(name, str) and 0 < len(name) <= 200 else None


def latest_change(tasks: Iterable[ScaleTask]) -> datetime | None:
    """When the last of the tasks changed; None where none says so."""
    times = []
    for task in tasks:
        with suppress(*_NO_ANSWER):
            times.append(read_time(task.parts.get("updated_at"), "updated_at"))
    return max(filter(None, times), default=None)


def annotation_of(task: ScaleTask) -> bytes | None:
    """The task's answer in the shape of `DeliveredAnnotation`; None when it has none.

    An answer that cannot be read is given as it came, and so is a task that is done without one or
    does not say where it stands. A task that lost its answer to a new round of work is a
    retraction. The revision is the time of the last change in microseconds: Scale counts none.
    """
    if task.status and not task.is_answered and task.parts.get("response") is None:
        return None
    try:
        return _delivered(task).model_dump_json().encode()
    except _NO_ANSWER:
        return task.raw if task.asked is None else unread(task.asked, task.raw)


def _delivered(task: ScaleTask) -> DeliveredAnnotation:
    parts = task.parts
    response = tidy(parts["response"], "response")
    answers = response["annotations"]
    changed_at = parts.get("updated_at") or parts.get("completed_at") or parts.get("created_at")
    changed = read_time(changed_at, "updated_at") or _EPOCH
    if task.task_id is None or task.asked is None or task.price is None:
        raise Unreadable("does_not_parse", "an id or the price cannot be read")
    return DeliveredAnnotation(
        annotation_id=task.task_id,
        revision=(changed - _EPOCH) // timedelta(microseconds=1),
        task_id=task.asked,
        annotator=ANNOTATOR,
        choice=_answer(answers["choice"]),
        strength=_number(answers, "strength"),
        ratings=_ratings(answers),
        rationale=_text(answers, "rationale"),
        finished_at=read_time(parts.get("completed_at"), "completed_at"),
        active_seconds=fitting(_SECONDS, response.get("duration")),
        status=_status(task),
        price=task.price,
    )


def _answer(field: Any) -> str:
    """The one answer of a field: Scale nests it in lists, one for each annotator and choice."""
    answer = field["response"]
    while isinstance(answer, list):
        answer = answer[0]
    if not isinstance(answer, str | int):
        raise TypeError(type(answer).__name__)
    return str(answer)


def _text(answers: Any, field_id: str) -> str | None:
    try:
        return _answer(answers[field_id])[:20_000] or None
    except (KeyError, IndexError, TypeError):
        return None


def _number(answers: Any, field_id: str, highest: int = 3) -> int | None:
    text = _text(answers, field_id)
    value = int(text) if text is not None and text.isdecimal() and len(text) < 3 else None
    return value if value is not None and value <= highest else None


def _ratings(answers: Mapping[str, Any]) -> dict[str, Rating]:
    rated: dict[str, Rating] = {}
    for field_id in answers:
        dimension = field_id.removeprefix("rating/a/")
        if dimension == field_id or len(rated) == 20:
            continue
        a, b = (_number(answers, f"rating/{side}/{dimension}", 5) for side in ("a", "b"))
        if a and b:
            rated[dimension] = Rating(a=a, b=b)
    return rated


def _status(task: ScaleTask) -> Literal["submitted", "approved", "rejected", "retracted"]:
    if not task.is_answered:
        return "retracted"
    audit = word(task.parts.get("customer_review_status"))
    if audit == "rejected":
        return "rejected"
    return "approved" if audit in ("accepted", "fixed") else "submitted"
