"""The pages' door: no route but the webhook is open, a refusal is in words, headers forbid."""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.api_fastapi.core_api.security import get_user
from fastapi import FastAPI
from fastapi.routing import APIRoute

from winnow.console.memory import Memory
from winnow.console.shell import POLICY
from winnow.errors import Retryable
from winnow.lake import FolderLake
from winnow.stages.tasks import dag_ids
from winnow_airflow import console_access, console_app, console_campaigns, console_runs
from winnow_plugin import WinnowPlugin

from ..console_world import World, day, many, settle

OPEN = {"/webhooks/{vendor}"}
PAGES = ("batches", "batch", "datasets", "spend", "selector")


class Manager:
    """An auth manager that allows what `denied` does not name: (dag, entity) each.

    `listed` are the DAGs that the user may read, of those that Airflow knows.
    """

    def __init__(self) -> None:
        self.denied: set[tuple[str, Any]] = set()
        self.asked: list[tuple[str, str, Any]] = []
        self.listed: set[str] = set()

    def get_authorized_dag_ids(self, *, user: Any) -> set[str]:
        return set(self.listed)

    def batch_is_authorized_dag(self, requests: list[Any], *, user: Any) -> bool:
        each = [(r["method"], r["details"].id, r["access_entity"]) for r in requests]
        self.asked += each
        return not any((dag, entity) in self.denied for _, dag, entity in each)

    def get_url_login(self, **told: Any) -> str:
        return f"/auth/login?next={told['next_url']}"


class Door:
    """The app over a lake of its own; `user` is who is logged in."""

    def __init__(self, app: FastAPI, manager: Manager, world: World) -> None:
        self.app, self.manager, self.world = app, manager, world
        self.log_in()

    def log_in(self) -> None:
        self.app.dependency_overrides[get_user] = lambda: SimpleNamespace(name="reader")

    def log_out(self) -> None:
        self.app.dependency_overrides.clear()

    def ask(self, path: str, method: str = "GET", page: bool = True) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                headers = {"accept": "text/html"} if page else {}
                return await client.request(method, f"/{path}", headers=headers)

        return asyncio.run(send())


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Door:
    """Over one campaign, `nightly`; more may be settled in `tmp_path / "campaigns"`."""
    manager, world, memory = Manager(), many(FolderLake(tmp_path / "lake"), 5), Memory()
    settle(tmp_path / "campaigns", world.campaign)
    monkeypatch.setenv("WINNOW_CAMPAIGNS", str(tmp_path / "campaigns"))
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "airflow"))
    manager.listed = set(dag_ids("nightly").values())
    for module in (console_access, console_app):
        monkeypatch.setattr(module, "get_auth_manager", lambda: manager)
    monkeypatch.setattr(
        console_access.DagModel,
        "get_dag_id_to_team_name_mapping",
        lambda _: {"nightly.label_pairs": "t"},
    )
    monkeypatch.setattr(console_access, "dags_known", set)
    for module in (console_app, console_campaigns):
        monkeypatch.setattr(module, "the_lake", lambda: world.lake)
        monkeypatch.setattr(module, "MEMORY", memory)
    monkeypatch.setattr(console_app, "runs_of", lambda keys, **_: {})
    monkeypatch.setattr(console_app, "begun", lambda names: {})
    monkeypatch.setattr(console_app, "paused", lambda names: {})
    monkeypatch.setattr(
        console_app, "key_of", lambda dag, run, names: ("nightly", day(3)) if run == "r1" else None
    )
    return Door(console_app.create_app(), manager, world)


def every_path(app: FastAPI) -> list[str]:
    return [route.path for route in app.routes if isinstance(route, APIRoute)]


def test_every_route_but_the_webhook_wants_a_login(door: Door) -> None:
    assert len(every_path(door.app)) == len(door.app.routes), "a route of another kind"
    closed = set(every_path(door.app)) - OPEN
    files = ("report", "file", "data_docs")
    assert {f"/{name}" for name in (*PAGES, *files, "run", "frame.js", "")} == closed
    door.log_out()
    for path in closed:
        for page in (True, False):
            answer = door.ask(path.lstrip("/"), page=page)
            assert answer.status_code == 401, path
            assert "batch?campaign" not in answer.text
    assert door.manager.asked == []


def test_every_route_asks_for_each_dag_its_runs_and_its_tasks(door: Door) -> None:
    entity = console_access.DagAccessEntity
    entities = (None, entity.RUN, entity.TASK_INSTANCE)
    wanted = {("GET", dag, e) for dag in dag_ids("nightly").values() for e in entities}
    for path in set(every_path(door.app)) - OPEN:
        door.manager.asked.clear()
        door.ask(path.lstrip("/"))
        assert wanted <= set(door.manager.asked), path


@pytest.mark.parametrize("entity", console_access.SHOWN)
def test_who_may_not_read_one_dag_sees_nothing_of_any(door: Door, entity: Any) -> None:
    door.manager.denied = {("nightly.label_pairs", entity)}
    for path in set(every_path(door.app)) - OPEN:
        answer = door.ask(path.lstrip("/"))
        assert answer.status_code == 403, path
        assert "You may not read Winnow&#39;s DAGs" in answer.text
        assert "batch?campaign" not in answer.text


def test_a_browser_without_a_login_is_led_to_it(door: Door) -> None:
    door.log_out()
    answer = door.ask("batches?state=open")
    assert 'href="../auth/login?next=http://test/batches?state=open"' in answer.text
    assert door.ask("batches", page=False).json() == {"detail": "Not authenticated"}


@pytest.mark.parametrize("login", ["https://login.test/in?next=x&y=<b>", "http://login.test/in"])
def test_a_whole_address_of_the_login_is_left_whole(
    door: Door, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    monkeypatch.setattr(door.manager, "get_url_login", lambda **_: login)
    door.log_out()
    assert f'href="{escape(login)}"' in door.ask("batches").text


def test_every_page_is_whole_and_forbids_what_it_does_not_need(door: Door) -> None:
    for name in PAGES:
        answer = door.ask(f"{name}?key={day(3)}")
        assert answer.status_code == 200, name
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.text.startswith("<!doctype html>")
        assert answer.text.count("<h1>") == 1
    assert "Campaign nightly. Read at" in door.ask("batches").text


def test_nothing_changes_state(door: Door) -> None:
    methods = {
        method for r in door.app.routes if r.path not in OPEN for method in (r.methods or ())
    }
    assert methods == {"GET", "HEAD"}
    for method in ("POST", "PUT", "DELETE"):
        assert door.ask("batches", method).status_code == 405


def test_a_run_leads_to_its_batch_by_a_relative_address(door: Door) -> None:
    answer = door.ask("run?dag=nightly.label_pairs&run=r1")
    assert (answer.status_code, answer.headers["location"]) == (
        307,
        f"batch?campaign=nightly&key={day(3)}",
    )
    assert door.ask("run?dag=other&run=x").status_code == 404
    assert door.ask("").headers["location"] == "batches"


def test_what_is_not_there_is_said_in_words(door: Door) -> None:
    answer = door.ask("batch?key=<script>")
    assert answer.status_code == 404
    assert "&lt;script&gt;" in answer.text
    assert "<script>" not in answer.text
    assert door.ask("file?version=v000001&name=../../etc/passwd").status_code == 404
    assert door.ask("report?version=v999999").status_code == 404


def test_a_lake_that_cannot_be_read_is_said_in_words(door: Door, monkeypatch) -> None:
    def broken() -> Any:
        raise Retryable("s3://lake: the store cannot be reached: <down>")

    monkeypatch.setattr(console_app, "the_lake", broken)
    answer = door.ask("batches")
    assert answer.status_code == 503
    assert "cannot be reached: &lt;down&gt;" in answer.text


def test_a_report_is_shown_and_a_file_is_saved(door: Door) -> None:
    report = door.ask("report?version=v000001")
    assert report.status_code == 200
    assert "sandbox" in report.headers["content-security-policy"]
    file = door.ask("file?version=v000001&name=README.md")
    assert file.text == "# v000001\n"
    assert file.headers["content-disposition"].startswith("attachment")


def test_errors_of_tasks_are_for_who_may_read_logs(door: Door, monkeypatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(
        console_app,
        "runs_of",
        lambda keys, *, with_errors, **_: asked.append(list(with_errors(keys))) or {},
    )
    door.ask("batches")
    door.manager.denied = {("nightly.label_pairs", console_access.DagAccessEntity.TASK_LOGS)}
    door.ask("batches")
    assert asked[0] == ["nightly"]
    assert asked[-1] == []


def typed(rows: list[tuple[Any, ...]]) -> list[console_runs.TaskRow]:
    return [console_runs.TaskRow(*row) for row in rows]


def test_runs_are_put_together_from_rows_newest_first() -> None:
    at = datetime(2026, 11, 25, tzinfo=UTC)
    rows = [
        (
            "k",
            "nightly.label_pairs",
            "r2",
            "running",
            at,
            None,
            9,
            "approve_purchase",
            "awaiting_input",
        ),
        ("k", "nightly.label_pairs", "r1", "failed", at, at, 7, "submit_tasks", "failed"),
        ("k", "nightly.label_pairs", "r1", "failed", at, at, 8, "wait", "failed"),
        ("j", "nightly.ingest_prompts", "r0", "success", at, at, None, None, None),
    ]
    found = console_runs._by_batch(typed(rows), {7: "Blocked: too dear"})["nightly"]
    newest, oldest = found["k"]
    assert (newest.run_id, newest.waiting, newest.failures) == ("r2", ("approve_purchase",), ())
    assert [(f.task, f.error) for f in oldest.failures] == [
        ("submit_tasks", "Blocked: too dear"),
        ("wait", None),
    ]
    assert found["j"][0].stage == "ingest"


def test_of_a_mapped_task_one_log_is_read_and_its_error_kept() -> None:
    at = datetime(2026, 11, 25, tzinfo=UTC)

    def failed(run: str, task: int, name: str) -> Any:
        return ("k", "nightly.expand_pools", run, "failed", at, at, task, name, "failed")

    rows = [
        *(failed("r2", 10 + n, "generate") for n in range(5)),
        failed("r2", 20, "gather"),
        failed("r1", 30, "generate"),
        failed("r1", 40, "gather"),
    ]
    assert console_runs._logs_to_read(typed(rows)) == [10, 20, 30]
    newest, _ = console_runs._by_batch(typed(rows), {10: "Fatal: no GPU", 20: None})["nightly"]["k"]
    assert [(f.task, f.error) for f in newest.failures] == [
        ("generate", "Fatal: no GPU"),
        ("gather", None),
    ]


def test_a_log_that_cannot_be_read_is_soon_read_again() -> None:
    assert console_runs._seconds(None) <= 60 < console_runs._seconds("Fatal: no GPU")


def test_a_log_that_cannot_be_read_takes_no_page_with_it(monkeypatch) -> None:
    def broken() -> Any:
        raise OSError("no log store")

    monkeypatch.setattr(console_runs, "create_session", broken)
    assert console_runs._error("task") is None


def test_the_last_error_of_a_log_counts() -> None:
    lines = [
        SimpleNamespace(event="x"),
        SimpleNamespace(error_detail=[{"exc_type": "A", "exc_value": "1"}]),
        SimpleNamespace(error_detail=[{"exc_type": "B", "exc_value": "2" * 5000}]),
        SimpleNamespace(error_detail=None),
    ]
    found = console_runs._last_error(lines)
    assert found.startswith("B: 222")
    assert len(found) <= 2000


def test_the_views_are_relative_and_carry_their_icon() -> None:
    views = WinnowPlugin.external_views
    assert [view["destination"] for view in views] == ["nav"] * 4 + ["dag_run"]
    for view in views:
        assert view["href"].startswith("winnow/")
        assert view["icon"].startswith("data:image/svg+xml,")
    assert len({view["url_route"] for view in views}) == 5


def test_pages_are_functions_that_a_thread_runs(door: Door) -> None:
    for route in door.app.routes:
        if route.path not in OPEN:
            assert not inspect.iscoroutinefunction(route.endpoint), route.path
