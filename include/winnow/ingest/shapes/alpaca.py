"""Alpaca: `instruction`, `input` and `output`, its pools, its pairs, its tasks with `instances`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.ingest.normalise import TURN_COLUMNS
from winnow.ingest.shapes.example import Example, mended_prompt, number, spared
from winnow.ingest.shapes.talks import SYSTEMS, asked_in
from winnow.ingest.values import Unreadable, shown

COLUMNS = (
    *("instruction", "input", "history", "output", "response", "instances", "output_1", "output_2"),
    *("preference", "chosen", "rejected", *SYSTEMS),
)


def is_alpaca(row: Mapping[str, Any]) -> bool:
    """An `instruction`, and no turns beside it."""
    return isinstance(row.get("instruction"), str) and not any(name in row for name in TURN_COLUMNS)


def read_alpaca(row: Mapping[str, Any]) -> Example:
    """A row; of a task with several `instances` the first."""
    instances = row.get("instances")
    later = []
    if isinstance(instances, list) and instances and isinstance(instances[0], dict):
        row = {**row, **{k: v for k, v in instances[0].items() if k in ("input", "output")}}
        later = ["later_instances"] * (len(instances) > 1)
    example = mended_prompt(asked_in(row))
    example.mended += later
    output = row.get("output", row.get("response"))
    for text in output if isinstance(output, list) else [output] if output is not None else []:
        example.add(text, "output")
    pair = ("output_1", "output_2") if "output_1" in row else ("chosen", "rejected")
    if any(name in row for name in pair):
        spared(example, lambda: _pair(example, row, pair))
    return example


def _pair(example: Example, row: Mapping[str, Any], names: tuple[str, str]) -> None:
    first, second = (example.add(row.get(name), name) for name in names)
    if names[0] == "chosen":
        example.vote((first, second), "first")
        return
    said = number(row.get("preference"), "preference")
    if said is None:
        return
    if said not in (0, 1, 2):
        raise Unreadable("wrong_score", f"`preference` must be 0, 1 or 2: {shown(said)}")
    example.vote((first, second), ("tie", "first", "second")[int(said)])
