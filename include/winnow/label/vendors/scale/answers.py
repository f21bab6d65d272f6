"""What came of a Scale task, as an annotation.

A finished task has `response.annotations`, one entry a field, keyed by `field_id`
(https://scale.com/docs/api-reference/generative-ai-reference, "Text Collection Response Format").
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from winnow.ingest.values import Unreadable, read_json, read_time, tidy
from winnow.label.vendor import MAX_PRICE, DeliveredAnnotation, Rating
from winnow.label.vendors.pages import members

ANNOTATOR = "scale"
"""Scale does not say who answered: this one id, which stands on every answer, is nobody's."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

UNREAD = "unread"

_ENDED = ("canceled", "error")


class ScaleMetadata(BaseModel):
    """What Winnow writes on a task, and Scale gives back."""

    task_id: str
    price: int = Field(ge=0, lt=MAX_PRICE)


class ScaleTask(BaseModel):
    """A task as Scale lists it, as far as Winnow reads it; `raw` are its bytes.

    A part that cannot be read is `UNREAD`, so that a strange answer is still an answer.
    """

    task_id: str
    status: str
    metadata: ScaleMetadata
    created_at: Any
    updated_at: Any = None
    completed_at: Any = None
    response: Any = None
    customer_review_status: Any = None
    raw: bytes = b""

    @property
    def is_answered(self) -> bool:
        """It is done and was not taken back."""
        return self.status == "completed"

    @property
    def is_expired(self) -> bool:
        """It ended without an answer."""
        return self.status in _ENDED


def read_task(raw: bytes) -> ScaleTask | None:
    """A task in a list; None where it is none of Winnow's."""
    try:
        parts = members(raw)
        known = {name: _read(parts[name]) for name in ScaleTask.model_fields if name in parts}
        return ScaleTask.model_validate({**known, "raw": raw})
    except (Unreadable, ValidationError):
        return None


def _read(part: bytes) -> Any:
    try:
        return read_json(part)
    except Unreadable:
        return UNREAD


def annotation_of(task: ScaleTask) -> bytes | None:
    """The task's answer in the shape of `DeliveredAnnotation`; None when it has none.

    An answer that cannot be read is given as it came. A task that lost its answer to a new round of
    work is a retraction. The revision is the time of the last change in microseconds: Scale counts
    none.
    """
    if task.response is None:
        return None
    try:
        return _delivered(task).model_dump_json().encode()
    except (KeyError, IndexError, TypeError, ValueError, Unreadable):
        return task.raw


def _delivered(task: ScaleTask) -> DeliveredAnnotation:
    response = tidy(task.response, "response")
    answers = response["annotations"]
    changed_at = task.updated_at or task.completed_at or task.created_at
    return DeliveredAnnotation(
        annotation_id=task.task_id,
        revision=_microseconds(read_time(changed_at, "updated_at")),
        task_id=task.metadata.task_id,
        annotator=ANNOTATOR,
        choice=_answer(answers["choice"]),
        strength=_number(answers, "strength"),
        ratings=_ratings(answers),
        rationale=_text(answers, "rationale"),
        finished_at=read_time(task.completed_at, "completed_at"),
        active_seconds=_duration(response),
        status=_status(task),
        price=task.metadata.price,
    )


def _answer(field: Any) -> str:
    """The one answer of a field: Scale nests it in lists, one for each annotator and choice."""
    found = field["response"]
    while isinstance(found, list):
        found = found[0]
    if not isinstance(found, str | int):
        raise TypeError(type(found).__name__)
    return str(found)


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


def _duration(response: Mapping[str, Any]) -> float | None:
    """Seconds of work, where Scale says it."""
    found = response.get("duration")
    return float(found) if isinstance(found, int | float) and 0 <= found < 10**9 else None


def _status(task: ScaleTask) -> Literal["submitted", "approved", "rejected", "retracted"]:
    if not task.is_answered:
        return "retracted"
    if task.customer_review_status == "rejected":
        return "rejected"
    return "approved" if task.customer_review_status in ("accepted", "fixed") else "submitted"


def _microseconds(time: datetime | None) -> int:
    since = (time or _EPOCH) - _EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


def batch_in(event: bytes) -> str | None:
    """Name of the batch that a callback is about; None where it names none."""
    try:
        body = read_json(event)
    except Unreadable:
        return None
    for holder in (body, body.get("task") if isinstance(body, dict) else None):
        named = holder.get("batch") if isinstance(holder, dict) else None
        named = named.get("name") if isinstance(named, dict) else named
        if isinstance(named, str) and named:
            return named
    return None
