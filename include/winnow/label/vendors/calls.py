"""HTTP calls to a vendor: time-outs, a few short waits, and errors named by what to do about them.

What always holds: every call carries a time-out. A call that timed out is made again, so an adapter
sends only what may be repeated (see `winnow.label.vendor`). Waits for a busy service are short and
few; after them the caller gets `Retryable` and waits in its own way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from winnow.addresses import holds_secret
from winnow.errors import Fatal, Retryable
from winnow.ingest.values import Unreadable, read_json
from winnow.label.vendors.pages import elements, members
from winnow.retry_after import retry_after
from winnow.text import plain_text

TIMEOUTS = httpx.Timeout(30.0, connect=5.0)
BACK_OFF_SECONDS = (0.2, 0.5, 1.5)
LONGEST_WAIT_SECONDS = 10.0
"""A Retry-After beyond this is left to the caller."""

_T = TypeVar("_T")


class VendorCalls:
    """Calls to the service `who` at `base_url`, under `headers` that hold the secret."""

    def __init__(
        self,
        who: str,
        base_url: str,
        headers: Mapping[str, str],
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        _check(who, base_url, headers)
        self._who, self._sleep = who, sleep
        self._http = httpx.Client(
            base_url=base_url,
            headers=dict(headers),
            timeout=TIMEOUTS,
            transport=transport,
            trust_env=False,
            event_hooks={"response": [self._see_time]},
        )
        self._seen: datetime | None = None

    def now(self) -> datetime:
        """The service's time at its last answer, UTC; this machine's where it tells none."""
        return self._seen or datetime.now(UTC)

    def _see_time(self, response: httpx.Response) -> None:
        with suppress(KeyError, ValueError, TypeError, OverflowError):
            self._seen = parsedate_to_datetime(response.headers["date"]).astimezone(UTC)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        accept: Collection[int] = (),
    ) -> httpx.Response:
        """One call, made again while the service is busy; `accept` lists statuses to take as well.

        Raises:
            Retryable: The service does not answer, or is busy for longer.
            Fatal: It refuses the secret or the request.
        """
        for back_off in BACK_OFF_SECONDS:
            try:
                return self._send_once(method, path, body, params, accept)
            except _Busy as busy:
                wait = back_off if busy.retry_after is None else busy.retry_after
                if wait > LONGEST_WAIT_SECONDS:
                    raise
                self._sleep(wait)
        return self._send_once(method, path, body, params, accept)

    def read(self, response: httpx.Response, shape: Any) -> Any:
        """The answer as `shape`, a type that pydantic reads.

        Raises:
            Retryable: It is cut off, or not what it should be.
        """
        try:
            return TypeAdapter(shape).validate_json(response.content)
        except ValidationError as error:
            raise self._unreadable(response) from error

    def read_list(
        self, response: httpx.Response, listed: str, shape: Any
    ) -> tuple[Any, list[bytes]]:
        """The answer without its list `listed` as `shape`; the list's elements as they came.

        Raises:
            Retryable: It is cut off, or not what it should be; an element may be anything.
        """
        try:
            parts = members(response.content)
            found = elements(parts.pop(listed))
            rest = {name: read_json(part) for name, part in parts.items()}
            return TypeAdapter(shape).validate_python(rest), found
        except (Unreadable, KeyError, ValidationError) as error:
            raise self._unreadable(response) from error

    def _unreadable(self, response: httpx.Response) -> Retryable:
        return Retryable(
            f"{self._who} sent an answer to {response.request.url.path} that cannot be read; "
            "try again later."
        )

    def _send_once(
        self,
        method: str,
        path: str,
        body: Any,
        params: Mapping[str, Any] | None,
        accept: Collection[int],
    ) -> httpx.Response:
        call = f"{self._who} ({method} {path})"
        try:
            response = self._http.request(method, path, json=body, params=params)
        except httpx.TransportError as error:
            detail = f"{call} did not answer ({type(error).__name__}); is it running?"
            raise _Busy(detail, None) from error
        if response.is_success or response.status_code in accept:
            return response
        refused = f"{call} answered HTTP {response.status_code}"
        if response.status_code in (401, 403):
            raise Fatal(f"{refused}: set its token in the vendor's connection.")
        if response.status_code in (408, 429) or response.is_server_error:
            raise _Busy(f"{refused}; try again later.", retry_after(response))
        raise Fatal(f"{refused}: {plain_text(response.text)[:300]}")


class _Busy(Retryable):
    def __init__(self, message: str, wait: float | None) -> None:
        super().__init__(message)
        self.retry_after = wait


def _check(who: str, base_url: str, headers: Mapping[str, str]) -> None:
    try:
        usable = httpx.URL(base_url).scheme in ("http", "https")
    except httpx.InvalidURL:
        usable = False
    if not usable:
        raise Fatal(f"The address of {who} is not a URL such as http://127.0.0.1:8790.")
    if holds_secret(base_url):
        # httpx would sign with it instead of the token, and write it into its log.
        raise Fatal(
            f"The address of {who} holds a password: its token is the vendor's password alone."
        )
    for value in headers.values():
        if not value or not (value.isascii() and value.isprintable()):
            raise Fatal(f"The token of {who} is empty or holds characters that no header carries.")
