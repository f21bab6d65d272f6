"""The simulator keeps the vendor contract over HTTP, bills once, and outlives a kill."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from winnow.errors import Fatal
from winnow.ids import content_id
from winnow.label.submit import Submission, submit_tasks
from winnow.label.vendor import BatchTerms, LabelVendor, Message, TaskRequest, VendorAccount
from winnow.label.vendors import connect
from winnow_simulator import command
from winnow_simulator.tables import terms_of

Make = Callable[..., list[TaskRequest]]
BUDGET = 10**9
TERMS = BatchTerms("Which is better?", "r-1", (), datetime(2027, 1, 1, tzinfo=UTC))


def buy(vendor: LabelVendor, key: str, tasks: list[TaskRequest]) -> Submission:
    return submit_tasks(vendor, key, TERMS, tasks, BUDGET)


def fetch_all(vendor: LabelVendor, ref: str) -> list[dict[str, object]]:
    records, cursor = [], None
    while True:
        page = vendor.fetch(ref, cursor)
        records += [json.loads(raw) for raw in page.records]
        cursor = page.next_cursor
        if cursor is None:
            return records


def answers(vendor: LabelVendor, ref: str) -> dict[str, tuple[object, ...]]:
    columns = ("annotation_id", "annotator", "choice", "strength", "active_seconds", "price")
    return {str(r["task_id"]): tuple(r[c] for c in columns) for r in fetch_all(vendor, ref)}


def test_answers_come_as_time_passes_and_the_bill_follows(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    ref = buy(vendor, "day-1", make_tasks(60)).ref
    seen: list[dict[str, object]] = []
    for _ in range(50):
        status = vendor.status(ref)
        assert status.n_tasks == status.n_answered + status.n_expired + status.n_pending == 60
        assert status.charged == status.n_answered * 100_000
        assert status.committed == (status.n_answered + status.n_pending) * 100_000
        found = fetch_all(vendor, ref)
        assert len(found) == status.n_answered
        assert found[: len(seen)] == seen
        seen = found
        simulator.clock.seconds += 1.0
    assert (status.state, status.n_pending, status.expected_done_at) == ("complete", 0, None)
    assert status.n_answered > 50


def test_a_batch_of_200_is_done_in_20_to_40_seconds_at_speed_60(simulator, make_tasks) -> None:
    vendor = simulator.connect()
    ref = buy(vendor, "day-1", make_tasks(200)).ref
    done_at = vendor.status(ref).expected_done_at
    assert done_at is not None
    assert 20.0 < done_at.timestamp() - simulator.clock.seconds < 40.0


def test_launching_again_delays_no_answer(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    ref = buy(vendor, "day-1", make_tasks(9)).ref
    expected = vendor.status(ref).expected_done_at
    simulator.clock.seconds += 5.0
    vendor.launch(ref)
    assert vendor.status(ref).expected_done_at == expected


def test_pages_follow_the_cursor_without_loss_or_repetition(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    ref = buy(vendor, "day-1", make_tasks(450)).ref
    simulator.finish()
    first = vendor.fetch(ref, None)
    assert len(first.records) < 450
    assert first.next_cursor
    assert not first.complete
    assert vendor.fetch(ref, None) == first
    ids = [r["annotation_id"] for r in fetch_all(vendor, ref)]
    assert len(ids) == len(set(ids)) == vendor.status(ref).n_answered


def test_only_the_last_page_of_a_finished_batch_is_complete(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    ref = buy(vendor, "day-1", make_tasks(5)).ref
    assert not vendor.fetch(ref, None).complete
    simulator.finish()
    assert vendor.fetch(ref, None).complete


def test_answers_do_not_depend_on_order_time_or_company(
    start_simulator, tmp_path: Path, make_tasks: Make
) -> None:
    tasks = make_tasks(40)
    one = start_simulator(tmp_path / "one.sqlite")
    ref = buy(one.connect(), "day-1", tasks).ref
    one.finish()
    expected = answers(one.connect(), ref)
    other = start_simulator(tmp_path / "other.sqlite", speed=1.0)
    other.clock.seconds += 5_000.0
    buy(other.connect(), "day-0", make_tasks(9, subject="winds"))
    ref = buy(other.connect(), "day-1", tasks[25:]).ref
    other.clock.seconds += 77.0
    buy(other.connect(), "day-1", tasks[::-1])
    other.finish()
    assert answers(other.connect(), ref) == expected


def test_all_state_outlives_a_restart(start_simulator, tmp_path: Path, make_tasks: Make) -> None:
    before = start_simulator(tmp_path / "books.sqlite")
    ref = buy(before.connect(), "day-1", make_tasks(30)).ref
    before.clock.seconds += 12.0
    half = answers(before.connect(), ref)
    assert 0 < len(half) < 30
    after = start_simulator(tmp_path / "books.sqlite")
    after.clock.seconds = before.clock.seconds
    assert answers(after.connect(), ref) == half
    after.finish()
    assert half.items() < answers(after.connect(), ref).items()
    assert buy(after.connect(), "day-1", make_tasks(30)).n_sent == 0
    books = after.ask("GET", "/books").json()["tasks"]
    assert all(t["bought"] == 1 and t["charged"] in (0, t["price"]) for t in books)
    assert sum(t["charged"] for t in books) == after.connect().status(ref).charged


def test_the_process_may_be_killed_and_started_again(tmp_path: Path, make_tasks: Make) -> None:
    port = _free_port()
    process = _start(port, tmp_path / "books.sqlite")
    try:
        vendor = connect("simulator", VendorAccount(f"http://127.0.0.1:{port}", "secret"))
        ref = buy(vendor, "day-1", make_tasks(20)).ref
        expected = answers(vendor, ref)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = _start(port, tmp_path / "books.sqlite")
        assert buy(vendor, "day-1", make_tasks(20)).n_sent == 0
        assert answers(vendor, ref) == expected
        assert vendor.status(ref).state == "complete"
        assert vendor.status(ref).charged == len(expected) * 100_000 > 0
    finally:
        process.kill()
        process.wait()


def test_the_service_will_not_start_without_a_token(tmp_path: Path) -> None:
    command = [*_COMMAND, "--database", str(tmp_path / "books.sqlite")]
    done = subprocess.run(
        command, check=False, env=_environment(""), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "WINNOW_SIMULATOR_TOKEN" in done.stderr


def test_cancelling_keeps_and_bills_what_was_answered(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    ref = buy(vendor, "day-1", make_tasks(60)).ref
    simulator.clock.seconds += 12.0
    status = vendor.cancel(ref, "deadline")
    assert status.state == "cancelled"
    assert status.is_final
    assert 0 < status.n_answered < 60
    assert status.n_pending == 0
    simulator.finish()
    assert vendor.status(ref) == vendor.cancel(ref, "again") == status
    assert len(fetch_all(vendor, ref)) == status.n_answered
    assert status.charged == status.committed == status.n_answered * 100_000


def test_an_unanswered_task_costs_nothing(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    ref = buy(vendor, "day-1", make_tasks(600)).ref
    simulator.finish()
    status = vendor.status(ref)
    assert 0 < status.n_expired < 20
    assert status.charged == (600 - status.n_expired) * 100_000
    assert len(fetch_all(vendor, ref)) == status.n_answered


def test_a_task_that_the_account_holds_is_refused_with_409(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    ref, twin = vendor.open_batch("day-1", TERMS), vendor.open_batch("day-2", TERMS)
    vendor.add_tasks(ref, make_tasks(2))
    body = {"tasks": [_wire(t) for t in make_tasks(3)]}
    answer = simulator.ask("POST", f"/batches/{twin}/tasks", body)
    held = {t.task_id: ref for t in make_tasks(2)}
    assert answer.status_code == 409
    assert answer.json() == {"added": [make_tasks(3)[2].task_id], "duplicates": held}
    vendor.add_tasks(twin, make_tasks(3))
    asked = {t["task_id"]: t["asked"] for t in simulator.ask("GET", "/books").json()["tasks"]}
    assert sorted(asked.values()) == [2, 3, 3]
    assert set(simulator.bought().values()) == {1}


@pytest.mark.parametrize("token", ["", "wrong", "test-token2", "test-toke"])
@pytest.mark.parametrize("path", ["/books", "/batches/x", "/batches/x/annotations"])
def test_every_route_of_the_contract_asks_for_the_token(simulator, path, token) -> None:
    assert simulator.ask("GET", path, token=token).status_code == 401
    assert simulator.ask("GET", "/health", token="").json()["status"] == "ok"


def test_the_page_says_what_it_is_and_shows_hostile_text_as_text(simulator, make_tasks) -> None:
    hostile = "<script>alert(1)</script>"
    task = make_tasks(1)[0]
    changed = {"response_a": hostile, "messages": (Message("user", hostile + "'\""),)}
    task = TaskRequest(**{**_wire(task), **changed})
    ref = buy(simulator.connect(), f"day {hostile}", [task]).ref
    simulator.finish()
    for path in ("/", f"/?batch={ref}"):
        page = simulator.ask("GET", path, token="")
        assert "<h1>Labelling vendor simulator</h1>" in page.text
        assert "No human answered any of this" in page.text
        assert "<script" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]
    for shown in ("&lt;script&gt;", task.task_id, "$0.10", "bought once"):
        assert shown in page.text
    assert simulator.ask("GET", "/?batch=%3Cscript%3E", token="").status_code == 404


def test_terms_are_those_of_the_first_opening(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    asked = ("honesty", "care", "wit")
    terms = BatchTerms("Which is kinder?", "r-2", asked, TERMS.deadline, 25, choices=("wit",))
    assert vendor.open_batch("day-1", terms) == vendor.open_batch("day-1", TERMS)
    (batch,) = simulator.books.batches()
    assert terms_of(batch) == terms
    ref = buy(vendor, "day-1", make_tasks(40)).ref
    simulator.finish()
    answered = [r for r in fetch_all(vendor, ref) if r["choice"] != "skip"]
    assert all(list(record["ratings"]) == ["honesty", "care"] for record in answered)
    assert all(list(record["dimension_choices"]) == ["wit"] for record in answered)


def test_an_answer_due_after_the_deadline_never_comes(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    deadline = datetime.fromtimestamp(simulator.clock.seconds + 12.0, UTC)
    ref = submit_tasks(vendor, "day-1", replace(TERMS, deadline=deadline), make_tasks(60), BUDGET)
    simulator.finish()
    status = vendor.status(ref.ref)
    assert (status.state, status.is_final, status.n_pending) == ("expired", True, 0)
    assert 10 < status.n_answered < 50 and status.n_expired == 60 - status.n_answered
    assert status.charged == status.committed == status.n_answered * 100_000
    found = fetch_all(vendor, ref.ref)
    assert len(found) == status.n_answered
    assert all(datetime.fromisoformat(str(r["finished_at"])) <= deadline for r in found)
    assert vendor.fetch(ref.ref, None).complete
    with pytest.raises(Fatal, match="deadline"):
        vendor.add_tasks(ref.ref, make_tasks(61)[60:])


def test_a_batch_that_was_done_in_time_is_complete_after_its_deadline(
    simulator, make_tasks: Make
) -> None:
    ref = buy(simulator.connect(), "day-1", make_tasks(5)).ref
    simulator.clock.seconds = TERMS.deadline.timestamp() + 1.0
    assert simulator.connect().status(ref).state == "complete"


def test_a_batch_launched_after_its_deadline_expires_at_once(simulator, make_tasks: Make) -> None:
    past = datetime.fromtimestamp(simulator.clock.seconds - 1.0, UTC)
    vendor = simulator.connect()
    done = submit_tasks(vendor, "day-1", replace(TERMS, deadline=past), make_tasks(4), BUDGET)
    status = vendor.status(done.ref)
    assert (status.state, status.n_expired, status.charged) == ("expired", 4, 0)


@pytest.mark.parametrize("repeat_first", [False, True])
def test_a_repeat_goes_to_who_answered_before_in_whatever_order_they_come(
    simulator, make_tasks: Make, repeat_first: bool
) -> None:
    firsts = make_tasks(40)
    repeats = [
        replace(
            task,
            task_id=content_id("again", task.task_id),
            repeats=task.task_id,
            response_a=task.response_b,
            response_b=task.response_a,
        )
        for task in firsts
    ]
    tasks = [*repeats, *firsts] if repeat_first else [*firsts, *repeats]
    ref = buy(simulator.connect(), "day-1", tasks).ref
    simulator.finish()
    found = {r["task_id"]: r for r in fetch_all(simulator.connect(), ref)}
    pairs = [(found[t.repeats], found[t.task_id]) for t in repeats if t.repeats in found]
    assert len(pairs) > 35
    for first, again in pairs:
        assert first["annotator"] == again["annotator"]
        assert str(first["finished_at"]) < str(again["started_at"])


def test_a_vote_in_a_later_batch_goes_to_somebody_new(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    firsts = make_tasks(60)
    thirds = [replace(task, task_id=content_id("third", task.task_id)) for task in firsts]
    one = buy(vendor, "day-1", firsts).ref
    other = buy(vendor, "day-1#1", thirds).ref
    simulator.finish()
    by_pair = {t.task_id: t.pair_id for t in [*firsts, *thirds]}
    judges = [
        {by_pair[str(r["task_id"])]: r["annotator"] for r in fetch_all(vendor, ref)}
        for ref in (one, other)
    ]
    both = judges[0].keys() & judges[1].keys()
    assert len(both) > 50
    assert all(judges[0][pair] != judges[1][pair] for pair in both)


def test_books_of_another_version_are_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "books.sqlite"
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE batches (ref TEXT)")
    command = [*_COMMAND, "--database", str(database)]
    done = subprocess.run(
        command, check=False, env=_environment("secret"), capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "move the file away" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--faults", "busy=7"], "busy"),
        (["--speed", "0"], "--speed"),
        (["--staff", "lazy"], "--staff"),
        (["--webhook-url", "http://127.0.0.1:9"], "WINNOW_SIMULATOR_WEBHOOK_SECRET"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_word(
    tmp_path: Path, monkeypatch, capsys, options: list[str], words: str
) -> None:
    monkeypatch.setenv("WINNOW_SIMULATOR_TOKEN", "secret")
    monkeypatch.delenv("WINNOW_SIMULATOR_WEBHOOK_SECRET", raising=False)
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: pytest.fail("it served"))
    try:
        code = command.main(["--database", str(tmp_path / "b.sqlite"), *options])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert words in capsys.readouterr().err


_COMMAND = [sys.executable, "-m", "winnow_simulator"]


def _wire(task: TaskRequest) -> dict[str, object]:
    return {
        **{name: getattr(task, name) for name in TaskRequest.__slots__},
        "messages": [{"role": m.role, "content": m.content} for m in task.messages],
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _environment(token: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "WINNOW_SIMULATOR_TOKEN": token,
    }


def _start(port: int, database: Path) -> subprocess.Popen[bytes]:
    """The service as a process of its own, so fast that every answer is due at once."""
    command = [*_COMMAND, "--port", str(port), "--database", str(database), "--speed", "1e9"]
    process = subprocess.Popen(command, env=_environment("secret"), stdout=subprocess.DEVNULL)
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False)
            return process
        except httpx.TransportError:
            pass
        try:
            raise AssertionError(f"the service ended with {process.wait(timeout=0.05)}")
        except subprocess.TimeoutExpired:
            continue
