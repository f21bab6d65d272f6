"""A scoring server: one finite score a response or an error that says what to do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from winnow.errors import Fatal, Retryable
from winnow.expand import score_servers
from winnow.expand.score_servers import ScoreServer, open_score_server

from .conftest import prompt_row

Answer = tuple[int, Any]
TEXTS = [f"answer {n}" * (n + 1) for n in range(40)]
PROMPTS = [prompt_row(f"question {n}") for n in range(40)]


def classified(body: dict[str, Any]) -> Answer:
    """What vLLM answers: the length of the response is its score."""
    return 200, {"data": [{"probs": [float(len(body["messages"][-1]["content"]))]}]}


def rewarded(body: dict[str, Any]) -> Answer:
    scores = [float(len(text)) for text in body["query"]]
    return 200, {"rewards": scores, "scores": scores, "extra_logs": {}}


class Asked:
    """A server on loopback with what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.answer: Callable[[dict[str, Any]], Answer] = classified
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.waited: list[float] = []

    def open(self, route: str = "classify", key: str = "") -> ScoreServer:
        return open_score_server("judge", f"{self.url}/{route}", key, self.waited.append)

    def score(self, n: int = 40, **settings: Any) -> np.ndarray:
        ((name, scores),) = self.open(**settings)(PROMPTS[:n], TEXTS[:n]).items()
        assert name == "score:judge"
        return scores


@contextmanager
def serving() -> Iterator[Asked]:
    asked = Asked()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.bodies.append(body)
            asked.keys.add(self.headers["Authorization"])
            status, said = asked.answer(body)
            data = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        asked.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield asked
        server.shutdown()
        thread.join()


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
        def apply_chat_template(self, turns: Any, tokenize: bool) -> str:
            return "|".join(turn["content"] for turn in turns)

    monkeypatch.setattr(score_servers, "open_tokenizer", lambda name: Tokenizer())
    asked.answer = rewarded
    scores = asked.score(route="get_reward")
    assert scores[:, 0].tolist() == [
        float(len(f"question {n}|{text}")) for n, text in enumerate(TEXTS)
    ]
    assert sorted(len(body["query"]) for body in asked.bodies) == [8, 32]


@pytest.mark.parametrize(
    "wrong",
    [
        (503, {"error": {"message": "queue full"}}),
        (429, {}),
        (200, {"data": []}),
        (200, {"data": [{"probs": [1.0]}, {"probs": [2.0]}]}),
        (200, {"data": [{"score": 1.0}]}),
        (200, b'{"data": [{"probs": [NaN]}]}'),
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
