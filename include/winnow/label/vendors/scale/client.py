"""Scale's task API behind the vendor contract: a batch of `textcollection` tasks in a project.

The connection: `url` https://api.scale.com/v1, `token` the API key, `extra.project` the name of a
project of type text collection; `extra.callback` is where Scale shall report what happened.

Batches go `staging`, `in_progress`, `completed`; tasks `pending`, `completed`, `canceled`, `error`
(https://scale.com/docs/api-reference/batches and .../tasks). What always holds: a task carries its
id as `unique_id`, which the account takes once (409 afterwards), until the task is cancelled. Scale
tells no price: money is counted by what Winnow agreed to pay, written on each task.

A batch is known as cancelled by a cancelled task in it: Scale has no such state of its own.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, BeforeValidator

from winnow.errors import Fatal, Retryable
from winnow.ingest.values import Unreadable, read_json
from winnow.label.vendor import (
    AnnotationPage,
    BatchState,
    BatchStatus,
    BatchTerms,
    LabelVendor,
    TaskRequest,
    VendorAccount,
    as_cursor,
    container_name,
    read_cursor,
)
from winnow.label.vendors.calls import VendorCalls
from winnow.label.vendors.scale.answers import (
    ScaleTask,
    annotation_of,
    latest_change,
    read_task,
    word,
)
from winnow.label.vendors.scale.tasks import task_body

PAGE_LIMIT = 100
"""Most tasks that Scale lists at once."""
REREAD = timedelta(minutes=5)
"""How far a later look goes back: changes become visible late, and clocks differ."""

_NOT_FOUND, _DUPLICATE = 404, 409
_ALREADY = (400, 409)


def connect(account: VendorAccount) -> LabelVendor:
    """Scale at the account's address.

    Raises:
        Fatal: The connection names no project, or its address or token cannot be used.
    """
    return ScaleVendor(account)


def batch_of_event(body: bytes) -> str | None:
    """The batch that a callback is about, of a task or of a batch; None when it names none."""
    try:
        event = read_json(body)
    except Unreadable:
        return None
    for holder in (event, event.get("task") if isinstance(event, dict) else None):
        named = holder.get("batch") if isinstance(holder, dict) else None
        named = named.get("name") if isinstance(named, dict) else named
        if isinstance(named, str) and named:
            return named
    return None


class ScaleVendor(LabelVendor):
    """The account's project at Scale."""

    name = "scale"
    max_request = 100
    names_people = False
    takes_a_task_once = True
    snapshot = False

    def __init__(
        self,
        account: VendorAccount,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._project = str(account.extra.get("project", ""))
        self._callback = account.extra.get("callback")
        if not self._project:
            raise Fatal("Scale: set extra.project in the vendor's connection to a project's name.")
        headers = {"Authorization": _basic(account.token)}
        self._calls = VendorCalls("Scale", account.url, headers, transport, sleep)
        self._now, self.place = now or self._calls.now, f"{account.url}, project {self._project}"

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Find or create the batch whose name stands for `batch_key`."""
        name = container_name(batch_key)
        if self._calls.send("GET", _path(name), accept=(_NOT_FOUND,)).status_code == _NOT_FOUND:
            body = {
                "project": self._project,
                "name": name,
                "metadata": {
                    "batch_key": batch_key,
                    "dimensions": list(terms.dimensions),
                    "mark": terms.mark,
                },
                **({"callback": self._callback} if self._callback else {}),
            }
            self._calls.send("POST", "/batches", body, accept=(_DUPLICATE,))
        return str(self._batch(name).name)

    def mark_of(self, ref: str) -> str:
        return self._batch(ref).metadata.mark

    def list_task_ids(self, ref: str) -> set[str]:
        self._batch(ref)
        return {task.asked for task in self._all_tasks(ref) if task.asked is not None}

    def add_tasks(self, ref: str, tasks: Sequence[TaskRequest]) -> None:
        """Put tasks into the batch, each by a call of its own."""
        dimensions = self._batch(ref).metadata.dimensions
        if self._page(ref, {"status": "canceled", "limit": 1})[0]:
            raise Fatal(f"Scale batch {ref} was cancelled and takes no more tasks.")
        for task in tasks:
            body = task_body(task, self._project, ref, dimensions)
            self._calls.send("POST", "/task/textcollection", body, accept=(_DUPLICATE,))

    def launch(self, ref: str) -> None:
        """Finalize the batch; one that is in progress stays so."""
        if self._batch(ref).status != "staging":
            return
        self._calls.send("POST", f"{_path(ref)}/finalize", accept=_ALREADY)
        if self._batch(ref).status == "staging":
            raise Retryable(f"Scale did not finalize batch {ref}; try again later.")

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands: counted over its tasks; a price that cannot be read is none."""
        is_draft = self._batch(ref).status == "staging"
        tasks = list({task.task_id or task.raw: task for task in self._all_tasks(ref)}.values())
        answered = [task.price or 0 for task in tasks if task.is_answered]
        n_expired = sum(task.is_expired for task in tasks)
        pending = [task.price or 0 for task in tasks if _is_pending(task)]
        faults = [f"task {t.task_id} of batch {ref}, {t.fault}" for t in tasks if t.fault]
        state: BatchState = "draft" if is_draft else "open" if pending else "complete"
        if not pending and any(task.status == "canceled" for task in tasks):
            state = "cancelled"
        return BatchStatus.counted(state, len(answered), sum(answered), pending, n_expired, faults)

    def fetch(self, ref: str, cursor: str | None) -> AnnotationPage:
        """Answers of tasks that changed since `cursor`, as they stand now."""
        place = _Place() if cursor is None else read_cursor(_Place, cursor)
        if place.token is None:
            # Before the first page: what changes while pages are read belongs to the next look.
            is_final, at = self._is_final(ref), self._now() - REREAD
            place = _Place(after=place.after, at=at, is_final=is_final)
        after = {"updated_after": place.after.isoformat()} if place.after else {}
        tasks, token, _ = self._page(ref, {**after, **_token(place.token)})
        changed = latest_change(tasks)
        seen = max(filter(None, (place.seen, changed and changed - REREAD)), default=None)
        records = tuple(r for r in map(annotation_of, tasks) if r is not None)
        if token:
            place = place.model_copy(update={"seen": seen, "token": token})
            return AnnotationPage(records, as_cursor(place), complete=False)
        # Not after what this look saw, however wrong a clock is.
        later = _Place(after=min(seen, place.at or seen) if seen else place.after)
        return AnnotationPage(records, None, place.is_final, as_cursor(later))

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        """Cancel every pending task and free its id; Scale's API takes no reason.

        Raises:
            Retryable: Some are being worked on, which Scale does not stop.
        """
        self._batch(ref)
        pending = [t.task_id for t in self._all_tasks(ref) if _is_pending(t) and t.task_id]
        for task_id in pending:
            path = f"/task/{quote(task_id, safe='')}/cancel"
            self._calls.send("POST", path, params={"clear_unique_id": "true"}, accept=_ALREADY)
        status = self.status(ref)
        if status.n_pending:
            raise Retryable(
                f"Scale batch {ref}: {status.n_pending} tasks are being worked on and cannot be "
                "cancelled; try again when they are done."
            )
        return status

    def _batch(self, ref: str) -> _Batch:
        return self._calls.ask(_Batch, "GET", _path(ref))

    def _is_final(self, ref: str) -> bool:
        counts = self._calls.ask(_Counts, "GET", f"{_path(ref)}/status")
        return counts.status != "staging" and not counts.pending

    def _all_tasks(self, ref: str) -> Iterator[ScaleTask]:
        return self._calls.listed(f"batch {ref}", lambda token: self._page(ref, _token(token)))

    def _page(
        self, ref: str, params: Mapping[str, Any]
    ) -> tuple[list[ScaleTask], str | None, httpx.Response]:
        """Tasks of the batch, the token of the next page, and the answer."""
        params = {"project": self._project, "batch": ref, "limit": PAGE_LIMIT, **params}
        answer = self._calls.send("GET", "/tasks", params=params)
        page, raw = self._calls.read_list(answer, "docs", _Page)
        return [read_task(each) for each in raw], page.next_token or None, answer


class _Place(BaseModel):
    """Where a reader is: changes `after`, on from `token`, in a look that began `at`.

    `seen` is a while before the last change that the look has seen.
    """

    after: datetime | None = None
    at: datetime | None = None
    seen: datetime | None = None
    token: str | None = None
    is_final: bool = False


class _BatchMetadata(BaseModel):
    dimensions: list[str] = []
    mark: str = ""


_Word = Annotated[str, BeforeValidator(word)]


class _Batch(BaseModel):
    name: str
    status: _Word
    metadata: _BatchMetadata = _BatchMetadata()


class _Counts(BaseModel):
    status: _Word
    pending: int = 0


class _Page(BaseModel):
    next_token: str | None = None


def _token(token: str | None) -> dict[str, str]:
    return {"next_token": token} if token else {}


def _is_pending(task: ScaleTask) -> bool:
    return not (task.is_answered or task.is_expired)


def _basic(key: str) -> str:
    """The key as user name without a password; nothing when no header could carry it."""
    if not (key and key.isascii() and key.isprintable()):
        return ""
    return "Basic " + base64.b64encode(f"{key}:".encode()).decode()


def _path(ref: str) -> str:
    return f"/batches/{quote(ref, safe='')}"
