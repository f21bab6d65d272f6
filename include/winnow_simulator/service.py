"""The labelling-vendor simulator: a separate HTTP service that stands where a vendor would.

    python -m winnow_simulator.service --port 8790 --database PATH [--speed 60]

Its annotators are simulated and no money moves. Everything else is meant to be as with a real
vendor: a bearer token, batches that are opened under terms, filled and launched, task ids that the
account takes once (409 for one that it holds), answers that come late or never, a deadline, a bill,
webhooks. All state is in the database file. `--faults` makes it as unreliable as vendors can be.
The pages at `/` need no token and take answers by hand, so the service listens on the loopback
address.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import AwareDatetime, BaseModel, Field

from winnow.label.vendor import BatchStatus, BatchTerms, TaskRequest
from winnow_simulator.books import Books, ClosedBatch
from winnow_simulator.delivery import NotACursor, Page, read_page
from winnow_simulator.faulty import HOLD_SECONDS, FaultyCalls
from winnow_simulator.hand import NotWaiting, UnknownTask
from winnow_simulator.people import Guard, not_waiting, people_routes
from winnow_simulator.tables import UnknownBatch

MAX_REQUEST = 100
PAGE_LIMIT = 200
MAX_DIMENSIONS = 20


class OpenBatch(BaseModel):
    """Find the batch with this key, or create it under these terms."""

    batch_key: str = Field(min_length=1, max_length=200)
    instructions: str = Field(max_length=20_000)
    rubric_version: str = Field(max_length=200)
    dimensions: list[str] = Field(max_length=MAX_DIMENSIONS)
    deadline: AwareDatetime
    session_minutes: int | None = Field(None, ge=1, le=24 * 60)
    mark: str = Field("", max_length=200)

    def terms(self) -> BatchTerms:
        """The terms alone."""
        return BatchTerms(
            instructions=self.instructions,
            rubric_version=self.rubric_version,
            dimensions=tuple(self.dimensions),
            deadline=self.deadline,
            session_minutes=self.session_minutes,
            mark=self.mark,
        )


class AddTasks(BaseModel):
    """Put these tasks into a batch."""

    tasks: list[TaskRequest] = Field(max_length=MAX_REQUEST)


class Cancel(BaseModel):
    """Stop asking, and why."""

    reason: str = Field(max_length=1000)


def create_app(
    books: Books,
    token: str,
    hosts: Iterable[str] = (),
    hold_seconds: float = HOLD_SECONDS,
) -> FastAPI:
    """The service over `books`; every route but those for people asks for `token`.

    People may open its pages by `hosts` besides the names of the loopback address. Faults are those
    of the books; `hold_seconds` is how long a withheld answer is held back.
    """
    app = FastAPI(
        title="Labelling vendor simulator", docs_url=None, redoc_url=None, openapi_url=None
    )
    app.include_router(people_routes(books, Guard(token, hosts)))
    app.include_router(_batch_routes(books), dependencies=[Depends(_token_check(token))])
    app.include_router(_answer_routes(books), dependencies=[Depends(_token_check(token))])
    app.add_middleware(FaultyCalls, faults=books.faults, hold_seconds=hold_seconds)
    _explain_errors(app, books)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "service": "labelling vendor simulator"}

    return app


def _explain_errors(app: FastAPI, books: Books) -> None:
    @app.exception_handler(UnknownBatch)
    def unknown(_: Request, error: UnknownBatch) -> JSONResponse:
        return JSONResponse({"detail": f"no batch {error}"}, status_code=404)

    @app.exception_handler(ClosedBatch)
    def closed(_: Request, error: ClosedBatch) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=410)

    @app.exception_handler(NotACursor)
    def no_cursor(_: Request, error: NotACursor) -> JSONResponse:
        return JSONResponse({"detail": "no page has this cursor"}, status_code=422)

    @app.exception_handler(UnknownTask)
    def no_task(_: Request, error: UnknownTask) -> HTMLResponse:
        return not_waiting(books, "This simulator has no such task.", 404)

    @app.exception_handler(NotWaiting)
    def too_late(_: Request, error: NotWaiting) -> HTMLResponse:
        return not_waiting(books, str(error), 409)


def _token_check(token: str) -> Callable[[Request], None]:
    expected = f"Bearer {token}".encode()

    def check(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            raise HTTPException(401, "a valid bearer token is needed")

    return check


def _batch_routes(books: Books) -> APIRouter:
    routes = APIRouter()

    @routes.post("/batches")
    def open_batch(body: OpenBatch) -> dict[str, str]:
        return {"ref": books.open_batch(body.batch_key, body.terms())}

    @routes.get("/batches/{ref}")
    def status(ref: str) -> BatchStatus:
        return books.status(ref)

    @routes.get("/batches/{ref}/mark")
    def mark(ref: str) -> dict[str, str]:
        return {"mark": books.terms(ref).mark}

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
        ref: str, cursor: str = "0", limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = PAGE_LIMIT
    ) -> Page:
        return read_page(books, ref, cursor, limit)

    @routes.get("/books")
    def the_books() -> dict[str, list[dict[str, Any]]]:
        columns = ("task_id", "ref", "batch_key", "asked", "bought", "price", "charged")
        tasks = [{name: row[name] for name in columns} for row in books.per_task()]
        return {"tasks": tasks}

    return routes
