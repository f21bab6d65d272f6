"""Label Studio, a server of your own: a team labels for itself, behind the vendor contract.

A batch is a project, a task one task of it, its price what the team pays whoever answers. What the
server has no field for (the batch's key, its deadline, whether it was cancelled) lies in the
project's description, see `project`.

What always holds: every call may be repeated. The server takes the same task, and the same project,
twice; so each look at a batch removes what is there twice before it counts. A task that was
answered is never removed. A batch that was cancelled, or whose deadline has passed when it is
looked at, loses the tasks that nobody answered, so nobody answers on; their ids stay listed.

The community edition shows every project to everybody. Until launch a project is a draft without a
page to answer from: its tasks can be seen in a table, and not answered. Annotators cannot be
chosen, nor a session's length.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

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
from winnow.label.vendors.calls import VendorCalls
from winnow.label.vendors.label_studio.page import label_config, ranking_config
from winnow.label.vendors.label_studio.project import (
    Marker,
    describe,
    new_project,
    read_marker,
    title_of,
)
from winnow.label.vendors.label_studio.tasks import (
    Books,
    StoredTask,
    notice,
    records_of,
    task_bodies,
)
from winnow.label.vendors.label_studio.token import AccessTokens, is_refresh_token

_NOT_FOUND = 404
_PROJECTS_PER_PAGE = 100
_TASK_FIELDS = (
    "id,meta,annotations,completed_by,was_cancelled,result,lead_time,created_at,updated_at"
)
"""Named, because all of them would carry every text of the batch back at every look."""


def connect(account: VendorAccount) -> LabelVendor:
    """The Label Studio at the account's address; its token is a legacy or a personal access one."""
    return LabelStudioVendor(account.url, account.token)


def batch_of_event(body: bytes) -> str | None:
    """The project that a webhook of Label Studio is about."""
    try:
        return str(_Event.model_validate_json(body).project.id)
    except ValidationError:
        return None


class LabelStudioVendor(LabelVendor):
    """The Label Studio at `base_url`; `now` is the clock of deadlines, by default the server's.

    A call may be repeated; adding may then have happened twice, and whoever looks next removes the
    surplus.
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
        if is_refresh_token(token):
            transport = AccessTokens(base_url, token, transport)
        headers = {"Authorization": f"Token {token}" if token else ""}
        self._calls = VendorCalls("Label Studio", base_url, headers, transport, sleep)
        self._now, self.place = now or self._calls.now, base_url

    def open_batch(self, batch_key: str, terms: BatchTerms) -> str:
        """Find or create the project of `batch_key`; of those that twins made, one is kept."""
        title = title_of(batch_key)
        if not self._projects(batch_key):
            self._calls.send("POST", "/api/projects/", new_project(batch_key, terms))
        projects = self._projects(batch_key)
        if not projects:
            raise Retryable(f"Label Studio does not list the project {title} yet; try again later.")
        for twin in projects[1:]:
            if not twin.task_number:
                self._calls.send("DELETE", f"/api/projects/{twin.id}/", accept=(_NOT_FOUND,))
        return str(projects[0].id)

    def mark_of(self, ref: str) -> str:
        return self._marker(ref).mark

    def list_task_ids(self, ref: str) -> set[str]:
        """Ids of all tasks in the batch, also of those that ended without an answer.

        Raises:
            Retryable: One of them cannot be read: what it is might be bought a second time.
        """
        books = Books(self._tasks(ref))
        if books.unknown:
            raise Retryable(
                f"Label Studio project {ref} holds {len(books.unknown)} tasks that cannot be read, "
                f"the first: {books.unknown[0]}. Nothing more is bought there until it is mended "
                "or deleted."
            )
        return books.task_ids

    def add_tasks(self, ref: str, tasks: Sequence[TaskRequest]) -> None:
        """Put up to `max_request` tasks into the batch, again where it holds them already."""
        marker = self._marker(ref)
        if marker.is_closed:
            raise Fatal(f"Label Studio project {ref} is {marker.state}; it takes no more tasks.")
        if marker.state == "open":
            # People see at once what is added: a twin that was first has added these.
            held = self.list_task_ids(ref)
            tasks = [task for task in tasks if task.task_id not in held]
        self._add(ref, task_bodies(tasks, marker))

    def launch(self, ref: str) -> None:
        """Remove what is there twice, then give the project its page and publish it."""
        marker, books = self._look(ref)
        if marker.state == "draft":
            config = (
                ranking_config()
                if books.is_ranking
                else label_config(marker.dimensions, marker.choices)
            )
            page = {"label_config": config, "is_published": True}
            self._mark(ref, replace(marker, state="open"), page)

    def status(self, ref: str) -> BatchStatus:
        """Where the batch stands; who answers a task is paid for it once, a skip is not paid."""
        marker, books = self._look(ref)
        state: BatchState = marker.state
        if state == "open" and not books.pending:
            state = "complete"
        n_answered, n_expired = len(books.answered), len(books.expired)
        return BatchStatus.counted(
            state, n_answered, books.charged, books.due, n_expired, books.faults
        )

    def fetch(self, ref: str, cursor: str | None) -> AnnotationPage:
        """What stands now, in the order of the server's task ids."""
        # Asked before the first page: an answer may come while the pages are read.
        final, after = (self.status(ref).is_final, 0) if cursor is None else _read_cursor(cursor)
        dimensions = self._marker(ref).dimensions
        tasks, last, _ = self._page(ref, after)
        records = tuple(record for task in tasks for record in records_of(task, dimensions))
        if last is not None:
            return AnnotationPage(records, f"{int(final)}-{last}", complete=False)
        return AnnotationPage(records, None, complete=final)

    def cancel(self, ref: str, reason: str) -> BatchStatus:
        marker = self._marker(ref)
        if not marker.is_closed:
            self._mark(ref, replace(marker, state="cancelled", reason=reason))
        return self.status(ref)

    def _look(self, ref: str) -> tuple[Marker, Books]:
        """The batch after what is due was done: twice there, past its deadline, cancelled."""
        marker = self._marker(ref)
        books = Books(self._tasks(ref))
        if marker.state == "open" and books.pending and self._now() > marker.deadline:
            marker = replace(marker, state="expired")
            self._mark(ref, marker)
        if not marker.is_closed:
            self._delete_unanswered(ref, books.surplus)
        elif books.pending:
            # Every task without an answer goes, after its id was noted in the project.
            unnoted = sorted(books.pending - books.withdrawn)
            if unnoted:
                self._add(ref, [notice(unnoted, books.is_ranking)])
            self._delete_unanswered(ref, books.unanswered)
            # An answer that came before the removal has kept its task.
            books = Books(self._tasks(ref))
        return marker, books

    def _projects(self, batch_key: str) -> list[_Project]:
        """Winnow's projects for the batch: those that hold tasks first, then the oldest."""
        title = title_of(batch_key)
        n_read = 0

        def page_at(_: Any) -> tuple[list[_Project], int | None, httpx.Response]:
            nonlocal n_read
            params = {
                "title": title,
                "include": "id,title,description,task_number,is_published",
                "ordering": "id",
                "page_size": _PROJECTS_PER_PAGE,
                "page": n_read // _PROJECTS_PER_PAGE + 1,
            }
            answer = self._calls.send("GET", "/api/projects/", params=params)
            page = self._calls.read(answer, _Projects)
            n_read += len(page.results)
            last = page.results[-1].id if page.results else 0
            return page.results, last if page.next else None, answer

        ours = []
        for project in list(self._calls.listed("projects", page_at)):
            marker = read_marker(project.description)
            if marker is None and project.title == title and project.task_number:
                marker = self._noted(project)
            ours += [project] if marker is not None and marker.batch_key == batch_key else []
        return sorted(ours, key=lambda p: (not p.task_number, p.id))

    def _marker(self, ref: str) -> Marker:
        """What Winnow keeps about a project.

        Raises:
            Fatal: There is no such project, or it is not Winnow's.
        """
        project = self._calls.ask(_Project, "GET", _path(ref))
        marker = read_marker(project.description) or self._noted(project)
        if marker is None:
            raise Fatal(
                f"Label Studio project {ref} does not say in its description which batch it is "
                "for, and holds no task that does: restore the text that Winnow left there."
            )
        return marker

    def _noted(self, project: _Project) -> Marker | None:
        """What the project's tasks say of it, put back under a description that somebody wrote."""
        tasks = self._tasks(str(project.id))
        made = next((t.ours.batch for t in tasks if t.ours.batch is not None), None)
        if made is None:
            return None
        marker = replace(made, state="open" if project.is_published else "draft")
        if any(task.ours.withdrawn for task in tasks):
            marker = replace(marker, state="cancelled")
        text = f"{project.description or ''}\n{describe(marker)}".lstrip()
        self._calls.send("PATCH", _path(str(project.id)), {"description": text})
        return marker

    def _mark(self, ref: str, marker: Marker, fields: Mapping[str, Any] | None = None) -> None:
        """Keep `marker` about a project and set other fields of it, at once."""
        body = {**(fields or {}), "description": describe(marker)}
        self._calls.send("PATCH", _path(ref), body)

    def _add(self, ref: str, tasks: Iterable[Mapping[str, Any]]) -> None:
        self._calls.send("POST", f"{_path(ref)}import", list(tasks))

    def _tasks(self, ref: str) -> list[StoredTask]:
        """All tasks of a project, by their number."""
        tasks = self._calls.listed(
            f"the tasks of project {ref}", lambda after: self._page(ref, after or 0)
        )
        # A task without a number may come again with the next page.
        return list({task.raw if task.id is None else task.id: task for task in tasks}.values())

    def _page(self, ref: str, after: int) -> tuple[list[StoredTask], int | None, httpx.Response]:
        """Tasks with a number beyond `after`, by their number; the last one, where more may come.

        Raises:
            Retryable: None of as many tasks has a number that can be read.
        """
        later = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number"}
        query = {
            "filters": {"conjunction": "and", "items": [{**later, "value": after}]},
            "ordering": ["tasks:id"],
        }
        params = {
            "project": _number(ref),
            "fields": "all",
            "include": _TASK_FIELDS,
            "resolve_uri": "false",
            "page_size": self.page_size,
            "query": json.dumps(query),
        }
        answer = self._calls.send("GET", "/api/tasks/", params=params)
        _, listed = self._calls.read_list(answer, "tasks", dict)
        tasks = [StoredTask.read(raw) for raw in listed]
        if len(tasks) < self.page_size:
            return tasks, None, answer
        last = max((task.id for task in tasks if task.id is not None), default=after)
        if last <= after:
            raise Retryable(
                f"Label Studio lists {len(tasks)} tasks of project {ref} and no number of them "
                "that can be read; look at them there."
            )
        return tasks, last, answer

    def _delete_unanswered(self, ref: str, tasks: Sequence[int]) -> None:
        """Remove those of `tasks` (by number) that have no answer when the server gets to them."""
        if not tasks:
            return
        none_yet = [
            {"filter": f"filter:tasks:{count}", "operator": "equal", "type": "Number", "value": 0}
            for count in ("total_annotations", "cancelled_annotations")
        ]
        body = {
            "filters": {"conjunction": "and", "items": none_yet},
            "selectedItems": {"all": False, "included": tasks},
        }
        params = {"id": "delete_tasks", "project": _number(ref)}
        self._calls.send("POST", "/api/dm/actions/", body, params)


def _number(ref: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", ref):
        raise Fatal(
            f"Label Studio has no project {ref[:40]!r}: a batch's ref is a project's number."
        )
    return int(ref)


def _path(ref: str) -> str:
    return f"/api/projects/{_number(ref)}/"


def _read_cursor(cursor: str) -> tuple[bool, int]:
    place = re.fullmatch("([01])-([0-9]{1,18})", cursor)
    if not place:
        raise Fatal(f"{cursor[:40]!r} is no cursor of Label Studio; look from the beginning.")
    return place[1] == "1", int(place[2])


class _Project(BaseModel):
    id: int
    title: str = ""
    description: str | None = None
    task_number: int | None = None
    is_published: bool = False


class _Projects(BaseModel):
    results: list[_Project]
    next: str | None


class _Event(BaseModel):
    project: _Project
