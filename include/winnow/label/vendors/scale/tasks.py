"""A comparison as a Scale task.

The task is of type `textcollection`: attachments to read and a form of fields, whose answers come
back under their `field_id` (https://scale.com/docs/api-reference/generative-ai, and its page of
fields and response format). Attachments and instructions are shown as Markdown, so that every
character with a meaning there is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from winnow.label.vendor import CHOICE_LABELS, TaskRequest

_MARKDOWN = re.compile(r"([!-/:-@\[-`{-~])")
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)


def task_body(
    task: TaskRequest, project: str, batch: str, dimensions: Sequence[str]
) -> dict[str, Any]:
    """What makes the task at Scale; `unique_id` is taken once in the whole account."""
    grades = {str(n): str(n) for n in range(1, 6)}
    strengths = {"1": "slightly", "2": "clearly", "3": "by far"}
    fields = [
        _category("choice", "Which response is better?", CHOICE_LABELS),
        _category("strength", "How much better, if one is", strengths, required=False),
        *(
            _category(f"rating/{side}/{d}", f"{as_markdown(d)} of response {side.upper()}", grades)
            for d in dimensions
            for side in ("a", "b")
        ),
    ]
    why = {"type": "text", "field_id": "rationale", "title": "Why? (optional)", "required": False}
    return {
        "project": project,
        "batch": batch,
        "unique_id": task.task_id,
        "instruction": as_markdown(task.asked),
        "responses_required": 1,
        "attachments": [
            *(_text(as_markdown(m.role), m.content) for m in task.messages),
            _text("Response A", task.response_a),
            _text("Response B", task.response_b),
        ],
        "fields": [*fields, {**why, "max_characters": 5000}],
        "metadata": {"task_id": task.task_id, "price": task.price, "pair_id": task.pair_id},
    }


def as_markdown(text: str) -> str:
    r"""Markdown that shows `text` as it is: nothing in it is a heading, a link or a tag.

    CommonMark 0.31.2, 2.4: a backslash makes any ASCII punctuation plain; 6.7: two spaces before
    a line end keep the line end.

    >>> as_markdown("# <b>hi</b>")
    '\\# \\<b\\>hi\\<\\/b\\>'
    """
    escaped = _MARKDOWN.sub(r"\\\1", text)
    unindented = _INDENT.sub(lambda m: "\u00a0" * len(m.group()), escaped)
    return unindented.replace("\n", "  \n")


def _text(heading: str, text: str) -> dict[str, str]:
    return {"type": "text", "content": f"**{heading}**\n\n{as_markdown(text)}"}


def _category(
    field_id: str, title: str, choices: Mapping[Any, str], required: bool = True
) -> dict[str, Any]:
    return {
        "type": "category",
        "field_id": field_id,
        "title": title,
        "required": required,
        "min_choices": int(required),
        "max_choices": 1,
        "choices": [{"label": label, "value": value} for value, label in choices.items()],
    }
