"""Responses to a prompt as people write them: one, or a pair with a known answer.

A response is a text, or turns that end with the assistant's. Turns before it are the prompt, and
must be the same for all responses of a row and in `prompt`, `messages` or `conversations`, where
given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from winnow.ingest.normalise import (
    PROMPT_COLUMNS,
    TURN_COLUMNS,
    check_prompt,
    normalise,
    told_apart,
    turns_of,
)
from winnow.ingest.turns import read_response
from winnow.ingest.values import Unreadable

PAIR_COLUMNS = (*PROMPT_COLUMNS, "chosen", "rejected")
"""Columns of a file of pairs that are read."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt's normalised messages, and two responses that differ."""

    messages: list[dict[str, str]]
    chosen: str
    rejected: str


def read_pair(row: dict[str, Any], max_chars: int) -> Pair:
    """The pair in a tidied row; prompts longer than `max_chars` are refused.

    Raises:
        Unreadable: As `read_answers`; or a side shows nothing, or both look the same.
    """
    messages, (chosen, rejected) = read_answers(row, ("chosen", "rejected"), max_chars)
    seen = [as_seen(text) for text in (chosen, rejected)]
    if not all(seen):
        empty = "chosen" if not seen[0] else "rejected"
        raise Unreadable("empty_response", f"`{empty}` holds nothing that can be seen")
    if seen[0] == seen[1]:
        raise Unreadable("same_text", "`chosen` and `rejected` look the same")
    return Pair(messages, chosen, rejected)


def as_seen(text: str) -> str:
    """What two responses share that look the same; "" of one that shows nothing."""
    return told_apart(normalise(text)).strip()


def read_answers(
    row: dict[str, Any], names: Sequence[str], max_chars: int
) -> tuple[list[dict[str, str]], list[str]]:
    """A prompt's messages, and the responses under `names`.

    Raises:
        Unreadable: There is no prompt, one is no response, or what stands before them differs.
    """
    answers = [read_response(row.get(name), name) for name in names]
    talks = [turns_of(row)] if any(name in row for name in TURN_COLUMNS) else []
    talks += [before for before, _ in answers if before]
    if not talks:
        raise Unreadable("no_prompt", "the row has neither `prompt` nor `messages`")
    prompts = [check_prompt(turns, max_chars) for turns in talks]
    if any(prompt != prompts[0] for prompt in prompts):
        raise Unreadable("context_differs", "the turns before the responses are not the same")
    return prompts[0], [text for _, text in answers]
