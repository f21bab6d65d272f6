"""Webhooks: a vendor says that something happened, and the wait for it looks at once.

What always holds: nothing is read of a body that is not proven to be the vendor's; an event is
taken once, remembered by one create-only object; and an event only *nudges*. What it says about
labels is never believed: the wait asks the vendor, as it would have done a little later anyway. So
an event that is lost, or refused here by mistake, costs time and nothing else.

    webhooks/<vendor>/<digest of the event's id>.json   an event that was taken
    nudges/<vendor>/<digest of the batch's ref>         pointer: the last event about the batch

Three proofs are known (`winnow.label.vendor.Webhook`):

    standard   Standard Webhooks: HMAC over id, time and body; stale after five minutes
    hmac       HMAC-SHA256 over the raw body, hexadecimal, with or without "sha256=" before it
    header     a fixed secret in a header

`hmac` and `header` carry neither an id nor a time: the digest of the body stands in for the id, and
how old an event is cannot be known. An honest event whose body equals an earlier one is refused as
a replay; the vendor is asked in its turn all the same.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from winnow.errors import Fatal, WinnowError
from winnow.ids import canonical_json, content_id, digest
from winnow.ingest.values import Twice, Unreadable, read_json
from winnow.label.vendor import Webhook
from winnow.lake import Lake

MAX_BYTES = 1 << 20
"""A longer body is refused unread."""
TOLERANCE = timedelta(minutes=5)
"""A signed time may be this far from ours, either way."""
PROOF_HEADERS: Mapping[str, str] = {"hmac": "x-hub-signature-256", "header": "x-webhook-secret"}
"""Where the proof is looked for unless the account names another header."""
NUDGE_SECONDS = 5.0
"""Nudges are looked up at most this often, for all waits of a process together."""

Reason = Literal["forged", "stale", "malformed", "oversized", "replayed"]


class Refused(WinnowError):
    """A webhook that changes nothing; `reason` says why in one word."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"The webhook was refused: {reason}.")
        self.reason: Reason = reason


def verify(
    kind: Webhook,
    headers: Mapping[str, str],
    body: bytes,
    secret: str,
    now: datetime,
    header: str | None = None,
) -> str:
    """The id of an event that is proven to come from the owner of `secret`.

    `headers` are as received, names in any case; `header` names the one that carries the proof, for
    `hmac` and `header`.

    Raises:
        Refused: The event is forged, stale, oversized or malformed.
        Fatal: The secret cannot be one.
    """
    if len(body) > MAX_BYTES:
        raise Refused("oversized")
    if not secret:
        raise Fatal("The webhook secret is empty; set webhook_secret in the vendor's connection.")
    given = {name.lower(): value for name, value in headers.items()}
    if kind == "standard":
        event = _verify_standard(given, body, secret, now)
    else:
        proof = _as_sent(given.get((header or PROOF_HEADERS[kind]).lower(), ""))
        expected = secret.encode()
        if kind == "hmac":
            proof = proof.strip().lower().removeprefix(b"sha256=")
            expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest().encode()
        if not hmac.compare_digest(proof, expected):
            raise Refused("forged")
        event = digest(body)
    try:
        content = read_json(body)
    except Unreadable as error:
        raise Refused("malformed") from error
    if not isinstance(content, dict) or isinstance(content, Twice):
        raise Refused("malformed")
    return event


def take(lake: Lake, vendor: str, event: str, ref: str | None, now: datetime) -> None:
    """Remember a proven event, and nudge the wait of the batch that it is about, if it is.

    Raises:
        Refused: The event was taken before; nothing changes.
    """
    record = {"event": event, "vendor": vendor, "ref": ref, "received_at": now.isoformat()}
    path = f"webhooks/{vendor}/{content_id(event)}.json"
    if not lake.create(path, canonical_json(record)):
        raise Refused("replayed")
    if ref is not None:
        pointer = nudge_path(vendor, ref)
        _, tag = lake.read_tagged(pointer)
        # Who loses this race was nudged for by the winner.
        lake.swap(pointer, canonical_json(record), tag)


def nudge_path(vendor: str, ref: str) -> str:
    """Where the last event about a vendor's batch lies in the lake."""
    return f"nudges/{vendor}/{content_id(ref)}"


class Nudges:
    """A vendor's nudges as the waits of one process see them, looked up together.

    Any thread may ask. `clock` gives seconds that only grow.
    """

    def __init__(
        self, lake: Lake, vendor: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lake, self._vendor, self._clock = lake, vendor, clock
        self._turn = threading.Lock()
        self._tags: Mapping[str, str] = {}
        self._read_at = float("-inf")

    def tag(self, ref: str) -> str | None:
        """Changes with every event about the batch; None before the first."""
        # Who finds another thread reading goes on with what is known: a store that hangs must not
        # hold up every wait.
        if self._turn.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._turn.release()
        return self._tags.get(nudge_path(self._vendor, ref))

    def _refresh(self) -> None:
        if self._clock() - self._read_at >= NUDGE_SECONDS:
            self._tags = self._lake.tags(f"nudges/{self._vendor}")
            self._read_at = self._clock()


def _verify_standard(given: Mapping[str, str], body: bytes, secret: str, now: datetime) -> str:
    from standardwebhooks import Webhook as Signer
    from standardwebhooks.webhooks import EmptyWebhookSecretError

    event, sent_at = given.get("webhook-id", ""), given.get("webhook-timestamp", "")
    # A dot would let the id and the time trade places in what is signed.
    if not 0 < len(event) <= 200 or "." in event or not (event.isascii() and event.isprintable()):
        raise Refused("malformed")
    if not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 11):
        raise Refused("malformed")
    timestamp = datetime.fromtimestamp(int(sent_at), UTC)
    try:
        expected = Signer(secret).sign(event, timestamp, body.decode()).encode()
    except UnicodeDecodeError as error:
        raise Refused("malformed") from error
    except (ValueError, EmptyWebhookSecretError) as error:
        raise Fatal(
            "The webhook secret is not one of Standard Webhooks (whsec_ and base64); set "
            "webhook_secret in the vendor's connection."
        ) from error
    signatures = given.get("webhook-signature", "").split(" ")
    if not any(hmac.compare_digest(_as_sent(one), expected) for one in signatures):
        raise Refused("forged")
    if abs(now - timestamp) > TOLERANCE:
        raise Refused("stale")
    return event


def _as_sent(value: str) -> bytes:
    """A header's bytes: servers decode them as Latin-1, whatever the vendor meant."""
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace")
