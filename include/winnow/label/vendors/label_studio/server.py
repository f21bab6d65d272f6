"""Label Studio's REST calls, as far as Winnow needs them.

What always holds: every call may be repeated; adding may then have happened twice, and whoever
looks next removes the surplus. Lists are read to their end, which they must have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

import httpx
from pydantic import BaseModel

from winnow.errors import Fatal, Retryable
from winnow.label.vendors.calls import VendorCalls
from winnow.label.vendors.label_studio.project import Marker, describe, read_marker
from winnow.label.vendors.label_studio.tasks import StoredTask
from winnow.label.vendors.label_studio.token import AccessTokens, is_refresh_token

_NOT_FOUND = 404
_PROJECTS_PER_PAGE = 100
_NOTED_PER_PAGE = 500
_TASK_FIELDS = (
    "id,meta,annotations,completed_by,was_cancelled,result,lead_time,created_at,updated_at"
)
"""Named, because all of them would carry every text of the batch back at every look."""


class Project(BaseModel):
    """A project as lists show it."""

    id: int
    title: str = ""
    description: str | None = None
    task_number: int | None = None
    is_published: bool = False


class TaskPage(NamedTuple):
    """Tasks in the order of their numbers; `last` is where the next page begins, None on none."""

    tasks: list[StoredTask]
    last: int | None
    answer: httpx.Response


class Server:
    """The Label Studio at `base_url`."""

    def __init__(
        self,
        base_url: str,
        token: str,
        transport: httpx.BaseTransport | None,
        sleep: Callable[[float], None],
    ) -> None:
        if is_refresh_token(token):
            transport = AccessTokens(base_url, token, transport)
        headers = {"Authorization": f"Token {token}" if token else ""}
        self._calls = VendorCalls("Label Studio", base_url, headers, transport, sleep)

    def now(self) -> datetime:
        """The server's time, by its last answer."""
        return self._calls.now()

    def projects(self, title: str, batch_key: str) -> list[Project]:
        """Winnow's projects for the batch: those that hold tasks first, then the oldest."""
        found: list[Project] = []
        page, pages = _Projects(results=[], next="first"), self._calls.pages("projects")
        while page.next:
            params = {
                "title": title,
                "include": "id,title,description,task_number,is_published",
                "ordering": "id",
                "page_size": _PROJECTS_PER_PAGE,
                "page": len(found) // _PROJECTS_PER_PAGE + 1,
            }
            answer = self._calls.send("GET", "/api/projects/", params=params)
            page = self._calls.read(answer, _Projects)
            pages.turn(page.results[-1].id if page.results else None, answer)
            found += page.results
        ours = [p for p in found if self._is_for(p, title, batch_key)]
        return sorted(ours, key=lambda p: (not p.task_number, p.id))

    def create_project(self, fields: Mapping[str, Any]) -> None:
        """Make a project."""
        self._calls.send("POST", "/api/projects/", fields)

    def delete_project(self, project: int) -> None:
        """Remove a project, if it is still there."""
        self._calls.send("DELETE", f"/api/projects/{project}/", accept=(_NOT_FOUND,))

    def marker(self, project: int) -> Marker:
        """What Winnow keeps about a project.

        Raises:
            Fatal: There is no such project, or it is not Winnow's.
        """
        found = self._read("GET", f"/api/projects/{project}/", Project)
        marker = read_marker(found.description) or self._noted(found)
        if marker is None:
            raise Fatal(
                f"Label Studio project {project} does not say in its description which batch it "
                "is for, and holds no task that does: restore the text that Winnow left there."
            )
        return marker

    def _is_for(self, project: Project, title: str, batch_key: str) -> bool:
        marker = read_marker(project.description)
        if marker is None and project.title == title and project.task_number:
            marker = self._noted(project)
        return marker is not None and marker.batch_key == batch_key

    def _noted(self, project: Project) -> Marker | None:
        """What the project's tasks say of it, put back under a description that somebody wrote."""
        tasks = self.tasks(project.id, _NOTED_PER_PAGE)
        made = next((t.ours.batch for t in tasks if t.ours.batch is not None), None)
        if made is None:
            return None
        closed = any(task.ours.withdrawn for task in tasks)
        marker = replace(made, state="open" if project.is_published else "draft")
        marker = replace(marker, state="cancelled") if closed else marker
        text = f"{project.description or ''}\n{describe(marker)}".lstrip()
        self._calls.send("PATCH", f"/api/projects/{project.id}/", {"description": text})
        return marker

    def mark(self, project: int, marker: Marker, fields: Mapping[str, Any] | None = None) -> None:
        """Keep `marker` about a project and set other fields of it, at once."""
        body = {**(fields or {}), "description": describe(marker)}
        self._calls.send("PATCH", f"/api/projects/{project}/", body)

    def add_tasks(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Put tasks into a project."""
        self._calls.send("POST", f"/api/projects/{project}/import", list(tasks))

    def tasks(self, project: int, page_size: int) -> list[StoredTask]:
        """All tasks of a project, by their number."""
        found: dict[int | bytes, StoredTask] = {}
        pages = self._calls.pages(f"the tasks of project {project}")
        after = 0
        while True:
            page = self.page_of_tasks(project, page_size, after)
            # A task without a number may come again with the next page.
            found |= {task.raw if task.id is None else task.id: task for task in page.tasks}
            if page.last is None:
                return list(found.values())
            pages.turn(page.last, page.answer)
            after = page.last

    def page_of_tasks(self, project: int, page_size: int, after: int) -> TaskPage:
        """Up to `page_size` tasks with a number beyond `after`, by their number.

        Raises:
            Retryable: None of as many tasks has a number that can be read.
        """
        later = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number"}
        query = {
            "filters": {"conjunction": "and", "items": [{**later, "value": after}]},
            "ordering": ["tasks:id"],
        }
        params = {
            "project": project,
            "fields": "all",
            "include": _TASK_FIELDS,
            "resolve_uri": "false",
            "page_size": page_size,
            "query": json.dumps(query),
        }
        answer = self._calls.send("GET", "/api/tasks/", params=params)
        _, listed = self._calls.read_list(answer, "tasks", dict)
        tasks = [StoredTask.read(raw) for raw in listed]
        if len(tasks) < page_size:
            return TaskPage(tasks, None, answer)
        last = max((task.id for task in tasks if task.id is not None), default=after)
        if last <= after:
            raise Retryable(
                f"Label Studio lists {len(tasks)} tasks of project {project} and no number of them "
                "that can be read; look at them there."
            )
        return TaskPage(tasks, last, answer)

    def delete_unanswered(self, project: int, tasks: Sequence[int]) -> None:
        """Remove those of `tasks` (by number) that have no answer when the server gets to them."""
        if not tasks:
            return
        none_yet = [
            {"filter": f"filter:tasks:{count}", "operator": "equal", "type": "Number", "value": 0}
            for count in ("total_annotations", "cancelled_annotations")
        ]
        self._calls.send(
            "POST",
            "/api/dm/actions/",
            {
                "filters": {"conjunction": "and", "items": none_yet},
                "selectedItems": {"all": False, "included": list(tasks)},
            },
            params={"id": "delete_tasks", "project": project},
        )

    def _read(
        self, method: str, path: str, shape: Any, params: Mapping[str, Any] | None = None
    ) -> Any:
        return self._calls.read(self._calls.send(method, path, params=params), shape)


class _Projects(BaseModel):
    results: list[Project]
    next: str | None
