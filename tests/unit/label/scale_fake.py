"""A fake of Scale's task API, for tests: the shapes of its public documentation, on loopback.

Written after https://scale.com/docs/api-reference (batches, tasks, text collection) and the calls
of the official Python client. It is no simulator of people: tests answer by hand.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

MOST_IN_A_PAGE = 3
"""Smaller than Scale's 100, so that a few tasks make several pages."""


@dataclass
class ScaleFake:
    """The account's state, and the acts of its people; every act moves the clock a little."""

    key: str
    project: str
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    unique_ids: set[str] = field(default_factory=set)
    misdelivers: bool = False
    clock: datetime = datetime(2026, 11, 22, tzinfo=UTC)

    def touch(self, task: dict[str, Any], **changes: Any) -> None:
        self.clock += timedelta(milliseconds=1)
        task.update(changes, updated_at=_stamp(self.clock))

    def find(self, task_id: str) -> dict[str, Any]:
        """The task of the account that Winnow calls `task_id` and that is not cancelled."""
        [task] = [
            t
            for t in self.tasks.values()
            if t["metadata"]["task_id"] == task_id and t["status"] != "canceled"
        ]
        return task

    def answer(self, task: dict[str, Any], choice: str, **more: str) -> None:
        fields = {"choice": choice, **more}
        annotations = {
            name: {"type": "category", "field_id": name, "response": [[value]]}
            for name, value in fields.items()
        }
        response = {"annotations": annotations, "duration": 41.5}
        self.touch(task, status="completed", response=response, completed_at=_stamp(self.clock))

    def counts(self, batch: str) -> dict[str, Any]:
        """What the batch's status call says: a count for each status that occurs."""
        held = [t["status"] for t in self.tasks.values() if t["batch"] == batch]
        status = self.batches[batch]["status"]
        if status == "in_progress" and "pending" not in held:
            status = "completed"
        return {"status": status, **{s: held.count(s) for s in set(held)}}


def create_app(scale: ScaleFake) -> FastAPI:
    """Scale's API over the fake's state."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    expected = "Basic " + base64.b64encode(f"{scale.key}:".encode()).decode()

    @app.middleware("http")
    async def check_key(request: Request, call_next: Any) -> Any:
        if request.headers.get("authorization") != expected:
            return JSONResponse({"message": "Invalid API Key"}, status_code=401)
        return await call_next(request)

    _batch_routes(app, scale)
    _task_routes(app, scale)
    return app


def _batch_routes(app: FastAPI, scale: ScaleFake) -> None:
    @app.post("/v1/batches")
    async def create_batch(request: Request) -> JSONResponse:
        body = await request.json()
        if body["project"] != scale.project:
            return _error(400, f"No project {body['project']}")
        if body["name"] in scale.batches:
            return _error(409, "A batch with this name already exists")
        batch = {**body, "status": "staging", "created_at": _stamp(scale.clock)}
        scale.batches[body["name"]] = batch
        return JSONResponse(batch)

    @app.get("/v1/batches/{name}")
    def get_batch(name: str) -> JSONResponse:
        found = scale.batches.get(name)
        return JSONResponse(found) if found else _error(404, "Batch not found")

    @app.get("/v1/batches/{name}/status")
    def batch_status(name: str) -> JSONResponse:
        if name not in scale.batches:
            return _error(404, "Batch not found")
        return JSONResponse(scale.counts(name))

    @app.post("/v1/batches/{name}/finalize")
    def finalize(name: str) -> JSONResponse:
        if scale.batches[name]["status"] != "staging":
            return _error(400, "Batch is already finalized")
        scale.batches[name]["status"] = "in_progress"
        return JSONResponse(scale.batches[name])


def _task_routes(app: FastAPI, scale: ScaleFake) -> None:
    @app.post("/v1/task/textcollection")
    async def create_task(request: Request) -> JSONResponse:
        body = await request.json()
        if body["batch"] not in scale.batches:
            return _error(404, "Batch not found")
        if body["unique_id"] in scale.unique_ids:
            return _error(409, "A task with this unique_id already exists")
        scale.unique_ids.add(body["unique_id"])
        task = {
            "task_id": f"{len(scale.tasks):024x}",
            "type": "textcollection",
            "status": "pending",
            "batch": body["batch"],
            "project": body["project"],
            "unique_id": body["unique_id"],
            "metadata": body["metadata"],
            "params": {"attachments": body["attachments"], "fields": body["fields"]},
            "created_at": _stamp(scale.clock),
            "customer_review_status": "pending",
        }
        scale.tasks[task["task_id"]] = task
        scale.touch(task)
        return JSONResponse(task)

    @app.post("/v1/task/{task_id}/cancel")
    def cancel(task_id: str, clear_unique_id: bool = False) -> JSONResponse:
        task = scale.tasks[task_id]
        if task["status"] != "pending":
            return _error(400, f"Task is {task['status']}")
        scale.touch(task, status="canceled")
        if clear_unique_id:
            scale.unique_ids.discard(task.pop("unique_id", ""))
        return JSONResponse(task)

    @app.get("/v1/tasks")
    def list_tasks(request: Request) -> JSONResponse:
        asked = request.query_params
        found = [t for t in scale.tasks.values() if _matches(t, asked)]
        start = int(asked.get("next_token", "0"))
        limit = min(int(asked["limit"]), MOST_IN_A_PAGE)
        docs, more = found[start : start + limit], len(found) > start + limit
        if scale.misdelivers:
            docs = docs[::-1] + docs
        token = {"next_token": str(start + limit)} if more else {}
        page = {"docs": docs, "total": len(found), "limit": limit, "offset": start}
        return JSONResponse({**page, "has_more": more, **token})


def _matches(task: dict[str, Any], asked: Any) -> bool:
    after = asked.get("updated_after")
    return (
        task["project"] == asked["project"]
        and task["batch"] == asked["batch"]
        and task["status"] == asked.get("status", task["status"])
        and (not after or datetime.fromisoformat(task["updated_at"]) >= _time(after))
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _stamp(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(code: int, message: str) -> JSONResponse:
    return JSONResponse({"status_code": code, "message": message}, status_code=code)
