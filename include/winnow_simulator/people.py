"""Routes of the simulator for people: pages to read, and forms to answer tasks by hand.

What always holds: they need no bearer token, so they answer only to a name of this machine, and a
form is taken only from a page of this service: its token belongs to a cookie that no other site's
request carries (SameSite), and is made with a key that only the service knows.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, quote

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from winnow_simulator import hand
from winnow_simulator.books import Books
from winnow_simulator.form import (
    DEFAULT_NAME,
    LONGEST_NAME,
    BadForm,
    Sitting,
    read_answer,
)
from winnow_simulator.page import (
    HEADERS,
    batch_page,
    overview_page,
    sorry_page,
    task_page,
)

COOKIE = "winnow_simulator"
LARGEST_FORM = 64 * 1024
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Form = dict[str, str]


class Guard:
    """Tells forms of this service from those of others; `secret` is known to the service alone."""

    def __init__(self, secret: str, hosts: Iterable[str]) -> None:
        self._key = hmac.new(secret.encode(), b"forms", hashlib.sha256).digest()
        self._hosts = LOOPBACK | set(hosts)

    def check_host(self, request: Request) -> None:
        """Refuse a name that is not this machine's: a site may point its own at it."""
        if request.url.hostname not in self._hosts:
            raise HTTPException(421, "open this page by the address that the simulator printed")

    def visitor(self, request: Request) -> str:
        """The visitor's cookie, or a new one."""
        return request.cookies.get(COOKIE) or secrets.token_urlsafe(24)

    def token(self, visitor: str) -> str:
        """The token of this visitor's forms."""
        return hmac.new(self._key, visitor.encode(), hashlib.sha256).hexdigest()

    async def read(self, request: Request) -> Form:
        """The fields of a form that this service gave to this visitor."""
        self.check_host(request)
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > LARGEST_FORM:
                raise HTTPException(413, "the form is too large")
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        visitor = request.cookies.get(COOKIE, "")
        expected = self.token(visitor).encode()
        if not visitor or not hmac.compare_digest(form.get("form_token", "").encode(), expected):
            raise HTTPException(
                403, "this form is not from a page of this simulator; open it again"
            )
        return form


def people_routes(books: Books, guard: Guard) -> APIRouter:
    """Pages and forms over `books`."""
    routes = APIRouter()
    own_form: Any = Depends(guard.read)

    def page(html: str, visitor: str, status: int = 200) -> HTMLResponse:
        response = HTMLResponse(html, status, headers=dict(HEADERS))
        response.set_cookie(COOKIE, visitor, httponly=True, samesite="strict")
        return response

    def show(request: Request, task_id: str, name: str, problem: str, status: int) -> HTMLResponse:
        visitor = guard.visitor(request)
        task = hand.find_task(books, task_id)
        sitting = Sitting(
            form_token=guard.token(visitor),
            name=name,
            now=books.now(),
            n_pending=books.status(task["ref"]).n_pending,
            n_by_hand=hand.n_by_hand(books),
            problem=problem,
        )
        html = task_page(task, sitting)
        return page(html, visitor, status)

    def go_on(ref: str, name: str) -> Response:
        """To the next task that waits; back to the batch after the last."""
        task_id = hand.hold_next(books, ref)
        if task_id is None:
            return RedirectResponse(f"/?batch={quote(ref, safe='')}", 303)
        return _to_task(task_id, name)

    @routes.get("/", dependencies=[Depends(guard.check_host)])
    def overview(request: Request, batch: str | None = None) -> HTMLResponse:
        visitor = guard.visitor(request)
        if batch is None:
            return page(overview_page(books), visitor)
        return page(batch_page(books, batch, guard.token(visitor)), visitor)

    @routes.get("/task/{task_id}", dependencies=[Depends(guard.check_host)])
    def task(request: Request, task_id: str, by: str = DEFAULT_NAME) -> HTMLResponse:
        return show(request, task_id, by[:LONGEST_NAME], "", 200)

    @routes.post("/batch/{ref}/next")
    def first(ref: str, form: Form = own_form) -> Response:
        books.status(ref)
        return go_on(ref, DEFAULT_NAME)

    @routes.post("/task/{task_id}/hold")
    def take(task_id: str, form: Form = own_form) -> Response:
        hand.hold(books, task_id)
        return _to_task(task_id, DEFAULT_NAME)

    @routes.post("/task/{task_id}/answer")
    def answer(request: Request, task_id: str, form: Form = own_form) -> Response:
        task = hand.find_task(books, task_id)
        try:
            given = read_answer(form, json.loads(task["dimensions"]), books.now())
        except BadForm as error:
            name = form.get("annotator", "")[:LONGEST_NAME]
            return show(request, task_id, name, str(error), 422)
        hand.answer(books, task_id, given)
        return go_on(task["ref"], given.annotator)

    return routes


def not_waiting(books: Books, words: str, status: int) -> HTMLResponse:
    """The page that says kindly why a task was not taken."""
    return HTMLResponse(sorry_page(words, hand.n_by_hand(books)), status, headers=dict(HEADERS))


def _to_task(task_id: str, name: str) -> Response:
    by = "" if name == DEFAULT_NAME else f"?by={quote(name, safe='')}"
    return RedirectResponse(f"/task/{quote(task_id, safe='')}{by}", 303)
