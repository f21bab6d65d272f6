"""Stands before an S3 server and spoils some of the calls: one in so many, each fault in turn."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NoReturn
from urllib.parse import urlsplit

SLOW_SECONDS = 1.0
_ALWAYS = ("GET", "HEAD", "PUT", "POST", "DELETE")
_READS, _WRITES = ("GET",), ("PUT",)
_PASSED_ON = {"connection", "transfer-encoding", "content-length", "date", "server"}


class Fault(StrEnum):
    """What happens to a call; the store did it where the name says `after`, or nothing else."""

    BUSY_BEFORE = "503, nothing was done"
    BROKEN_BEFORE = "500, nothing was done"
    DROPPED_BEFORE = "the connection drops, nothing was done"
    CONFLICT_BEFORE = "409, nothing was done"
    BUSY_AFTER = "503, the store had done it"
    BROKEN_AFTER = "500, the store had done it"
    DROPPED_AFTER = "the connection drops, the store had done it"
    TWICE_AFTER = "a write is sent twice and the second answer comes back: 412 under a condition"
    SLOW_AFTER = "the answer comes late"
    CUT_AFTER = "the answer ends in the middle"
    FLIPPED_AFTER = "one bit of an object is another on the way"
    BARE_AFTER = "an answer 404 has no body"

    @property
    def methods(self) -> tuple[str, ...]:
        """Of which calls it can be a fault."""
        if self in (Fault.CONFLICT_BEFORE, Fault.TWICE_AFTER):
            return _WRITES
        return _READS if self in (Fault.CUT_AFTER, Fault.FLIPPED_AFTER) else _ALWAYS


_STATUS = {
    Fault.BUSY_BEFORE: (503, "SlowDown"),
    Fault.BUSY_AFTER: (503, "SlowDown"),
    Fault.BROKEN_BEFORE: (500, "InternalError"),
    Fault.BROKEN_AFTER: (500, "InternalError"),
    Fault.CONFLICT_BEFORE: (409, "ConditionalRequestConflict"),
}


@dataclass
class Struck:
    """Which faults have struck; each call is hit with chance `rate`."""

    rate: float
    rng: random.Random
    faults: Counter[Fault] = field(default_factory=Counter)
    refusals: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, method: str) -> Fault | None:
        """The fault of a call: of those that it can have, the one that struck least."""
        with self.turn:
            if self.rng.random() >= self.rate:
                return None
            able = [fault for fault in Fault if method in fault.methods]
            return min(able, key=lambda fault: (self.faults[fault], self.rng.random()))

    def note(self, fault: Fault) -> None:
        with self.turn:
            self.faults[fault] += 1


@dataclass(frozen=True)
class Answer:
    """What the store answered."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class _Dropped(Exception):
    """The connection ends here."""


class _Call(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    struck: Struck
    store: str

    def log_message(self, *_: object) -> None:
        """Nothing: every call would be a line."""

    def serve(self) -> None:
        assert "Transfer-Encoding" not in self.headers
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.struck.draw(self.command)
        with contextlib.suppress(_Dropped):
            self.give(*self.spoiled(fault, body))
            return
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve  # noqa: N815

    def spoiled(self, fault: Fault | None, body: bytes) -> tuple[Answer, int]:
        """The answer to give, and how many bytes of its body."""
        if fault is Fault.DROPPED_BEFORE:
            self.drop(fault)
        if fault in _STATUS and fault.name.endswith("_BEFORE"):
            self.struck.note(fault)
            return whole(refusal(*_STATUS[fault]))
        answer = self.ask(body)
        if fault is Fault.TWICE_AFTER:
            answer = self.ask(body)
        if fault is Fault.DROPPED_AFTER:
            self.drop(fault)
        if fault is None or not befalls(fault, answer):
            return whole(answer)
        self.struck.note(fault)
        if fault is Fault.SLOW_AFTER:
            time.sleep(SLOW_SECONDS)
        if fault in _STATUS:
            return whole(refusal(*_STATUS[fault]))
        if fault is Fault.CUT_AFTER:
            return answer, len(answer.body) // 2
        if fault is Fault.FLIPPED_AFTER:
            return whole(Answer(answer.status, answer.headers, self.flipped(answer.body)))
        return whole(Answer(answer.status, [], b"") if fault is Fault.BARE_AFTER else answer)

    def ask(self, body: bytes) -> Answer:
        """What the store says to the call as it came."""
        store = http.client.HTTPConnection(self.store, timeout=60)
        store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect"):
                store.putheader(name, value)
        store.endheaders(body or None)
        found = store.getresponse()
        answer = Answer(found.status, found.getheaders(), found.read())
        store.close()
        with self.struck.turn:
            self.struck.refusals += answer.status == 412
        return answer

    def give(self, answer: Answer, n_bytes: int) -> None:
        """Send the answer, but no more than `n_bytes` of its body."""
        self.send_response(answer.status)
        length = str(len(answer.body))
        for name, value in answer.headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                length = value
            elif name.lower() not in _PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[:n_bytes])
        if n_bytes < len(answer.body):
            raise _Dropped

    def flipped(self, body: bytes) -> bytes:
        at = self.struck.rng.randrange(len(body))
        return body[:at] + bytes([body[at] ^ 4]) + body[at + 1 :]

    def drop(self, fault: Fault) -> NoReturn:
        self.struck.note(fault)
        raise _Dropped


def befalls(fault: Fault, answer: Answer) -> bool:
    """Whether the answer can be spoiled so."""
    if fault is Fault.BARE_AFTER:
        return answer.status == 404
    # A listing has no digest that could tell.
    of_object = answer.status in (200, 206) and any(n.lower() == "etag" for n, _ in answer.headers)
    return of_object and len(answer.body) > 1 if fault.methods is _READS else True


def refusal(status: int, code: str) -> Answer:
    """An error as S3 words it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>x</Message></Error>".encode()
    return Answer(status, [("Content-Type", "application/xml")], body)


def whole(answer: Answer) -> tuple[Answer, int]:
    return answer, len(answer.body)


@contextlib.contextmanager
def before(store: str, struck: Struck) -> Iterator[str]:
    """The address of a proxy in front of the store at the address `store`."""
    place = {"struck": struck, "store": urlsplit(store).netloc}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Call", (_Call,), place))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
