"""A line that a vendor left, as an annotation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.ids import content_id
from winnow.ingest.values import Twice, Unreadable, columns_of, read_json
from winnow.label.vendor import DeliveredAnnotation, id_text
from winnow.label.vendors.file_drop.folder import AskedLine
from winnow.label.vendors.pages import members

_WHO_SAID_WHAT = ("task_id", "annotator", "choice")

LABEL = "preference"
"""The label attribute, where a vendor gives the manifest's line back with an answer added."""

_ESSENTIAL = (*_WHO_SAID_WHAT, LABEL, f"{LABEL}-metadata")


def read_line(line: bytes, tasks: Mapping[str, AskedLine]) -> DeliveredAnnotation:
    """The annotation in a line.

    A line is either an annotation, or a line of the manifest with the attribute `preference` (a
    choice, or an object with it) and what else is known under `preference-metadata`. What a vendor
    may leave out: `annotation_id` (then one for each annotator and task), `revision` (0) and
    `price` (what Winnow offered).

    Raises:
        Unreadable: There is none to be read.
    """
    fields = columns_of(_fields(read_json(line)), DeliveredAnnotation.model_fields)
    task_id, annotator = (id_text(fields.get(name)) for name in ("task_id", "annotator"))
    task = tasks.get(task_id) if isinstance(task_id, str) else None
    known = {
        "annotation_id": content_id("annotation", task_id, annotator),
        "price": task.price if task else 0,
    }
    return DeliveredAnnotation.of({**known, **fields})


def delivered_line(line: bytes, tasks: Mapping[str, AskedLine]) -> DeliveredAnnotation | None:
    """As `read_line`; None where there is no annotation to be read."""
    try:
        return read_line(line, tasks)
    except Unreadable:
        return None


def is_answer(line: bytes, tasks: Mapping[str, AskedLine]) -> tuple[str, str | None] | None:
    """Task and annotator of a line that `read_line` refuses, if it answers one of `tasks` at all.

    Who said what of which task can be read: the work was done, whatever else is wrong with it.
    """
    try:
        told = {n: _read(part) for n, part in members(line).items() if n in _ESSENTIAL}
        fields = {n: v for n, v in _fields(told).items() if n in _WHO_SAID_WHAT}
        found = DeliveredAnnotation.of({**fields, "annotation_id": "any", "price": 0})
    except Unreadable:
        return None
    return (found.task_id, found.annotator) if found.task_id in tasks else None


def _read(part: bytes) -> Any:
    try:
        return read_json(part)
    except Unreadable:
        return None


def _fields(line: Any) -> Any:
    if not isinstance(line, dict) or line.get(LABEL) is None:
        return line
    label, metadata = line[LABEL], line.get(f"{LABEL}-metadata")
    given = label if isinstance(label, dict) else {"choice": label}
    told = [metadata if isinstance(metadata, dict) else {}, given]
    if any(isinstance(each, Twice) for each in (line, *told)):
        raise Unreadable("stands_twice", "a name stands more than once")
    return {"task_id": line.get("task_id"), **_known(told[0]), **_known(told[1])}


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if k in DeliveredAnnotation.model_fields}
