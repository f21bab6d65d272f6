"""The labelling-vendor simulator: a separate HTTP service that stands where a vendor would.

    python -m winnow.label.vendors.simulator_service --port 8790 --database PATH [--speed 60]

Its annotators are simulated and no money moves. Everything else is meant to be as with a real
vendor: a bearer token, batches that are opened, filled and launched, task ids that the account
takes once (409 for one that it holds), answers that come late or never, a bill. All state is in the
database file. The page at `/` needs no token, so the service listens on the loopback address.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field

from winnow.label.vendor import BatchStatus, TaskRequest
from winnow.label.vendors.simulator_books import Books, CancelledBatch
from winnow.label.vendors.simulator_page import HEADERS, batch_page, overview_page
from winnow.label.vendors.simulator_tables import UnknownBatch

MAX_REQUEST = 100
PAGE_LIMIT = 200


class OpenBatch(BaseModel):
    """Find or create the batch with this key."""

    batch_key: str = Field(min_length=1, max_length=200)


class AddTasks(BaseModel):
    """Put these tasks into a batch."""

    tasks: list[TaskRequest] = Field(max_length=MAX_REQUEST)


class Cancel(BaseModel):
    """Stop asking, and why."""

    reason: str = Field(max_length=1000)


def create_app(books: Books, token: str) -> FastAPI:
    """The service over `books`; every route but `/` and `/health` asks for `token`."""
    app = FastAPI(
        title="Labelling vendor simulator", docs_url=None, redoc_url=None, openapi_url=None
    )
    app.include_router(_people_routes(books))
    app.include_router(_batch_routes(books), dependencies=[Depends(_token_check(token))])
    app.include_router(_answer_routes(books), dependencies=[Depends(_token_check(token))])

    @app.exception_handler(UnknownBatch)
    def unknown(_: Request, error: UnknownBatch) -> JSONResponse:
        return JSONResponse({"detail": f"no batch {error}"}, status_code=404)

    @app.exception_handler(CancelledBatch)
    def cancelled(_: Request, error: CancelledBatch) -> JSONResponse:
        return JSONResponse({"detail": f"batch {error} was cancelled"}, status_code=410)

    return app


def _token_check(token: str) -> Callable[[Request], None]:
    expected = f"Bearer {token}".encode()

    def check(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            raise HTTPException(401, "a valid bearer token is needed")

    return check


def _people_routes(books: Books) -> APIRouter:
    routes = APIRouter()

    @routes.get("/")
    def page(batch: str | None = None) -> HTMLResponse:
        html = overview_page(books) if batch is None else batch_page(books, batch)
        return HTMLResponse(html, headers=HEADERS)

    @routes.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "service": "labelling vendor simulator"}

    return routes


def _batch_routes(books: Books) -> APIRouter:
    routes = APIRouter()

    @routes.post("/batches")
    def open_batch(body: OpenBatch) -> dict[str, str]:
        return {"ref": books.open_batch(body.batch_key)}

    @routes.get("/batches/{ref}")
    def status(ref: str) -> BatchStatus:
        return books.status(ref)

    @routes.get("/batches/{ref}/tasks")
    def task_ids(ref: str) -> dict[str, list[str]]:
        return {"task_ids": books.task_ids(ref)}

    @routes.post("/batches/{ref}/tasks")
    def add_tasks(ref: str, body: AddTasks) -> JSONResponse:
        result = books.add_tasks(ref, body.tasks)
        content = {"added": result.added, "duplicates": result.duplicates}
        return JSONResponse(content, status_code=409 if result.duplicates else 201)

    @routes.post("/batches/{ref}/launch")
    def launch(ref: str) -> BatchStatus:
        return books.launch(ref)

    @routes.post("/batches/{ref}/cancel")
    def cancel(ref: str, body: Cancel) -> BatchStatus:
        return books.cancel(ref, body.reason)

    return routes


def _answer_routes(books: Books) -> APIRouter:
    routes = APIRouter()

    @routes.get("/batches/{ref}/annotations")
    def annotations(
        ref: str,
        cursor: Annotated[int, Field(ge=0, lt=2**63)] = 0,
        limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = PAGE_LIMIT,
    ) -> dict[str, Any]:
        is_final = books.status(ref).is_final
        found = books.answers_after(ref, cursor, limit + 1)
        page, more = found[:limit], len(found) > limit
        return {
            "annotations": [json.loads(row["record"]) for row in page],
            "next_cursor": str(page[-1]["number"]) if more else None,
            "complete": is_final and not more,
        }

    @routes.get("/books")
    def the_books() -> dict[str, list[dict[str, Any]]]:
        columns = ("task_id", "ref", "batch_key", "asked", "bought", "price", "charged")
        tasks = [{name: row[name] for name in columns} for row in books.per_task()]
        return {"tasks": tasks}

    return routes


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped. The token comes from the variable WINNOW_SIMULATOR_TOKEN."""
    parser = argparse.ArgumentParser(description="Labelling vendor simulator: no human answers.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8790)
    parser.add_argument("--database", type=Path, required=True, help="SQLite file, made if absent")
    parser.add_argument("--speed", type=float, default=60.0, help="simulated seconds in a second")
    parser.add_argument("--seed", type=int, default=0, help="whom the simulator hires")
    options = parser.parse_args(arguments)
    token = os.environ.get("WINNOW_SIMULATOR_TOKEN", "")
    if not token:
        print("WINNOW_SIMULATOR_TOKEN is not set: the simulator needs a token.", file=sys.stderr)
        return 2
    if options.speed <= 0.0:
        parser.error("--speed must be above 0")
    options.database.parent.mkdir(parents=True, exist_ok=True)
    books = Books(options.database, options.seed, options.speed, time.time)
    print(f"Labelling vendor simulator: http://{options.host}:{options.port}", flush=True)
    app = create_app(books, token)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", access_log=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
