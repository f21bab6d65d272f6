"""The simulator says that a batch has news: signed, again when refused, never in the way."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from winnow.label.submit import submit_tasks
from winnow.label.vendor import BatchTerms, TaskRequest
from winnow.label.vendors import batch_of_event
from winnow_simulator.webhooks import (
    MAX_ATTEMPTS,
    Announcer,
    announce_in_background,
    poster,
)

Make = Callable[..., list[TaskRequest]]
TERMS = BatchTerms("Which is better?", "r-1", (), datetime(2027, 1, 1, tzinfo=UTC))
SECRET = "whsec_" + base64.b64encode(b"a secret of some length").decode()


@dataclass
class Mailbox:
    """Where webhooks arrive; it takes them while `accepts`."""

    accepts: bool = True
    got: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> bool:
        self.got.append((body, dict(headers)))
        return self.accepts

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for _, headers in self.got]


def announcer(simulator: Any, mailbox: Mailbox) -> Announcer:
    return Announcer(simulator.books, SECRET, mailbox, time.time)


def launched(simulator: Any, tasks: list[TaskRequest], key: str = "day-1") -> str:
    return submit_tasks(simulator.connect(), key, TERMS, tasks, 10**9).ref


def test_news_are_announced_once_and_signed(simulator, make_tasks: Make) -> None:
    mailbox = Mailbox()
    watch = announcer(simulator, mailbox)
    ref = launched(simulator, make_tasks(9))
    launched(simulator, [], "day-2")
    assert watch.look() == 0
    simulator.finish()
    assert (watch.look(), watch.look()) == (1, 0)
    ((body, headers),) = mailbox.got
    assert Webhook(SECRET).verify(body, headers) == {"type": "batch.updated", "data": {"ref": ref}}
    assert batch_of_event("simulator", body) == ref
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"sim-", b"sim_"), headers)


def test_answers_cancelling_and_expiry_are_news(simulator, make_tasks: Make) -> None:
    mailbox = Mailbox()
    watch = announcer(simulator, mailbox)
    ref = launched(simulator, make_tasks(30))
    simulator.clock.seconds += 10.0
    assert watch.look() == 1
    simulator.connect().cancel(ref, "enough")
    assert watch.look() == 1
    launched(simulator, make_tasks(3, subject="winds"), "day-2")
    simulator.clock.seconds = TERMS.deadline.timestamp()
    assert watch.look() == 1
    assert len(set(mailbox.ids)) == 3


def test_a_webhook_that_is_refused_comes_again_with_its_id(simulator, make_tasks: Make) -> None:
    mailbox = Mailbox(accepts=False)
    watch = announcer(simulator, mailbox)
    launched(simulator, make_tasks(3))
    simulator.finish()
    assert [watch.look() for _ in range(3)] == [1, 1, 1]
    mailbox.accepts = True
    assert [watch.look() for _ in range(2)] == [1, 0]
    assert len(mailbox.ids) == 4 and len(set(mailbox.ids)) == 1


def test_nobody_is_called_for_ever(simulator, make_tasks: Make) -> None:
    mailbox = Mailbox(accepts=False)
    watch = announcer(simulator, mailbox)
    launched(simulator, make_tasks(3))
    simulator.finish()
    assert sum(watch.look() for _ in range(50)) == MAX_ATTEMPTS


def test_a_restart_does_not_announce_again(
    start_simulator, tmp_path: Path, make_tasks: Make
) -> None:
    before = start_simulator(tmp_path / "books.sqlite")
    launched(before, make_tasks(3))
    before.finish()
    assert announcer(before, Mailbox()).look() == 1
    after = start_simulator(tmp_path / "books.sqlite")
    after.clock.seconds = before.clock.seconds
    assert announcer(after, Mailbox()).look() == 0


@pytest.mark.parametrize(("fault", "n_sent"), [("webhook_lost", 0), ("webhook_twice", 2)])
def test_a_webhook_may_be_lost_or_come_twice(
    start_simulator, tmp_path: Path, make_tasks: Make, fault: str, n_sent: int
) -> None:
    simulator = start_simulator(tmp_path / "books.sqlite", rates={fault: 1.0})
    mailbox = Mailbox()
    watch = announcer(simulator, mailbox)
    launched(simulator, make_tasks(3))
    simulator.finish()
    assert (watch.look(), watch.look()) == (n_sent, 0)
    assert len(mailbox.ids) == n_sent and len(set(mailbox.ids)) <= 1


def test_a_listener_that_is_down_is_no_error() -> None:
    assert poster("http://127.0.0.1:9/")(b"{}", {}) is False


def test_the_thread_posts_what_the_books_say(
    simulator, make_tasks: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("winnow_simulator.webhooks.TICK_SECONDS", 0.01)
    came, bodies = Event(), []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(204)
            self.end_headers()
            came.set()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        stop = Event()
        send = poster(f"http://127.0.0.1:{server.server_port}/hooks")
        watch = Announcer(simulator.books, SECRET, send, time.time)
        thread = announce_in_background(watch, stop)
        ref = launched(simulator, make_tasks(3))
        simulator.finish()
        assert came.wait(10.0)
        stop.set()
        thread.join()
        server.shutdown()
    assert {batch_of_event("simulator", body) for body in bodies} == {ref}
