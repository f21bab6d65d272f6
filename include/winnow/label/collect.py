"""Reads everything that vendors delivered of a batch; what does not fit goes to quarantine.

What always holds: records received = annotations + quarantined + exact re-deliveries, checked
before returning; nothing a vendor sent is lost. The annotations do not depend on the order in which
records came, so the same deliveries always give the same rows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from winnow.errors import Corrupt
from winnow.ids import content_id
from winnow.label.aggregation.votes import COMPARISON, REPEAT
from winnow.label.annotation import (
    NOT_COUNTED,
    UNKNOWN,
    Annotation,
    AskedTask,
    NotAnAnnotation,
    of_nobody,
    read_annotation,
)
from winnow.records import Quarantined

Row = Mapping[str, Any]

_TASK_ID = re.compile(rb'"task_id"\s*:\s*"([!-~]+?)"')


@dataclass(frozen=True, slots=True)
class Delivery:
    """One raw record, its annotator hashed.

    Attributes:
        raw: Its bytes.
        source: Vendor and container, `simulator/sim-1`.
        line: Its place in what the source sent, counted from 1.
        look: At which look it came; looks at a source count from 0.
    """

    raw: bytes
    source: str
    line: int
    look: int


@dataclass(frozen=True, slots=True)
class Collection:
    """`n_received = len(annotations) - n_vanished + len(quarantined) + n_redelivered`.

    `refused` are the tasks that a record in quarantine names: somebody answered them.
    """

    annotations: list[Annotation]
    quarantined: list[Quarantined]
    n_received: int
    n_redelivered: int
    n_vanished: int
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Rejected:
    delivery: Delivery
    reason: str
    detail: str
    annotation_id: str | None = None


_Read = tuple[Annotation, Delivery]


def read_deliveries(
    deliveries: Sequence[Delivery],
    tasks: Sequence[Row],
    last_look: Mapping[str, int],
    names_people: bool = True,
) -> Collection:
    """All annotations in `deliveries`, sorted by id and revision.

    `tasks` are the rows of `records.TASKS` that were asked for. `last_look` has the number of the
    last whole look at each source that only shows what stands at the time: what an earlier look
    brought and this one did not was retracted. Unless the vendor `names_people`, one id on all
    answers of each round is nobody's: each is then of an annotator of its own, of whom nothing is
    known.

    Raises:
        Corrupt: The counts do not add up.
    """
    read, rejected = _read_all(deliveries, _asked(tasks))
    read = _told_apart(read)
    distinct, conflicting, n_redelivered = _merge_deliveries(read)
    vanished = _vanished(distinct, read, last_look)
    kept, repeated = _drop_repeated(distinct, vanished)
    annotations = [*kept, *vanished]
    if not names_people and _is_one_id(annotations, tasks):
        annotations = [of_nobody(annotation) for annotation in annotations]
    rejected, n_again = _each_once(rejected + conflicting + repeated)
    collection = Collection(
        annotations=one_vote_each(annotations),
        quarantined=[_quarantined(r) for r in rejected],
        n_received=len(deliveries),
        n_redelivered=n_redelivered + n_again,
        n_vanished=len(vanished),
        refused=_named(rejected) & {task["task_id"] for task in tasks},
    )
    _check_counts(collection)
    return collection


def _is_one_id(annotations: Iterable[Annotation], tasks: Sequence[Row]) -> bool:
    """Whether no round has answers under two ids; an answer that names nobody has none."""
    round_of = {task["task_id"]: task.get("round", 0) for task in tasks}
    ids: defaultdict[int, set[str]] = defaultdict(set)
    for each in annotations:
        if not each.annotator.startswith(UNKNOWN):
            ids[round_of[each.task_id]].add(each.annotator)
    return all(len(known) == 1 for known in ids.values())


def _each_once(rejected: Iterable[_Rejected]) -> tuple[list[_Rejected], int]:
    """By their place, the same bytes of a source once, and how often they came again."""
    found: dict[tuple[str, bytes], _Rejected] = {}
    ordered = sorted(rejected, key=lambda r: (r.delivery.source, r.delivery.line))
    for each in ordered:
        found.setdefault((each.delivery.source, each.delivery.raw), each)
    return list(found.values()), len(ordered) - len(found)


def _named(rejected: Iterable[_Rejected]) -> frozenset[str]:
    """Task ids that stand in records of which nothing else may be readable."""
    found = (_TASK_ID.findall(each.delivery.raw) for each in rejected)
    return frozenset(name.decode("ascii") for names in found for name in names)


def _asked(tasks: Sequence[Row]) -> dict[str, AskedTask]:
    return {
        task["task_id"]: AskedTask(task["pair_id"], task["swapped"], task["kind"]) for task in tasks
    }


def _read_all(
    deliveries: Iterable[Delivery], asked: Mapping[str, AskedTask]
) -> tuple[list[_Read], list[_Rejected]]:
    read: list[_Read] = []
    rejected: list[_Rejected] = []
    for delivery in deliveries:
        try:
            read.append((read_annotation(delivery.raw, asked), delivery))
        except NotAnAnnotation as error:
            rejected.append(_Rejected(delivery, error.reason, error.detail))
    return read, rejected


def _told_apart(read: Sequence[_Read]) -> list[_Read]:
    """The records, each annotation under an id of its own.

    An id that stands on answers to several tasks in one revision is no more than a number in a
    list: a vendor counts from 1 in each file. A later revision may move to another task.
    """
    said: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for a, _ in read:
        said[a.annotation_id, a.revision].add(a.task_id)
    shared = {name for (name, _), tasks in said.items() if len(tasks) > 1}
    return [(_renamed(a) if a.annotation_id in shared else a, delivery) for a, delivery in read]


def _renamed(annotation: Annotation) -> Annotation:
    own = content_id("annotation", annotation.annotation_id, annotation.task_id)
    renamed = replace(annotation, annotation_id=own)
    return of_nobody(renamed) if annotation.annotator.startswith(UNKNOWN) else renamed


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


def _drop_repeated(
    read: Sequence[_Read], vanished: Sequence[Annotation]
) -> tuple[list[Annotation], list[_Rejected]]:
    """Keep an annotator's first standing answer to a task by `_rank`, in all its revisions."""
    repeated = _later_answers([*(annotation for annotation, _ in read), *vanished], _same_task)
    kept = [annotation for annotation, _ in read if annotation.annotation_id not in repeated]
    detail = "this annotator answers the task in another record"
    rejected = [
        _Rejected(delivery, "repeated_annotator", detail, annotation.annotation_id)
        for annotation, delivery in read
        if annotation.annotation_id in repeated
    ]
    return kept, rejected


def _vanished(
    distinct: Iterable[_Read], read: Sequence[_Read], last_look: Mapping[str, int]
) -> list[Annotation]:
    """A retraction for each annotation that the last look at its source did not bring again."""
    gone = {
        annotation.annotation_id
        for annotation, delivery in read
        if delivery.source in last_look and delivery.look < last_look[delivery.source]
    }
    gone -= {
        annotation.annotation_id
        for annotation, delivery in read
        if delivery.look >= last_look.get(delivery.source, 0)
    }
    latest = _latest(a for a, _ in distinct if a.annotation_id in gone)
    return [
        replace(annotation, revision=annotation.revision + 1, status="retracted", price=0)
        for annotation in latest
        if annotation.status != "retracted"
    ]


def one_vote_each(annotations: Sequence[Annotation]) -> list[Annotation]:
    """Sorted by id; an annotator's second judgement of a pair is a repeat and no second vote."""
    # What an annotation says last, it says: a revision may name another task than those before it.
    votes = [annotation for annotation in _latest(annotations) if annotation.kind == COMPARISON]
    repeats = _later_answers(votes, _same_pair)
    told = [
        replace(annotation, kind=REPEAT)
        if annotation.kind == COMPARISON and annotation.annotation_id in repeats
        else annotation
        for annotation in annotations
    ]
    return sorted(told, key=lambda a: (a.annotation_id, a.revision))


def _later_answers(
    annotations: Iterable[Annotation], same: Callable[[Annotation], tuple[str, str]]
) -> set[str]:
    """Ids of standing annotations that come after another of the same `same`, by `_rank`."""
    standing = [a for a in _latest(annotations) if a.status not in NOT_COUNTED]
    answered: set[tuple[str, str]] = set()
    later: set[str] = set()
    for annotation in sorted(standing, key=_rank):
        if same(annotation) in answered:
            later.add(annotation.annotation_id)
        answered.add(same(annotation))
    return later


def _latest(annotations: Iterable[Annotation]) -> list[Annotation]:
    latest: dict[str, Annotation] = {}
    for annotation in sorted(annotations, key=lambda a: a.revision):
        latest[annotation.annotation_id] = annotation
    return list(latest.values())


def _same_task(annotation: Annotation) -> tuple[str, str]:
    return annotation.task_id, annotation.annotator


def _same_pair(annotation: Annotation) -> tuple[str, str]:
    return annotation.pair_id, annotation.annotator


def _rank(annotation: Annotation) -> tuple[bool, datetime, str]:
    """By time, what says something before a skip: who skipped first may judge later."""
    finished = annotation.finished_at or datetime.max.replace(tzinfo=UTC)
    return annotation.preferred is None, finished, annotation.annotation_id


def _quarantined(rejected: _Rejected) -> Quarantined:
    return Quarantined(
        stage="label",
        reason=rejected.reason,
        detail=rejected.detail,
        file=rejected.delivery.source,
        line=rejected.delivery.line,
        record_id=rejected.annotation_id,
        raw=rejected.delivery.raw,
    )


def _check_counts(collection: Collection) -> None:
    accounted = (
        len(collection.annotations)
        - collection.n_vanished
        + len(collection.quarantined)
        + collection.n_redelivered
    )
    if accounted != collection.n_received:
        raise Corrupt(
            f"{collection.n_received} records came and {accounted} are accounted for; nothing was "
            "kept. This is a fault of Winnow."
        )
