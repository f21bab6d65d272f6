"""What vendors delivered of a batch, read as it was before batches were large: all in lists.

`winnow.label.collect` must read the same.
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
from winnow.ingest.values import Unreadable
from winnow.label.aggregation.votes import COMPARISON, REPEAT
from winnow.label.annotation import (
    NOT_COUNTED,
    UNKNOWN,
    Annotation,
    AskedTask,
    of_nobody,
    read_annotation,
)
from winnow.label.collect import Delivery
from winnow.records import Quarantined

Row = Mapping[str, Any]

_TASK_ID = re.compile(rb'"task_id"\s*:\s*"([!-~]+?)"')


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
    asked = {
        task["task_id"]: AskedTask(task["pair_id"], task["swapped"], task["kind"]) for task in tasks
    }
    read: list[_Read] = []
    rejected: list[Quarantined] = []
    for delivery in deliveries:
        try:
            read.append((read_annotation(delivery.raw, asked), delivery))
        except Unreadable as error:
            rejected.append(_quarantined(delivery, error.reason, error.detail))
    read = _told_apart(read)
    distinct, conflicting, n_redelivered = _merge_deliveries(read)
    vanished = _vanished(distinct, read, last_look)
    kept, repeated = _drop_repeated(distinct, vanished)
    annotations = [*kept, *vanished]
    if not names_people and _is_one_id(annotations, tasks):
        annotations = [of_nobody(annotation) for annotation in annotations]
    # By their place; the same bytes of a source once.
    rejected = sorted([*rejected, *conflicting, *repeated], key=lambda r: (r.file, r.line))
    once: dict[tuple[str | None, bytes | None], Quarantined] = {}
    for row in rejected:
        once.setdefault((row.file, row.raw), row)
    quarantined = list(once.values())
    # Of a record in quarantine nothing else may be readable.
    named = {name.decode("ascii") for r in quarantined for name in _TASK_ID.findall(r.raw or b"")}
    n_redelivered += len(rejected) - len(quarantined)
    n_accounted = len(kept) + len(quarantined) + n_redelivered
    if n_accounted != len(deliveries):
        raise Corrupt(
            f"{len(deliveries)} records came and {n_accounted} are accounted for; nothing was "
            "kept. This is a fault of Winnow."
        )
    return Collection(
        annotations=one_vote_each(annotations),
        quarantined=quarantined,
        n_received=len(deliveries),
        n_redelivered=n_redelivered,
        n_vanished=len(vanished),
        refused=frozenset(named & asked.keys()),
    )


def _is_one_id(annotations: Iterable[Annotation], tasks: Sequence[Row]) -> bool:
    """Whether no round has answers under two ids; an answer that names nobody has none."""
    round_of = {task["task_id"]: task.get("round", 0) for task in tasks}
    ids: defaultdict[int, set[str]] = defaultdict(set)
    for each in annotations:
        if not each.annotator.startswith(UNKNOWN):
            ids[round_of[each.task_id]].add(each.annotator)
    return all(len(of_round) == 1 for of_round in ids.values())


def _told_apart(read: Sequence[_Read]) -> list[_Read]:
    """The records, each annotation under an id of its own.

    An id that stands on answers to several tasks in one revision is no more than a number in a
    list: a vendor counts from 1 in each file. A later revision may move to another task.
    """
    tasks_of: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for a, _ in read:
        tasks_of[a.annotation_id, a.revision].add(a.task_id)
    shared = {name for (name, _), tasks in tasks_of.items() if len(tasks) > 1}

    def own(a: Annotation) -> Annotation:
        if a.annotation_id not in shared:
            return a
        a = replace(a, annotation_id=content_id("annotation", a.annotation_id, a.task_id))
        return of_nobody(a) if a.annotator.startswith(UNKNOWN) else a

    return [(own(annotation), delivery) for annotation, delivery in read]


def _merge_deliveries(read: Iterable[_Read]) -> tuple[list[_Read], list[Quarantined], int]:
    """One delivery per (annotation, revision); the same again is counted, another is rejected."""
    first: dict[tuple[str, int], _Read] = {}
    conflicting: list[Quarantined] = []
    n_redelivered = 0
    # By content and not by arrival, so that a reordered delivery keeps the same record.
    for annotation, delivery in sorted(read, key=lambda r: r[1].raw):
        name = annotation.annotation_id
        held, by = first.setdefault((name, annotation.revision), (annotation, delivery))
        if by is delivery:
            continue
        if held == annotation:
            n_redelivered += 1
        else:
            detail = "another record claims this annotation and revision"
            conflicting.append(_quarantined(delivery, "conflicting_delivery", detail, name))
    return list(first.values()), conflicting, n_redelivered


def _drop_repeated(
    read: Sequence[_Read], vanished: Sequence[Annotation]
) -> tuple[list[Annotation], list[Quarantined]]:
    """Keep an annotator's first standing answer to a task by `_rank`, in all its revisions."""
    standing = [*(annotation for annotation, _ in read), *vanished]
    repeated = _later_answers(standing, lambda a: (a.task_id, a.annotator))
    detail = "this annotator answers the task in another record"
    kept: list[Annotation] = []
    rejected: list[Quarantined] = []
    for annotation, delivery in read:
        name = annotation.annotation_id
        if name in repeated:
            rejected.append(_quarantined(delivery, "repeated_annotator", detail, name))
        else:
            kept.append(annotation)
    return kept, rejected


def _vanished(
    distinct: Iterable[_Read], read: Sequence[_Read], last_look: Mapping[str, int]
) -> list[Annotation]:
    """A retraction for each annotation that the last look at its source did not bring again."""
    of_looks: defaultdict[bool, set[str]] = defaultdict(set)
    for annotation, delivery in read:
        is_old = delivery.look < last_look.get(delivery.source, 0)
        of_looks[is_old].add(annotation.annotation_id)
    gone = of_looks[True] - of_looks[False]
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
    repeats = _later_answers(votes, lambda a: (a.pair_id, a.annotator))
    counted = [
        replace(annotation, kind=REPEAT)
        if annotation.kind == COMPARISON and annotation.annotation_id in repeats
        else annotation
        for annotation in annotations
    ]
    return sorted(counted, key=lambda a: (a.annotation_id, a.revision))


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


def _rank(annotation: Annotation) -> tuple[bool, datetime, str]:
    """By time, what says something before a skip: who skipped first may judge later."""
    finished = annotation.finished_at or datetime.max.replace(tzinfo=UTC)
    return annotation.preferred is None, finished, annotation.annotation_id


def _quarantined(
    delivery: Delivery, reason: str, detail: str, annotation_id: str | None = None
) -> Quarantined:
    return Quarantined(
        "label", reason, detail, delivery.source, delivery.line, annotation_id, delivery.raw
    )
