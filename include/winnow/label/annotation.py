"""One annotation: read from a vendor's raw record, un-swapped, its annotator hashed.

What always holds: an annotator's own id goes no further than `pseudonymous`. A salted hash stands
for it from then on, in the inbox, in annotations and in the raw bytes that go to quarantine.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from winnow.ids import canonical_json, content_id
from winnow.ingest.values import Twice, Unreadable, read_json
from winnow.label.vendor import RANKED, DeliveredAnnotation, DeliveredRanking, id_text
from winnow.text import plain_text

NOT_COUNTED = ("rejected", "retracted")
"""Statuses under which an annotation is kept but is no vote."""

UNKNOWN = "unknown-"
"""Begins what stands for the annotator of an answer of whom nothing is known; no hash does."""

_PERSON = re.compile(
    rb'("(?:annotator|workerId|completed_by)"\s*:\s*)("(?:[^"\\]|\\.)++"|\{[^{}]*\}|-?\d+)'
)
"""An annotator's own id where a record cannot be read, as vendors name the field."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """A row of `records.ANNOTATIONS`. `preferred` is null for a skip."""

    annotation_id: str
    revision: int
    task_id: str
    pair_id: str
    kind: str
    annotator: str
    choice: str
    swapped: bool
    preferred: str | None
    strength: int | None
    ratings: list[dict[str, str | int]]
    rationale: str | None
    started_at: datetime | None
    finished_at: datetime | None
    active_seconds: float | None
    status: str
    price: int
    model: str | None = None
    mode: str | None = None
    log_odds: float | None = None
    order_effect: float | None = None
    label_mass: float | None = None


@dataclass(frozen=True, slots=True)
class AskedTask:
    """What is needed of a task to read its answer: `swapped` when side A showed the second.

    `shown` are the ids of the responses that it wants in order; none where it shows a pair.
    """

    pair_id: str
    swapped: bool
    kind: str
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AnnotatorKey:
    """Under which annotators' ids are hashed: one person is the same over a vendor's batches."""

    vendor: str
    salt: bytes

    def hash(self, annotator: str) -> str:
        """What stands for `annotator` in the lake: HMAC-SHA256, 16 hexadecimal digits."""
        message = canonical_json([self.vendor, annotator])
        return hmac.new(self.salt, message, hashlib.sha256).hexdigest()[:16]


NotAnAnnotation = Unreadable
"""What `read_annotation` raises, by the name of versions before 0.4."""


def read_annotation(raw: bytes, asked: Mapping[str, AskedTask]) -> Annotation:
    """The annotation in a `pseudonymous` record, for one of the tasks `asked` (by task id).

    Raises:
        Unreadable: It does not parse, or its task or its choice is unknown, or its order is not one
            of what was shown.
    """
    value = read_json(raw)
    fields = value if isinstance(value, dict) else {}
    name = id_text(fields.get("task_id"))
    task = asked.get(name) if isinstance(name, str) else None
    is_order = bool(task.shown) if task else "order" in fields
    record = (DeliveredRanking if is_order else DeliveredAnnotation).of(value)
    task = asked.get(record.task_id)
    if task is None:
        raise Unreadable("unknown_task", "the batch asked for no such task")
    swapped = task.swapped
    choice, preferred = record.choice, preferred_response(record.choice, swapped)
    if isinstance(record, DeliveredRanking) and record.order:
        choice, preferred = order_text(record.order, task.shown), RANKED
    annotation = Annotation(
        annotation_id=record.annotation_id,
        revision=record.revision,
        task_id=record.task_id,
        pair_id=task.pair_id,
        kind=task.kind,
        annotator=record.annotator or UNKNOWN,
        choice=choice,
        swapped=swapped,
        preferred=preferred,
        strength=record.strength,
        # Of the pair's own first and second.
        ratings=[
            {
                "dimension": plain_text(dimension),
                "first": rating.b if swapped else rating.a,
                "second": rating.a if swapped else rating.b,
            }
            for dimension, rating in sorted(record.by_dimension.items())
        ],
        rationale=None if record.rationale is None else plain_text(record.rationale),
        started_at=record.started_at,
        finished_at=record.finished_at,
        active_seconds=record.active_seconds,
        status=record.status,
        price=record.price,
        model=None if record.model is None else plain_text(record.model),
        mode=record.mode,
        log_odds=-record.log_odds if swapped and record.log_odds else record.log_odds,
        order_effect=record.order_effect,
        label_mass=record.label_mass,
    )
    return annotation if record.annotator else of_nobody(annotation)


def order_text(order: Sequence[Sequence[str]], shown: Collection[str]) -> str:
    """The order of all responses `shown` as `choice` holds it: groups of ids, the best first.

    Raises:
        Unreadable: A response stands twice, is absent, or was not shown.
    """
    named = [name for group in order for name in group]
    faults = {
        "stands_twice": (len(set(named)) < len(named), "a response stands twice in the order"),
        "unknown_response": (not set(named) <= set(shown), "the task showed no such response"),
        "missing_response": (not set(shown) <= set(named), "the order leaves a response out"),
    }
    for reason, (is_so, detail) in faults.items():
        if is_so:
            raise Unreadable(reason, detail)
    return canonical_json([sorted(group) for group in order]).decode()


def preferred_response(choice: str, swapped: bool) -> str | None:
    """`choice` as shown, said of the pair's own order; None for a skip.

    >>> preferred_response("a", swapped=True)
    'second'
    """
    if choice in ("a", "b"):
        return "second" if (choice == "a") == swapped else "first"
    return None if choice == "skip" else choice


def pseudonymous(raw: bytes, key: AnnotatorKey) -> bytes:
    """`raw` with its annotator's hash for the id; unchanged where it names none.

    An id that is neither text nor a number stays unreadable, in a list; what cannot be read stays
    as it is but for the ids that stand in it: such a record is for a person to look at.
    """
    try:
        record = read_json(raw)
    except Unreadable:
        record = None
    if not isinstance(record, dict) or _holds_twice(record) or not record.get("annotator"):
        return _PERSON.sub(lambda field: field[1] + _hashed_token(field[2], key), raw)
    return json.dumps({**record, "annotator": _hashed(record["annotator"], key)}).encode()


def _hashed(annotator: Any, key: AnnotatorKey) -> str | list[str]:
    name = id_text(annotator)
    return key.hash(name) if isinstance(name, str) else [key.hash(_as_json(name))]


def _as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _hashed_token(token: bytes, key: AnnotatorKey) -> bytes:
    """The hash of an id as it stands in a record; in a list where it is none that can be read."""
    try:
        name = id_text(read_json(token))
    except Unreadable:
        return json.dumps([key.hash(token.decode("utf-8", "replace"))]).encode()
    return json.dumps(key.hash(name if isinstance(name, str) else _as_json(name))).encode()


def _holds_twice(value: Any) -> bool:
    """Whether a name stands twice in an object: written again, one of its values would be gone."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, Twice) or any(map(_holds_twice, inside))


def of_nobody(annotation: Annotation) -> Annotation:
    """The annotation without its annotator: no two answers are known to be one person's."""
    return replace(annotation, annotator=nobody(annotation.annotation_id))


def nobody(annotation_id: str) -> str:
    """What stands for the annotator of an answer of whom nothing is known."""
    return f"{UNKNOWN}{content_id(annotation_id)[:16]}"
