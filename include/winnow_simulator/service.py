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
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime, BaseModel, Field

from winnow.label.vendor import BatchStatus, BatchTerms, RankingRequest, TaskRequest
from winnow_simulator.books import Books
from winnow_simulator.faulty import HOLD_SECONDS, FaultyCalls
from winnow_simulator.people import Guard, people_routes, sorry_page
from winnow_simulator.tables import Refused

MAX_REQUEST = 100
PAGE_LIMIT = 200
MAX_DIMENSIONS = 20
REREAD = 300
"""A later look starts this many records before the last one delivered."""

_CURSOR = re.compile(r"(\d{1,18})(again)?")


@dataclass(frozen=True, slots=True)
class Page:
    """Records as JSON values, and where to go on: now, and in a later look.

    Whoever follows `next_cursor` to its end gets every record at least once, under every fault. A
    cursor is the number of the last record that was delivered; `again` behind it marks the second
    delivery of a page, so that no page is delivered a third time.
    """

    annotations: list[Any]
    next_cursor: str | None
    complete: bool
    resume_cursor: str | None


class OpenBatch(BaseModel):
    """Find the batch with this key, or create it under these terms."""

    batch_key: str = Field(min_length=1, max_length=200)
    instructions: str = Field(max_length=20_000)
    rubric_version: str = Field(max_length=200)
    dimensions: tuple[str, ...] = Field(max_length=MAX_DIMENSIONS)
    deadline: AwareDatetime
    session_minutes: int | None = Field(None, ge=1, le=24 * 60)
    mark: str = Field("", max_length=200)
    choices: tuple[str, ...] = Field((), max_length=MAX_DIMENSIONS)

    def terms(self) -> BatchTerms:
        """The terms alone."""
        return BatchTerms(**self.model_dump(exclude={"batch_key"}))


class AddTasks(BaseModel):
    """Put these tasks into a batch."""

    tasks: list[Annotated[RankingRequest | TaskRequest, Field(union_mode="left_to_right")]] = Field(
        max_length=MAX_REQUEST
    )


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
    expected = f"Bearer {token}".encode()

    def check(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, expected):
            raise HTTPException(401, "a valid bearer token is needed")

    app = FastAPI(
        title="Labelling vendor simulator", docs_url=None, redoc_url=None, openapi_url=None
    )
    app.include_router(people_routes(books, Guard(token, hosts)))
    app.include_router(_vendor_routes(books), dependencies=[Depends(check)])
    app.add_middleware(FaultyCalls, faults=books.faults, hold_seconds=hold_seconds)

    @app.exception_handler(Refused)
    def refuse(_: Request, error: Refused) -> Response:
        if error.by_hand:
            return sorry_page(books, str(error), error.status)
        return JSONResponse({"detail": str(error)}, error.status)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "service": "labelling vendor simulator"}

    return app


def _vendor_routes(books: Books) -> APIRouter:
    routes = APIRouter()
    routes.get("/batches/{ref}")(books.status)
    routes.post("/batches/{ref}/launch")(books.launch)

    @routes.post("/batches")
    def open_batch(body: OpenBatch) -> dict[str, str]:
        return {"ref": books.open_batch(body.batch_key, body.terms())}

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

    @routes.post("/batches/{ref}/cancel")
    def cancel(ref: str, body: Cancel) -> BatchStatus:
        return books.cancel(ref, body.reason)

    @routes.get("/batches/{ref}/annotations")
    def annotations(
        ref: str, cursor: str = "0", limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT)] = PAGE_LIMIT
    ) -> Page:
        return _read_page(books, ref, cursor, limit)

    @routes.get("/books")
    def the_books() -> dict[str, list[dict[str, Any]]]:
        columns = ("task_id", "ref", "batch_key", "asked", "bought", "price", "charged")
        tasks = [{name: row[name] for name in columns} for row in books.per_task()]
        return {"tasks": tasks}

    return routes


def _read_page(books: Books, ref: str, cursor: str, limit: int) -> Page:
    """Up to `limit` records of the batch after `cursor`, "0" for the beginning.

    Raises:
        Refused: `cursor` is none that a page gave, or no batch has this ref.
    """
    read = _CURSOR.fullmatch(cursor)
    if read is None:
        raise Refused("no page has this cursor", 422)
    start, is_second = int(read[1]), read[2] is not None
    # Before the records are read: none can come between the two that `complete` denies.
    is_final = books.status(ref).is_final
    rows = books.answers_after(ref, start, limit + 1)
    rows, more = rows[:limit], len(rows) > limit
    last = rows[-1]["number"] if rows else start
    resume = books.number_before(ref, last, REREAD)
    records = [json.loads(row["record"]) for row in rows]
    if records and books.faults.strikes("record_twice"):
        records.append(books.faults.one_of(records))
    if books.faults.strikes("page_shuffled"):
        records = books.faults.shuffled(records)
    resume_cursor = None if resume is None else str(resume)
    if rows and not is_second and books.faults.strikes("page_twice"):
        return Page(records, f"{start}again", False, resume_cursor)
    return Page(records, str(last) if more else None, is_final and not more, resume_cursor)
