"""The pages in a real Airflow: who may open them, and a walk through them in a browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.routing import APIRoute

from winnow.lake import FolderLake
from winnow_airflow.console_app import create_app

from ..console_world import day
from .conftest import BLOCKED, DAGS, Server

pytestmark = pytest.mark.slow

OPEN = "/webhooks/{vendor}"
SIZES = {"wide": (1280, 900), "narrow": (400, 800)}


def closed_paths() -> list[str]:
    """Paths of every route that wants a login."""
    routes = [r for r in create_app().routes if isinstance(r, APIRoute)]
    return [f"/winnow{route.path}" for route in routes if route.path != OPEN]


def test_no_page_is_shown_without_a_login_and_a_viewer_sees_them_all(server: Server) -> None:
    stranger, viewer = server.client(None), server.client("viewer")
    paths = closed_paths()
    assert len(paths) > 8
    for path in paths:
        assert stranger.get(path).status_code == 401, path
        stranger.headers["Authorization"] = "Bearer forged"
        assert stranger.get(path).status_code in (401, 403), path
        del stranger.headers["Authorization"]
        stranger.cookies.set("_token", "forged")
        assert stranger.get(path).status_code in (401, 403), path
        stranger.cookies.clear()
        assert viewer.get(path).status_code in (200, 307, 404), path
        assert viewer.post(path).status_code == 405, path
    for name in ("batches", f"batch?key={BLOCKED}", "datasets", "spend", "selector"):
        assert viewer.get(f"/winnow/{name}").status_code == 200, name
    unsigned = stranger.post("/winnow/webhooks/simulator", content=b"{}")
    assert unsigned.status_code in (401, 404)
    link = stranger.get("/winnow-links/forged")
    assert (link.status_code, "This link is not complete" in link.text) == (404, True)
    told = stranger.get("/winnow/batches", headers={"accept": "text/html"}).text
    assert "../auth/login?next=" in told


def test_runs_of_airflow_stand_beside_what_the_lake_says(server: Server) -> None:
    with server.client("viewer") as viewer:
        body = viewer.get("/winnow/batches").text
        runs = re.findall(r'href="\.\./dags/([\w.]+)/runs/([^"]+)" aria-label="([^"]+)"', body)
        assert {dag for dag, *_ in runs} == set(DAGS)
        assert any("publish_dataset, failed" in label for *_, label in runs)
        assert "The gate blocks the labels" in body
        failed = next(run for dag, run, _ in runs if dag == "nightly.publish_dataset")
        led = viewer.get(f"/winnow/run?dag=nightly.publish_dataset&run={failed}")
        assert led.headers["location"] == f"batch?campaign=nightly&key={BLOCKED}"
        assert viewer.get("/winnow/run?dag=nightly.publish_dataset&run=none").status_code == 404
    key = "2026-11-26"
    server.run("nightly.ingest_prompts", key, "failed")
    with server.client("viewer") as viewer:
        assert f"batch?campaign=nightly&amp;key={key}" in viewer.get("/winnow/batches").text
        assert "ingest_prompts failed" in viewer.get(f"/winnow/batch?key={key}").text


def test_a_walk_by_keyboard_from_airflows_menu_to_a_batch(server: Server, browser: Any) -> None:
    with logged_in(server, browser, "wide") as (page, wrong):
        page.goto(server.url)
        page.get_by_role("button", name="Browse").focus()
        page.keyboard.press("Enter")
        choose(page, "Batches")
        frame = page.frame_locator("iframe[title='Batches']")
        frame.get_by_role("heading", name="Batches", level=1).wait_for()
        frame.locator("body").focus()
        walk_to(page, frame, "Skip to the page")
        page.keyboard.press("Enter")
        walk_to(page, frame, day(3))
        assert focus_is_seen(frame)
        page.keyboard.press("Enter")
        frame.get_by_role("heading", name=f"Batch {day(3)}", level=1).wait_for()
        page.wait_for_url(f"**/plugin/winnow-batches/winnow/batch?campaign=nightly&key={day(3)}")
        page.reload()
        frame.get_by_role("heading", name=f"Batch {day(3)}", level=1).wait_for()
        assert wrong == []


def test_a_link_to_a_run_opens_it_in_airflow_and_its_tab_leads_back(
    server: Server, browser: Any
) -> None:
    with logged_in(server, browser, "wide") as (page, wrong):
        page.goto(f"{server.url}/plugin/winnow-batches")
        frame = page.frame_locator("iframe[title='Batches']")
        frame.get_by_role("link", name="The run of nightly.publish_dataset").first.click()
        page.wait_for_url(re.compile(r"/dags/nightly\.publish_dataset/runs/"))
        page.get_by_role("link", name="Batch", exact=True).click()
        tab = page.frame_locator("iframe[title='Batch']")
        tab.get_by_role("heading", name=f"Batch {BLOCKED}", level=1).wait_for()
        assert wrong == []


def test_filters_and_pages_work_in_a_browser_without_script(server: Server, browser: Any) -> None:
    with logged_in(server, browser, "wide", java_script_enabled=False) as (page, wrong):
        page.goto(f"{server.url}/winnow/batches")
        page.get_by_label("State").select_option("blocked")
        page.get_by_role("button", name="Show").click()
        rows = page.locator("tbody tr")
        shown = rows.all_inner_texts()
        assert any(BLOCKED in row for row in shown)
        assert all("blocked" in row for row in shown)
        page.goto(f"{server.url}/winnow/batches")
        page.get_by_role("navigation", name="Pages of batches").get_by_text("2").click()
        assert "page=2" in page.url
        assert rows.count() > 5
        assert wrong == []


def test_times_are_the_viewers_and_an_id_is_copied_by_a_click(server: Server, browser: Any) -> None:
    place = {"timezone_id": "America/New_York", "permissions": ["clipboard-read"]}
    with logged_in(server, browser, "wide", **place) as (page, wrong):
        page.goto(f"{server.url}/winnow/datasets?version=v000001")
        digest = FolderLake(server.lake).read("datasets/nightly/versions/v000001.json")
        time = page.locator(".lead time")
        utc = page.evaluate("e => e.title", time.element_handle())
        said = datetime.strptime(utc, "%Y-%m-%d %H:%M UTC")
        assert time.inner_text().startswith(f"{said - timedelta(hours=5):%Y-%m-%d %H:%M}, ")
        short = page.locator("td code").first
        short.click()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert len(copied) == 64 and copied.startswith(short.inner_text())
        assert copied.encode() in digest
        assert short.get_attribute("data-said") == "copied"
        assert wrong == []
    with logged_in(server, browser, "wide", java_script_enabled=False) as (page, _):
        page.goto(f"{server.url}/winnow/datasets?version=v000001")
        assert f"{utc}, " in page.locator(".lead time").inner_text()


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_every_page_is_sound_in_either_scheme_and_on_a_phone(
    server: Server, browser: Any, size: str, scheme: str
) -> None:
    with logged_in(server, browser, size, color_scheme=scheme) as (page, wrong):
        version = "datasets?version=v000001"
        for path in ("batches", f"batch?key={day(3)}", "datasets", version, "spend", "selector"):
            page.goto(f"{server.url}/winnow/{path}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", paper)[:3])) < 200) == (scheme == "dark")
            assert page.locator("h1").count() == 1
            assert page.locator("main table:not(:has(th[scope]))").count() == 0
            assert len(page.screenshot()) > 5_000
        assert wrong == []


@contextmanager
def logged_in(
    server: Server, browser: Any, size: str, **told: Any
) -> Iterator[tuple[Any, list[str]]]:
    """A page with a viewer's login, and what its console said that is wrong."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, **told)
    token = server.client("viewer").headers["Authorization"].removeprefix("Bearer ")
    context.add_cookies([{"name": "_token", "value": token, "url": server.url}])
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield page, wrong
    context.close()


def choose(page: Any, name: str) -> None:
    """Go down an open menu until the item of that name is the one that Enter takes."""
    item = page.locator("[role=menuitem][data-highlighted]")
    page.get_by_role("menuitem", name=name).wait_for()
    for _ in range(30):
        page.keyboard.press("ArrowDown")
        if item.count() and item.inner_text().strip() == name:
            page.keyboard.press("Enter")
            return
    raise AssertionError(f"The menu never came to {name!r}")


def walk_to(page: Any, frame: Any, text: str) -> None:
    """Press Tab until the link of that text is focused."""
    for _ in range(80):
        page.keyboard.press("Tab")
        focused = frame.locator(":focus")
        if focused.count() and focused.inner_text().strip() == text:
            return
    raise AssertionError(f"Tab never came to {text!r}")


def focus_is_seen(frame: Any) -> bool:
    """Whether what is focused has an outline."""
    return bool(
        frame.locator(":focus").evaluate("e => parseFloat(getComputedStyle(e).outlineWidth) > 0")
    )
