"""A scoring server on loopback that answers as it is told to, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

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
