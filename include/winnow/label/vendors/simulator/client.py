"""Client of the labelling-vendor simulator: its HTTP service behind the vendor contract.

What always holds: every call may be repeated, and one whose answer cannot be read is. A task whose
first sending did arrive is refused with 409 the second time, which means that the account holds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from winnow.errors import Retryable
from winnow.label.vendor import (
    AnnotationPage,
    BatchStatus,
    BatchTerms,
    LabelVendor,
    TaskRequest,
    VendorAccount,
)
from winnow.label.vendors.calls import VendorCalls

_DUPLICATE = 409
_READINGS = 3
"""How often an answer that cannot be read is asked for again before the caller has to wait."""


def connect(account: VendorAccount) -> LabelVendor:
    """The simulator at the account's address, with its token."""
    return SimulatorVendor(account.url, account.token)


def batch_of_event(body: bytes) -> str | None:
    """The ref of the batch that a webhook is about; None when it is about none."""
    try:
        event = _Event.model_validate_json(body)
    except ValidationError:
        return None
    return event.data.ref if event.type == "batch.updated" else None


class SimulatorVendor(LabelVendor):
    """The simulator at `base_url`."""

    name = "simulator"
    max_request = 100
    names_people = True
    takes_a_task_once = True
    snapshot = False

    def __init__(
        self,
        base_url: str,
        token: str,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.place = base_url
        headers = {"Authorization": f"Bearer {token}" if token else ""}
        self._calls = VendorCalls(
            "The labelling-vendor simulator", base_url, headers, transport, sleep
        )

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Find the batch of `batch_key`, or create it under `terms`; the first terms stand."""
        body = {"batch_key": batch_key, **asdict(terms), "deadline": terms.deadline.isoformat()}
        ref: str = self._ask(_Ref, "POST", "/batches", body).ref
        return ref

    def mark_of(self, ref: str) -> str:
        mark: str = self._ask(_Mark, "GET", f"{_path(ref)}/mark").mark
        return mark

    def list_task_ids(self, ref: str) -> set[str]:
        return set(self._ask(_TaskIds, "GET", f"{_path(ref)}/tasks").task_ids)

    def add_tasks(self, ref: str, tasks: Sequence[TaskRequest]) -> None:
        body = {"tasks": [asdict(task) for task in tasks]}
        self._calls.send("POST", f"{_path(ref)}/tasks", body, accept=(_DUPLICATE,))

    def launch(self, ref: str) -> None:
        self._calls.send("POST", f"{_path(ref)}/launch")

    def status(self, ref: str) -> BatchStatus:
        status: BatchStatus = self._ask(BatchStatus, "GET", _path(ref))
        return status

    def fetch(self, ref: str, cursor: str | None) -> AnnotationPage:
        params = {} if cursor is None else {"cursor": cursor}
        path = f"{_path(ref)}/annotations"
        page, records = self._ask(_Page, "GET", path, params=params, listed="annotations")
        return AnnotationPage(tuple(records), page.next_cursor, page.complete, page.resume_cursor)

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        status: BatchStatus = self._ask(
            BatchStatus, "POST", f"{_path(ref)}/cancel", {"reason": reason}
        )
        return status

    def _ask(
        self,
        shape: Any,
        method: str,
        path: str,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        listed: str = "",
    ) -> Any:
        """One call and its answer as `shape`; asked again where the answer was cut off.

        With `listed` also the elements of that list, which `shape` then does not have.
        """
        for reading in range(1, _READINGS + 1):
            answer = self._calls.send(method, path, body, params)
            try:
                if listed:
                    return self._calls.read_list(answer, listed, shape)
                return self._calls.read(answer, shape)
            except Retryable:
                if reading == _READINGS:
                    raise
        return None


class _Ref(BaseModel):
    ref: str


class _Mark(BaseModel):
    mark: str


class _TaskIds(BaseModel):
    task_ids: list[str]


class _Page(BaseModel):
    next_cursor: str | None
    complete: bool
    resume_cursor: str | None


class _Event(BaseModel):
    type: str
    data: _Ref


def _path(ref: str) -> str:
    return f"/batches/{quote(ref, safe='')}"
