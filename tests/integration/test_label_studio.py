"""A real Label Studio server: the contract over it, and a batch through the stage with its people.

The server starts once, on a free port, with an empty folder.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest

from winnow.batch import Batch, open_batch, read_table
from winnow.campaign import parse_campaign
from winnow.ids import content_id
from winnow.label.tasks import tasks_of
from winnow.label.vendor import Message, TaskRequest, VendorAccount
from winnow.label.vendors import batch_of_event, connect
from winnow.label.vendors.label_studio.client import LabelStudioVendor
from winnow.lake import FolderLake
from winnow.stages import label
from winnow.stages.label.plans import read_plan
from winnow.stages.label.rounds import look
from winnow_local.setup import BROWSERS

from ..conftest import lacking
from ..fabricated import fabricate, fabricate_rankings
from ..label_studio_world import TOKEN, LabelStudioWorld, chosen, ordered, rated
from ..vendor_contract import VendorContract
from ..vendor_faults import Fault, Killed
from ..vendor_world import submit, terms_of
from . import label_studio_server
from .label_studio_server import LabelStudio

pytestmark = pytest.mark.slow

Make = Callable[..., list[TaskRequest]]

SALT = b"salt"
LOST = [Fault.TIMED_OUT_AFTER, Fault.KILLED_AFTER, Fault.SENT_TWICE_AFTER]
"""The faults that leave something behind; all of them strike the server in memory."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    if not label_studio_server.PROGRAM.exists():
        pytest.skip("Label Studio is not installed; `make test` does it")
    running = label_studio_server.start(tmp_path_factory.mktemp("label-studio"))
    try:
        yield running
    finally:
        label_studio_server.stop(running)


@pytest.fixture
def world(server: LabelStudio) -> LabelStudioWorld:
    server.clear()
    transport = httpx.HTTPTransport(limits=httpx.Limits(max_keepalive_connections=0))
    return LabelStudioWorld(server.url, transport, server.count_held)


@pytest.fixture
def make_tasks() -> Make:
    """Makes tasks of one subject; equal arguments make equal tasks."""

    def make(n: int, subject: str = "tides") -> list[TaskRequest]:
        return [_task(i, subject) for i in range(n)]

    return make


def _task(i: int, subject: str) -> TaskRequest:
    return TaskRequest(
        task_id=content_id("task", subject, i),
        pair_id=content_id("pair", subject, i),
        messages=(Message("user", f"Why do the {subject} change every day?"),),
        response_a=f"The {subject} follow the moon, and {i} more reasons.",
        response_b=f"Nobody knows. {i} times nobody knows.",
        dimension="helpfulness",
        instructions="Which response helps more?",
        rubric_version="helpfulness-1",
        price=100_000,
    )


class TestLabelStudio(VendorContract):
    """The contract. Faults that leave nothing behind, and rows of faults, strike only in memory."""

    test_many_faults_in_a_row_end_the_same = None

    @pytest.mark.kill
    @pytest.mark.parametrize("fault", LOST)
    def test_each_task_is_held_once_whatever_the_fault(
        self, world: LabelStudioWorld, make_tasks: Make, fault: Fault
    ) -> None:
        super().test_each_task_is_held_once_whatever_the_fault(world, make_tasks, fault)

    @pytest.mark.kill
    @pytest.mark.parametrize("fault", LOST)
    def test_cancelling_again_after_a_fault(
        self, world: LabelStudioWorld, make_tasks: Make, fault: Fault
    ) -> None:
        super().test_cancelling_again_after_a_fault(world, make_tasks, fault)

    @pytest.mark.kill
    @pytest.mark.parametrize("fault", LOST)
    def test_reading_survives_a_fault_at_any_call(
        self, world: LabelStudioWorld, make_tasks: Make, fault: Fault
    ) -> None:
        super().test_reading_survives_a_fault_at_any_call(world, make_tasks, fault)


class LosesImports(httpx.BaseTransport):
    """Every answer to an import is lost, and the second import is the last thing that it does."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner, self._n_imports = inner, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        if request.url.path.endswith("/import"):
            response.read()
            self._n_imports += 1
            if self._n_imports == 2:
                raise Killed
            raise httpx.ReadTimeout("late", request=request)
        return response


class Person:
    """An annotator with a token of their own."""

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Token {token}"})

    def next_task(self, ref: str) -> dict[str, Any]:
        """The task that the server hands out."""
        return self._ask("GET", f"/api/projects/{ref}/next/")

    def answer(self, task: int, result: list[dict[str, Any]], **fields: Any) -> int:
        body = {"result": result, "lead_time": 20.0, **fields}
        return int(self._ask("POST", f"/api/tasks/{task}/annotations/", body)["id"])

    def edit(self, annotation: int, result: list[dict[str, Any]]) -> None:
        self._ask("PATCH", f"/api/annotations/{annotation}/", {"result": result})

    def take_back(self, annotation: int) -> None:
        self._ask("DELETE", f"/api/annotations/{annotation}/")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._http.request(method, path, json=body, timeout=60).raise_for_status()
        return answer.json() if answer.content else None


@pytest.fixture(scope="module")
def people(server: LabelStudio) -> dict[str, Person]:
    """Two annotators beside the owner."""
    return {n: Person(server.url, server.join(f"{n}@example.com")) for n in ("ann", "bob")}


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    """Four pairs, two votes each, labelled with one dimension rated and one chosen by."""
    campaign = parse_campaign(
        {
            "name": "small",
            "ingest": {"sources": ["nowhere"]},
            "expand": {"model": "m"},
            "label": {
                "vendor": "label_studio",
                "budget_usd": 5,
                "second_vote_share": 1.0,
                "rated_dimensions": ["helpfulness"],
                "choice_dimensions": ["kindness"],
            },
            "publish": {"dataset": "small"},
        },
        "test",
    )
    made = open_batch(campaign, "2026-11-22", FolderLake(tmp_path), lambda: datetime.now(UTC))
    fabricate(made, 4)
    return made


def test_a_batch_goes_through_the_stage(
    world: LabelStudioWorld, people: dict[str, Person], batch: Batch
) -> None:
    ann, bob = people["ann"], people["bob"]
    vendor = connect("label_studio", VendorAccount(world.url, TOKEN))
    dying = LabelStudioVendor(world.url, TOKEN, LosesImports(world.transport), lambda _: None)
    with pytest.raises(Killed):
        label.submit(batch, dying)
    ref = label.submit(batch, vendor)["ref"]
    plan = read_plan(batch, 0)
    assert plan is not None and plan.totals.tasks == 8
    planned = tasks_of(plan.tasks.to_pylist())
    assert [world.times_held(task.task_id) for task in planned] == [1] * 8

    shown = ann.next_task(ref)
    assert set(shown["data"]) == {"task", "prompt", "response_a", "response_b"}

    votes = [task.task_id for task in sorted(planned, key=lambda t: (t.pair_id, t.repetition))]
    number = world.numbers(ref)
    edited = ann.answer(number[votes[0]], rated("a", 5, 2, "<b>Clear</b>"))
    for result in (chosen("b"), chosen("a")):
        ann.answer(number[votes[2]], result)
    taken_back = ann.answer(number[votes[4]], chosen("a"))
    odd = ann.answer(number[votes[6]], chosen("ZZZ"))
    look(batch, 0, vendor, ref, SALT)

    kinder = {**chosen("b")[0], "from_name": "choice_1"}
    bob.edit(edited, [*rated("a", 4, 1, "Clearer"), kinder])
    ann.take_back(taken_back)
    ann.take_back(odd)
    for i in (1, 3, 5, 7):
        bob.answer(number[votes[i]], chosen("a"))
    bob.answer(number[votes[4]], [], was_cancelled=True)
    ann.answer(number[votes[6]], chosen("tie"))

    bought = label.follow_up(batch, vendor, SALT)
    assert bought["sent"] > 0
    for task_id, place in world.numbers(bought["ref"]).items():
        assert world.times_held(task_id) == 1
        ann.answer(place, chosen("b"))
    done = label.collect(batch, vendor, SALT)

    rows = list(read_table(batch.lake, done.outputs["annotations"]).to_pylist())
    of_edited = sorted((r for r in rows if r["task_id"] == votes[0]), key=lambda r: r["revision"])
    assert [r["rationale"] for r in of_edited] == ["<b>Clear</b>", "Clearer"]
    assert len({r["annotation_id"] for r in of_edited}) == 1
    grades = [{r["dimension"]: {r["first"], r["second"]} for r in e["ratings"]} for e in of_edited]
    assert grades == [{"helpfulness": {5, 2}}, {"helpfulness": {4, 1}, "kindness": {1, 5}}]
    of_retracted = {r["annotation_id"]: r["status"] for r in rows if r["task_id"] == votes[4]}
    assert Counter(of_retracted.values())["submitted"] == 1
    assert {r["choice"] for r in rows if r["task_id"] == votes[2]} == {"b"}
    assert len({r["annotator"] for r in rows}) == 2
    quarantined = list(read_table(batch.lake, done.outputs["quarantine"]).to_pylist())
    assert {"unknown_choice", "repeated_annotator"} <= {row["reason"] for row in quarantined}
    assert done.cost == sum(world.charged(r) for r in (ref, bought["ref"]))
    assert {vendor.status(r).state for r in (ref, bought["ref"])} == {"complete"}


def ranked_batch(folder: Path) -> Batch:
    """Three rankings of four responses, each asked twice."""
    campaign = parse_campaign(
        {
            "name": "ranked",
            "ingest": {"sources": ["nowhere"]},
            "expand": {"model": "m"},
            "select": {"strategy": "traditional"},
            "label": {
                "vendor": "label_studio",
                "task": "ranking",
                "size": 4,
                "budget_usd": 5,
                "second_vote_share": 1.0,
            },
            "publish": {"dataset": "ranked"},
        },
        "test",
    )
    made = open_batch(campaign, "2026-11-22", FolderLake(folder), lambda: datetime.now(UTC))
    fabricate_rankings(made, 3, 4)
    return made


def test_rankings_go_through_the_stage(
    world: LabelStudioWorld, people: dict[str, Person], tmp_path: Path
) -> None:
    ann, bob = people["ann"], people["bob"]
    batch = ranked_batch(tmp_path)
    vendor = connect("label_studio", VendorAccount(world.url, TOKEN))
    dying = LabelStudioVendor(world.url, TOKEN, LosesImports(world.transport), lambda _: None)
    with pytest.raises(Killed):
        label.submit(batch, dying)
    ref = label.submit(batch, vendor)["ref"]
    plan = read_plan(batch, 0)
    assert plan is not None and plan.totals.tasks == 6
    data = ann.next_task(ref)["data"]
    assert set(data) == {"task", "prompt", "responses"} and len(data["responses"]) == 4

    number = world.numbers(ref)
    rows = [row for page in plan.rows() for row in page.to_pylist()]
    rows.sort(key=lambda row: (row["pair_id"], row["repetition"]))
    for row in rows[::2]:
        ann.answer(number[row["task_id"]], ordered(*sorted(row["shown"])))
    changed = bob.answer(number[rows[1]["task_id"]], ordered(*rows[1]["shown"]))
    ann.edit(changed, ordered(*sorted(rows[1]["shown"], reverse=True)))
    bob.answer(number[rows[3]["task_id"]], ordered(*rows[3]["shown"][:-1]))
    bob.answer(number[rows[5]["task_id"]], ordered())
    assert label.follow_up(batch, vendor, SALT)["sent"] == 0
    done = label.collect(batch, vendor, SALT)

    said = read_table(batch.lake, done.outputs["ranking_answers"]).to_pylist()
    assert Counter(row["preferred"] for row in said) == {"ranked": 4, None: 1}
    lists = {
        row["ranking_id"]: row for row in read_table(batch.lake, done.outputs["lists"]).to_pylist()
    }
    assert lists[rows[2]["pair_id"]]["response_ids"] == sorted(rows[2]["shown"])
    # Two people put these in opposite orders.
    assert lists[rows[0]["pair_id"]]["ranks"] == [1, 1, 3, 3]
    quarantined = read_table(batch.lake, done.outputs["quarantine"]).to_pylist()
    assert [row["reason"] for row in quarantined] == ["missing_response"]
    assert done.cost == world.charged(ref) == 6 * 100_000
    assert vendor.status(ref).state == "complete"


def test_rankings_nobody_answers_are_withdrawn(world: LabelStudioWorld, tmp_path: Path) -> None:
    batch = ranked_batch(tmp_path)
    vendor = world.connect()
    ref = label.submit(batch, vendor)["ref"]
    world.expire(ref)
    status = vendor.status(ref)
    assert (status.state, status.n_expired, status.charged) == ("expired", 6, 0)


@pytest.fixture
def browser() -> Iterator[Any]:
    """A headless browser of this machine."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None or find_spec("playwright") is None:
        lacking("no browser here, or no playwright; `make test` installs it")
    with import_module("playwright.sync_api").sync_playwright() as play:
        opened = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


def test_the_page_sends_the_order_that_was_dragged(
    world: LabelStudioWorld, tmp_path: Path, browser: Any
) -> None:
    batch = ranked_batch(tmp_path)
    vendor = world.connect()
    ref = label.submit(batch, vendor)["ref"]
    page = browser.new_page()
    page.goto(f"{world.url}/user/login/")
    page.fill("#email", label_studio_server.OWNER)
    page.fill("#password", label_studio_server.PASSWORD)
    page.click("[type=submit]")
    page.wait_for_url(lambda url: "login" not in url)
    page.goto(f"{world.url}/projects/{ref}/data?labeling=1")
    items = page.locator(".htx-ranker-item")
    items.first.wait_for()
    before = [each.get_attribute("data-ranker-id") for each in items.all()]
    assert not any(name in items.first.inner_text() for name in before if name)
    page.keyboard.press("Escape")  # The instructions lie over it.
    items.last.focus()
    for key in ("Space", "ArrowUp", "Space"):
        page.keyboard.press(key)
    wanted = [*before[:2], before[3], before[2]]
    page.wait_for_function(
        "wanted => JSON.stringify([...document.querySelectorAll('.htx-ranker-item')]"
        ".map(item => item.dataset.rankerId)) === JSON.stringify(wanted)",
        arg=wanted,
    )
    with page.expect_response(lambda answer: answer.request.method == "POST"):
        page.click("text=Submit")
    page.close()
    [record] = vendor.fetch(ref, None).records
    assert json.loads(record)["order"] == wanted


class _Listener(BaseHTTPRequestHandler):
    heard: list[tuple[str | None, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.heard.append((self.headers["x-webhook-secret"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_a_webhook_names_the_batch_and_carries_the_secret(
    world: LabelStudioWorld, make_tasks: Make
) -> None:
    (task,) = make_tasks(1)
    ref = submit(world, "night/1", [task]).ref
    _Listener.heard = []
    listener = HTTPServer(("127.0.0.1", 0), _Listener)
    Thread(target=listener.serve_forever, daemon=True).start()
    hook = {
        "project": int(ref),
        "url": f"http://127.0.0.1:{listener.server_port}/",
        "headers": {"x-webhook-secret": "s3cret"},
        "send_payload": True,
        "send_for_all_actions": False,
        "actions": ["ANNOTATION_CREATED"],
    }
    try:
        world.ask("POST", "/api/webhooks/", hook)
        world.answer(ref, task.task_id, "ann", "a")
    finally:
        listener.shutdown()
        listener.server_close()
    ((secret, body),) = _Listener.heard
    assert secret == "s3cret"
    assert batch_of_event("label_studio", body) == ref


def test_a_personal_access_token_works(world: LabelStudioWorld, make_tasks: Make) -> None:
    settings = {"api_tokens_enabled": True, "legacy_api_tokens_enabled": True}
    world.ask("POST", "/api/jwt/settings", settings)
    token = world.ask("POST", "/api/token/", {})["token"]
    vendor = connect("label_studio", VendorAccount(world.url, token))
    assert vendor.list_task_ids(world.connect().open_batch("night/1", terms_of(world))) == set()
