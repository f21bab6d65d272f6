"""A person answers tasks by hand: once, charged, and only from a page of the simulator itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from winnow.label.submit import submit_tasks
from winnow.label.vendor import BatchTerms, DeliveredAnnotation, Message, TaskRequest

Make = Callable[..., list[TaskRequest]]
TERMS = BatchTerms("Which is better?", "r-1", (), datetime(2027, 1, 1, tzinfo=UTC))
RATED = replace(TERMS, dimensions=("helpfulness", "honesty"))
STARS = {f"rating-{i}-{side}": str(3 + i) for i in (0, 1) for side in "ab"}


@dataclass
class Person:
    """Somebody with a browser: keeps cookies, reads the form token, follows where a form leads."""

    browser: httpx.Client
    form_token: str = ""

    def look(self, path: str) -> httpx.Response:
        page = self.browser.get(path)
        found = re.search(r'name="form_token" value="([0-9a-f]+)"', page.text)
        self.form_token = found[1] if found else self.form_token
        return page

    def post(self, path: str, form: Mapping[str, str], **how: Any) -> httpx.Response:
        return self.browser.post(path, data={"form_token": self.form_token, **form}, **how)


@pytest.fixture
def person(simulator) -> Person:
    return sit_down(simulator)


def sit_down(simulator: Any) -> Person:
    browser = httpx.Client(transport=simulator.transport, base_url=simulator.url, trust_env=False)
    return Person(browser)


def open_tasks(simulator: Any, tasks: list[TaskRequest], terms: BatchTerms = TERMS) -> str:
    return submit_tasks(simulator.connect(), "day-1", terms, tasks, 10**9).ref


def delivered(simulator: Any, ref: str) -> list[DeliveredAnnotation]:
    records = simulator.connect().fetch(ref, None).records
    return [DeliveredAnnotation.model_validate_json(record) for record in records]


@pytest.mark.parametrize("choice", ["a", "b", "tie", "both_bad", "skip"])
def test_an_answer_by_hand_is_delivered_and_charged_like_any(
    simulator, person: Person, make_tasks: Make, choice: str
) -> None:
    task = make_tasks(1)[0]
    ref = open_tasks(simulator, [task])
    person.look(f"/task/{task.task_id}")
    simulator.clock.seconds += 0.5
    form = {"choice": choice, "annotator": " Zoë\u202e ", "rationale": "It says why.\x00"}
    shown_at = str(int(simulator.clock.seconds) - 40)
    answer = person.post(f"/task/{task.task_id}/answer", {**form, "shown_at": shown_at})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/?batch={ref}")
    (said,) = delivered(simulator, ref)
    assert (said.choice, said.annotator, said.rationale) == (choice, "Zoë", "It says why.")
    assert said.active_seconds == pytest.approx(40.5)
    assert said.price == simulator.connect().status(ref).charged == 100_000
    simulator.finish()
    assert delivered(simulator, ref) == [said]
    assert simulator.connect().status(ref).state == "complete"


def test_ten_tasks_wait_for_a_person_one_after_the_other(
    simulator, person: Person, make_tasks: Make
) -> None:
    ref = open_tasks(simulator, make_tasks(30))
    person.look(f"/?batch={ref}")
    at = person.post(f"/batch/{ref}/next", {}).headers["location"]
    simulator.clock.seconds += 600.0
    assert simulator.connect().status(ref).n_pending == 10
    for n_waiting in range(10, 0, -1):
        page = person.look(at)
        assert page.status_code == 200 and f"{n_waiting} waiting" in page.text
        after = person.post(f"{at}/answer", {"choice": "tie", "annotator": ""})
        at = after.headers["location"]
        simulator.clock.seconds += 600.0
    assert at == f"/?batch={ref}"
    assert simulator.connect().status(ref).state == "complete"
    assert [a.annotator for a in delivered(simulator, ref)].count("hand") == 10


def test_the_staff_takes_over_from_a_person_who_has_gone(
    simulator, person: Person, make_tasks: Make
) -> None:
    task = make_tasks(1)[0]
    ref = open_tasks(simulator, [task])
    person.look(f"/?batch={ref}")
    held = person.post(f"/task/{task.task_id}/hold", {})
    assert held.headers["location"] == f"/task/{task.task_id}"
    simulator.clock.seconds += 899.0
    assert simulator.connect().status(ref).n_pending == 1
    simulator.clock.seconds += 2.0
    assert simulator.connect().status(ref).n_pending == 0


def test_the_person_keeps_the_name_from_task_to_task(
    simulator, person: Person, make_tasks: Make
) -> None:
    ref = open_tasks(simulator, make_tasks(2))
    person.look(f"/?batch={ref}")
    first = person.post(f"/batch/{ref}/next", {}).headers["location"]
    second = person.post(f"{first}/answer", {"choice": "a", "annotator": 'A "B"'})
    assert second.headers["location"].split("?")[0] != first
    assert 'value="A &#34;B&#34;"' in person.look(second.headers["location"]).text


def test_an_answered_or_ended_task_is_refused_kindly(
    simulator, person: Person, make_tasks: Make
) -> None:
    tasks = make_tasks(2)
    ref = open_tasks(simulator, tasks)
    paths = [f"/task/{task.task_id}" for task in tasks]
    person.look(paths[0])
    person.post(f"{paths[0]}/answer", {"choice": "a"})
    simulator.connect().cancel(ref, "enough")
    for path, words in zip(paths, ["answered already, by hand", "called off"], strict=True):
        refused = person.post(f"{path}/answer", {"choice": "b"})
        assert refused.status_code == 409 and words in refused.text
        shown = person.look(path)
        assert shown.status_code == 200 and words in shown.text and "<form" not in shown.text
        assert person.post(f"{path}/hold", {}).status_code == 409
    assert [a.choice for a in delivered(simulator, ref)] == ["a"]
    assert simulator.connect().status(ref).charged == 100_000
    assert person.look("/task/nothing").status_code == 404


def test_a_draft_cannot_be_answered(simulator, person: Person, make_tasks: Make) -> None:
    vendor = simulator.connect()
    task, other = make_tasks(2)
    vendor.add_tasks(vendor.open_batch("day-0", TERMS), [task])
    open_tasks(simulator, [other])
    person.look(f"/task/{other.task_id}")
    refused = person.post(f"/task/{task.task_id}/answer", {"choice": "a"})
    assert refused.status_code == 409 and "not launched" in refused.text
    assert "<form" not in person.look(f"/task/{task.task_id}").text
    assert vendor.status(vendor.open_batch("day-0", TERMS)).n_answered == 0


def test_ratings_are_asked_for_and_come_back(simulator, person: Person, make_tasks: Make) -> None:
    task = make_tasks(1)[0]
    ref = open_tasks(simulator, [task], RATED)
    path = f"/task/{task.task_id}"
    assert "honesty" in person.look(path).text
    incomplete = {"choice": "a", **STARS, "rating-1-b": "6"}
    refused = person.post(f"{path}/answer", incomplete)
    assert refused.status_code == 422 and "honesty" in refused.text
    assert delivered(simulator, ref) == []
    assert person.post(f"{path}/answer", {"choice": "a", **STARS}).status_code == 303
    (said,) = delivered(simulator, ref)
    assert {name: (r.a, r.b) for name, r in said.ratings.items()} == {
        "helpfulness": (3, 3),
        "honesty": (4, 4),
    }


def test_a_dimension_is_asked_as_a_choice_by_hand(
    simulator, person: Person, make_tasks: Make
) -> None:
    task = make_tasks(1)[0]
    ref = open_tasks(simulator, [task], replace(RATED, choices=("honesty",)))
    path = f"/task/{task.task_id}"
    assert "Judge by: helpfulness" in person.look(path).text
    given = {"choice": "a", **{k: v for k, v in STARS.items() if "-0-" in k}}
    assert person.post(f"{path}/answer", {**given, "choice-1": "c"}).status_code == 422
    assert person.post(f"{path}/answer", {**given, "choice-1": "b"}).status_code == 303
    (said,) = delivered(simulator, ref)
    assert (list(said.ratings), said.dimension_choices) == (["helpfulness"], {"honesty": "b"})


@pytest.mark.parametrize(
    "form",
    [
        {"choice": "ZZZ"},
        {},
        {"choice": "a", "annotator": "n" * 101},
        {"choice": "a", "annotator": "Simulated-annotator-01"},
        {"choice": "a", "rationale": "w" * 2001},
    ],
)
def test_what_cannot_be_is_refused_with_a_word(
    simulator, person: Person, make_tasks: Make, form: dict[str, str]
) -> None:
    task = make_tasks(1)[0]
    ref = open_tasks(simulator, [task])
    person.look(f"/task/{task.task_id}")
    refused = person.post(f"/task/{task.task_id}/answer", form)
    assert refused.status_code == 422 and 'role="alert"' in refused.text
    assert delivered(simulator, ref) == []


@pytest.mark.parametrize("path", ["answer", "hold"])
def test_a_form_of_another_site_is_refused(simulator, make_tasks: Make, path: str) -> None:
    task = make_tasks(1)[0]
    ref = open_tasks(simulator, [task])
    victim, attacker = sit_down(simulator), sit_down(simulator)
    for one in (victim, attacker):
        one.look(f"/task/{task.task_id}")
    target, form = f"/task/{task.task_id}/{path}", {"choice": "a"}
    forged = {**form, "form_token": attacker.form_token}
    assert victim.browser.post(target, data=form).status_code == 403
    assert victim.browser.post(target, data=forged).status_code == 403
    without_cookie = sit_down(simulator)
    assert without_cookie.browser.post(target, data=forged).status_code == 403
    empty = httpx.Client(transport=simulator.transport, base_url=simulator.url, trust_env=False)
    answer = empty.post(target, data={**form, "form_token": ""}, headers={"cookie": "x=1"})
    assert answer.status_code == 403
    assert victim.browser.post(target, content=b"x" * 70_000).status_code == 413
    assert delivered(simulator, ref) == []


def test_the_page_answers_only_to_names_of_this_machine(simulator, person: Person) -> None:
    assert person.browser.get("/", headers={"host": "rebound.example"}).status_code == 421
    assert person.browser.get("/", headers={"host": "localhost:8790"}).status_code == 200
    cookie = person.browser.get("/").headers["set-cookie"].lower()
    assert "httponly" in cookie and "samesite=strict" in cookie


def test_hostile_text_is_shown_as_text(simulator, person: Person, make_tasks: Make) -> None:
    hostile = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'"
    task = replace(
        make_tasks(1)[0],
        response_a=hostile,
        messages=(Message(hostile, hostile),),
        instructions=hostile,
    )
    ref = open_tasks(simulator, [task], replace(RATED, dimensions=(hostile,)))
    page = person.look(f"/task/{task.task_id}")
    assert page.text.count("<script") == 1 and "<img" not in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    form = {"choice": "a", "rating-0-a": "1", "rating-0-b": "5"}
    person.post(f"/task/{task.task_id}/answer", {**form, "annotator": hostile[:90]})
    for path in (f"/task/{task.task_id}", f"/?batch={ref}", "/"):
        shown = person.look(path).text
        assert "<script" not in shown and "<img" not in shown
        assert "1 of these answers was given by hand" in shown


def test_a_hand_takes_the_task_from_the_staff_for_good(
    start_simulator, tmp_path: Path, make_tasks: Make
) -> None:
    simulator = start_simulator(tmp_path / "books.sqlite", staff="none")
    ref = open_tasks(simulator, make_tasks(2))
    person = sit_down(simulator)
    simulator.finish()
    assert simulator.connect().status(ref).n_pending == 2
    person.look(f"/task/{make_tasks(1)[0].task_id}")
    person.post(f"/task/{make_tasks(1)[0].task_id}/answer", {"choice": "b"})
    simulator.clock.seconds = TERMS.deadline.timestamp()
    status = simulator.connect().status(ref)
    assert (status.state, status.n_answered, status.n_expired) == ("expired", 1, 1)
    record = json.loads(simulator.connect().fetch(ref, None).records[0])
    assert record["annotator"] == "hand"
