"""Winnow's pages below Airflow's API server: to each of who may read some campaign's DAGs there.

    GET /winnow/batches  batch  datasets  spend  selector      the pages
    GET /winnow/run                                            the batch of a DAG run
    GET /winnow/report  file                                   a version's report and files
    GET /winnow/data_docs                                      a batch's Data Docs
    GET /winnow/frame.js                                       the pages' one script

Every route wants an Airflow login, its cookie or a bearer token: 401 without, 403 for who may read
no campaign. Of campaigns that the user may not read nothing is read, so that no answer can tell
of them: what is theirs is answered as what is not there. Nothing here changes state, so there is
nothing to forge.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from airflow.api_fastapi.app import get_auth_manager
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from winnow.campaign import Campaign
from winnow.console.datasets.files import Served, data_docs, file_of, report_of
from winnow.console.nav import NAV, UNDER
from winnow.console.scope import NO_DATASET, Scope, asked_for, of_dataset
from winnow.console.shell import (
    POLICY,
    SCRIPT,
    SCRIPT_NAME,
    Airflow,
    NotFound,
    Page,
    Site,
    document,
    page_of,
    to,
)
from winnow.console.show import show
from winnow.errors import WinnowError
from winnow.lake import Lake
from winnow_airflow.console_access import Reader, Viewer, may_read, may_read_logs
from winnow_airflow.console_campaigns import MEMORY, settings_of, team_budgets
from winnow_airflow.console_runs import begun, key_of, paused, runs_of
from winnow_airflow.context import the_lake
from winnow_airflow.plain_log import plain_logger
from winnow_airflow.webhook_app import create_app as create_webhook_app

PAGES = (*NAV, *UNDER)
FILES: Mapping[str, Callable[[Lake, Campaign, Mapping[str, str]], Served]] = {
    "report": report_of,
    "data_docs": data_docs,
    "file": file_of,
}
AIRFLOW = "../"
"""Airflow's own pages, from any of ours."""

log = plain_logger(__name__)

Endpoint = Callable[..., Response]


def create_app() -> FastAPI:
    """The one app of Winnow's plugin: vendors' webhooks, and the pages; no docs, no schema."""
    app = create_webhook_app()
    router = APIRouter(dependencies=[Depends(may_read)])
    routes: dict[str, Endpoint] = {
        "/": lambda: RedirectResponse("batches", 307, _headers()),
        f"/{SCRIPT_NAME}": lambda: Response(SCRIPT, 200, _headers(), "text/javascript"),
        "/run": _run,
        **{f"/{name}": _page_route(name) for name in PAGES},
        **{f"/{name}": _file_route(name) for name in FILES},
    }
    for path, endpoint in routes.items():
        router.add_api_route(path, endpoint, methods=["GET", "HEAD"], response_class=Response)
    app.include_router(router)
    app.add_exception_handler(StarletteHTTPException, _refused)
    return app


def _run(request: Request, viewer: Reader) -> Response:
    """From a DAG run in Airflow's pages to its batch."""
    query = _query(request)
    batch = key_of(query.get("dag", ""), query.get("run", ""), viewer.campaigns)
    if batch is None:
        why = "This run works on no batch of Winnow: it has no partition key, or another DAG."
        return _sorry(404, "No batch", why, "", Site(datetime.now(UTC), ui=AIRFLOW))
    campaign, key = batch
    address = to("batch", campaign=campaign, key=key)
    return RedirectResponse(address, status_code=307, headers=_headers())


def _page_route(name: str) -> Endpoint:
    def answer(request: Request, viewer: Reader) -> Response:
        site = Site(datetime.now(UTC), MEMORY, ui=AIRFLOW)
        try:
            lake = the_lake()
            shown = show(name, lake, _scope(lake, viewer), _query(request), site)
        except NotFound as error:
            return _sorry(404, "Not found", str(error), name, site)
        except WinnowError as error:
            log.warning("Page %s cannot be shown: %s", name, error)
            return _sorry(503, "This page cannot be shown now", str(error), name, site)
        return _html(200, shown.page, name, shown.site, shown.about)

    return answer


def _file_route(name: str) -> Endpoint:
    def answer(request: Request, viewer: Reader) -> Response:
        site, query = Site(datetime.now(UTC), ui=AIRFLOW), _query(request)
        try:
            lake = the_lake()
            scope = _scope(lake, viewer)
            campaigns = of_dataset(lake, scope, asked_for(scope, query), query, MEMORY)
            if len(campaigns) > 1:
                raise NotFound(NO_DATASET)
            (campaign,) = campaigns.values()
            served = FILES[name](lake, campaign, query)
        except NotFound as error:
            return _sorry(404, "Not found", str(error), "datasets", site)
        except WinnowError as error:
            return _sorry(503, "This file cannot be had now", str(error), "datasets", site)
        kept = {"Cache-Control": "private, no-store"}
        return StreamingResponse(served.chunks, headers={**kept, **served.headers})

    return answer


def _scope(lake: Lake, viewer: Viewer) -> Scope:
    """What the viewer may read, as it is now."""
    campaigns, gone = settings_of(lake, viewer.campaigns)
    with_errors = partial(may_read_logs, viewer.user)
    runs = partial(runs_of, lake=lake, memory=MEMORY, with_errors=with_errors)
    airflow = Airflow(runs, begun, paused)
    return Scope(campaigns, gone, airflow, team_budgets(lake, campaigns))


def _query(request: Request) -> dict[str, str]:
    """The first value of each parameter."""
    first: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        first.setdefault(name, value)
    return first


def _sorry(
    status: int, title: str, words: str, here: str, site: Site, address: str = ""
) -> Response:
    """A sentence in place of a page; `address` is where its words lead."""
    page = page_of(title, "told.html", site, words=words, address=address)
    return _html(status, page, here, site)


def _html(status: int, page: Page, here: str, site: Site, about: str = "") -> Response:
    return HTMLResponse(document(page, here, site, about), status, headers=_headers())


def _headers() -> dict[str, str]:
    return {
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cache-Control": "private, no-store",
    }


async def _refused(request: Request, error: Exception) -> Response:
    """A refusal as a page for a browser that asks for a page, else as JSON as Airflow has it."""
    assert isinstance(error, HTTPException | StarletteHTTPException)
    wants_page = "text/html" in request.headers.get("accept", "")
    if error.status_code not in (401, 403) or not wants_page:
        return await http_exception_handler(request, error)
    site = Site(datetime.now(UTC))
    if error.status_code == 403:
        return _sorry(403, "Not allowed", str(error.detail), "", site)
    login = get_auth_manager().get_url_login(next_url=str(request.url))
    is_whole = login.startswith(("http://", "https://"))
    address = login if is_whole else AIRFLOW + login.lstrip("/")
    return _sorry(error.status_code, "Log in", "Log in to Airflow", "", site, address)
