"""The simulator for people: pages to read, and forms to answer tasks by hand.

Every text on the pages comes from prompts and models and is hostile: the templates show it as text.

What always holds: a page loads nothing but itself. Its style and its one script are inline and
named by their hashes in the policy, so nothing that a prompt or a model wrote can run or be styled.
Pages need no bearer token, so they answer only to a name of this machine, and a form is taken only
from a page of this service: its token belongs to a cookie that no other site's request carries
(SameSite), and is made with a key that only the service knows.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qsl, quote

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from winnow.label.vendor import SIDES, Choice
from winnow.pages.render import policy, render, style_of
from winnow.text import plain_text
from winnow_simulator import hand
from winnow_simulator.books import Books

COOKIE = "winnow_simulator"
LARGEST_FORM = 64 * 1024
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
DEFAULT_NAME, LONGEST_NAME, LONGEST_RATIONALE = "hand", 100, 2000
TASKS_SHOWN = 200

_TEMPLATES = Path(__file__).with_name("templates")
_KEYS = (_TEMPLATES / "keys.js").read_text()
"""Digits press buttons."""

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"{policy(style_of(_TEMPLATES), _KEYS)}; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Form = dict[str, str]


class BadForm(Exception):
    """The form cannot be taken; the message says what to do, for the person who sent it."""


class Guard:
    """Tells forms of this service from those of others; `secret` is known to the service alone."""

    def __init__(self, secret: str, hosts: Iterable[str]) -> None:
        self._key = hmac.new(secret.encode(), b"forms", hashlib.sha256).digest()
        self._hosts = LOOPBACK | set(hosts)

    def check_host(self, request: Request) -> None:
        """Refuse a name that is not this machine's: a site may point its own at it."""
        if request.url.hostname not in self._hosts:
            raise HTTPException(421, "open this page by the address that the simulator printed")

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
    at_home = [Depends(guard.check_host)]

    def page(request: Request, template: str, status: int = 200, /, **shown: Any) -> HTMLResponse:
        visitor = request.cookies.get(COOKIE) or secrets.token_urlsafe(24)
        response = _page(books, template, status, form_token=guard.token(visitor), **shown)
        response.set_cookie(COOKIE, visitor, httponly=True, samesite="strict")
        return response

    def show(
        request: Request, task_id: str, name: str, problem: str = "", status: int = 200
    ) -> HTMLResponse:
        """One task, with the form to answer it, or a word why it cannot be answered."""
        task = hand.find_task(books, task_id)
        return page(
            request,
            "task.html",
            status,
            **_shown(task),
            task=task,
            dimensions=json.loads(task["dimensions"]),
            as_choices=json.loads(task["choices"]),
            name=name[:LONGEST_NAME],
            problem=problem,
            now=books.now(),
            n_pending=books.status(task["ref"]).n_pending,
            longest_name=LONGEST_NAME,
            longest_rationale=LONGEST_RATIONALE,
        )

    def go_on(ref: str, name: str) -> Response:
        """To the next task that waits; back to the batch after the last."""
        task_id = hand.hold_next(books, ref)
        if task_id is None:
            return RedirectResponse(f"/?batch={quote(ref, safe='')}", 303)
        return _to_task(task_id, name)

    @routes.get("/", dependencies=at_home)
    def overview(request: Request, batch: str | None = None) -> HTMLResponse:
        if batch is not None:
            status = books.status(batch)
            rows = books.per_task(batch, TASKS_SHOWN)
            return page(
                request,
                "batch.html",
                ref=batch,
                status=status,
                tasks=[{"row": dict(row), **_shown(row)} for row in rows],
                n_more=status.n_tasks - len(rows),
                kept=hand.KEPT,
                hold_minutes=f"{hand.HOLD_SECONDS / 60:.0f}",
            )
        batches = [
            (
                row["batch_key"],
                row["ref"],
                datetime.fromtimestamp(row["opened_at"], UTC),
                books.status(row["ref"]),
            )
            for row in books.batches()
        ]
        return page(request, "overview.html", batches=batches)

    @routes.get("/task/{task_id}", dependencies=at_home)
    def task(request: Request, task_id: str, by: str = DEFAULT_NAME) -> HTMLResponse:
        return show(request, task_id, by)

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
            asked, choices = (json.loads(task[name]) for name in ("dimensions", "choices"))
            given = _read_answer(form, asked, choices, books.now())
        except BadForm as error:
            return show(request, task_id, form.get("annotator", ""), str(error), 422)
        hand.answer(books, task_id, given)
        return go_on(task["ref"], given.annotator)

    return routes


def sorry_page(books: Books, words: str, status: int) -> HTMLResponse:
    """The page that says kindly why something was not done."""
    return _page(books, "frame.html", status, words=words)


def _page(books: Books, template: str, status: int, /, **shown: Any) -> HTMLResponse:
    html = render(template, _TEMPLATES, n_by_hand=hand.n_by_hand(books), **shown)
    return HTMLResponse(html, status, headers=dict(HEADERS))


def _shown(task: sqlite3.Row) -> dict[str, Any]:
    """What a page shows of a task: its texts, its answer, why it cannot be answered by hand."""
    return {
        "request": json.loads(task["request"]),
        "answer": json.loads(task["record"]) if task["record"] else None,
        "refused": hand.why_not_waiting(task),
    }


def _to_task(task_id: str, name: str) -> Response:
    by = "" if name == DEFAULT_NAME else f"?by={quote(name, safe='')}"
    return RedirectResponse(f"/task/{quote(task_id, safe='')}{by}", 303)


def _read_answer(
    form: Mapping[str, str], dimensions: list[str], as_choices: list[str], now: float
) -> hand.HandAnswer:
    """What a person sent, checked.

    Raises:
        BadForm: Something is missing or cannot be.
    """
    choice = form.get("choice", "")
    if choice not in get_args(Choice):
        raise BadForm("Please press one of the buttons.")
    name = plain_text(form.get("annotator", "")).strip() or DEFAULT_NAME
    if len(name) > LONGEST_NAME:
        raise BadForm(f"Please give a name of at most {LONGEST_NAME} characters.")
    if name.casefold().startswith("simulated-"):
        raise BadForm("Names that begin with “simulated-” belong to the simulated staff.")
    rationale = plain_text(form.get("rationale", "")).strip()
    if len(rationale) > LONGEST_RATIONALE:
        raise BadForm(f"Please keep the reason to {LONGEST_RATIONALE} characters.")
    shown_at = form.get("shown_at", "")
    asked = {} if choice == "skip" else dict(enumerate(dimensions))
    chosen = {name: form.get(f"choice-{i}", "") for i, name in asked.items() if name in as_choices}
    if not set(chosen.values()) <= set(SIDES):
        raise BadForm("Please answer each line.")
    return hand.HandAnswer(
        annotator=name,
        choice=choice,  # type: ignore[arg-type]  # one of get_args(Choice)
        ratings=_ratings(form, {i: n for i, n in asked.items() if n not in as_choices}),
        rationale=rationale or None,
        shown_at=float(shown_at) if shown_at.isdecimal() and len(shown_at) < 12 else now,
        choices=chosen,
    )


def _ratings(form: Mapping[str, str], asked: Mapping[int, str]) -> dict[str, dict[str, int]]:
    ratings = {
        name: {side: form.get(f"rating-{i}-{side}", "") for side in ("a", "b")}
        for i, name in asked.items()
    }
    for name, stars in ratings.items():
        if not all(star in ("1", "2", "3", "4", "5") for star in stars.values()):
            raise BadForm(f"Please rate both responses from 1 to 5 for {name}.")
    return {name: {side: int(star) for side, star in of.items()} for name, of in ratings.items()}
