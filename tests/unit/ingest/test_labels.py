"""Labels out of rows of every format: how far each goes, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from winnow.ingest.labels import UNNAMED, Labels, read_labels
from winnow.ingest.shapes.registry import How
from winnow.ingest.values import Unreadable

from .test_shapes import SHAPES

PAIR = {"prompt": "Why?", "chosen": "Good.", "rejected": "Bad."}
ARENA = {"prompt": "Why?", "response_a": "Good.", "response_b": "Bad."}


def read(row: Any, **told: Any) -> Labels:
    return read_labels(row, How(), 1_000, "a.jsonl", 1, **told)


def better(labels: Labels, vote: int = 0) -> tuple[str, float]:
    """The response that a vote is for, or not against, and how far."""
    first, far = labels.texts[labels.first[vote]], labels.preference[vote]
    return (first, far) if far >= 0.5 else (labels.texts[labels.second[vote]], 1.0 - far)


def refused(row: Any, **told: Any) -> str:
    with pytest.raises(Unreadable) as caught:
        read(row, **told)
    return caught.value.reason


SAY_IT = {
    *("alpaca pairs", "hh", "h4", "argilla", "cleaned", "helpsteer 2 pairs", "helpsteer 3"),
    *("arena", "arena csv", "trees", "nectar", "whole talks", "talks in csv", "tulu", "texts"),
    *("sharegpt pairs", "parts", "nemo pairs", "openai pairs", "stack exchange", "shp", "nemo rl"),
}
"""Shapes that say which of two responses is better; scores and thumbs alone do not."""


@pytest.mark.parametrize("name", SHAPES)
def test_a_row_of_any_format_is_labels_or_says_nothing(name: str) -> None:
    row = SHAPES[name][1]
    if name not in SAY_IT:
        assert refused(row) == "no_preference"
        return
    labels = read(row)
    assert labels.first and len(labels.first) == len(labels.weight)
    ids, pairs = labels.response_ids, zip(labels.first, labels.second, strict=True)
    assert all(ids[first] < ids[second] for first, second in pairs)


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (PAIR, ("Good.", 1.0)),
        ({**ARENA, "winner": "model_b"}, ("Bad.", 1.0)),
        ({**ARENA, "winner": "tie"}, (None, 0.5)),
        ({**ARENA, "winner": "tie (bothbad)"}, (None, 0.5)),
        ({"prompt": "Why?", "response_1": "Good.", "response_2": "Bad.",
          "preference_strength": -1}, ("Good.", 0.85)),
        ({"prompt": "Why?", "response_1": "Good.", "response_2": "Bad.",
          "preference_strength": 3}, ("Bad.", 1.0)),
    ],
)  # fmt: skip
def test_how_far_a_vote_goes(row: Any, wanted: tuple[str | None, float]) -> None:
    asked = [f"Why, {number}?" for number in range(8)]
    found = [read({**row, "prompt": prompt}) for prompt in asked]
    assert {each.first[0] for each in found} == {0, 1}, "in the order of the ids, which are hashes"
    for labels in found:
        text, far = better(labels)
        assert far == pytest.approx(wanted[1])
        assert wanted[0] in (None, text)


def test_ranks_are_votes_on_every_pair_and_weigh_as_much_as_their_choices() -> None:
    answers = [{"answer": f"Number {k}.", "rank": float(k)} for k in (1, 2, 2, 4)]
    answers[2]["answer"] = "Also 2."
    labels = read({"prompt": HUMAN, "answers": answers})
    assert len(labels.first) == 6 and sum(labels.weight) == pytest.approx(6 * 2 / 4)
    assert sorted(better(labels, vote)[1] for vote in range(6)) == [0.5, 1, 1, 1, 1, 1]


HUMAN = "\n\nHuman: Why?\n\nAssistant: "


def test_who_gave_a_label_is_told_apart_and_not_told() -> None:
    named = [read({**PAIR, "annotator": who}) for who in ("ann@example.org", "bob", 7)]
    assert read(PAIR).annotator == UNNAMED
    assert len({each.annotator for each in named} | {UNNAMED}) == 4
    assert len({each.label_id for each in named}) == 3
    assert "ann" not in named[0].annotator
    assert read({**PAIR, "who": "bob"}, annotator_column="who").annotator == named[1].annotator
    judged = {**ARENA, "winner": "model_a", "judge": "bob"}
    assert read(judged).annotator == named[1].annotator


def test_the_same_label_has_one_id_whatever_the_row_looks_like() -> None:
    talk = [{"role": "user", "content": "Why?"}]
    sides = {
        name: [*talk, {"role": "assistant", "content": text}]
        for name, text in (("chosen", " Good.\n"), ("rejected", "Bad."))
    }
    assert read(sides).label_id == read(PAIR).label_id
    turned = {**ARENA, "winner": "model_b"}
    assert read(turned).label_id == read(PAIR).label_id, "one annotator has one vote on a pair"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Why?", "response": "Good.", "score": 1.0}, "no_preference"),
        ({**PAIR, "rejected": " good. ", "chosen": "good."}, "same_text"),
        ({**PAIR, "subset": "math-prm", "chosen_model": "a", "rejected_model": "b"},
         "evaluation_set"),
        ({**PAIR, "subset": "Factuality", "num_correct": 1}, "evaluation_set"),
        ({**PAIR, "prompt": "Why? " * 400}, "too_long"),
        ({**PAIR, "annotator": {"id": 3}}, "wrong_type"),
        ({"prompt": HUMAN, "answers": [{"answer": f"{k}", "rank": 1.0} for k in range(65)]},
         "too_many_responses"),
    ],
)  # fmt: skip
def test_what_is_no_label(row: Any, reason: str) -> None:
    assert refused(row) == reason
    assert read({**PAIR, "subset": "mine"}).texts == ["Good.", "Bad."]
