"""A line that a vendor left, as an annotation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from winnow.ids import content_id
from winnow.label.vendor import DeliveredAnnotation
from winnow.label.vendors.file_drop.folder import AskedLine

LABEL = "preference"
"""The label attribute, where a vendor gives the manifest's line back with an answer added."""


def delivered_line(line: bytes, tasks: Mapping[str, AskedLine]) -> DeliveredAnnotation | None:
    """The annotation in a line; None where there is none to be read.

    A line is either an annotation, or a line of the manifest with the attribute `preference` (a
    choice, or an object with it) and what else is known under `preference-metadata`. What a vendor
    may leave out: `annotation_id` (then one for each annotator and task), `revision` (0) and
    `price` (what Winnow offered).
    """
    try:
        fields = _fields(json.loads(line))
        task = tasks.get(fields["task_id"])
        known = {
            "annotation_id": content_id("annotation", fields["task_id"], fields["annotator"]),
            "price": task.price if task else 0,
        }
        # By way of JSON, which is where times are text and nothing is turned into a number.
        return DeliveredAnnotation.model_validate_json(json.dumps({**known, **fields}))
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError):
        return None


def _fields(line: dict[str, Any]) -> dict[str, Any]:
    if LABEL not in line:
        return line
    label = line[LABEL]
    given = label if isinstance(label, dict) else {"choice": label}
    metadata = line.get(f"{LABEL}-metadata", {})
    return {"task_id": line["task_id"], **_known(metadata), **_known(given)}


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if k in DeliveredAnnotation.model_fields}
