"""What a Ground Truth worker sent, as annotations.

One file an input line, `annotations/worker-response/iteration-N/LINE/TIME.json` below the job's
output, with `answers`: `workerId`, `submissionTime`, `timeSpentInSeconds`, `answerContent`
(https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html, "Worker response").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from winnow.ids import content_id
from winnow.ingest.values import Unreadable, read_json, tidy
from winnow.label.vendor import DeliveredAnnotation, id_text
from winnow.label.vendors.file_drop.folder import AskedLine
from winnow.label.vendors.pages import elements, members, unread

_RESPONSES = "/annotations/worker-response/"
_RESPONSE = re.compile(rf"{_RESPONSES}iteration-\d+/(\d{{1,9}})/[^/]+\.json")
_LONGEST_RATIONALE = 20_000


def is_response(path: str) -> bool:
    """Whether the file at `path` is where workers' responses are."""
    return _RESPONSES in path


def line_of(path: str) -> int | None:
    """Which input line, from 0, the file at `path` answers; None where it is another file."""
    place = _RESPONSE.search(path)
    return int(place[1]) if place else None


def read_answers(raw: bytes, task: AskedLine) -> list[bytes]:
    """The annotations in a worker-response file, at least one record of each file.

    An answer that cannot be read comes in its bytes beside its task, and so does a file that lists
    none: it is paid all the same.
    """
    try:
        listed = elements(members(raw)["answers"])
    except (KeyError, Unreadable):
        listed = []
    if len(listed) < 2:
        return [_record(raw, listed[0] if listed else b"", task)]
    return [_record(each, each, task) for each in listed]


def _record(whole: bytes, answer: bytes, task: AskedLine) -> bytes:
    try:
        return _annotation(tidy(read_json(answer), "answers"), task)
    except (ValueError, KeyError, TypeError, AttributeError, Unreadable):
        return unread(task.task_id, whole)


def _annotation(answer: Mapping[str, Any], task: AskedLine) -> bytes:
    content = answer["answerContent"]
    fields = {
        "annotation_id": content_id("annotation", task.task_id, id_text(answer["workerId"])),
        "task_id": task.task_id,
        "annotator": answer["workerId"],
        "choice": _picked(content["choice"]),
        "ratings": _ratings(content),
        "rationale": _rationale(content),
        "started_at": answer.get("acceptanceTime"),
        "finished_at": answer.get("submissionTime"),
        "active_seconds": answer.get("timeSpentInSeconds"),
        "price": task.price,
    }
    return DeliveredAnnotation.of(fields).model_dump_json().encode()


def _picked(given: Any) -> str:
    """The value of a group of radio buttons: itself, or the one of its values that is true."""
    if isinstance(given, str):
        return given
    [picked] = [value for value, on in given.items() if on is True]
    return str(picked)


def _ratings(content: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Ratings of the dimensions for which both sides have one."""
    rated: dict[str, dict[str, int]] = {}
    for name in content:
        dimension = name.removeprefix("rating/a/")
        if dimension == name or f"rating/b/{dimension}" not in content:
            continue
        sides = {side: _picked(content[f"rating/{side}/{dimension}"]) for side in ("a", "b")}
        rated[dimension] = {side: int(grade) for side, grade in sides.items()}
    return rated


def _rationale(content: Mapping[str, Any]) -> str | None:
    given = content.get("rationale")
    return given[:_LONGEST_RATIONALE] if isinstance(given, str) and given.strip() else None
