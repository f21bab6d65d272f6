"""Several responses with what was said of each: UltraFeedback, HelpSteer, Nectar, other pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from winnow.ingest.normalise import TURN_COLUMNS
from winnow.ingest.shapes.example import (
    Example,
    Winner,
    context_of,
    liked,
    listed,
    mended_prompt,
    number,
    spared,
    split,
    text_or_none,
)
from winnow.ingest.shapes.markup import extra_turns
from winnow.ingest.shapes.pairs import SAMPLED_COLUMNS, add_sampled, asked_before, split_off
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
OWN_COLUMNS = ("vector", "logprob", "n_tokens", "finish_reason")
"""What a row of one response says of it, which only a pool needs."""

POOL_COLUMNS = (
    *("context", "question", "completions", "completion", "label", "response", "responses"),
    *(*SAMPLED_COLUMNS, "model", "score", "reward", *SYSTEMS),
    *(f"A{k}" for k in range(4)),
    *(f"score_A{k}" for k in range(4)),
    *("scores", "rewards", "models", "logprobs"),
    *OWN_COLUMNS,
)

_TEXTS = ("completion", "response", "text", "output", "content")
"""Names of what a response of a list says."""

_PARALLEL = {"scores": "score", "rewards": "reward", "models": "model", "logprobs": "logprob"}
"""Lists that stand beside a list of responses, place by place."""

_ABSENT = -100
"""What stands in HelpSteer's files for a rating that nobody gave."""
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

        def read_one(placed: tuple[int, Any]) -> None:
            place, raw = placed
            model = text_or_none(models[place]) if place < len(models) else None
            if isinstance(raw, dict):
                _completion(example, raw, model)
            else:
                example.add(raw, "completions", model=model)

        example.add_each(enumerate(listed(row["completions"], "completions")), read_one)

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

    def read_one(raw: Any) -> None:
        about = raw if isinstance(raw, dict) else {}
        example.add(about.get("answer"), "answer", **about_response(about))

    spared(example, lambda: example.add_each(listed(row["answers"], "answers"), read_one))
    return example


def is_pool(row: Row) -> bool:
    """Responses beside a prompt, under the names that trainers give them."""
    asked = any(name in row for name in (*TURN_COLUMNS, "context", "question"))
    names = ("all_generated_responses", "A0", *_TEXTS[:2], "completions", "responses")
    return isinstance(row.get("response"), list | dict) or (
        asked and any(name in row for name in names)
    )


def read_pool(row: Row) -> Example:
    """A row of NeMo RL, SimPO, NCA, of TRL's `completion` and `label`, or of one response."""
    talks = [row[f"A{k}"] for k in range(4) if f"A{k}" in row]
    if isinstance(row.get("response"), list | dict):
        talks.append(row["response"])
    example = mended_prompt(asked_before(row, context_of(row, *talks)))

    def read() -> None:
        def read_named(name: str) -> None:
            score = number(row.get(f"score_{name}"), "score")
            example.add(split_off(row[name]), name, score=score)

        def read_listed(placed: tuple[Any, Row]) -> None:
            raw, beside = placed
            if not isinstance(raw, dict) or {"role", "from"} & raw.keys():
                example.add(split_off(raw), "a response", **about_response(beside))
                return
            name = next((each for each in _TEXTS if each in raw), _TEXTS[0])
            example.add(split_off(raw.get(name)), name, **about_response({**beside, **raw}))

        def read_own(name: str) -> None:
            example.add(split_off(row[name]), name, liked=liked(row), **about_response(row))

        add_sampled(example, row)
        example.add_each([n for n in (f"A{k}" for k in range(4)) if n in row], read_named)
        for name in ("completions", "responses"):
            if name in row:
                said = listed(row[name], name)
                example.add_each(zip(said, _beside(row, len(said)), strict=True), read_listed)
        example.add_each([n for n in ("completion", "response") if n in row], read_own)

    spared(example, read)
    return example


def _beside(row: Row, n: int) -> list[dict[str, Any]]:
    """What lists beside a list of `n` responses say of each, under the names of `ABOUT`.

    Raises:
        Unreadable: One is no list, or of another length.
    """
    beside: list[dict[str, Any]] = [{} for _ in range(n)]
    for lists, name in _PARALLEL.items():
        if lists in row:
            values = listed(row[lists], lists)
            if len(values) != n:
                raise Unreadable("wrong_score", f"`{lists}` has {len(values)} of {n} responses")
            for each, value in zip(beside, values, strict=True):
                each[name] = value
    return beside


ABOUT = frozenset(("model", "score", "reward", "rank", *OWN_COLUMNS))
"""What a row of one response may say of it, whatever its format."""


def about_response(row: Row) -> dict[str, Any]:
    """What stands of a response beside it, under the names of `ABOUT`.

    Raises:
        Unreadable: What should be a number is none.
    """
    n_tokens = number(row.get("n_tokens"), "n_tokens")
    return {
        "model": text_or_none(row.get("model")),
        "score": number(row.get("score", row.get("reward")), "score"),
        "rank": number(row.get("rank"), "rank"),
        "logprob": number(row.get("logprob"), "logprob"),
        "n_tokens": None if n_tokens is None else int(n_tokens),
        "finish_reason": text_or_none(row.get("finish_reason")),
        "vector": row.get("vector"),
    }


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
    beside = about_response(raw)
    score = beside["score"] if score is None else score
    model = beside["model"] or model
    example.add(
        raw.get("response"),
        "response",
        **{**beside, "model": model, "score": score},
        ratings=ratings,
    )


def _ratings(row: Row) -> dict[str, float]:
    given = {name: number(row.get(name), name) for name in RATED}
    return {name: value for name, value in given.items() if value not in (None, _ABSENT)}


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
