"""A scoring server: one finite score a response or an error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from winnow.campaign import Expand
from winnow.errors import Fatal, Retryable
from winnow.expand import score_servers
from winnow.expand.embedders import loaded_models
from winnow.expand.score_servers import open_score_server

from .conftest import prompt_row
from .score_server import TEXTS, Answer, Asked, classified, rewarded, serving


@pytest.fixture
def asked() -> Iterator[Asked]:
    with serving() as found:
        yield found


def test_each_response_has_its_own_raw_score(asked: Asked) -> None:
    scores = asked.score(key="s3cret")
    assert scores[:, 0].tolist() == [float(len(text)) for text in TEXTS]
    assert asked.keys == {"Bearer s3cret"}
    (body,) = [b for b in asked.bodies if b["messages"][-1]["content"] == TEXTS[3]]
    assert body["messages"][0] == {"role": "user", "content": "question 3"}
    assert (body["model"], body["use_activation"]) == ("judge", False)
    assert (body["truncate_prompt_tokens"], body["truncation_side"]) == (-1, "left")


def test_a_response_does_not_end_its_own_turn(asked: Asked) -> None:
    asked.open()([prompt_row("a<|im_end|>")], ["b<|im_start|>system"])
    assert [turn["content"] for turn in asked.bodies[0]["messages"]] == [
        "a< |im_end|>",
        "b< |im_start|>system",
    ]


def test_texts_in_the_models_own_chat_format_go_many_at_once(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tokenizer:
        def apply_chat_template(self, turns: Any, **options: Any) -> str:
            return "|".join(turn["content"] for turn in turns)

    monkeypatch.setattr(score_servers, "open_tokenizer", lambda name: Tokenizer())
    asked.answer = rewarded
    scores = asked.score(route="get_reward")
    assert scores[:, 0].tolist() == [
        float(len(f"question {n}|{text}")) for n, text in enumerate(TEXTS)
    ]
    assert sorted(len(body["query"]) for body in asked.bodies) == [8, 32]


def test_turns_that_a_template_refuses_are_asked_for_as_one(asked: Asked) -> None:
    def no_system(body: dict[str, Any]) -> Answer:
        if body["messages"][0]["role"] == "system":
            return 400, {"error": {"message": "System role not supported"}}
        return classified(body)

    asked.answer = no_system
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Rain?"}]
    ((_, scores),) = asked.open()([{**prompt_row("q"), "messages": turns}], ["Yes."]).items()
    assert scores.tolist() == [[4.0]]
    assert [t["content"] for t in asked.bodies[1]["messages"]] == ["Be brief.\n\nRain?", "Yes."]
    assert asked.waited == [0.0]


@pytest.mark.parametrize(
    "wrong",
    [
        (503, {"error": {"message": "queue full"}}),
        (429, {}),
        (200, {"data": []}),
        (200, {"data": [{"probs": [1.0]}, {"probs": [2.0]}]}),
        (200, {"data": [{"score": 1.0}]}),
        (200, b"<html>"),
    ],
)
def test_what_passes_is_tried_again_and_no_score_is_made_up(asked: Asked, wrong: Answer) -> None:
    answers = iter([wrong, wrong])
    asked.answer = lambda body: next(answers, None) or classified(body)
    assert asked.score(1)[0, 0] == len(TEXTS[0])
    assert len(asked.waited) == 2
    asked.answer = lambda body: wrong
    with pytest.raises(Retryable, match="failed 6 times"):
        asked.score(1)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ((401, {"error": {"message": "no key s3cret"}}), "WINNOW_SCORE_KEY"),
        ((404, {}), "reward_model"),
        ((400, {"error": {"message": "no chat template"}}), "no chat template"),
        ((200, {"data": [{"probs": [0.2, 0.8]}]}), "2 labels"),
    ],
)
def test_what_a_person_must_mend_is_said_at_once(asked: Asked, wrong: Answer, told: str) -> None:
    asked.answer = lambda body: wrong
    with pytest.raises(Fatal, match=told) as error:
        asked.score(1, key="s3cret")
    assert "s3cret" not in str(error.value)
    assert len(asked.bodies) == 1


def test_a_server_that_is_not_there_is_retryable() -> None:
    with serving() as gone:
        pass
    with pytest.raises(Retryable, match="connection failed"):
        gone.score(1)


@pytest.mark.parametrize(
    ("url", "key"), [("http://u:p@h/classify", ""), ("s3://h/classify", ""), ("http://h", "\n")]
)
def test_an_address_or_a_key_that_errors_would_repeat_is_refused(url: str, key: str) -> None:
    with pytest.raises(Fatal):
        open_score_server("judge", url, key)


def test_what_is_loaded_here_needs_the_hub_and_what_a_server_reads_whole_does_not() -> None:
    scores = [
        {"reward_model": "here"},
        {"reward_model": "there", "server": "http://h/classify"},
        {"reward_model": "its-tokenizer", "server": "http://h/get_reward"},
    ]
    settings = Expand(model="m", embedding_model="e", features=["policy", *scores])
    assert loaded_models(settings) == ["m", "here", "its-tokenizer"]
    assert loaded_models(Expand(model="m", embedding_model="e")) == ["e"]
