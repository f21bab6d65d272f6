"""Several responses with what was said of each: UltraFeedback, HelpSteer, Nectar, other pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.ingest.shapes.example import (
    Example,
    Winner,
    context_of,
    listed,
    mended_prompt,
    number,
    spared,
    split,
)
from winnow.ingest.shapes.markup import extra_turns
from winnow.ingest.shapes.pairs import split_off
from winnow.ingest.shapes.talks import SYSTEMS, asked_in
from winnow.ingest.values import Unreadable, shown

Row = Mapping[str, Any]

RATED = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
"""HelpSteer's ratings, 0 to 4, in the order in which NeMo's files list them."""

ULTRAFEEDBACK_COLUMNS = ("instruction", "raw_text", "models", "completions", *SYSTEMS)
HELPSTEER_COLUMNS = (
    *("context", "response", "response1", "response2", "response_1", "response_2"),
    *("overall_preference", "preference_strength", "text", "label", "domain", *RATED),
)
NECTAR_COLUMNS = ("answers",)
POOL_COLUMNS = (
    *("context", "completions", "completion", "label", "response", "responses"),
    *("all_generated_responses", "all_rm_scores", "model", "score", "reward", *SYSTEMS),
    *(f"A{k}" for k in range(4)),
    *(f"score_A{k}" for k in range(4)),
)

_SUSPECT_SCORE, _LOW_RATING = 10, 4
_PAIRED = (("response1", "response2"), ("response_1", "response_2"))


def is_ultrafeedback(row: Row) -> bool:
    """`completions` to an `instruction`, or to the `raw_text` of its makers' scripts."""
    asked = row.get("instruction", row.get("raw_text"))
    return isinstance(row.get("completions"), list | str) and isinstance(asked, str)


def read_ultrafeedback(row: Row) -> Example:
    """A row. A score of 10 beside ratings up to 4 was a 1 once: it is none (`score_of_ten`)."""
    example = mended_prompt(asked_in({k: v for k, v in row.items() if k != "prompt"}))

    def read() -> None:
        models = row["models"] if isinstance(row.get("models"), list) else []
        for place, raw in enumerate(listed(row["completions"], "completions")):
            model = models[place] if place < len(models) else None
            model = model if isinstance(model, str) else None
            if isinstance(raw, dict):
                _completion(example, raw, model)
            else:
                example.add(raw, "completions", model=model)

    spared(example, read)
    return example


def is_helpsteer(row: Row) -> bool:
    """Rated responses of HelpSteer 2, pairs of 2 and 3, NeMo's lines of text with a label."""
    asked = "prompt" in row or "context" in row
    return (
        (asked and any(a in row and b in row for a, b in _PAIRED))
        or (asked and "response" in row and sum(name in row for name in RATED) > 2)
        or (isinstance(row.get("text"), str) and "<extra_id_1>" in row["text"] and "label" in row)
    )


def read_helpsteer(row: Row) -> Example:
    """A row; -100 is no rating, and a strength below 0 is for the first response."""
    if "text" in row and "prompt" not in row and "context" not in row:
        return _nemo_line(row)
    example = mended_prompt(asked_in(row))
    if row.get("domain") == "code":
        example.facts["language"] = None  # It names the programming language there.
    names = next((pair for pair in _PAIRED if pair[0] in row and pair[1] in row), None)

    def read_pair() -> None:
        places = [example.add(row[name], name) for name in names or ()]
        given = row.get("overall_preference", row.get("preference_strength"))
        said = number(given, "the preference")
        if said is not None:
            winner: Winner = "tie" if said == 0 else "first" if said < 0 else "second"
            example.vote(places, winner, abs(said) or None)

    def read_rated() -> None:
        example.add(row["response"], "response", ratings=_ratings(row))

    spared(example, read_pair if names else read_rated)
    return example


def is_nectar(row: Row) -> bool:
    """`answers` to a `prompt`."""
    return isinstance(row.get("answers"), list | str) and "prompt" in row


def read_nectar(row: Row) -> Example:
    """A row: of `rank` 1 is best."""
    example = mended_prompt(asked_in(row))
    source = row.get("source")
    if isinstance(source, list):
        example.facts["source"] = ", ".join(map(str, source))

    def read() -> None:
        for raw in listed(row["answers"], "answers"):
            about = raw if isinstance(raw, dict) else {}
            model = about.get("model")
            example.add(
                about.get("answer"),
                "answer",
                model=model if isinstance(model, str) else None,
                rank=number(about.get("rank"), "rank"),
            )

    spared(example, read)
    return example


def is_pool(row: Row) -> bool:
    """Responses beside a prompt, under the names that trainers give them."""
    asked = "prompt" in row or "context" in row
    return asked and any(
        name in row
        for name in ("all_generated_responses", "A0", "completion", "completions", "response")
    )


def read_pool(row: Row) -> Example:
    """A row of NeMo RL, SimPO, NCA, of TRL's `completion` and `label`, or of one response."""
    talks = [row[f"A{k}"] for k in range(4) if f"A{k}" in row]
    if isinstance(row.get("response"), list | dict):
        talks.append(row["response"])
    context = context_of(row, *talks)
    example = asked_in(row)
    if context and len(split(example.prompt)[0]) < len(context):
        example.prompt = context
    mended_prompt(example)

    def read() -> None:
        scores = row.get("all_rm_scores") or []
        for place, raw in enumerate(row.get("all_generated_responses") or ()):
            score = scores[place] if place < len(scores) else None
            example.add(raw, "all_generated_responses", score=number(score, "score"))
        for k in range(4):
            if f"A{k}" in row:
                score = number(row.get(f"score_A{k}"), "score")
                example.add(split_off(row[f"A{k}"]), f"A{k}", score=score)
        completions = row.get("completions")
        for raw in completions if isinstance(completions, list) else ():
            about = raw if isinstance(raw, dict) else {"completion": raw}
            rank = number(about.get("rank"), "rank")
            example.add(split_off(about.get("completion")), "completion", rank=rank)
        for name in ("completion", "response"):
            if name in row:
                score = number(row.get("score", row.get("reward")), "score")
                model = row.get("model")
                model = model if isinstance(model, str) else None
                example.add(split_off(row[name]), name, score=score, model=model)

    spared(example, read)
    return example


def _completion(example: Example, raw: Mapping[str, Any], model: str | None) -> None:
    about = raw.get("annotations")
    about = about if isinstance(about, dict) else {}
    ratings = {
        name: rating
        for name, said in about.items()
        if isinstance(said, dict)
        and (rating := number(said.get("Rating"), f"rating of {name}")) is not None
    }
    score = number(raw.get("overall_score"), "overall_score")
    mean = number(raw.get("fine-grained_score"), "fine-grained_score")
    if mean is None and ratings:
        mean = sum(ratings.values()) / len(ratings)
    if score == _SUSPECT_SCORE and mean is not None and mean <= _LOW_RATING:
        score = None
        example.mended.append("score_of_ten")
    named = raw.get("model", model)
    example.add(
        raw.get("response"),
        "response",
        model=named if isinstance(named, str) else None,
        score=score,
        ratings=ratings,
    )


def _ratings(row: Row) -> dict[str, float]:
    given = {name: number(row.get(name), name) for name in RATED}
    return {name: value for name, value in given.items() if value is not None}


def _nemo_line(row: Row) -> Example:
    context, answer, fault = split(extra_turns(row["text"]))
    example = mended_prompt(Example(context, unfit=fault))

    def read() -> None:
        label = listed(row["label"], "label")
        if len(label) < len(RATED):
            detail = f"`label` must have {len(RATED)} numbers: {shown(label)}"
            raise Unreadable("wrong_score", detail)
        ratings = _ratings(dict(zip(RATED, label[-len(RATED) :], strict=True)))
        example.add(answer, "text", ratings=ratings)

    spared(example, read)
    return example
