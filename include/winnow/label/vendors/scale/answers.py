"""What came of a Scale task, as an annotation.

A finished task has `response.annotations`, one entry a field, keyed by `field_id`
(https://scale.com/docs/api-reference/generative-ai-reference, "Text Collection Response Format").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from winnow.label.vendor import DeliveredAnnotation, Rating

ANNOTATOR = "scale"
"""Scale does not say who answered: its annotators are one as far as Winnow can tell."""

_ENDED = ("canceled", "error")


class ScaleMetadata(BaseModel):
    """What Winnow writes on a task, and Scale gives back."""

    task_id: str
    price: int = Field(ge=0)


class ScaleTask(BaseModel):
    """A task as Scale lists it, as far as Winnow reads it."""

    task_id: str
    status: str
    metadata: ScaleMetadata
    created_at: datetime
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    response: Any = None
    customer_review_status: str | None = None

    @property
    def is_answered(self) -> bool:
        """It is done and was not taken back."""
        return self.status == "completed"

    @property
    def is_expired(self) -> bool:
        """It ended without an answer."""
        return self.status in _ENDED


def annotation_of(task: ScaleTask) -> bytes | None:
    """The task's answer in the shape of `DeliveredAnnotation`; None when it has none.

    An answer without a readable choice is given as it came. A task that lost its answer to a new
    round of work is a retraction. The revision is the time of the last change in microseconds:
    Scale counts none.
    """
    if task.response is None:
        return None
    try:
        answers = task.response["annotations"]
        choice = _answer(answers["choice"])
    except (KeyError, IndexError, TypeError):
        return task.model_dump_json().encode()
    delivered = DeliveredAnnotation(
        annotation_id=task.task_id,
        revision=_microseconds(task.updated_at or task.completed_at or task.created_at),
        task_id=task.metadata.task_id,
        annotator=ANNOTATOR,
        choice=choice,
        strength=_number(answers, "strength"),
        ratings=_ratings(answers),
        rationale=_text(answers, "rationale"),
        finished_at=_aware(task.completed_at),
        active_seconds=_duration(task.response),
        status=_status(task),
        price=task.metadata.price,
    )
    return delivered.model_dump_json().encode()


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


def _microseconds(time: datetime) -> int:
    since = (_aware(time) or time) - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


def _aware(time: datetime | None) -> datetime | None:
    """`time` with its zone; without one, Scale means UTC."""
    return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time


def batch_in(event: bytes) -> str | None:
    """Name of the batch that a callback is about; None where it names none."""
    try:
        body = json.loads(event)
    except (ValueError, RecursionError):
        return None
    for holder in (body, body.get("task") if isinstance(body, dict) else None):
        named = holder.get("batch") if isinstance(holder, dict) else None
        named = named.get("name") if isinstance(named, dict) else named
        if isinstance(named, str) and named:
            return named
    return None
