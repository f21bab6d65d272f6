"""Client of the labelling-vendor simulator: its HTTP service behind the vendor contract.

What always holds: every call carries a time-out and may be repeated, so one that timed out is
simply made again; a task whose first sending did arrive is then refused with 409, which means that
the account holds it. Waits for a busy service are short and few; after them the caller gets
`Retryable` and waits in its own way.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from winnow.errors import Fatal, Retryable
from winnow.label.plain_text import plain_text
from winnow.label.vendor import AnnotationPage, BatchStatus, TaskRequest

TIMEOUTS = httpx.Timeout(30.0, connect=5.0)
BACK_OFF_SECONDS = (0.2, 0.5, 1.5)
LONGEST_WAIT_SECONDS = 10.0
"""A Retry-After beyond this is left to the caller."""

_DUPLICATE = 409
_T = TypeVar("_T")


class SimulatorVendor:
    """The simulator at `base_url`.

    Every call raises `Retryable` when the service does not answer, is busy or answers what cannot
    be read, and `Fatal` when it refuses the token or the request (an unknown or cancelled batch).
    """

    name = "simulator"
    max_request = 100

    def __init__(
        self,
        base_url: str,
        token: str,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        _check_connection(base_url, token)
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUTS,
            transport=transport,
            trust_env=False,
        )

    def estimate(self, tasks: Sequence[TaskRequest]) -> int:
        """Micro-dollars that `tasks` cost if all are answered: the sum of their prices."""
        return sum(task.price for task in tasks)

    def open_batch(self, batch_key: str) -> str:
        """Find or create the batch of `batch_key`."""
        return _read(self._send("POST", "/batches", {"batch_key": batch_key}), _Ref).ref

    def list_task_ids(self, ref: str) -> set[str]:
        """Ids of all tasks in the batch."""
        return set(_read(self._send("GET", f"{_path(ref)}/tasks"), _TaskIds).task_ids)

    def add_tasks(self, ref: str, tasks: Sequence[TaskRequest]) -> None:
        """Put up to `max_request` tasks into the batch."""
        body = {"tasks": [asdict(task) for task in tasks]}
        self._send("POST", f"{_path(ref)}/tasks", body)

    def launch(self, ref: str) -> None:
        """Let the simulated annotators see every task of the batch."""
        self._send("POST", f"{_path(ref)}/launch")

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands and what it cost."""
        return _read(self._send("GET", _path(ref)), BatchStatus)

    def fetch(self, ref: str, cursor: str | None) -> AnnotationPage:
        """Annotations after `cursor`."""
        query = "" if cursor is None else f"?cursor={quote(cursor, safe='')}"
        page = _read(self._send("GET", f"{_path(ref)}/annotations{query}"), _Page)
        records = tuple(json.dumps(record).encode() for record in page.annotations)
        return AnnotationPage(records, page.next_cursor, page.complete)

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        """Stop asking; answers already given are kept and paid."""
        return _read(self._send("POST", f"{_path(ref)}/cancel", {"reason": reason}), BatchStatus)

    def _send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        for back_off in BACK_OFF_SECONDS:
            try:
                return self._send_once(method, path, body)
            except _Busy as busy:
                wait = back_off if busy.retry_after is None else busy.retry_after
                if wait > LONGEST_WAIT_SECONDS:
                    raise
                self._sleep(wait)
        return self._send_once(method, path, body)

    def _send_once(self, method: str, path: str, body: Any) -> httpx.Response:
        call = f"The labelling-vendor simulator ({method} {path})"
        try:
            response = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            detail = f"{call} did not answer ({type(error).__name__}); is it running?"
            raise _Busy(detail, None) from error
        if response.is_success or response.status_code == _DUPLICATE:
            return response
        refused = f"{call} answered HTTP {response.status_code}"
        if response.status_code in (401, 403):
            raise Fatal(f"{refused}: set its token in the vendor's connection.")
        if response.status_code in (408, 429) or response.is_server_error:
            raise _Busy(f"{refused}; try again later.", _retry_after(response))
        raise Fatal(f"{refused}: {plain_text(response.text)[:300]}")


class _Busy(Retryable):
    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _Ref(BaseModel):
    ref: str


class _TaskIds(BaseModel):
    task_ids: list[str]


class _Page(BaseModel):
    annotations: list[Any]
    next_cursor: str | None
    complete: bool


def _check_connection(base_url: str, token: str) -> None:
    try:
        usable = httpx.URL(base_url).scheme in ("http", "https")
    except httpx.InvalidURL:
        usable = False
    if not usable:
        raise Fatal("The simulator's address is not a URL such as http://127.0.0.1:8790.")
    if not token or not (token.isascii() and token.isprintable()):
        raise Fatal("The simulator's token is empty or holds characters that no header carries.")


def _path(ref: str) -> str:
    return f"/batches/{quote(ref, safe='')}"


def _read(response: httpx.Response, shape: type[_T]) -> _T:
    try:
        return TypeAdapter(shape).validate_json(response.content)
    except ValidationError as error:
        raise Retryable(
            f"The labelling-vendor simulator sent an answer that is not a {shape.__name__}; "
            "try again later."
        ) from error


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that the service asks to wait: a number, or a date by the service's own clock."""
    asked = response.headers.get("retry-after", "")
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(asked) - parsedate_to_datetime(response.headers["date"])
    except (ValueError, KeyError, TypeError):
        return None
    return max(0.0, until.total_seconds())
