"""Whatever goes wrong at the simulator, each task is bought once and no answer is lost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from winnow.errors import Retryable
from winnow.label.submit import submit_tasks
from winnow.label.vendor import BatchTerms, DeliveredAnnotation, LabelVendor, TaskRequest
from winnow_simulator.faults import FAULTS, Faults, read_rates

Make = Callable[..., list[TaskRequest]]
TERMS = BatchTerms("Which is better?", "r-1", ("helpfulness",), datetime(2027, 1, 1, tzinfo=UTC))
CALL_FAULTS = ("busy", "error", "error_after", "dropped", "withheld", "truncated")
PAGE_FAULTS = ("record_twice", "page_shuffled", "page_twice")
BUDGET = 10**9


@pytest.fixture
def start(start_simulator: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    numbers = iter(range(100))

    def begin(**rates: float) -> Any:
        return start_simulator(tmp_path / f"{next(numbers)}.sqlite", rates=rates)

    return begin


def until_it_works(act: Callable[[], Any]) -> Any:
    for _ in range(100):
        try:
            return act()
        except Retryable:
            continue
    raise AssertionError("it never worked")


def buy(simulator: Any, tasks: list[TaskRequest]) -> str:
    def attempt() -> str:
        return submit_tasks(simulator.connect(), "day-1", TERMS, tasks, BUDGET).ref

    return str(until_it_works(attempt))


def fetched(vendor: LabelVendor, ref: str, cursor: str | None = None) -> list[bytes]:
    records: list[bytes] = []
    seen = {cursor}
    while True:
        page = until_it_works(lambda c=cursor: vendor.fetch(ref, c))
        records += page.records
        cursor = page.next_cursor
        if cursor is None:
            return records
        assert cursor not in seen
        seen.add(cursor)


def read(records: list[bytes]) -> Iterator[DeliveredAnnotation]:
    """Those that parse and speak of a choice that was offered."""
    for record in records:
        try:
            annotation = DeliveredAnnotation.model_validate_json(record)
        except ValidationError:
            continue
        if annotation.choice != "ZZZ":
            yield annotation


def charges(simulator: Any) -> dict[str, int]:
    tasks = simulator.ask("GET", "/books").json()["tasks"]
    return {task["task_id"]: task["charged"] for task in tasks}


@pytest.mark.parametrize("fault", CALL_FAULTS)
def test_under_a_fault_of_calls_each_task_is_bought_and_answered_once(
    start, make_tasks: Make, fault: str
) -> None:
    delivered = []
    for rates in ({}, {fault: 0.4}):
        simulator = start(**rates)
        ref = buy(simulator, make_tasks(230))
        simulator.finish()
        delivered.append(_without_times(fetched(simulator.connect(), ref)))
        assert simulator.bought() == {task.task_id: 1 for task in make_tasks(230)}
        status = until_it_works(lambda s=simulator, r=ref: s.connect().status(r))
        assert status.charged == sum(charges(simulator).values())
        assert status.charged == delivered[-1].total() * 100_000 > 0
    assert delivered[0] == delivered[1]


@pytest.mark.parametrize("fault", ["busy", "error"])
def test_a_call_that_is_refused_was_not_served(start, make_tasks: Make, fault: str) -> None:
    simulator = start(**{fault: 1.0})
    with pytest.raises(Retryable, match="429" if fault == "busy" else "500"):
        simulator.connect().open_batch("day-1", TERMS)
    assert simulator.sleeps == ([1.0] * 3 if fault == "busy" else [0.2, 0.5, 1.5])
    assert simulator.books.batches() == []


@pytest.mark.parametrize("fault", ["error_after", "dropped", "withheld", "truncated"])
def test_a_call_whose_answer_is_spoilt_was_served(start, make_tasks: Make, fault: str) -> None:
    simulator = start(**{fault: 1.0})
    with pytest.raises(Retryable):
        simulator.connect().open_batch("day-1", TERMS)
    (batch,) = simulator.books.batches()
    tasks = make_tasks(3)
    try:
        simulator.connect().add_tasks(batch["ref"], tasks)
    except Retryable:
        assert fault != "truncated"
    assert simulator.bought() == {task.task_id: 1 for task in tasks}


def test_pages_may_come_twice_and_out_of_order_but_nothing_is_lost(start, make_tasks: Make) -> None:
    calm = start()
    ref = buy(calm, make_tasks(450))
    calm.finish()
    expected = fetched(calm.connect(), ref)
    assert len(expected) == len(set(expected)) > 440
    for fault in PAGE_FAULTS:
        simulator = start(**{fault: 1.0})
        buy(simulator, make_tasks(450))
        simulator.finish()
        records = fetched(simulator.connect(), ref)
        assert set(records) == set(expected)
        assert records != expected
        n_more = {"record_twice": 3, "page_shuffled": 0, "page_twice": len(expected)}[fault]
        assert len(records) == len(expected) + n_more


def test_a_later_look_sees_the_last_records_again(start, make_tasks: Make) -> None:
    simulator = start()
    ref = buy(simulator, make_tasks(450))
    simulator.finish()
    vendor = simulator.connect()
    first = vendor.fetch(ref, None)
    assert first.resume_cursor is None
    last = vendor.fetch(ref, vendor.fetch(ref, first.next_cursor).next_cursor)
    assert last.complete and last.resume_cursor is not None
    everything = fetched(vendor, ref)
    assert fetched(vendor, ref, last.resume_cursor) == everything[-300:]


def test_an_edit_is_a_higher_revision_and_free(start, make_tasks: Make) -> None:
    simulator = start(edited=1.0)
    ref = buy(simulator, make_tasks(40))
    simulator.finish()
    revisions: dict[str, dict[int, DeliveredAnnotation]] = {}
    for annotation in read(fetched(simulator.connect(), ref)):
        revisions.setdefault(annotation.annotation_id, {})[annotation.revision] = annotation
    assert len(revisions) == simulator.connect().status(ref).n_answered > 35
    for first, second in (revisions[key].values() for key in revisions):
        assert second.revision == first.revision + 1 and second.choice != first.choice
        assert (second.annotator, second.task_id) == (first.annotator, first.task_id)
        assert second.finished_at > first.finished_at
    assert simulator.connect().status(ref).charged == len(revisions) * 100_000


def test_a_batch_is_not_complete_while_an_edit_is_on_its_way(start, make_tasks: Make) -> None:
    simulator = start(edited=1.0)
    ref = buy(simulator, make_tasks(20))
    vendor = simulator.connect()
    states = set()
    while not (page := vendor.fetch(ref, None)).complete:
        status = vendor.status(ref)
        states.add((status.state, status.n_pending > 0))
        simulator.clock.seconds += 1.0
    assert ("open", False) in states and ("complete", False) not in states
    assert sum(json.loads(r)["revision"] for r in page.records) == vendor.status(ref).n_answered


def test_a_retraction_comes_last_and_stays_charged(start, make_tasks: Make) -> None:
    simulator = start(retracted=1.0, edited=0.5)
    ref = buy(simulator, make_tasks(30))
    simulator.finish()
    last: dict[str, DeliveredAnnotation] = {}
    for annotation in read(fetched(simulator.connect(), ref)):
        held = last.get(annotation.task_id)
        assert held is None or (annotation.revision == held.revision + 1)
        last[annotation.task_id] = annotation
    assert {a.status for a in last.values()} == {"retracted"}
    assert {a.revision for a in last.values()} == {1, 2}
    assert simulator.connect().status(ref).charged == len(last) * 100_000


def test_a_second_answer_has_its_own_id_the_same_person_and_no_price(
    start, make_tasks: Make
) -> None:
    simulator = start(answered_twice=1.0)
    ref = buy(simulator, make_tasks(30))
    simulator.finish()
    by_task: dict[str, list[DeliveredAnnotation]] = {}
    for annotation in read(fetched(simulator.connect(), ref)):
        by_task.setdefault(annotation.task_id, []).append(annotation)
    for first, second in by_task.values():
        assert first.annotator == second.annotator
        assert first.annotation_id != second.annotation_id
        assert second.finished_at > first.finished_at
        assert (first.price, second.price) == (100_000, 0)
    assert simulator.connect().status(ref).charged == len(by_task) * 100_000


def test_a_broken_record_stands_beside_the_real_one(start, make_tasks: Make) -> None:
    simulator = start(broken_record=1.0)
    ref = buy(simulator, make_tasks(60))
    simulator.finish()
    records = fetched(simulator.connect(), ref)
    asked = {task.task_id for task in make_tasks(60)}
    good = [a for a in read(records) if a.task_id in asked]
    assert len({a.task_id for a in good}) == simulator.connect().status(ref).n_answered
    assert len(records) == 2 * len(good) == 2 * len(set(records)) // 2
    assert simulator.connect().status(ref).charged == len(good) * 100_000


def test_some_tasks_are_never_answered_and_cost_nothing(start, make_tasks: Make) -> None:
    simulator = start(unanswered=0.5)
    ref = buy(simulator, make_tasks(100))
    simulator.finish()
    status = simulator.connect().status(ref)
    assert status.state == "complete"
    assert 30 < status.n_expired < 70
    assert status.charged == status.committed == status.n_answered * 100_000


def test_an_overdue_task_expires_at_the_deadline(start, make_tasks: Make) -> None:
    simulator = start(overdue=0.3)
    terms = BatchTerms("Which?", "r-1", (), _in(simulator, hours=5.0))
    vendor = simulator.connect()
    ref = submit_tasks(vendor, "day-1", terms, make_tasks(50), BUDGET).ref
    simulator.finish()
    status = vendor.status(ref)
    assert status.state == "open" and status.n_pending > 5
    assert status.expected_done_at == terms.deadline
    assert not vendor.fetch(ref, None).complete
    simulator.clock.seconds += 5 * 3600.0
    ended = vendor.status(ref)
    assert (ended.state, ended.n_pending) == ("expired", 0)
    assert ended.n_expired == status.n_pending + status.n_expired
    assert ended.charged == ended.committed == status.charged
    assert vendor.fetch(ref, None).complete
    assert vendor.cancel(ref, "late") == ended


def test_what_comes_of_a_task_is_the_same_in_every_rerun(start, make_tasks: Make) -> None:
    names = [name for name in FAULTS if name not in (*CALL_FAULTS, *PAGE_FAULTS, "overdue")]
    rates = dict.fromkeys(names, 0.3)
    tasks = make_tasks(60)
    one = start(**rates)
    ref = buy(one, tasks)
    one.finish()
    expected = _without_times(fetched(one.connect(), ref))
    other = start(**rates)
    other.clock.seconds += 4_000.0
    buy(other, tasks[30:])
    other.clock.seconds += 9.0
    buy(other, tasks[::-1])
    for _ in range(40):
        other.clock.seconds += 5.0
        other.connect().status(ref)
    other.finish()
    assert _without_times(fetched(other.connect(), ref)) == expected
    assert sum(expected.values()) > 90


def test_all_faults_together_lose_nothing(start, make_tasks: Make) -> None:
    rates = {name: max(0.1, fault.rate) for name, fault in FAULTS.items()}
    simulator = start(**{**rates, "withheld": 0.01, "overdue": 0.0})
    ref = buy(simulator, make_tasks(350))
    simulator.finish()
    records = fetched(simulator.connect(), ref)
    status = until_it_works(lambda: simulator.connect().status(ref))
    asked = {task.task_id for task in make_tasks(350)}
    first = {a.annotation_id: a for a in read(records) if a.revision == 0 and a.task_id in asked}
    assert status.n_answered == len({a.task_id for a in first.values()}) > 250
    assert (
        status.charged == sum(a.price for a in first.values()) == sum(charges(simulator).values())
    )
    assert set(simulator.bought().values()) == {1}


def test_rates_are_read_from_text() -> None:
    assert read_rates("") == {}
    assert read_rates("all") == {name: fault.rate for name, fault in FAULTS.items()}
    assert read_rates("busy, all,dropped=0")["dropped"] == 0.0
    for text in ("busy=2", "busy=x", "busy=nan", "nothing", "all=1", "busy=-0.1"):
        with pytest.raises(ValueError, match="fault"):
            read_rates(text)


def test_a_fault_befalls_the_same_tasks_in_any_order_and_strikes_by_its_seed() -> None:
    hit = {f"t{i}" for i in range(1000) if Faults({"edited": 0.3}).befalls("edited", f"t{i}")}
    again = Faults({"edited": 0.3})
    assert hit == {f"t{i}" for i in reversed(range(1000)) if again.befalls("edited", f"t{i}")}
    assert 250 < len(hit) < 350
    draws = [[Faults({"busy": 0.5}, seed).strikes("busy") for _ in range(9)] for seed in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert not any(Faults().strikes(name) or Faults().befalls(name, "t") for name in FAULTS)


def _in(simulator: Any, hours: float) -> datetime:
    return datetime.fromtimestamp(simulator.clock.seconds, UTC) + timedelta(hours=hours)


def _without_times(records: list[bytes]) -> Counter[str]:
    def timeless(record: Any) -> str:
        if isinstance(record, dict):
            record = {k: v for k, v in record.items() if not k.endswith("_at")}
        return json.dumps(record)[:400]

    return Counter(timeless(json.loads(record)) for record in records)
