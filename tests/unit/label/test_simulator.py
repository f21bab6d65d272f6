"""The simulator keeps the vendor contract over HTTP, bills once, and outlives a kill."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from winnow.label.submit import submit_tasks
from winnow.label.vendor import LabelVendor, Message, TaskRequest
from winnow.label.vendors import connect

Make = Callable[..., list[TaskRequest]]
BUDGET = 10**9


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
    ref = submit_tasks(vendor, "day-1", make_tasks(60), BUDGET).ref
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
    ref = submit_tasks(vendor, "day-1", make_tasks(200), BUDGET).ref
    done_at = vendor.status(ref).expected_done_at
    assert done_at is not None
    assert 20.0 < done_at.timestamp() - simulator.clock.seconds < 40.0


def test_launching_again_delays_no_answer(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    ref = submit_tasks(vendor, "day-1", make_tasks(9), BUDGET).ref
    expected = vendor.status(ref).expected_done_at
    simulator.clock.seconds += 5.0
    vendor.launch(ref)
    assert vendor.status(ref).expected_done_at == expected


def test_pages_follow_the_cursor_without_loss_or_repetition(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    ref = submit_tasks(vendor, "day-1", make_tasks(450), BUDGET).ref
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
    ref = submit_tasks(vendor, "day-1", make_tasks(5), BUDGET).ref
    assert not vendor.fetch(ref, None).complete
    simulator.finish()
    assert vendor.fetch(ref, None).complete


def test_answers_do_not_depend_on_order_time_or_company(
    start_simulator, tmp_path: Path, make_tasks: Make
) -> None:
    tasks = make_tasks(40)
    one = start_simulator(tmp_path / "one.sqlite")
    ref = submit_tasks(one.connect(), "day-1", tasks, BUDGET).ref
    one.finish()
    expected = answers(one.connect(), ref)
    other = start_simulator(tmp_path / "other.sqlite", speed=1.0)
    other.clock.seconds += 5_000.0
    submit_tasks(other.connect(), "day-0", make_tasks(9, subject="winds"), BUDGET)
    ref = submit_tasks(other.connect(), "day-1", tasks[25:], BUDGET).ref
    other.clock.seconds += 77.0
    submit_tasks(other.connect(), "day-1", tasks[::-1], BUDGET)
    other.finish()
    assert answers(other.connect(), ref) == expected


def test_all_state_outlives_a_restart(start_simulator, tmp_path: Path, make_tasks: Make) -> None:
    before = start_simulator(tmp_path / "books.sqlite")
    ref = submit_tasks(before.connect(), "day-1", make_tasks(30), BUDGET).ref
    before.clock.seconds += 12.0
    half = answers(before.connect(), ref)
    assert 0 < len(half) < 30
    after = start_simulator(tmp_path / "books.sqlite")
    after.clock.seconds = before.clock.seconds
    assert answers(after.connect(), ref) == half
    after.finish()
    assert half.items() < answers(after.connect(), ref).items()
    assert submit_tasks(after.connect(), "day-1", make_tasks(30), BUDGET).n_sent == 0
    books = after.ask("GET", "/books").json()["tasks"]
    assert all(t["bought"] == 1 and t["charged"] in (0, t["price"]) for t in books)
    assert sum(t["charged"] for t in books) == after.connect().status(ref).charged


def test_the_process_may_be_killed_and_started_again(tmp_path: Path, make_tasks: Make) -> None:
    port = _free_port()
    process = _start(port, tmp_path / "books.sqlite")
    try:
        vendor = connect("simulator", f"http://127.0.0.1:{port}", "secret")
        ref = submit_tasks(vendor, "day-1", make_tasks(20), BUDGET).ref
        expected = answers(vendor, ref)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = _start(port, tmp_path / "books.sqlite")
        assert submit_tasks(vendor, "day-1", make_tasks(20), BUDGET).n_sent == 0
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
    ref = submit_tasks(vendor, "day-1", make_tasks(60), BUDGET).ref
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
    ref = submit_tasks(vendor, "day-1", make_tasks(600), BUDGET).ref
    simulator.finish()
    status = vendor.status(ref)
    assert 0 < status.n_expired < 20
    assert status.charged == (600 - status.n_expired) * 100_000
    assert len(fetch_all(vendor, ref)) == status.n_answered


def test_a_task_that_the_account_holds_is_refused_with_409(simulator, make_tasks: Make) -> None:
    vendor = simulator.connect()
    ref, twin = vendor.open_batch("day-1"), vendor.open_batch("day-2")
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
    ref = submit_tasks(simulator.connect(), f"day {hostile}", [task], BUDGET).ref
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


_COMMAND = [sys.executable, "-m", "winnow.label.vendors.simulator_service"]


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
