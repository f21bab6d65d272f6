"""A scripted OpenAI-compatible server on loopback that fails as it is told to.

Its responses depend on the prompt and the seed alone, so that what a client makes of a faulty
server can be compared with what it makes of a good one. It remembers what it was asked.
"""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "tiny"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request. `kind` is `status` or the name of another failure."""

    kind: str
    status: int = 200
    message: str = "no"
    retry_after: str | None = None
    code: str | None = None


BUSY = Fault("status", 429, "too many requests", retry_after="7")
BROKEN = Fault("status", 500, "out of memory")
TRUNCATED = Fault("truncated")
HANGS = Fault("hangs")
TRICKLES = Fault("trickles")
BOMB = Fault("a few kilobytes of gzip that hold megabytes")
DROPPED = Fault("dropped")
ONE_CHOICE = Fault("one choice")
TOO_LONG = Fault("status", 400, "This model's maximum context length is 512 tokens.")


def choice_of(prompt: str, seed: int, index: int) -> dict[str, Any]:
    """One response: three tokens, told by the prompt and the seed."""
    return {
        "index": index,
        "message": {"role": "assistant", "content": f"{prompt} by {seed}"},
        "finish_reason": "stop",
        "logprobs": {"content": [{"token": "t", "logprob": -0.5}] * 3},
    }


def answer_to(body: dict[str, Any]) -> dict[str, Any]:
    """The right answer to a request."""
    prompt, n = body["messages"][-1]["content"], body["n"]
    return {
        "choices": [choice_of(prompt, body["seed"] + i, i) for i in range(n)],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3 * n},
    }


@dataclass
class FaultyServer:
    """What the server does with the next requests, and what it was asked so far.

    `script` gives the fault of a request, or None; `answer` makes the answer to one without.
    Where `gate` is set, chat requests wait at it.
    """

    url: str = ""
    key: str = ""
    script: Callable[[dict[str, Any]], Fault | None] = lambda body: None
    answer: Callable[[dict[str, Any]], dict[str, Any]] = answer_to
    models: Any = field(default_factory=lambda: {"data": [{"id": MODEL, "owned_by": "vllm"}]})
    version: Any = field(default_factory=lambda: {"version": "9.9"})
    gate: Callable[[dict[str, Any]], None] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    met: list[Fault | None] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, body: dict[str, Any]) -> Fault | None:
        """Note a request; the fault that it meets."""
        with self.lock:
            self.asked.append(body)
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            self.met.append(self.script(body))
            return self.met[-1]

    def leave(self) -> None:
        """Note that a request is over, before the client can know."""
        with self.lock:
            self.in_flight -= 1

    def wait_for(self, true: Callable[[], bool]) -> None:
        """Wait until something is so; fails after five seconds."""
        end = time.monotonic() + 5.0
        while not true():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.002)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faulty: FaultyServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.faulty.paths.append(self.path)
        if self.faulty.key and self.headers["Authorization"] != f"Bearer {self.faulty.key}":
            said = f"wrong key: {self.headers['Authorization']}"
            return self._send(401, {"error": {"message": said}})
        pages = {"/v1/models": self.faulty.models, "/version": self.faulty.version}
        page = pages.get(self.path)
        if isinstance(page, Fault):
            return self._fail(page)
        return self._send(404, {"detail": "no"}) if page is None else self._send(200, page)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fault = self.faulty.enter(body)
        try:
            if self.faulty.gate is not None:
                self.faulty.gate(body)
        finally:
            self.faulty.leave()
        if fault is None:
            self._send(200, self.faulty.answer(body))
        elif fault is ONE_CHOICE:
            answer = self.faulty.answer(body)
            self._send(200, {**answer, "choices": answer["choices"][:1]})
        elif fault is TRUNCATED:
            self._write(200, json.dumps(self.faulty.answer(body)).encode()[:-9])
        else:
            self._fail(fault)

    def _fail(self, fault: Fault) -> None:
        if fault is HANGS:
            self.faulty.stopped.wait(5.0)
        if fault is TRICKLES:
            self._trickle()
        if fault is BOMB:
            self._write(200, gzip.compress(bytes(8 << 20)), packed="gzip")
            return
        if fault in (HANGS, TRICKLES, DROPPED):
            self.close_connection = True
            return
        said = {"error": {"message": fault.message, "code": fault.code}}
        self._send(fault.status, said, fault.retry_after)

    def _trickle(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b" ")
            self.faulty.stopped.wait(0.05)

    def _send(self, status: int, body: Any, retry_after: str | None = None) -> None:
        self._write(status, json.dumps(body).encode(), retry_after)

    def _write(
        self, status: int, data: bytes, retry_after: str | None = None, packed: str = "identity"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Encoding", packed)
        self.send_header("Content-Length", str(len(data)))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(data)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is no news."""


@contextmanager
def faulty_server() -> Iterator[FaultyServer]:
    """Start one on a free port; it serves until the block ends."""
    faulty = FaultyServer()
    handler = type("Handler", (_Handler,), {"faulty": faulty})
    with _Server(("127.0.0.1", 0), handler) as server:
        faulty.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield faulty
        faulty.stopped.set()
        server.shutdown()
        thread.join()
