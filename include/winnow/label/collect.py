"""Brings back every annotation of a batch; what does not fit goes to quarantine with its bytes.

What always holds: records received = annotations + quarantined + exact re-deliveries, checked
before returning; nothing the vendor sent is lost. The annotations do not depend on the order in
which records came, so the same books always give the same rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from winnow.errors import Corrupt, Fatal
from winnow.label.annotation import (
    NOT_COUNTED,
    Annotation,
    AnnotatorKey,
    AskedTask,
    NotAnAnnotation,
    read_annotation,
    without_annotator,
)
from winnow.label.vendor import LabelVendor
from winnow.records import Quarantined

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Collection:
    """`n_received = len(annotations) + len(quarantined) + n_redelivered`."""

    annotations: list[Annotation]
    quarantined: list[Quarantined]
    n_received: int
    n_redelivered: int


@dataclass(frozen=True, slots=True)
class _Delivery:
    """One raw record, and its place in what the vendor sent, counted from 1."""

    raw: bytes
    line: int


@dataclass(frozen=True, slots=True)
class _Rejected:
    delivery: _Delivery
    reason: str
    detail: str
    annotation_id: str | None = None


_Read = tuple[Annotation, _Delivery]


def collect_annotations(
    vendor: LabelVendor, ref: str, tasks: Sequence[Row], comparisons: Sequence[Row], salt: bytes
) -> Collection:
    """All annotations that the vendor has for batch `ref`, sorted by id and revision.

    `tasks` are the rows of `records.TASKS` that were asked for, `comparisons` say which response
    of a pair is the first, `salt` is the secret under which annotators are hashed.

    Raises:
        Fatal: The salt is empty.
        Corrupt: The vendor's cursor runs in a circle, a task's comparison is missing, or the
            counts do not add up.
    """
    if not salt:
        raise Fatal("The salt of annotator hashes is empty: set it in the vendor's connection.")
    key = AnnotatorKey(vendor.name, salt)
    received = list(_all_records(vendor, ref))
    read, rejected = _read_all(received, _asked(tasks, comparisons), key)
    distinct, conflicting, n_redelivered = _merge_deliveries(read)
    kept, repeated = _drop_repeated(distinct)
    rejected = sorted(rejected + conflicting + repeated, key=lambda r: r.delivery.line)
    collection = Collection(
        annotations=sorted(kept, key=lambda a: (a.annotation_id, a.revision)),
        quarantined=[_quarantined(r, f"{vendor.name}/{ref}", key) for r in rejected],
        n_received=len(received),
        n_redelivered=n_redelivered,
    )
    _check_counts(collection, ref)
    return collection


def _all_records(vendor: LabelVendor, ref: str) -> Iterator[_Delivery]:
    cursor: str | None = None
    seen: set[str | None] = set()
    line = 0
    while cursor not in seen:
        seen.add(cursor)
        page = vendor.fetch(ref, cursor)
        for raw in page.records:
            line += 1
            yield _Delivery(raw, line)
        cursor = page.next_cursor
        if cursor is None:
            return
    raise Corrupt(
        f"{vendor.name} sent cursor {cursor} of batch {ref} twice: its pages run in a circle."
    )


def _asked(tasks: Sequence[Row], comparisons: Sequence[Row]) -> dict[str, AskedTask]:
    second_of = {comparison["pair_id"]: comparison["second_id"] for comparison in comparisons}
    absent = {task["pair_id"] for task in tasks} - second_of.keys()
    if absent:
        raise Corrupt(
            f"{len(absent)} pairs of the batch's tasks have no comparison, {min(absent)} is one; "
            "run the batch again from select_pairs."
        )
    return {
        task["task_id"]: AskedTask(
            task["pair_id"], swapped=task["shown_a"] == second_of[task["pair_id"]]
        )
        for task in tasks
    }


def _read_all(
    deliveries: Iterable[_Delivery], asked: Mapping[str, AskedTask], key: AnnotatorKey
) -> tuple[list[_Read], list[_Rejected]]:
    read: list[_Read] = []
    rejected: list[_Rejected] = []
    for delivery in deliveries:
        try:
            read.append((read_annotation(delivery.raw, asked, key), delivery))
        except NotAnAnnotation as error:
            rejected.append(_Rejected(delivery, error.reason, error.detail))
    return read, rejected


def _merge_deliveries(read: Iterable[_Read]) -> tuple[list[_Read], list[_Rejected], int]:
    """One delivery per (annotation, revision); the same again is counted, another is rejected."""
    first: dict[tuple[str, int], _Read] = {}
    conflicting: list[_Rejected] = []
    n_redelivered = 0
    # By content and not by arrival, so that a reordered delivery keeps the same record.
    for annotation, delivery in sorted(read, key=lambda r: r[1].raw):
        held = first.setdefault(
            (annotation.annotation_id, annotation.revision), (annotation, delivery)
        )
        if held[1] is delivery:
            continue
        if held[0] == annotation:
            n_redelivered += 1
        else:
            detail = "another record claims this annotation and revision"
            conflicting.append(
                _Rejected(delivery, "conflicting_delivery", detail, annotation.annotation_id)
            )
    return list(first.values()), conflicting, n_redelivered


def _drop_repeated(read: Sequence[_Read]) -> tuple[list[Annotation], list[_Rejected]]:
    """Keep an annotator's earliest standing answer to a task, in all its revisions."""
    repeated = _repeated_ids([annotation for annotation, _ in read])
    kept = [annotation for annotation, _ in read if annotation.annotation_id not in repeated]
    detail = "this annotator has answered the task before"
    rejected = [
        _Rejected(delivery, "repeated_annotator", detail, annotation.annotation_id)
        for annotation, delivery in read
        if annotation.annotation_id in repeated
    ]
    return kept, rejected


def _repeated_ids(annotations: Iterable[Annotation]) -> set[str]:
    latest: dict[str, Annotation] = {}
    for annotation in sorted(annotations, key=lambda a: a.revision):
        latest[annotation.annotation_id] = annotation
    standing = [a for a in latest.values() if a.status not in NOT_COUNTED]
    answered: set[tuple[str, str]] = set()
    repeated: set[str] = set()
    for annotation in sorted(standing, key=_by_finish):
        answer = (annotation.task_id, annotation.annotator)
        if answer in answered:
            repeated.add(annotation.annotation_id)
        answered.add(answer)
    return repeated


def _by_finish(annotation: Annotation) -> tuple[datetime, str]:
    return (annotation.finished_at or datetime.max.replace(tzinfo=UTC), annotation.annotation_id)


def _quarantined(rejected: _Rejected, source: str, key: AnnotatorKey) -> Quarantined:
    return Quarantined(
        stage="label",
        reason=rejected.reason,
        detail=rejected.detail,
        file=source,
        line=rejected.delivery.line,
        record_id=rejected.annotation_id,
        raw=without_annotator(rejected.delivery.raw, key),
    )


def _check_counts(collection: Collection, ref: str) -> None:
    accounted = len(collection.annotations) + len(collection.quarantined) + collection.n_redelivered
    if accounted != collection.n_received:
        raise Corrupt(
            f"Batch {ref}: {collection.n_received} records came and {accounted} are accounted for; "
            "nothing was kept. This is a fault of Winnow."
        )
