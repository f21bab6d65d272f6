"""Votes of arenas: two models answer one person, who says which did better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from winnow.ingest.shapes.example import (
    Example,
    Winner,
    listed,
    mended_prompt,
    number,
    same_talk,
    spared,
    text_or_none,
)
from winnow.ingest.turns import Turn, read_turns
from winnow.ingest.values import Unreadable, shown

Row = Mapping[str, Any]

WINNERS: Mapping[str, Winner] = {
    "model_a": "first",
    "model_b": "second",
    "tie": "tie",
    "tie (bothbad)": "both_bad",
    "tie (inconsistent)": "tie",
    "both_bad": "both_bad",
    "bothbad": "both_bad",
}
_COUNTED: Mapping[str, Winner] = {
    "winner_model_a": "first",
    "winner_model_b": "second",
    "winner_tie": "tie",
}
COLUMNS = (
    *("model_a", "model_b", "winner", *_COUNTED),
    *("conversation_a", "conversation_b", "response_a", "response_b"),
)


def is_arena(row: Row) -> bool:
    """Two conversations, or a prompt with two responses, of `model_a` and `model_b`."""
    return ("conversation_a" in row and "conversation_b" in row) or (
        "response_a" in row and "response_b" in row and "prompt" in row
    )


def read_arena(row: Row) -> Example:
    """A row. A vote on talks of several turns is on talks that differ: `first_turn_only`.

    Such a row is its first question with both first answers, and no vote.

    Raises:
        Unreadable: The first questions differ.
    """
    if "conversation_a" in row:
        talks = [_turns(row[name], name) for name in ("conversation_a", "conversation_b")]
    else:
        asked = _texts(row["prompt"], "prompt")
        talks = [
            _talk(asked, _texts(row[name], name)) for name in ("response_a", "response_b")
        ]  # fmt: skip
    ends = [_first_answer(talk) for talk in talks]
    contexts = [talk[:end] for talk, end in zip(talks, ends, strict=True)]
    if not same_talk(*contexts):
        raise Unreadable("context_differs", "the two talks do not begin with the same question")
    example = mended_prompt(Example(contexts[0]))
    is_longer = any(
        turn.role == "user"
        for talk, end in zip(talks, ends, strict=True)
        for turn in talk[end:]
    )  # fmt: skip
    example.mended += ["first_turn_only"] * is_longer

    def read() -> None:
        places = []
        for side, talk, end in zip("ab", talks, ends, strict=True):
            model = text_or_none(row.get(f"model_{side}"))
            answer = talk[end] if end < len(talk) else None
            places.append(example.add(answer, f"answer {side}", model=model))
        winner = _winner(row)
        if not is_longer and winner is not None:
            example.vote(places, winner)

    spared(example, read)
    return example


def _turns(raw: Any, name: str) -> list[Turn]:
    return read_turns(listed(raw, name) if isinstance(raw, str) else raw, name)


def _texts(raw: Any, name: str) -> list[str]:
    """The texts of a list or its JSON, one a turn; of a text that is no list itself."""
    try:
        texts = listed(raw, name)
    except Unreadable as fault:
        if not isinstance(raw, str) or fault.reason != "wrong_type":
            raise
        return [raw]
    if not all(isinstance(text, str | None) for text in texts):
        raise Unreadable("wrong_type", f"`{name}` must list texts: {shown(texts)}")
    return [text or "" for text in texts]


def _talk(asked: Sequence[str], said: Sequence[str]) -> list[Turn]:
    turns = []
    for k, text in enumerate(asked):
        turns.append(Turn("user", text))
        turns += [Turn("assistant", answer) for answer in said[k : k + 1]]
    return turns


def _first_answer(talk: Sequence[Turn]) -> int:
    return next((k for k, turn in enumerate(talk) if turn.role == "assistant"), len(talk))


def _winner(row: Row) -> Winner | None:
    if "winner" in row:
        winner = row["winner"]
        if not isinstance(winner, str) or winner.strip().lower() not in WINNERS:
            raise Unreadable("wrong_winner", f"`winner` is {shown(winner)}")
        return WINNERS[winner.strip().lower()]
    said = [winner for name, winner in _COUNTED.items() if number(row.get(name), name)]
    if len(said) > 1:
        raise Unreadable("wrong_winner", "the row names several winners")
    return said[0] if said else None
