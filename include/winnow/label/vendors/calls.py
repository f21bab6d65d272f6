"""HTTP calls to a vendor: a few short waits, and errors named by what to do about them.

What always holds: a call has an end, its tries and waits included, and its answer a largest size
(`winnow.calls`); so has a list of many pages. A call that timed out is made again, so an adapter
sends only what may be repeated (see `winnow.label.vendor`). Waits for a busy service are short and
few; after them the caller gets `Retryable` and waits in its own way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from winnow.addresses import holds_secret
from winnow.calls import Bounds, Calls, is_callable, is_sendable, retry_after, why
from winnow.errors import Fatal, Retryable
from winnow.ingest.values import Unreadable, read_json
from winnow.label.vendors.pages import elements, members
from winnow.text import plain_text

BOUNDS = Bounds(seconds=60.0, silence=30.0)
"""Of a call with all its tries."""
LIST_SECONDS = 600.0
MOST_PAGES = 20_000
MOST_LISTED_BYTES = 1 << 30
"""Of a list, over all its pages."""
MOST_VALUES = 500_000
"""Of an answer that is read in one piece."""
BACK_OFF_SECONDS = (0.2, 0.5, 1.5)
SHOWN_CHARS = 300
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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not is_callable(base_url):
            raise Fatal(f"The address of {who} is not a URL such as http://127.0.0.1:8790.")
        if holds_secret(base_url):
            # httpx would sign with it instead of the token, and write it into its log.
            raise Fatal(
                f"The address of {who} holds a password: its token is the vendor's password alone."
            )
        if not all(map(is_sendable, headers.values())):
            raise Fatal(f"The token of {who} is empty or holds characters that no header carries.")
        self._who, self._sleep, self._clock = who, sleep, clock
        self._calls = Calls(who, base_url, headers, BOUNDS, transport, clock)
        self._seen: datetime | None = None

    def now(self) -> datetime:
        """The service's time at its last answer, UTC; this machine's where it tells none."""
        return self._seen or datetime.now(UTC)

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
            Retryable: The service does not answer in time, is busy for longer, or answers too much.
            Fatal: It refuses the secret or the request.
        """
        call = f"{self._who} ({method} {path})"
        ends = self._clock() + BOUNDS.seconds

        def once() -> httpx.Response:
            try:
                response = self._calls.send(method, path, body, params, ends - self._clock())
            except httpx.TransportError as error:
                fault = f"{call} did not answer ({why(error)}); is it running?"
                raise _Busy(fault, None) from error
            with suppress(KeyError, ValueError, TypeError, OverflowError):
                self._seen = parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
            if response.is_success or response.status_code in accept:
                return response
            refused = f"{call} answered HTTP {response.status_code}"
            if response.status_code in (401, 403):
                raise Fatal(f"{refused}: set its token in the vendor's connection.")
            if response.status_code in (408, 429) or response.is_server_error:
                raise _Busy(f"{refused}; try again later.", retry_after(response))
            # Its `charset` decodes nothing.
            reason = plain_text(response.content[: 4 * SHOWN_CHARS].decode(errors="replace"))
            raise Fatal(f"{refused}: {reason[:SHOWN_CHARS]}")

        for back_off in BACK_OFF_SECONDS:
            try:
                return once()
            except _Busy as busy:
                wait = back_off if busy.retry_after is None else busy.retry_after
                if wait > LONGEST_WAIT_SECONDS or self._clock() + wait >= ends:
                    raise
                self._sleep(wait)
        return once()

    def ask(
        self,
        shape: type[_T],
        method: str,
        path: str,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
    ) -> _T:
        """One call and its answer; raises as `send` and `read`."""
        return self.read(self.send(method, path, body, params), shape)

    def listed(
        self, what: str, page_at: Callable[[Any], tuple[Iterable[_T], Hashable, httpx.Response]]
    ) -> Iterator[_T]:
        """The elements of a list that comes page by page, `what` in errors.

        `page_at` reads the page at a place, the first at None: its elements, the place of the next
        page (None: it was the last), the answer.

        Raises:
            Retryable: The list comes back to a page, or is too long or too slow.
        """
        name, ends = f"{self._who}'s list of {what}", self._clock() + LIST_SECONDS
        place: Hashable = None
        places: set[Hashable] = set()
        n_bytes = 0
        while True:
            page, place, answer = page_at(place)
            yield from page
            if place is None:
                return
            if place in places:
                raise Retryable(f"{name} comes back to the same page; try again later.")
            places.add(place)
            n_bytes += len(answer.content)
            if len(places) >= MOST_PAGES or n_bytes > MOST_LISTED_BYTES:
                raise Retryable(
                    f"{name} does not end after {len(places):,} pages and {n_bytes:,} bytes; see "
                    "there what it holds."
                )
            if self._clock() > ends:
                raise Retryable(
                    f"{name} was not whole after {LIST_SECONDS:.0f} s; try again later."
                )

    def read(self, response: httpx.Response, shape: type[_T]) -> _T:
        """The answer as `shape`, a type that pydantic reads.

        Raises:
            Retryable: It is cut off, or not what it should be.
        """
        if response.content.count(b",") > MOST_VALUES:
            raise self._unreadable(response)
        try:
            return TypeAdapter(shape).validate_json(response.content)
        except ValidationError as error:
            raise self._unreadable(response) from error

    def read_list(
        self, response: httpx.Response, listed: str, shape: type[_T]
    ) -> tuple[_T, list[bytes]]:
        """The answer without its list `listed` as `shape`; the list's elements as they came.

        Raises:
            Retryable: It is cut off, or not what it should be; an element may be anything.
        """
        try:
            parts = members(response.content)
            raw = elements(parts.pop(listed))
            rest = {name: read_json(part) for name, part in parts.items()}
            return TypeAdapter(shape).validate_python(rest), raw
        except (Unreadable, KeyError, ValidationError) as error:
            raise self._unreadable(response) from error

    def _unreadable(self, response: httpx.Response) -> Retryable:
        return Retryable(
            f"{self._who} sent an answer to {response.request.url.path} that cannot be read; "
            "try again later."
        )


class _Busy(Retryable):
    def __init__(self, message: str, wait: float | None) -> None:
        super().__init__(message)
        self.retry_after = wait
