"""The page behind a link: one task after the other, for whoever opened it.

    GET  /{token}           where the worker of the link stands: begin, a task, or done
    POST /{token}/begin     this browser is the worker's
    POST /{token}/answer    the answer to a task

It needs no login: the link is the login. What always holds: a GET writes nothing but who has the
task that it shows, so a mail scanner that opens a link begins nothing. A form is taken only from a
page of ours in the browser that began: what it carries is signed for that browser's cookie, which
no other site's form brings along. A page loads nothing, and its texts are inert.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args
from urllib.parse import parse_qsl, quote

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from winnow.errors import WinnowError
from winnow.label.vendor import CHOICE_LABELS, SIDES, Choice, Rating
from winnow.label.vendors.links.client import LinksVendor
from winnow.label.vendors.links.desk import Closed, Said, Shared, Taken, Turn
from winnow.label.vendors.links.pace import Pace
from winnow.label.vendors.links.tokens import (
    LONGEST_TOKEN,
    LONGEST_WORKER,
    Expired,
    Forged,
    Link,
    worker_id,
)
from winnow.pages.render import policy, render, style_of
from winnow.text import plain_text

COOKIE = "winnow_browser"
COOKIE_SECONDS = 90 * 24 * 3600
LARGEST_FORM = 64 << 10
BODY_SECONDS = 10.0
LONGEST_RATIONALE = 2000
LINK_MINUTE, ADDRESS_MINUTE, WRONG_MINUTE = 60, 600, 30
"""Requests a minute: on one link, from one address, from one address that are no links."""
KEYS: Mapping[Choice, str] = {"a": "1", "b": "2", "tie": "0", "both_bad": "3", "skip": "s"}

_TEMPLATES = Path(__file__).with_name("templates")
_SCRIPT = (_TEMPLATES / "keys.js").read_text()
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"{policy(style_of(_TEMPLATES), _SCRIPT)}; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # The address is the secret.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Robots-Tag": "noindex, nofollow",
}

Form = Mapping[str, str]


class Refused(Exception):
    """What is asked is not done; a page says why."""

    def __init__(self, status: int, title: str, words: str) -> None:
        super().__init__(title)
        self.status, self.title, self.words = status, title, words


class BadForm(Exception):
    """The answer lacks something; the message says what, for its worker."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A request on a link of `vendor`, by a browser."""

    vendor: LinksVendor
    link: Link
    token: str
    browser: str
    problem: str = ""
    rationale: str = ""

    @property
    def code(self) -> str:
        """The worker's completion code."""
        return self.vendor.signer.code(self.link.batch, self.link.worker)

    def form(self, task: str) -> str:
        """What the form on this visit's page carries."""
        return self.vendor.signer.form(self.browser, self.token, task)


def create_app(
    vendors: Callable[[], Sequence[LinksVendor]], link_minute: int = LINK_MINUTE
) -> FastAPI:
    """The app for the links of any of `vendors`; no docs, no schema."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    links, addresses, wrong = Pace(link_minute), Pace(ADDRESS_MINUTE), Pace(WRONG_MINUTE)

    def visit(request: Request, token: str) -> Visit:
        """Who comes with which link.

        Raises:
            Refused: Nobody with a link, or too often.
        """
        address = request.client.host if request.client else ""
        _slow_down(addresses.wait(address))
        try:
            vendor, link = _find(vendors(), token)
        except Forged:
            _slow_down(wrong.wait(address))
            why = "Copy the whole link as you were given it, or ask who sent it for another."
            raise Refused(404, "This link is not complete", why) from None
        except Expired:
            why = "Its time is over. Ask who sent it whether there is another."
            raise Refused(410, "This link has expired", why) from None
        if link.worker:
            _slow_down(links.wait(f"{link.batch} {link.worker}"))
        browser = request.cookies.get(COOKIE, "")
        if not 16 <= len(browser) <= 64:
            browser = secrets.token_urlsafe(24)
        return Visit(vendor, link, token, browser)

    @app.get("/{token}")
    def show(request: Request, token: str) -> Response:
        came = visit(request, token)
        if not came.link.worker:
            return _with_cookie(request, came, _name(came, request.query_params))
        if not came.link.batch:
            return _with_cookie(request, came, _inbox(came))
        begun = came.vendor.desk.check_browser(came.link, came.browser, begin=False)
        return _with_cookie(request, came, _stand(came) if begun else _welcome(came))

    async def form_of(request: Request, token: str, task: str | None) -> tuple[Visit, Form]:
        """A form that a page of ours gave to this browser."""
        came = await run_in_threadpool(visit, request, token)
        form = await _read(request)
        own = came.form(form.get("task", "") if task is None else task)
        if not (came.link.worker and came.link.batch) or not secrets.compare_digest(
            form.get("form", "").encode(), own.encode()
        ):
            why = "Open your link again, and allow this site's cookie."
            raise Refused(403, "This form cannot be taken", why)
        return came, form

    @app.post("/{token}/begin")
    async def begin(request: Request, token: str) -> Response:
        came, _ = await form_of(request, token, "")
        await run_in_threadpool(came.vendor.desk.check_browser, came.link, came.browser, begin=True)
        return _with_cookie(request, came, _back(token))

    @app.post("/{token}/answer")
    async def answer(request: Request, token: str) -> Response:
        came, form = await form_of(request, token, None)
        return _with_cookie(request, came, await run_in_threadpool(_answer, came, form))

    @app.get("/")
    def nothing() -> Response:
        return PlainTextResponse("Open the link that you were given.\n", 404, dict(HEADERS))

    @app.get("/{token}/{step}")
    def again(token: str, step: str) -> Response:
        # Where a form was answered with a page, and somebody loads that again.
        return _back(token) if step in ("begin", "answer") else nothing()

    @app.exception_handler(Refused)
    def refuse(_: Request, why: Refused) -> Response:
        return _page("told.html", why.status, title=why.title, words=why.words, again="")

    @app.exception_handler(Shared)
    def shared(_: Request, __: Shared) -> Response:
        why = (
            "A link is for one person in one browser. Go on where you began, or ask who sent it "
            "for a link of your own."
        )
        return _page("told.html", 409, title="This link is in use", words=why, again="")

    @app.exception_handler(Closed)
    def closed(_: Request, __: Closed) -> Response:
        why = "No more answers are wanted here. Thank you for coming."
        return _page("told.html", 410, title="This work is closed", words=why, again="")

    @app.exception_handler(WinnowError)
    def fault(_: Request, __: WinnowError) -> Response:
        why = "Nothing is lost. Wait a minute, and open your link again."
        return _page("told.html", 503, title="This cannot be done now", words=why, again="")

    return app


def _find(vendors: Sequence[LinksVendor], token: str) -> tuple[LinksVendor, Link]:
    """The vendor whose link it is; raises as `Signer.link`."""
    for vendor in vendors if len(token) <= LONGEST_TOKEN else ():
        try:
            return vendor, vendor.signer.link(token, vendor.now())
        except Forged:
            continue
    raise Forged


def _slow_down(seconds: float) -> None:
    if seconds:
        why = f"Wait {seconds:.0f} seconds, and open your link again."
        raise Refused(429, "That was too fast", why)


def _name(came: Visit, query: Mapping[str, str]) -> Response:
    """To the link of whoever opened one that is for everybody."""
    name = came.vendor.worker_parameter
    if not name:
        worker: str | None = came.vendor.signer.guest(came.browser, came.link.batch)
    elif not query.get(name):
        return _page("name.html", 200, title="Who are you?", name=name, longest=LONGEST_WORKER)
    else:
        worker = worker_id(query[name])
    if worker is None:
        why = f"It must have {LONGEST_WORKER} characters at most. Open your link again."
        raise Refused(422, "That is no id", why)
    return _back(came.vendor.signer.token(replace(came.link, worker=worker)), "")


def _inbox(came: Visit) -> Response:
    """The batches that wait for the worker."""
    desk = came.vendor.desk
    rows = []
    for ref in came.vendor.batches():
        folder = desk.batch(ref)
        token = came.vendor.signer.token(replace(came.link, batch=ref))
        rows.append((folder.terms.instructions, desk.n_free(folder), token))
    return _page("inbox.html", 200, title="Your work", rows=rows)


def _welcome(came: Visit) -> Response:
    """What the work is, before it begins."""
    folder = came.vendor.desk.batch(came.link.batch)
    if came.vendor.desk.is_closed(folder):
        raise Closed
    return _page(
        "welcome.html",
        200,
        title="Which answer is better?",
        terms=folder.terms,
        most=1 if came.link.task else came.link.most,
        keys=KEYS,
        labels=CHOICE_LABELS,
        token=came.token,
        form=came.form(""),
    )


def _stand(came: Visit) -> Response:
    """The worker's next task, or that they are done."""
    turn = came.vendor.desk.turn(came.link)
    if turn.task is not None:
        return _task(came, turn)
    code = came.code if turn.n_done else ""
    back = came.vendor.completion_url.replace("{code}", quote(code)) if code else ""
    told = {"n_done": turn.n_done, "code": code, "back": back}
    return _page("done.html", 200, title="Done" if code else "Nothing to do now", **told)


def _task(came: Visit, turn: Turn) -> Response:
    assert turn.task is not None
    assert turn.shown is not None
    return _page(
        "task.html",
        422 if came.problem else 200,
        title="Which answer is better?",
        line=turn.shown,
        rated=turn.shown["dimensions"],
        chosen=turn.shown.get("choice_dimensions", []),
        n_done=turn.n_done,
        n_asked=turn.n_asked,
        has_end=bool(came.link.most or came.link.task),
        keys=KEYS,
        labels=CHOICE_LABELS,
        sides=list(zip(SIDES, ("A is better", "B is better", "No difference"), strict=True)),
        token=came.token,
        up="../" if came.problem else "",
        key=turn.task.key,
        form=came.form(turn.task.key),
        problem=came.problem,
        rationale=came.rationale,
        longest_rationale=LONGEST_RATIONALE,
    )


def _answer(came: Visit, form: Form) -> Response:
    """Keep an answer; only the browser that began was given such a form."""
    desk = came.vendor.desk
    try:
        desk.answer(came.link, form.get("task", ""), lambda shown: _said(form, shown))
    except BadForm as error:
        return _stand(replace(came, problem=str(error), rationale=form.get("rationale", "")))
    except Taken:
        why = "It lay open for so long that another person answered it. There may be others."
        return _page("told.html", 409, title="This task is gone", words=why, again=came.token)
    return _back(came.token)


def _said(form: Form, shown: Mapping[str, Any]) -> Said:
    """What a form says of a task.

    Raises:
        BadForm: Something is missing or cannot be.
    """
    choice = form.get("choice", "")
    if choice not in get_args(Choice):
        raise BadForm("Please press one of the buttons.")
    rationale = plain_text(form.get("rationale", "")).strip()
    if len(rationale) > LONGEST_RATIONALE:
        raise BadForm(f"Please keep the reason to {LONGEST_RATIONALE} characters.")
    is_skip = choice == "skip"
    ratings, choices = {}, {}
    for i, name in enumerate([] if is_skip else shown["dimensions"]):
        stars = [form.get(f"rating-{i}-{side}", "") for side in ("a", "b")]
        if not all(star in ("1", "2", "3", "4", "5") for star in stars):
            raise BadForm(f"Please rate both answers from 1 to 5 for {plain_text(name)}.")
        ratings[name] = Rating(a=int(stars[0]), b=int(stars[1]))
    for i, name in enumerate([] if is_skip else shown.get("choice_dimensions", [])):
        choices[name] = form.get(f"choice-{i}", "")
        if choices[name] not in SIDES:
            raise BadForm(f"Please choose for {plain_text(name)}.")
    return Said(choice, ratings, choices, rationale or None)


async def _read(request: Request) -> Form:
    """The fields of a form.

    Raises:
        Refused: It is too large, or comes too slowly.
    """
    body = bytearray()

    async def read() -> None:
        async for part in request.stream():
            body.extend(part)
            if len(body) > LARGEST_FORM:
                raise Refused(413, "That is too much", "Go back, and write less.")

    try:
        await asyncio.wait_for(read(), BODY_SECONDS)
        return dict(
            parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=100)
        )
    except TimeoutError:
        raise Refused(408, "That took too long", "Go back, and send it again.") from None
    except ValueError:
        raise Refused(400, "This form cannot be read", "Open your link again.") from None


def _back(token: str, up: str = "../") -> Response:
    """To the page of a link, from that of another or from a form."""
    return RedirectResponse(f"{up}{token}", 303, dict(HEADERS))


def _page(template: str, status: int, /, **shown: Any) -> Response:
    return HTMLResponse(render(template, _TEMPLATES, **shown), status, dict(HEADERS))


def _with_cookie(request: Request, came: Visit, response: Response) -> Response:
    response.set_cookie(
        COOKIE,
        came.browser,
        COOKIE_SECONDS,
        path=request.scope.get("root_path") or "/",
        secure=came.vendor.url.startswith("https://"),
        httponly=True,
        # Strict would keep it back when a crowd's own site leads here, and lock its worker out.
        samesite="lax",
    )
    return response
