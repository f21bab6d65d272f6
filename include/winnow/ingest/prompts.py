"""A row of any known format as a prompt of the campaign."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from winnow.ingest.normalise import (
    PROMPT_COLUMNS,
    Prompt,
    check_prompt,
    prompt_identity,
    read_fact,
    read_tags,
    read_tools,
    turns_of,
)
from winnow.ingest.shapes.example import Example
from winnow.ingest.shapes.registry import AS_EACH_IS, Format, How, names_of, read_example
from winnow.ingest.values import Unreadable, columns_of, read_time

_AS_THEY_STAND = ("openai", "sharegpt", "prompts")
"""Formats that were read before there were others."""


def parse_prompt(
    value: Any, file: str, line: int, max_chars: int, how: How = AS_EACH_IS
) -> Prompt:  # fmt: skip
    """A prompt from a row's value.

    Raises:
        Unreadable: A wrong type, no user turn at the end, nothing to be seen, too long, or where
            pools are read no response.
    """
    found, example = read_example(value, how)
    try:
        if how.as_pools and not example.candidates:
            raise example.unfit or Unreadable(
                "no_response",
                f"the row has no response to its prompt, but {names_of(value)}; name its column in "
                "`ingest.columns`",
            )
        prompt = _prompt(found, example, value, max_chars, file, line)
        return replace(prompt, example=example) if how.as_pools else prompt
    except Unreadable as fault:
        fault.format = found.name
        raise


def _prompt(
    found: Format, example: Example, value: Any, max_chars: int, file: str, line: int
) -> Prompt:
    messages = check_prompt(example.prompt, max_chars)
    tools, row = read_tools(example.tools), example.facts
    is_changed = bool(example.mended) or found.name not in _AS_THEY_STAND
    return Prompt(
        prompt_id=prompt_identity(messages, tools),
        messages=messages,
        tools=tools,
        source=read_fact(row, "source"),
        dimension=read_fact(row, "dimension") or "helpfulness",
        language=read_fact(row, "language"),
        tags=read_tags(row.get("tags")),
        received_at=read_time(row.get("received_at"), "received_at"),
        file=file,
        line=line,
        format=found.name,
        mended=tuple(dict.fromkeys(example.mended)),
        as_it_stood=_as_it_stood(value) if is_changed else None,
    )


def _as_it_stood(value: Any) -> str | None:
    """The id that the row had before its format was known; None if it was no prompt then."""
    try:
        row = columns_of(value, PROMPT_COLUMNS)
        messages = check_prompt(turns_of(row), 1 << 30)
        return prompt_identity(messages, read_tools(row.get("tools")))
    except Unreadable:
        return None
