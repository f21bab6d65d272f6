"""Webhooks of the simulator: a signed word that a batch has news, sent from a thread of its own.

What always holds: answering never waits for a webhook. A webhook carries no answer and only says
where to look; one that is not accepted is sent again with the same id, one that is lost stays lost
until the batch has more news. Signed by the Standard Webhooks scheme.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import httpx
from standardwebhooks.webhooks import Webhook

from winnow.calls import Bounds, Calls, Oversized
from winnow.ids import content_id
from winnow_simulator.books import Books

TICK_SECONDS = 1.0
MAX_ATTEMPTS = 8
_BOUNDS = Bounds(seconds=5.0, silence=5.0, most_bytes=1 << 20)

Send = Callable[[bytes, Mapping[str, str]], bool]
"""Posts a body under headers; True when it was accepted."""


class Announcer:
    """Announces a batch's news by webhook; `now` is the clock that signatures carry."""

    def __init__(self, books: Books, secret: str, send: Send, now: Callable[[], float]) -> None:
        self._books, self._signer = books, Webhook(secret)
        self._send, self._now = send, now
        self._attempts: Counter[tuple[str, int]] = Counter()

    def look(self) -> int:
        """Announce what is new since the last look; how many webhooks were sent."""
        n_sent = 0
        for ref, changes in self._books.news():
            if self._books.faults.strikes("webhook_lost"):
                self._books.announced(ref, changes)
                continue
            copies = 2 if self._books.faults.strikes("webhook_twice") else 1
            accepted = [self._announce(ref, changes) for _ in range(copies)]
            n_sent += copies
            self._attempts[ref, changes] += 1
            if any(accepted) or self._attempts[ref, changes] >= MAX_ATTEMPTS:
                del self._attempts[ref, changes]
                self._books.announced(ref, changes)
        return n_sent

    def _announce(self, ref: str, changes: int) -> bool:
        body = json.dumps({"type": "batch.updated", "data": {"ref": ref}})
        webhook_id = "msg_" + content_id("webhook", ref, changes)
        at = datetime.fromtimestamp(self._now(), UTC)
        headers = {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": self._signer.sign(webhook_id, at, body),
        }
        return self._send(body.encode(), headers)


def poster(url: str) -> Send:
    """Posts to `url`; whoever listens has five seconds, and is not followed elsewhere."""
    calls = Calls("The receiver of webhooks", bounds=_BOUNDS)

    def send(body: bytes, headers: Mapping[str, str]) -> bool:
        try:
            return calls.send("POST", url, body, headers=headers).is_success
        except (httpx.HTTPError, Oversized):
            return False

    return send


def announce_in_background(announcer: Announcer, stop: threading.Event) -> threading.Thread:
    """Look for news once a second until `stop`, in a thread that does not outlive the service."""

    def run() -> None:
        while not stop.wait(TICK_SECONDS):
            try:
                announcer.look()
            except Exception as error:  # the service must go on without its webhooks
                print(f"No webhook this time: {error!r}", file=sys.stderr, flush=True)

    thread = threading.Thread(target=run, name="webhooks", daemon=True)
    thread.start()
    return thread
