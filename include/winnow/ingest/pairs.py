"""Pairs with a known answer, out of rows of any format that has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from winnow.ingest.normalise import check_prompt
from winnow.ingest.shapes.example import Example
from winnow.ingest.shapes.registry import AS_EACH_IS, How, read_example
from winnow.ingest.values import Unreadable


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt's normalised messages, and two responses that differ."""

    messages: list[dict[str, str]]
    chosen: str
    rejected: str


def judged(value: Any, how: How = AS_EACH_IS) -> Example:
    """What a row says of responses; whole, or the row is refused.

    Raises:
        Unreadable: The row is no prompt, or a response or what is said of one cannot be read.
    """
    _, example = read_example(value, how)
    if example.unfit is not None:
        raise example.unfit
    return example


def pairs_of(example: Example, max_chars: int) -> list[Pair]:
    """The pairs of which an example says the better side; ties are none.

    Raises:
        Unreadable: There is none, or the prompt is none or longer than `max_chars`.
    """
    texts = [candidate.text for candidate in example.candidates]
    if len(texts) < 2:
        raise Unreadable("no_text", "the row has no two responses, such as `chosen` and `rejected`")
    messages = check_prompt(example.prompt, max_chars)
    sides = [
        (vote.first, vote.second) if vote.winner == "first" else (vote.second, vote.first)
        for vote in example.preferences()
        if vote.winner in ("first", "second")
    ]
    if not sides:
        raise Unreadable("no_preference", "nothing says which response is the better one")
    return [Pair(messages, texts[better], texts[worse]) for better, worse in sides]


def read_pairs(value: Any, max_chars: int) -> list[Pair]:
    """The pairs in a row; raises as `judged` and `pairs_of`."""
    return pairs_of(judged(value), max_chars)
