"""Pairs of which one response is the better: HH-RLHF, binarized UltraFeedback, and all others.

Trainers and mixtures name the sides in many ways. Each side is a text, a turn or a whole talk; the
turns before the last answer are then the prompt and must be the same on both sides and in `prompt`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from winnow.ingest.shapes.example import (
    Example,
    as_seen,
    context_of,
    listed,
    mended_prompt,
    number,
    same_talk,
    spared,
    split,
    text_or_none,
)
from winnow.ingest.shapes.markup import answer_text, begins_as_hh, check_whole, hh_turns
from winnow.ingest.shapes.talks import SYSTEMS, asked_in
from winnow.ingest.turns import Turn, as_talk
from winnow.ingest.values import Unreadable

Row = Mapping[str, Any]

_SIDES = (
    ("chosen", "rejected"),
    ("chosen_messages", "rejected_messages"),
    ("chosen_response", "rejected_response"),
    ("preferred_output", "non_preferred_output"),
    ("response_j", "response_k"),
)
_TOLD_APART_BY = (
    ("score_chosen", "score_rejected"),
    ("chosen_avg_rating", "rejected_avg_rating"),
    ("chosen-rating", "rejected-rating"),
)
"""Scores by which it was told which side is the better one."""
_SCORES = (
    *_TOLD_APART_BY,
    ("chosen_score", "rejected_score"),
    ("chosen_reward", "rejected_reward"),
)
"""The others are a reward model's word on a side, which may be wrong."""
_MODELS = (("chosen_model", "rejected_model"), ("chosen-model", "rejected-model"))
_ASKED = ("context", "question", "raw_text", "instruction", "input", "history", "functions")

HH_COLUMNS = ("chosen", "rejected")
SAMPLED_COLUMNS = ("all_generated_responses", "all_rm_scores")
SHP_COLUMNS = ("history", "human_ref_A", "human_ref_B", "labels", "score_A", "score_B")
PAIR_COLUMNS = tuple(
    dict.fromkeys(
        [
            *(name for names in (*_SIDES, *_SCORES, *_MODELS) for name in names),
            *(*_ASKED, *SYSTEMS, *SHP_COLUMNS, *SAMPLED_COLUMNS),
        ]
    )
)


def is_hh(row: Row) -> bool:
    """Both sides are texts, the better one a talk of `Human:` and `Assistant:`."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    return isinstance(chosen, str) and isinstance(rejected, str) and begins_as_hh(chosen)


def is_binarized(row: Row) -> bool:
    """Two sides with the scores by which they were told apart."""
    return _sides(row) is not None and any(a in row and b in row for a, b in _TOLD_APART_BY)


def is_pair(row: Row) -> bool:
    """Two sides under any of their names, or two answers of Stanford's SHP."""
    is_shp = "human_ref_A" in row and "human_ref_B" in row
    return is_shp or (_sides(row) is not None and not is_hh(row))


def read_hh(row: Row) -> Example:
    """A row of HH-RLHF: the prompt ends before the last answer, and is the same on both sides.

    Raises:
        Unreadable: Contexts differ, a role speaks twice, a marker stands inside a turn.
    """
    talks = [split(hh_turns(row[name])) for name in HH_COLUMNS]
    for context, answer, fault in talks:
        if fault is not None:
            raise fault
        if answer is None:
            raise Unreadable("last_turn_not_assistant", "a side does not end with an answer")
        if any(a.role == b.role for a, b in pairwise(context)):
            raise Unreadable("same_role_twice", "one role speaks twice in a row")
    (context, chosen, _), (other, rejected, _) = talks
    if not same_talk(context, other):
        raise Unreadable("context_differs", "the turns before the responses are not the same")
    check_whole(context)
    example = mended_prompt(Example(context))
    places: list[int | None] = []

    def read_one(side: tuple[str, Turn]) -> None:
        name, answer = side
        check_whole([Turn("assistant", answer.text)])
        places.append(example.add(answer, name))

    example.add_each(zip(HH_COLUMNS, (chosen, rejected), strict=True), read_one)
    if len(places) == len(HH_COLUMNS):
        example.vote(places, "first")
    return example


def read_pair(row: Row) -> Example:
    """A row of two sides; with scores that are equal, or say the contrary, there is no better one.

    Raises:
        Unreadable: There is no prompt, or contexts differ.
    """
    names = _sides(row)
    if names is None:
        return _shp(row)
    sides = [as_talk(answer_text(row.get(name))) for name in names]
    row = {**row, **row["input"]} if isinstance(row.get("input"), dict) else row
    context = context_of(row, *sides)
    example = asked_before(row, context)
    mended_prompt(example)

    def read() -> None:
        scores = [number(raw, "score") for raw in _beside(row, _SCORES)]
        models = [text_or_none(raw) for raw in _beside(row, _MODELS)]
        places = [
            # The turns before it were looked at.
            example.add(split_off(raw) if context else raw, name, model=model, score=score)
            for raw, name, model, score in zip(sides, names, models, scores, strict=True)
        ]
        add_sampled(example, row)
        better, worse = (number(raw, "score") for raw in _beside(row, _TOLD_APART_BY))
        if better is None or worse is None or better > worse:
            example.vote(places, "first")
        elif better == worse:
            example.vote(places, "tie")
        else:
            detail = f"the better side has the score {better:g}, the worse one {worse:g}"
            raise Unreadable("scores_contradict", detail)

    spared(example, read)
    return example


def add_sampled(example: Example, row: Row) -> None:
    """Take the responses that SimPO's rows hold, with their scores.

    The sides of a pair, which the example has already, are two of them.
    """
    said, scores = (listed(row.get(name, []), name) for name in SAMPLED_COLUMNS)
    sides = {candidate.text: k for k, candidate in enumerate(example.candidates)}

    def read_one(placed: tuple[int, Any]) -> None:
        place, raw = placed
        score = number(scores[place] if place < len(scores) else None, "score")
        side = sides.pop(raw, None) if isinstance(raw, str) else None
        if side is None:
            example.add(raw, SAMPLED_COLUMNS[0], score=score)
        elif example.candidates[side].score is None:
            example.candidates[side] = replace(example.candidates[side], score=score)

    example.add_each(enumerate(said), read_one)


def split_off(raw: Any) -> Any:
    """The last answer of a talk, as a list of turns; of anything else itself."""
    return raw[-1:] if isinstance(raw, list) else raw


def asked_before(row: Row, context: list[Turn]) -> Example:
    """What was asked before responses: their own turns, a prompt's column, or both, which agree."""
    try:
        example = asked_in(row)
    except Unreadable as fault:
        if fault.reason != "no_prompt" or not context:
            raise
        return Example(context, tools=row.get("tools"))
    own, answer, _ = split(example.prompt)
    if not context:
        # A talk that ends with an answer stands beside responses of its own.
        example.prompt = own if answer is not None and own else example.prompt
        return example
    seen = as_seen(own[-1].text) if own else ""
    bare = [turn for turn in context if turn.role != "system"]
    is_one = same_talk(own, context) or same_talk(own, bare)
    # Of a talk of many turns some files repeat in `prompt` only the first or the last question.
    is_part = len(own) == 1 and any(
        turn.role == "user" and as_seen(turn.text) == seen for turn in context
    )
    if not (is_one or is_part):
        raise Unreadable("context_differs", "the turns before the responses are not `prompt`")
    example.prompt = context
    return example


def _sides(row: Row) -> tuple[str, str] | None:
    return next((names for names in _SIDES if names[0] in row and names[1] in row), None)


def _beside(row: Row, names: tuple[tuple[str, str], ...]) -> tuple[Any, Any]:
    """What stands of both sides under the first of the names that both have."""
    found = next(((a, b) for a, b in names if a in row and b in row), None)
    return (row[found[0]], row[found[1]]) if found else (None, None)


def _shp(row: Row) -> Example:
    example = mended_prompt(Example([Turn("user", str(row.get("history", "")))]))

    def read() -> None:
        places = [
            example.add(
                row[f"human_ref_{side}"], f"human_ref_{side}",
                score=number(row.get(f"score_{side}"), f"score_{side}"),
            )
            for side in "AB"
        ]  # fmt: skip
        said = number(row.get("labels"), "labels")
        if said not in (0, 1):
            raise Unreadable("wrong_score", "`labels` must be 0 (B) or 1 (A)")
        example.vote(places, "first" if said else "second")

    spared(example, read)
    return example
