"""Label Studio, a server of your own: a team labels for itself, behind the vendor contract.

A batch is a project, a task one task of it, its price what the team pays whoever answers. What the
server has no field for (the batch's key, its deadline, whether it was cancelled) lies in the
project's description, see `label_studio_project`.

What always holds: every call may be repeated. The server takes the same task, and the same project,
twice; so each look at a batch removes what is there twice before it counts. A task that was
answered is never removed. A batch that was cancelled, or whose deadline has passed when it is
looked at, loses the tasks that nobody answered, so nobody answers on; their ids stay listed.

The community edition shows every project to everybody. Until launch a project is a draft without a
page to answer from: its tasks can be seen in a table, and not answered. Annotators cannot be
chosen, nor a session's length.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import httpx
from pydantic import BaseModel, ValidationError

from winnow.errors import Fatal, Retryable
from winnow.label.vendor import (
    AnnotationPage,
    BatchState,
    BatchStatus,
    BatchTerms,
    LabelVendor,
    TaskRequest,
    VendorAccount,
)
from winnow.label.vendors.label_studio.page import label_config
from winnow.label.vendors.label_studio.project import Marker, new_project, title_of
from winnow.label.vendors.label_studio.server import Server
from winnow.label.vendors.label_studio.tasks import Books, notice, records_of, task_bodies


def connect(account: VendorAccount) -> LabelVendor:
    """The Label Studio at the account's address; its token is a legacy or a personal access one."""
    return LabelStudioVendor(account.url, account.token)


def batch_of_event(body: bytes) -> str | None:
    """The project that a webhook of Label Studio is about."""
    try:
        return str(_Event.model_validate_json(body).project.id)
    except ValidationError:
        return None


class LabelStudioVendor:
    """The Label Studio at `base_url`; `now` is the clock of deadlines, by default the server's.

    Every call raises `Retryable` when the server does not answer, is busy or answers what cannot be
    read, and `Fatal` when it refuses the token or the request (an unknown or cancelled batch).
    """

    name = "label_studio"
    max_request = 500
    page_size = 500
    names_people = True
    takes_a_task_once = False
    snapshot = True

    def __init__(
        self,
        base_url: str,
        token: str,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self._server = Server(base_url, token, transport, sleep)
        self._now, self.place = now or self._server.now, base_url

    def estimate(self, tasks: Sequence[TaskRequest]) -> int:
        """Micro-dollars that `tasks` cost if all are answered: the sum of their prices."""
        return sum(task.price for task in tasks)

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Find or create the project of `batch_key`; of those that twins made, one is kept."""
        title = title_of(batch_key)
        if not self._server.projects(title, batch_key):
            self._server.create_project(new_project(batch_key, terms))
        found = self._server.projects(title, batch_key)
        if not found:
            raise Retryable(f"Label Studio does not list the project {title} yet; try again later.")
        for twin in found[1:]:
            if not twin.task_number:
                self._server.delete_project(twin.id)
        return str(found[0].id)

    def mark_of(self, ref: str) -> str:
        """The mark under which the project was made."""
        return self._server.marker(_number(ref)).mark

    def list_task_ids(self, ref: str) -> set[str]:
        """Ids of all tasks in the batch, also of those that ended without an answer.

        Raises:
            Retryable: One of them cannot be read: what it is might be bought a second time.
        """
        books = Books(self._server.tasks(_number(ref), self.page_size))
        if books.unknown:
            raise Retryable(
                f"Label Studio project {ref} holds {len(books.unknown)} tasks that cannot be read, "
                f"the first: {books.unknown[0]}. Nothing more is bought there until it is mended "
                "or deleted."
            )
        return books.task_ids

    def add_tasks(self, ref: str, tasks: Sequence[TaskRequest]) -> None:
        """Put up to `max_request` tasks into the batch, again where it holds them already."""
        marker = self._server.marker(_number(ref))
        if marker.is_closed:
            raise Fatal(f"Label Studio project {ref} is {marker.state}; it takes no more tasks.")
        if marker.state == "open":
            # People see at once what is added: a twin that was first has added these.
            held = self.list_task_ids(ref)
            tasks = [task for task in tasks if task.task_id not in held]
        self._server.add_tasks(_number(ref), task_bodies(tasks, marker))

    def launch(self, ref: str) -> None:
        """Remove what is there twice, then give the project its page and publish it."""
        marker, _ = self._look(ref)
        if marker.state == "draft":
            page = {"label_config": label_config(marker.dimensions), "is_published": True}
            self._server.mark(_number(ref), replace(marker, state="open"), page)

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands; who answers a task is paid for it once, a skip is not paid."""
        return _status(*self._look(ref))

    def fetch(self, ref: str, cursor: str | None) -> AnnotationPage:
        """What stands now, in the order of the server's task ids."""
        # Asked before the first page: an answer may come while the pages are read.
        final, after = (self.status(ref).is_final, 0) if cursor is None else _read_cursor(cursor)
        dimensions = self._server.marker(_number(ref)).dimensions
        page = self._server.page_of_tasks(_number(ref), self.page_size, after)
        records = tuple(record for task in page.tasks for record in records_of(task, dimensions))
        if page.last is not None:
            return AnnotationPage(records, f"{int(final)}-{page.last}", complete=False)
        return AnnotationPage(records, None, complete=final)

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        """Stop asking; answers already given are kept and paid."""
        marker = self._server.marker(_number(ref))
        if not marker.is_closed:
            self._server.mark(_number(ref), replace(marker, state="cancelled", reason=reason))
        return self.status(ref)

    def _look(self, ref: str) -> tuple[Marker, Books]:
        """The batch after what is due was done: twice there, past its deadline, cancelled."""
        project = _number(ref)
        marker = self._server.marker(project)
        books = Books(self._server.tasks(project, self.page_size))
        if marker.state == "open" and books.pending and self._now() > marker.deadline:
            marker = replace(marker, state="expired")
            self._server.mark(project, marker)
        if marker.is_closed:
            return marker, self._withdraw(project, books)
        self._server.delete_unanswered(project, books.surplus())
        return marker, books

    def _withdraw(self, project: int, books: Books) -> Books:
        """Remove every task without an answer, after its id was noted in the project."""
        if not books.pending:
            return books
        unnoted = sorted(books.pending - books.withdrawn)
        if unnoted:
            self._server.add_tasks(project, [notice(unnoted)])
        self._server.delete_unanswered(project, books.unanswered())
        # An answer that came before the removal has kept its task.
        return Books(self._server.tasks(project, self.page_size))


def _status(marker: Marker, books: Books) -> BatchStatus:
    state: BatchState = marker.state
    if state == "open" and not books.pending:
        state = "complete"
    return BatchStatus(
        state=state,
        n_tasks=len(books.task_ids),
        n_answered=len(books.answered),
        n_expired=len(books.expired),
        n_pending=len(books.pending),
        charged=books.charged,
        committed=books.charged + books.still_due,
        expected_done_at=None,
        n_unreadable=len(books.faults),
        unreadable=books.faults[0] if books.faults else "",
    )


def _number(ref: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", ref):
        raise Fatal(
            f"Label Studio has no project {ref[:40]!r}: a batch's ref is a project's number."
        )
    return int(ref)


def _read_cursor(cursor: str) -> tuple[bool, int]:
    found = re.fullmatch("([01])-([0-9]{1,18})", cursor)
    if not found:
        raise Fatal(f"{cursor[:40]!r} is no cursor of Label Studio; look from the beginning.")
    return found[1] == "1", int(found[2])


class _EventProject(BaseModel):
    id: int


class _Event(BaseModel):
    project: _EventProject
