"""Scale's adapter keeps the contract, and what is Scale's own: forms, audits, callbacks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, get_args

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import Fatal, Retryable
from winnow.ingest.values import Unreadable
from winnow.label.annotation import AnnotatorKey, pseudonymous
from winnow.label.vendor import MAX_PRICE, Choice, DeliveredAnnotation, Rating, VendorAccount
from winnow.label.vendors import connect
from winnow.label.vendors.calls import VendorCalls
from winnow.label.vendors.scale.answers import annotation_of, read_task
from winnow.label.vendors.scale.client import REREAD, ScaleVendor, batch_of_event
from winnow.label.vendors.scale.tasks import as_markdown, task_body

from ...vendor_contract import VendorContract
from ...vendor_faults import FaultyTransport, Strike
from ...vendor_world import Can, latest, read_all, submit
from .scale_fake import ScaleFake, create_app

KEY, PROJECT = "live_0123456789", "preferences"


@dataclass
class ScaleWorld:
    """The fake as the contract sees it."""

    scale: ScaleFake
    url: str
    transport: httpx.BaseTransport
    can = Can(name_people=False)
    n_tasks = 3
    n_paged = 7

    def connect(self, strike: Strike | None = None, token: str | None = None) -> ScaleVendor:
        transport = self.transport if strike is None else FaultyTransport(self.transport, strike)
        account = VendorAccount(f"{self.url}/v1", token or KEY, extra={"project": PROJECT})
        vendor = ScaleVendor(account, transport, lambda _: None, self.now)
        vendor.max_request = 2
        return vendor

    def now(self) -> datetime:
        return self.scale.clock

    def answer(self, ref: str, task_id: str, annotator: str, choice: str) -> None:
        assert self.scale.batches[ref]["status"] == "in_progress"
        self.scale.answer(self.scale.find(task_id), choice)

    def edit(self, ref: str, task_id: str, choice: str) -> None:
        self.answer(ref, task_id, "", choice)

    def retract(self, ref: str, task_id: str) -> None:
        self.scale.touch(self.scale.find(task_id), customer_review_status="rejected")

    def expire(self, ref: str) -> None:
        for task in self.scale.tasks.values():
            if task["batch"] == ref and task["status"] == "pending":
                self.scale.touch(task, status="error")

    def misdeliver(self) -> None:
        self.scale.misdelivers = True

    def times_held(self, task_id: str) -> int:
        held = [t["metadata"]["task_id"] for t in self.scale.tasks.values()]
        return held.count(task_id)

    def charged(self, ref: str) -> int:
        done = [t for t in self.scale.tasks.values() if t["status"] == "completed"]
        return sum(t["metadata"]["price"] for t in done if t["batch"] == ref)


@pytest.fixture
def world(_front: Any, loopback: httpx.HTTPTransport) -> ScaleWorld:
    scale = ScaleFake(KEY, PROJECT)
    _front.app = create_app(scale)
    return ScaleWorld(scale, _front.url, loopback)


class TestContract(VendorContract):
    pass


def test_the_form_offers_every_choice_and_asks_for_the_ratings(make_tasks) -> None:
    body = task_body(make_tasks(1)[0], PROJECT, "batch", ("harmlessness",))
    fields = {f["field_id"]: f for f in body["fields"]}
    assert [c["value"] for c in fields["choice"]["choices"]] == list(get_args(Choice))
    assert {"rating/a/harmlessness", "rating/b/harmlessness"} <= fields.keys()
    assert body["unique_id"] == make_tasks(1)[0].task_id
    assert "Judge by\\: helpfulness" in body["instruction"]


def test_dimensions_of_the_terms_reach_the_form_and_come_back(world, make_tasks) -> None:
    task = make_tasks(1)[0]
    ref = submit(world, "night/1", [task]).ref
    form = world.scale.find(task.task_id)["params"]["fields"]
    assert "rating/b/helpfulness" in {f["field_id"] for f in form}
    more = {"rating/a/helpfulness": "4", "rating/b/helpfulness": "2", "strength": "2"}
    world.scale.answer(world.scale.find(task.task_id), "a", rationale="A <b>says</b> why", **more)
    [got] = latest(read_all(world.connect(), ref)[0])
    assert got.ratings == {"helpfulness": Rating(a=4, b=2)}
    assert (got.strength, got.rationale, got.active_seconds) == (2, "A <b>says</b> why", 41.5)


def test_hostile_text_is_shown_and_not_run(world, make_tasks) -> None:
    hostile = "# big\n<script>x</script> ![i](http://x) [l](javascript:x)\n    code `y`"
    submit(world, "night/1", [replace(make_tasks(1)[0], response_a=hostile)])
    [task] = world.scale.tasks.values()
    shown = [a["content"] for a in task["params"]["attachments"]]
    assert all(a["type"] == "text" for a in task["params"]["attachments"])
    assert not [text for text in shown if re.search(r"(?<!\\)[<\[!`#]|^    ", text, re.MULTILINE)]


@given(st.text())
def test_markdown_says_the_same_text(text: str) -> None:
    back = as_markdown(text).replace("  \n", "\n")
    for mark in "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~":
        back = back.replace(f"\\{mark}", mark)
    assert back.replace("\\\\", "\\").replace("\u00a0", " ").split() == (
        text.replace("\u00a0", " ").replace("\t", " ").split()
    )


@pytest.mark.parametrize("audit", ["rejected", "accepted", "fixed", "pending"])
def test_the_customers_audit_is_the_status(world, make_tasks, audit: str) -> None:
    task = make_tasks(1)[0]
    ref = submit(world, "night/1", [task]).ref
    world.answer(ref, task.task_id, "", "a")
    world.scale.touch(world.scale.find(task.task_id), customer_review_status=audit)
    [got] = latest(read_all(world.connect(), ref)[0])
    expected = {"rejected": "rejected", "accepted": "approved", "fixed": "approved"}
    assert got.status == expected.get(audit, "submitted")


def test_an_answer_that_is_redone_is_retracted_until_it_is_back(world, make_tasks) -> None:
    task = make_tasks(1)[0]
    ref = submit(world, "night/1", [task]).ref
    world.answer(ref, task.task_id, "", "a")
    world.scale.touch(world.scale.find(task.task_id), status="pending")
    records, last = read_all(world.connect(), ref)
    assert [a.status for a in latest(records)] == ["retracted"] and not last.complete
    world.answer(ref, task.task_id, "", "b")
    assert [a.choice for a in latest(read_all(world.connect(), ref)[0])] == ["b"]


@pytest.mark.parametrize(
    "response",
    [None, {}, [], "yes", {"annotations": {}}, {"annotations": {"choice": {"response": []}}}],
)
def test_an_answer_that_cannot_be_read_is_delivered_as_it_came(world, make_tasks, response) -> None:
    task = make_tasks(1)[0]
    ref = submit(world, "night/1", [task]).ref
    world.scale.touch(world.scale.find(task.task_id), status="completed", response=response)
    [record] = read_all(world.connect(), ref)[0]
    assert json.loads(record)["unread"]["response"] == response
    assert json.loads(record)["task_id"] == task.task_id
    status = world.connect().status(ref)
    assert (status.state, status.n_unreadable) == ("complete", 1)
    assert status.charged == task.price


BAD_PARTS = [
    {"completed_at": "0001-01-01T00:00:00+01:00"},
    {"updated_at": "10000-01-01T00:00:00Z"},
    {"response": {"annotations": {"choice": {"response": [["a"]]}, "x": 10**4299}}},
    {"response": {"annotations": {"choice": {"response": [["\ud800"]]}}}},
    {"response": json.loads("[" * 400 + "]" * 400)},
    {"response": {"annotations": {"choice": {"response": [["a"]]}}, "duration": [{}]}},
    {"customer_review_status": {"a": 1}},
]


@pytest.mark.parametrize("part", BAD_PARTS)
def test_one_strange_task_neither_stops_the_page_nor_is_bought_again(part) -> None:
    wire = {
        "task_id": "s1",
        "status": "completed",
        "metadata": {"task_id": "t1", "price": 100_000},
        "created_at": "2026-11-22T00:00:00Z",
        "updated_at": "2026-11-22T00:01:00Z",
        "response": {"annotations": {"choice": {"response": [["a"]]}}},
    }
    fine, strange = (json.dumps(each).encode() for each in (wire, {**wire, **part}))
    page = b'{"docs": [' + fine + b"," + strange + b'], "next_token": null}'
    calls = VendorCalls("Scale", "http://s", {"Authorization": "x"})
    answer = httpx.Response(200, content=page, request=httpx.Request("GET", "http://s/tasks"))
    _, listed = calls.read_list(answer, "docs", dict)
    tasks = [read_task(raw) for raw in listed]
    assert [task.asked for task in tasks] == ["t1", "t1"]
    assert all(task.is_answered for task in tasks)
    assert json.loads(annotation_of(tasks[0]) or b"")["choice"] == "a"
    record = annotation_of(tasks[1])
    assert record and pseudonymous(record, AnnotatorKey("scale", b"salt"))


WIRE = {
    "task_id": "s1",
    "unique_id": "t1",
    "status": "completed",
    "metadata": {"task_id": "t1", "price": 100_000},
    "created_at": "2026-11-22T00:00:00Z",
    "updated_at": "2026-11-22T00:01:00Z",
    "completed_at": "2026-11-22T00:01:00Z",
    "response": {"annotations": {"choice": {"response": [["a"]]}}},
    "customer_review_status": "pending",
}
STRANGE = [None, True, 7, 7.0, -1, 1e30, float("nan"), "", "7", "\ud800", [], {}, [[]], {"a": None}]
paths = st.sampled_from([*WIRE, "metadata task_id", "metadata price"])


def spoilt(path: str, how: Any) -> bytes:
    """A finished task with one part replaced, left out or there twice."""
    *outer, name = path.split()
    wire = json.loads(json.dumps(WIRE))
    holder = wire[outer[0]] if outer else wire
    if how == "absent":
        del holder[name]
    elif how == "twice":
        holder[f"{name}!"] = holder[name]
    else:
        holder[name] = how
    return json.dumps(wire).replace(f'"{name}!"', f'"{name}"').encode()


@given(paths, st.sampled_from([*STRANGE, "absent", "twice"]))
def test_whatever_is_strange_in_a_finished_task_its_answer_is_there(path: str, how: Any) -> None:
    raw = spoilt(path, how)
    task = read_task(raw)
    record = annotation_of(task)
    # Without its status the response says that it is done; without its response its status does.
    assert task.asked is not None and task.is_answered and record is not None
    try:
        told = DeliveredAnnotation.of(json.loads(record))
        assert (told.choice, told.price, told.task_id) == ("a", task.price, task.asked)
        assert not task.fault or path == "status"
    except Unreadable:
        assert raw in record and task.fault
    assert task.price == 100_000 or path.startswith("metadata")
    assert task.price is None or 0 <= task.price < MAX_PRICE


@pytest.mark.parametrize("raw", [b"7", b"null", b"[]", b'"x"', b"{}", b"{", b"", b"\xff"])
def test_what_is_no_task_at_all_is_kept_as_it_came_and_waited_for(raw: bytes) -> None:
    task = read_task(raw)
    assert annotation_of(task) == raw
    assert task.fault and not task.is_answered and not task.is_expired


@pytest.mark.parametrize(
    "done", ["Completed", " COMPLETED ", "complete", "done", "in review", None]
)
@pytest.mark.parametrize("ended", ["cancelled", "Canceled", "ERROR"])
def test_a_status_in_another_spelling_ends_the_batch(world, make_tasks, done, ended) -> None:
    tasks = make_tasks(2)
    ref = submit(world, "night/1", tasks).ref
    world.answer(ref, tasks[0].task_id, "", "a")
    first, second = (world.scale.find(task.task_id) for task in tasks)
    first.update(status=done, metadata={**first["metadata"], "price": "100000"})
    first.pop("created_at")
    second.update(status=ended)
    status = world.connect().status(ref)
    assert (status.is_final, status.n_answered, status.n_expired) == (True, 1, 1)
    assert status.charged == status.committed == 100_000
    [got] = latest(read_all(world.connect(), ref)[0])
    assert (got.choice, got.price) == ("a", 100_000)


def test_tasks_that_cannot_be_read_are_told_and_charged_as_far_as_known(world, make_tasks) -> None:
    tasks = make_tasks(3)
    ref = submit(world, "night/1", tasks).ref
    for task in tasks:
        world.answer(ref, task.task_id, "", "a")
    held = [world.scale.find(task.task_id) for task in tasks]
    held[0]["metadata"] = {**held[0]["metadata"], "price": "free"}
    held[1]["metadata"] = "none"
    world.misdeliver()
    status = world.connect().status(ref)
    assert (status.n_tasks, status.n_answered, status.n_unreadable) == (3, 3, 2)
    assert status.charged == 100_000
    assert "`price`" in status.unreadable and ref in status.unreadable
    records, _ = read_all(world.connect(), ref)
    asked = [json.loads(record)["task_id"] for record in records]
    assert sorted(set(asked)) == sorted(task.task_id for task in tasks)
    assert world.connect().list_task_ids(ref) == {task.task_id for task in tasks}


def test_a_later_look_asks_only_for_what_changed_with_a_margin(world, make_tasks) -> None:
    tasks = make_tasks(3)
    ref = submit(world, "night/1", tasks).ref
    world.answer(ref, tasks[0].task_id, "", "a")
    world.scale.clock += REREAD * 2
    world.answer(ref, tasks[1].task_id, "", "a")
    world.scale.clock += REREAD / 2
    _, last = read_all(world.connect(), ref)
    world.answer(ref, tasks[2].task_id, "", "a")
    again, last = read_all(world.connect(), ref, last.resume_cursor)
    assert {a.task_id for a in latest(again)} == {t.task_id for t in tasks[1:]}
    assert last.complete


def test_what_changes_while_pages_are_read_is_seen_by_the_next_look(world, make_tasks) -> None:
    tasks = make_tasks(5)
    ref = submit(world, "night/1", tasks).ref
    first = world.connect().fetch(ref, None)
    assert first.next_cursor is not None
    world.scale.clock += REREAD * 3
    for task in tasks:
        world.answer(ref, task.task_id, "", "a")
    records, last = read_all(world.connect(), ref, first.next_cursor)
    assert not last.complete, "the first page was read before its tasks were answered"
    records += read_all(world.connect(), ref, last.resume_cursor)[0]
    assert {a.task_id for a in latest(records)} == {t.task_id for t in tasks}


def test_a_task_that_is_being_worked_on_delays_the_cancel(world, make_tasks, monkeypatch) -> None:
    tasks = make_tasks(2)
    ref = submit(world, "night/1", tasks).ref
    busy = world.scale.find(tasks[0].task_id)
    touch = world.scale.touch
    monkeypatch.setattr(world.scale, "touch", lambda t, **c: None if t is busy else touch(t, **c))
    with pytest.raises(Retryable, match="1 tasks are being worked on"):
        world.connect().cancel(ref, "enough")
    monkeypatch.undo()
    world.answer(ref, tasks[0].task_id, "", "a")
    status = world.connect().cancel(ref, "enough")
    assert (status.state, status.n_answered, status.n_expired) == ("cancelled", 1, 1)


def test_a_cancelled_task_may_be_bought_again_in_another_batch(world, make_tasks) -> None:
    world.connect().cancel(submit(world, "night/1", make_tasks(2)).ref, "enough")
    assert submit(world, "night/1#1", make_tasks(2)).n_sent == 2


@pytest.mark.parametrize(
    ("body", "batch"),
    [
        ({"batch": {"name": "night-1", "status": "completed"}}, "night-1"),
        ({"task_id": "x", "task": {"batch": "night-1"}, "response": {}}, "night-1"),
        ({"task": {"batch": None}}, None),
        ([], None),
        ({"batch": 3}, None),
    ],
)
def test_the_batch_of_a_callback(body: Any, batch: str | None) -> None:
    assert batch_of_event(json.dumps(body).encode()) == batch
    assert batch_of_event(b"{") is None


@pytest.mark.parametrize(
    ("token", "extra"), [("", {"project": "p"}), ("k\n", {"project": "p"}), ("k", {})]
)
def test_a_connection_that_cannot_work_is_fatal_at_once(token: str, extra: dict) -> None:
    with pytest.raises(Fatal):
        connect("scale", VendorAccount("https://api.scale.com/v1", token, extra=extra))


def test_a_strange_cursor_is_fatal(world, make_tasks) -> None:
    ref = submit(world, "night/1", make_tasks(1)).ref
    with pytest.raises(Fatal, match="cursor"):
        world.connect().fetch(ref, "12")


STRANGE = [
    {"task_id": 17},
    {"status": None},
    {"created_at": None},
    {"response": None},
    {"metadata": {"task_id": None, "price": 100_000}},
    {"metadata": {"price": "much"}},
    {"metadata": None},
]


@pytest.mark.parametrize("change", STRANGE, ids=str)
def test_a_done_task_of_a_strange_shape_is_delivered(world, make_tasks, change) -> None:
    task = make_tasks(1)[0]
    ref = submit(world, "night/1", [task]).ref
    held = world.scale.find(task.task_id)
    world.scale.answer(held, "a")
    told = {**change, "metadata": {**held["metadata"], **(change.get("metadata") or {})}}
    held.update(told if change.get("metadata") else change)
    records, _ = read_all(world.connect(), ref)
    assert len(records) == 1 and task.task_id.encode() in records[0]


def test_a_status_of_another_word_does_not_hold_a_cancelled_batch(world, make_tasks) -> None:
    tasks = make_tasks(2)
    ref = submit(world, "night/1", tasks).ref
    world.scale.answer(world.scale.find(tasks[0].task_id), "a")
    world.scale.find(tasks[0].task_id)["status"] = "Completed"
    assert world.connect().cancel(ref, "deadline").is_final


@pytest.mark.parametrize("days", [-8, 0, 8])
def test_a_clock_that_is_days_off_hides_no_later_change(world, make_tasks, days: int) -> None:
    tasks = make_tasks(3)
    ref = submit(world, "night/1", tasks).ref
    for task in tasks:
        world.answer(ref, task.task_id, "", "a")
    world.now = lambda: world.scale.clock + timedelta(days=days)
    records, last = read_all(world.connect(), ref)
    world.scale.clock += timedelta(minutes=1)
    for task in tasks:
        world.answer(ref, task.task_id, "", "b")
    records += read_all(world.connect(), ref, last.resume_cursor)[0]
    assert {a.choice for a in latest(records)} == {"b"}


def test_an_edited_task_id_in_the_metadata_names_no_other_task(world, make_tasks) -> None:
    tasks = make_tasks(2)
    ref = submit(world, "night/1", tasks).ref
    for task in tasks:
        world.answer(ref, task.task_id, "", "a")
    world.scale.find(tasks[0].task_id)["metadata"]["task_id"] = tasks[1].task_id
    records, _ = read_all(world.connect(), ref)
    assert {a.task_id for a in latest(records)} == {task.task_id for task in tasks}
