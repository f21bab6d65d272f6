"""A Label Studio in memory, as far as Winnow calls it; shapes as version 1.23.2 answers.

Like the real one it takes the same project and the same task twice and any choice from anybody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from ...label_studio_world import TOKEN

REFRESH_TOKEN = "eyJhbGciOi.JIUzI1NiIs.InR5cCI6"
Handler = Callable[..., tuple[int, Any]]


@dataclass
class LabelStudioFake:
    """`shorts` are the short tokens that still work; clear it and all of them are stale."""

    projects: dict[int, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[int, dict[str, Any]] = field(default_factory=dict)
    users: list[dict[str, Any]] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    shorts: set[str] = field(default_factory=set)
    _last: int = 0
    _clock: datetime = datetime(2026, 11, 22, tzinfo=UTC)

    def transport(self) -> httpx.MockTransport:
        """What a client talks to."""
        return httpx.MockTransport(self._answer)

    def count_held(self, task_id: str) -> int:
        return sum(_task_id(task) == task_id for task in self.tasks.values())

    def put_twice(self, number: int) -> int:
        """A second copy of a task, as an import that timed out and was sent again leaves it."""
        original = self.tasks[number]
        return self._store(original["project"], original)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        body = json.loads(request.content) if request.content else {}
        if path == "/api/token/refresh/":
            return self._trade(body)
        if not self._knows(request.headers["authorization"]):
            return httpx.Response(401, json={"detail": "Invalid token."})
        for method, pattern, handler in self._routes():
            found = re.fullmatch(pattern, path)
            if method == request.method and found:
                status, answer = handler(*map(int, found.groups()), body, request.url.params)
                return httpx.Response(status, json=answer)
        return httpx.Response(404, json={"detail": "Not found."})

    def _routes(self) -> Iterator[tuple[str, str, Handler]]:
        yield "GET", "/api/projects/", self._list_projects
        yield "POST", "/api/projects/", self._create_project
        yield "GET", r"/api/projects/(\d+)/", self._get_project
        yield "PATCH", r"/api/projects/(\d+)/", self._patch_project
        yield "DELETE", r"/api/projects/(\d+)/", self._delete_project
        yield "POST", r"/api/projects/(\d+)/import", self._import
        yield "GET", "/api/tasks/", self._list_tasks
        yield "POST", "/api/dm/actions/", self._act
        yield "POST", r"/api/tasks/(\d+)/annotations/", self._annotate
        yield "PATCH", r"/api/annotations/(\d+)/", self._edit
        yield "DELETE", r"/api/annotations/(\d+)/", self._retract
        yield "GET", "/api/users/", lambda body, params: (200, self.users)
        yield "POST", "/api/users/", self._create_user

    def _knows(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        return token == TOKEN if scheme == "Token" else token in self.shorts

    def _trade(self, body: dict[str, Any]) -> httpx.Response:
        if body["refresh"] != REFRESH_TOKEN:
            return httpx.Response(401, json={"detail": "Token is invalid"})
        short = f"short-{self._next()}"
        self.shorts.add(short)
        return httpx.Response(200, json={"access": short})

    def _list_projects(self, _: Any, params: httpx.QueryParams) -> tuple[int, Any]:
        size, page = int(params["page_size"]), int(params["page"])
        matching = [
            {**p, "task_number": sum(t["project"] == p["id"] for t in self.tasks.values())}
            for p in self.projects.values()
            if params["title"].lower() in p["title"].lower()
        ]
        more = "http://next" if len(matching) > page * size else None
        return 200, {"next": more, "results": matching[(page - 1) * size : page * size]}

    def _create_project(self, body: dict[str, Any], _: Any) -> tuple[int, Any]:
        if not 3 <= len(body["title"]) <= 50:
            return 400, {"detail": "Validation error"}
        number = self._next()
        self.projects[number] = {**body, "id": number}
        return 201, self.projects[number]

    def _get_project(self, number: int, *_: Any) -> tuple[int, Any]:
        project = self.projects.get(number)
        return (200, project) if project else (404, {"detail": "No Project matches"})

    def _patch_project(self, number: int, body: dict[str, Any], _: Any) -> tuple[int, Any]:
        self.projects[number].update(body)
        return 200, self.projects[number]

    def _delete_project(self, number: int, *_: Any) -> tuple[int, Any]:
        return (204, None) if self.projects.pop(number, None) else (404, {"detail": "Not found."})

    def _import(self, project: int, body: list[dict[str, Any]], _: Any) -> tuple[int, Any]:
        if project not in self.projects:
            return 404, {"detail": "No Project matches"}
        for task in body:
            self._store(project, task)
        return 201, {"task_count": len(body)}

    def _list_tasks(self, _: Any, params: httpx.QueryParams) -> tuple[int, Any]:
        if int(params["project"]) not in self.projects:
            return 404, {"detail": "No Project matches"}
        query = json.loads(params.get("query", "{}"))
        after = query["filters"]["items"][0]["value"] if query else 0
        found = [t for t in self._of(int(params["project"])) if t["id"] > after]
        return 200, {"tasks": found[: int(params["page_size"])]}

    def _act(self, body: dict[str, Any], params: httpx.QueryParams) -> tuple[int, Any]:
        counts = {item["filter"].split(":")[2] for item in body["filters"]["items"]}
        assert (params["id"], counts) == (
            "delete_tasks",
            {"total_annotations", "cancelled_annotations"},
        )
        for task in self._of(int(params["project"])):
            if task["id"] in body["selectedItems"]["included"] and not task["annotations"]:
                del self.tasks[task["id"]]
        return 200, {}

    def _annotate(self, task: int, body: dict[str, Any], _: Any) -> tuple[int, Any]:
        now = self._now()
        made = {"was_cancelled": False, **body, "id": self._next(), "created_at": now}
        self.tasks[task]["annotations"].append({**made, "updated_at": now})
        return 201, made

    def _edit(self, number: int, body: dict[str, Any], _: Any) -> tuple[int, Any]:
        _, annotation = self._annotation(number)
        annotation.update(body, updated_at=self._now())
        return 200, annotation

    def _retract(self, number: int, *_: Any) -> tuple[int, Any]:
        task, annotation = self._annotation(number)
        task["annotations"].remove(annotation)
        return 204, None

    def _create_user(self, body: dict[str, Any], _: Any) -> tuple[int, Any]:
        self.users.append({**body, "id": self._next()})
        return 201, self.users[-1]

    def _annotation(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        return next(
            (task, a)
            for task in self.tasks.values()
            for a in task["annotations"]
            if a["id"] == number
        )

    def _store(self, project: int, task: dict[str, Any]) -> int:
        number = self._next()
        kept = {"data": task["data"], "meta": task.get("meta", {})}
        self.tasks[number] = {**kept, "id": number, "project": project, "annotations": []}
        return number

    def _of(self, project: int) -> list[dict[str, Any]]:
        return sorted((t for t in self.tasks.values() if t["project"] == project), key=_number)

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _now(self) -> str:
        self._clock += timedelta(seconds=1)
        return self._clock.isoformat()


def _number(task: dict[str, Any]) -> int:
    return int(task["id"])


def _task_id(task: dict[str, Any]) -> str | None:
    kept = task["meta"].get("winnow") or {}
    return kept.get("task_id")
