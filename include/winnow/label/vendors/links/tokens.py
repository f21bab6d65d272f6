"""Links, and what else only who knows the account's secret can make.

What always holds: a text that is no link of this secret opens nothing, and one link has one text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from dataclasses import astuple, dataclass
from datetime import datetime

from winnow.errors import Fatal
from winnow.ids import canonical_json
from winnow.text import plain_text

LEAST_SECRET = 16
LONGEST_TOKEN = 1200
LONGEST_WORKER = 100
_TOKEN = re.compile(r"([A-Za-z0-9_-]{1,1100})\.([A-Za-z0-9_-]{22})")
_VERSION = 1


class Forged(Exception):
    """No link of this secret."""


class Expired(Exception):
    """A link of this secret whose time is over."""


@dataclass(frozen=True, slots=True)
class Link:
    """What a link opens until `expires`, seconds since 1970.

    Attributes:
        batch: The ref of a batch; empty: all that are open, one after the other.
        worker: Whose link it is; empty: whoever opens it.
        task: The one task that it is for; empty: any.
        most: How many tasks its worker may answer; 0: all.
    """

    expires: int
    batch: str = ""
    worker: str = ""
    task: str = ""
    most: int = 0


class Signer:
    """Makes and reads what `secret` proves."""

    def __init__(self, secret: str) -> None:
        """Refuse a secret that can be guessed.

        Raises:
            Fatal: It is too short.
        """
        if len(secret) < LEAST_SECRET:
            raise Fatal(
                f"Links are signed with the password of the vendor's connection: give it one of at "
                f"least {LEAST_SECRET} random characters."
            )
        self._secret = secret.encode()

    def token(self, link: Link) -> str:
        """The text of a link."""
        body = canonical_json([_VERSION, *astuple(link)])
        return f"{_text(body)}.{_text(self._proof('link', body))}"

    def link(self, token: str, now: datetime) -> Link:
        """The link of a text.

        Raises:
            Forged: It is none of this secret.
            Expired: Its time is over.
        """
        found = _TOKEN.fullmatch(token)
        if found is None:
            raise Forged
        try:
            body, proof = _bytes(found[1]), _bytes(found[2])
        except binascii.Error:
            raise Forged from None
        is_own = hmac.compare_digest(proof, self._proof("link", body))
        # The last character of base64 has bits that mean nothing.
        if not is_own or f"{_text(body)}.{_text(proof)}" != token:
            raise Forged
        version, *fields = json.loads(body)
        if version != _VERSION:
            raise Forged
        link = Link(*fields)
        if now.timestamp() >= link.expires:
            raise Expired
        return link

    def form(self, browser: str, token: str, task: str) -> str:
        """What a form on this browser's page of a task carries."""
        return _text(self._proof("form", canonical_json([browser, token, task])))

    def guest(self, browser: str, batch: str) -> str:
        """Who opens a link for everybody without saying who."""
        return f"guest-{self._proof('guest', canonical_json([browser, batch])).hex()[:16]}"

    def code(self, batch: str, worker: str) -> str:
        """What a worker who is done tells the crowd's own site, eight letters and digits."""
        proof = self._proof("code", canonical_json([batch, worker]))
        return base64.b32encode(proof)[:8].decode()

    def _proof(self, purpose: str, content: bytes) -> bytes:
        key = hmac.new(self._secret, f"winnow links {purpose}".encode(), hashlib.sha256).digest()
        return hmac.new(key, content, hashlib.sha256).digest()[:16]


def worker_id(text: str) -> str | None:
    """Who a crowd's site says it is; None where it is no id."""
    name = " ".join(plain_text(text[:1000]).split())
    return name if 0 < len(name) <= LONGEST_WORKER else None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
