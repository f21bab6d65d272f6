"""Labels that a team brings, out of rows of any format that says which response is better.

How far a vote goes: a winner is a whole vote, a tie (or both bad) half a one for either side, and
one whose strength is 1, the least, counts 0.85 for the better side (a rating a grade apart counts
the same where people rate here). Of K responses in order each pair weighs 2 / K of a vote. A score
alone is no vote.

What always holds: a row is labels or refused, whole; ids are by content, so the same label has the
same id in any file; who gave it is known by a hash, which has no secret.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from winnow.ids import content_id, response_id
from winnow.ingest.normalise import check_prompt, prompt_identity, read_fact, read_tools
from winnow.ingest.shapes.example import Example, Vote, as_seen
from winnow.ingest.shapes.registry import How, read_example
from winnow.ingest.values import Unreadable, columns_of, shown

BESIDE = ("annotator", "judge", "subset", "chosen_model", "rejected_model", "num_correct")
"""Columns that are read beside those of the formats."""

UNNAMED = "brought"
"""Who gave labels that name nobody."""

A_GRADE_APART = 0.85
"""How far a rating is for a response that is one grade better; two grades are a whole vote.

On planted rewards (60 to 800 ratings by 8 people with scales of their own, 12 seeds) the direction
found has a cosine 0.001 to 0.026 higher than by signs alone, and the sign of a pair costs 0.01 to
0.05 nats more; grades in proportion (1/2 + grades / 8) are -0.016 to +0.022 from this cosine, at
0.05 to 0.25 nats."""

PREFERENCE = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}
"""How far a vote is for the first response."""

_MOST_RESPONSES = 64
_REWARD_BENCH = (
    *("alpacaeval-easy", "alpacaeval-hard", "alpacaeval-length", "donotanswer"),
    *("llmbar-adver-GPTInst", "llmbar-adver-GPTOut", "llmbar-adver-manual"),
    *("llmbar-adver-neighbor", "llmbar-natural", "math-prm", "mt-bench-easy", "mt-bench-hard"),
    *("mt-bench-med", "refusals-dangerous", "refusals-offensive", "xstest-should-refuse"),
    *("xstest-should-respond", *(f"hep-{n}" for n in ("cpp", "go", "java", "js", "python"))),
    "hep-rust",
)
"""Subsets of RewardBench: rows that reward models are tested on."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What a row says (`winnow.records.BROUGHT_LABELS`); `format` and `mended` are its row's."""

    label_id: str
    prompt_id: str
    messages: list[dict[str, str]]
    tools: str | None
    dimension: str
    annotator: str
    response_ids: list[str]
    texts: list[str]
    models: list[str | None]
    first: list[int]
    second: list[int]
    preference: list[float]
    weight: list[float]
    file: str
    line: int
    format: str
    mended: tuple[str, ...]


def read_labels(
    value: Any, how: How, max_chars: int, file: str, line: int, annotator_column: str = "annotator"
) -> Labels:
    """The labels of a row.

    Raises:
        Unreadable: The row, a response or what is said of one cannot be read; nothing is said of
            two that differ; or the row is of a set that reward models are tested on.
    """
    found, example = read_example(value, how)
    if example.unfit is not None:
        raise example.unfit
    beside = columns_of(value, (*BESIDE, annotator_column))
    _refuse_tests(beside)
    if len(example.candidates) > _MOST_RESPONSES:
        detail = f"{len(example.candidates)} responses; {_MOST_RESPONSES} are read"
        raise Unreadable("too_many_responses", detail)
    messages, tools = check_prompt(example.prompt, max_chars), read_tools(example.tools)
    prompt = prompt_identity(messages, tools)
    texts = [candidate.text.strip() for candidate in example.candidates]
    ids = [response_id(prompt, text) for text in texts]
    votes = [
        _oriented(vote, preference, weight, ids) for vote, preference, weight in _said(example)
    ]
    if not votes:
        raise Unreadable("no_preference", "nothing says which response is the better one")
    annotator = _annotator(beside.get(annotator_column, beside.get("judge")))
    dimension = read_fact(example.facts, "dimension") or "helpfulness"
    pairs = sorted((ids[first], ids[second]) for first, second, *_ in votes)
    first, second, preference, weight = (list(each) for each in zip(*votes, strict=True))
    return Labels(
        content_id("label", prompt, pairs, dimension, annotator),
        prompt,
        messages,
        tools,
        dimension,
        annotator,
        ids,
        texts,
        [candidate.model for candidate in example.candidates],
        *(first, second, preference, weight),
        file,
        line,
        found.name,
        tuple(example.mended),
    )


def far_for(grades: float) -> float:
    """How far somebody is for the first of two responses that is so many grades ahead.

    >>> far_for(1), far_for(-3), far_for(0)
    (0.85, 0.0, 0.5)
    """
    ahead = A_GRADE_APART if abs(grades) <= 1 else 1.0
    return 0.5 if grades == 0 else ahead if grades > 0 else 1.0 - ahead


def _said(example: Example) -> Iterator[tuple[Vote, float, float]]:
    """Each preference of a row, how far it goes for the first response, and what it weighs."""
    ranked = sum(candidate.rank is not None for candidate in example.candidates)
    for number, vote in enumerate(example.preferences()):
        texts = {as_seen(example.candidates[k].text) for k in (vote.first, vote.second)}
        if len(texts) == 2:
            sign = {"first": 1.0, "second": -1.0}.get(vote.winner, 0.0)
            is_choice = vote.strength is None
            far = PREFERENCE[vote.winner] if is_choice else far_for(sign * (vote.strength or 1.0))
            yield vote, far, 1.0 if number < len(example.votes) else 2.0 / ranked


def _oriented(
    vote: Vote, preference: float, weight: float, ids: list[str]
) -> tuple[int, int, float, float]:
    """A vote with its responses in the order of their ids, which says nothing of the better one."""
    if ids[vote.first] < ids[vote.second]:
        return vote.first, vote.second, preference, weight
    return vote.second, vote.first, 1.0 - preference, weight


def _annotator(named: Any) -> str:
    if named is None:
        return UNNAMED
    if not isinstance(named, str | int):
        raise Unreadable("wrong_type", f"who gave the label is no text: {shown(named)}")
    return f"{UNNAMED}:{content_id('annotator', str(named))[:16]}"


def _refuse_tests(beside: Mapping[str, Any]) -> None:
    subset = beside.get("subset")
    is_first = "chosen_model" in beside and "rejected_model" in beside and subset in _REWARD_BENCH
    if is_first or (subset is not None and "num_correct" in beside):
        raise Unreadable(
            "evaluation_set", "a row of RewardBench, by which reward models are tested"
        )
