"""Label Studio's adapter: the contract over a server in memory, and what is its own."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import Fatal, Retryable
from winnow.ingest.values import Unreadable
from winnow.label.annotation import (
    AnnotatorKey,
    AskedTask,
    NotAnAnnotation,
    pseudonymous,
    read_annotation,
)
from winnow.label.vendor import (
    BatchTerms,
    DeliveredAnnotation,
    Message,
    TaskRequest,
    VendorAccount,
)
from winnow.label.vendors import VENDORS, batch_of_event, connect
from winnow.label.vendors.label_studio.client import LabelStudioVendor
from winnow.label.vendors.label_studio.page import label_config, read_result
from winnow.label.vendors.label_studio.project import Marker, describe, read_marker, title_of
from winnow.label.vendors.label_studio.tasks import Books, StoredTask, records_of

from ...label_studio_world import TOKEN, LabelStudioWorld, chosen, rated
from ...vendor_contract import VendorContract
from ...vendor_world import checked_status, latest, read_all, submit, terms_of
from .label_studio_fake import REFRESH_TOKEN, LabelStudioFake

URL = "http://127.0.0.1:8080"
Make = Callable[..., list[TaskRequest]]
FIELDS = st.sampled_from(["from_name", "value", "choice", "choices", "text", "rating"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | FIELDS,
    lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner),
)


@pytest.fixture
def fake() -> LabelStudioFake:
    return LabelStudioFake()


@pytest.fixture
def world(fake: LabelStudioFake) -> LabelStudioWorld:
    return LabelStudioWorld(URL, fake.transport(), fake.count_held)


EDITS: dict[str, Callable[[str], str | None]] = {
    "another text": lambda _: "Please finish by Friday.",
    "nothing": lambda _: "",
    "null": lambda _: None,
    "a line below": lambda told: f"{told}\nPlease finish by Friday.",
    "cut off": lambda told: told[: len(told) - 9],
    "quotes made pretty": lambda told: told.replace('"', "\u201d"),
    "an older marker of nobody": lambda _: '{"winnow": 1}',
}
"""What people do to a project's description."""


class TestContract(VendorContract):
    """All of it, every fault at every call."""


def records(world: LabelStudioWorld, ref: str) -> list[dict[str, Any]]:
    return [json.loads(record) for record in read_all(world.connect(), ref)[0]]


class TestContainer:
    """Projects."""

    def test_twins_end_in_one_project(self, world: LabelStudioWorld, fake: LabelStudioFake) -> None:
        vendor = world.connect()
        first = vendor.open_batch("night/1", terms_of(world))
        for _ in range(2):
            world.ask("POST", "/api/projects/", fake.projects[int(first)])
        assert vendor.open_batch("night/1", terms_of(world)) == first
        assert [str(number) for number in fake.projects] == [first]

    def test_a_twin_that_holds_tasks_is_the_one(
        self, world: LabelStudioWorld, fake: LabelStudioFake, make_tasks: Make
    ) -> None:
        vendor = world.connect()
        first = vendor.open_batch("night/1", terms_of(world))
        second = str(world.ask("POST", "/api/projects/", fake.projects[int(first)])["id"])
        vendor.add_tasks(second, make_tasks(1))
        assert vendor.open_batch("night/1", terms_of(world)) == second
        assert set(fake.projects) == {int(second)}
        third = str(world.ask("POST", "/api/projects/", fake.projects[int(second)])["id"])
        vendor.add_tasks(third, make_tasks(1))
        assert vendor.open_batch("night/1", terms_of(world)) == second
        assert set(fake.projects) == {int(second), int(third)}

    def test_somebody_elses_project_is_left_alone(
        self, world: LabelStudioWorld, fake: LabelStudioFake, make_tasks: Make
    ) -> None:
        theirs = world.ask("POST", "/api/projects/", {"title": "night/1", "description": "ours"})
        ref = submit(world, "night/1", make_tasks(2)).ref
        assert ref != str(theirs["id"])
        assert fake.projects[theirs["id"]] == theirs
        with pytest.raises(Fatal, match="which batch it is for"):
            world.connect().status(str(theirs["id"]))

    @pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
    @pytest.mark.parametrize("state", ["draft", "open", "cancelled"])
    def test_a_description_that_somebody_edited_loses_no_purchase(
        self,
        world: LabelStudioWorld,
        fake: LabelStudioFake,
        make_tasks: Make,
        edit: Callable[[str], str | None],
        state: str,
    ) -> None:
        vendor, terms = world.connect(), replace(terms_of(world), mark="lake/attempt")
        ref = vendor.open_batch("night/1", terms)
        vendor.add_tasks(ref, make_tasks(5)[:2])
        if state != "draft":
            submit(world, "night/1", make_tasks(5))
            world.answer(ref, make_tasks(1)[0].task_id, "ann", "a")
        if state == "cancelled":
            vendor.cancel(ref, "enough")
        before = vendor.status(ref)
        project = fake.projects[int(ref)]
        written = project["description"] = edit(project["description"])
        assert vendor.open_batch("night/1", terms) == ref
        assert (vendor.status(ref), vendor.mark_of(ref)) == (before, "lake/attempt")
        assert (project["description"] or "").startswith((written or "").strip())
        assert list(fake.projects) == [int(ref)]
        if state == "open":
            assert submit(world, "night/1", make_tasks(5)).n_sent == 0

    def test_a_batch_is_found_behind_many_of_like_names(self, world: LabelStudioWorld) -> None:
        vendor, terms = world.connect(), terms_of(world)
        others = {vendor.open_batch(f"night/{i}", terms) for i in range(105)}
        ref = vendor.open_batch("night", terms)
        assert len(others | {ref}) == 106
        assert vendor.open_batch("night", terms) == ref

    @given(st.text(min_size=1, max_size=200), st.text(min_size=1, max_size=200))
    def test_titles_fit_and_differ(self, one: str, other: str) -> None:
        assert 3 <= len(title_of(one)) <= 50
        assert (title_of(one) == title_of(other)) == (one == other)

    @given(st.text(), st.lists(st.text()), st.text())
    def test_a_description_is_read_back(self, key: str, dimensions: list[str], why: str) -> None:
        deadline = datetime(2026, 11, 22, 1, 2, 3, 4, tzinfo=UTC)
        marker = Marker(key, deadline, tuple(dimensions), "r", "cancelled", why)
        text = describe(marker)
        assert read_marker(text) == marker
        assert not set("<>&") & set(text)


class TestTasks:
    """What people are asked."""

    def test_nothing_but_plain_text_is_shown(
        self, world: LabelStudioWorld, fake: LabelStudioFake, make_tasks: Make
    ) -> None:
        task = replace(make_tasks(1)[0], messages=(Message("user", "<b>a</b>"), Message("b", "c")))
        submit(world, "night/1", [task])
        (stored,) = fake.tasks.values()
        assert stored["data"] == {
            "task": f"{task.instructions}\nJudge by: {task.dimension}",
            "prompt": [{"role": "user", "content": "<b>a</b>"}, {"role": "b", "content": "c"}],
            "response_a": task.response_a,
            "response_b": task.response_b,
        }
        kept = stored["meta"]["winnow"]
        assert (kept["task_id"], kept["price"]) == (task.task_id, task.price)

    def test_a_draft_has_no_page_and_a_launched_batch_has(
        self, world: LabelStudioWorld, fake: LabelStudioFake
    ) -> None:
        vendor = world.connect()
        terms = replace(terms_of(world), instructions="Be <b>fair</b>.\nThank you & bye.")
        ref = vendor.open_batch("night/1", terms)
        project = fake.projects[int(ref)]
        assert (project["label_config"], project["is_published"]) == ("<View></View>", False)
        assert project["expert_instruction"] == (
            "Be &lt;b&gt;fair&lt;/b&gt;.<br>Thank you &amp; bye."
        )
        vendor.launch(ref)
        assert project["label_config"] == label_config(terms.dimensions)
        assert project["is_published"]

    @given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"])), max_size=4))
    def test_the_page_shows_texts_only_as_text(self, dimensions: list[str]) -> None:
        page = ET.fromstring(label_config(dimensions))
        tags = {tag.tag for tag in page.iter()}
        assert not tags & {"HyperText", "Paragraphs", "Markdown", "Image"}
        texts = list(page.iter("Text"))
        assert {text.get("valueType") for text in texts} == {"text"}
        assert [c.get("alias") for c in page.iter("Choice")] == [
            "a",
            "b",
            "tie",
            "both_bad",
            "skip",
        ]
        assert len(list(page.iter("Rating"))) == 2 * len(dimensions)

    def test_a_dimension_is_asked_as_a_choice_and_comes_back(
        self, world: LabelStudioWorld, fake: LabelStudioFake, make_tasks: Make
    ) -> None:
        vendor, task = world.connect(), make_tasks(1)[0]
        terms = replace(terms_of(world), dimensions=("truth", "care"), choices=("care",))
        ref = vendor.open_batch("night/1", terms)
        vendor.add_tasks(ref, [task])
        vendor.launch(ref)
        page = ET.fromstring(fake.projects[int(ref)]["label_config"])
        asked = {group.get("name"): group for group in page.iter("Choices")}
        assert [c.get("alias") for c in asked["choice_1"]] == ["a", "b", "tie"]
        assert {r.get("name") for r in page.iter("Rating")} == {"rating_0_a", "rating_0_b"}
        care = {"from_name": "choice_1", "to_name": "response_a", "type": "choices"}
        result = [*chosen("a"), {**care, "value": {"choices": ["b"]}}]
        world.annotate(world.numbers(ref)[task.task_id], "ann", result=result)
        [got] = latest(read_all(world.connect(), ref)[0])
        assert (got.choice, got.dimension_choices) == ("a", {"care": "b"})

    def test_surplus_copies_go_before_launch_and_later(
        self, world: LabelStudioWorld, fake: LabelStudioFake, make_tasks: Make
    ) -> None:
        tasks = make_tasks(2)
        vendor = world.connect()
        ref = vendor.open_batch("night/1", terms_of(world))
        vendor.add_tasks(ref, tasks)
        vendor.add_tasks(ref, tasks)
        assert len(fake.tasks) == 4
        first = min(fake.tasks)
        vendor.launch(ref)
        assert len(fake.tasks) == 2 and first in fake.tasks
        fake.put_twice(first)
        assert vendor.status(ref).committed == vendor.estimate(tasks)
        assert len(fake.tasks) == 2 and first in fake.tasks

    def test_of_two_copies_the_answered_one_stays(
        self, world: LabelStudioWorld, fake: LabelStudioFake, make_tasks: Make
    ) -> None:
        tasks = make_tasks(2)
        ref = submit(world, "night/1", tasks).ref
        first = world.numbers(ref)[tasks[0].task_id]
        copy = fake.put_twice(first)
        world.annotate(copy, "ann", result=chosen("b"))
        world.connect().launch(ref)
        assert copy in fake.tasks and first not in fake.tasks
        another = fake.put_twice(copy)
        world.annotate(another, "bob", result=chosen("a"))
        assert world.connect().status(ref).n_answered == 1
        assert {r["choice"] for r in records(world, ref)} == {"a", "b"}

    def test_an_answer_between_look_and_removal_is_kept(
        self, world: LabelStudioWorld, fake: LabelStudioFake, make_tasks: Make
    ) -> None:
        tasks = make_tasks(2)
        ref = submit(world, "night/1", tasks).ref
        number = world.numbers(ref)[tasks[0].task_id]
        vendor = world.connect()
        remove = vendor._delete_unanswered

        def answered_meanwhile(of: str, tasks: list[int]) -> None:
            world.annotate(number, "ann", result=chosen("b"))
            remove(of, tasks)

        vendor._delete_unanswered = answered_meanwhile
        status = vendor.cancel(ref, "enough")
        assert (status.n_answered, status.n_expired, status.n_pending) == (1, 1, 0)
        assert vendor.list_task_ids(ref) == {t.task_id for t in tasks}

    def test_a_batch_that_was_done_in_time_does_not_expire(
        self, world: LabelStudioWorld, make_tasks: Make
    ) -> None:
        (task,) = make_tasks(1)
        ref = submit(world, "night/1", [task]).ref
        world.answer(ref, task.task_id, "ann", "a")
        world.expire(ref)
        assert world.connect().status(ref).state == "complete"

    def test_a_closed_batch_takes_nothing_and_says_so_to_people(
        self, world: LabelStudioWorld, fake: LabelStudioFake, make_tasks: Make
    ) -> None:
        ref = submit(world, "night/1", make_tasks(2)).ref
        world.expire(ref)
        assert world.connect().status(ref).state == "expired"
        assert world.connect().cancel(ref, "late").state == "expired"
        with pytest.raises(Fatal, match="expired"):
            world.connect().add_tasks(ref, make_tasks(3))
        (left,) = fake.tasks.values()
        assert "closed" in left["data"]["task"]
        world.annotate(left["id"], "ann", result=chosen("a"))
        assert records(world, ref) == []
        assert checked_status(world, ref).n_expired == 2

    def test_tasks_added_by_hand_are_ignored(
        self, world: LabelStudioWorld, make_tasks: Make
    ) -> None:
        ref = submit(world, "night/1", make_tasks(1)).ref
        for meta in ({}, {"winnow": 7}, {"winnow": {"task_id": 7}}, "x"):
            world.ask("POST", f"/api/projects/{ref}/import", [{"data": {}, "meta": meta}])
        assert world.connect().status(ref).n_tasks == 1


class Spoilt(httpx.BaseTransport):
    """Passes calls on, and gives the first task of each list of tasks as `spoil` makes it."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self.inner = inner
        self.spoil: Callable[[dict[str, Any]], bytes] = lambda task: json.dumps(task).encode()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.inner.handle_request(request)
        answer.read()
        if request.url.path != "/api/tasks/" or not answer.json()["tasks"]:
            return answer
        first, *others = answer.json()["tasks"]
        rows = [self.spoil(first), *(json.dumps(task).encode() for task in others)]
        return httpx.Response(200, content=b'{"tasks": [' + b",".join(rows) + b"]}")


def without(task: dict[str, Any], name: str, value: bytes) -> bytes:
    """The task with another value in the place of one; with none, both of it."""
    given = task if not value else {k: v for k, v in task.items() if k != name}
    return json.dumps(given)[:-1].encode() + b', "%s": %s}' % (name.encode(), value or b"[[7]]")


VALUES = [b"{}", b'"x"', b"7.5", b"1e999", b"9" * 5000, b'"\\ud800"', b"[" * 99 + b"]" * 99, b""]
PRICES = [-1, 10**12, 1e30, "x", "", None, [], True]


class TestDisorder:
    """What cannot be read of a task costs nothing of the others."""

    @pytest.fixture
    def spoilt(self, fake: LabelStudioFake) -> Spoilt:
        return Spoilt(fake.transport())

    @pytest.fixture
    def world(self, fake: LabelStudioFake, spoilt: Spoilt) -> LabelStudioWorld:
        return LabelStudioWorld(URL, spoilt, fake.count_held)

    @pytest.fixture
    def answered(self, world: LabelStudioWorld, make_tasks: Make) -> tuple[str, list[str]]:
        tasks = make_tasks(5)
        ref = submit(world, "night/1", tasks).ref
        for task in tasks:
            world.answer(ref, task.task_id, "ann", "a")
        return ref, [task.task_id for task in tasks]

    @pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
    @pytest.mark.parametrize("name", ["id", "annotations"])
    def test_a_task_without_a_number_or_a_list_of_answers_is_answered(
        self,
        world: LabelStudioWorld,
        spoilt: Spoilt,
        answered: tuple[str, list[str]],
        name: str,
        value: bytes,
    ) -> None:
        ref, ids = answered
        spoilt.spoil = lambda task: without(task, name, value)
        status = world.connect().status(ref)
        assert (status.state, status.n_answered, status.charged) == ("complete", 5, 500_000)
        assert status.n_unreadable == 2, "the first of each of two pages"
        came, _ = read_all(world.connect(), ref)
        assert {task_id for task_id in ids for raw in came if task_id.encode() in raw} == set(ids)
        assert sum(b'"unread": ' in raw for raw in came) == 2 * (name == "annotations")

    @pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
    @pytest.mark.parametrize("name", ["meta", "all of it"])
    def test_what_may_be_a_task_is_told_and_passed_over_and_nothing_is_bought_beside_it(
        self,
        world: LabelStudioWorld,
        spoilt: Spoilt,
        answered: tuple[str, list[str]],
        name: str,
        value: bytes,
    ) -> None:
        ref, ids = answered
        kept = b'{"winnow": %s}' % value if value and value in VALUES[:4] else value
        spoilt.spoil = lambda task: value if name == "all of it" else without(task, name, kept)
        status = world.connect().status(ref)
        # Bytes that are the same are one such task.
        assert status.n_unreadable == (1 if name == "all of it" else 2)
        assert status.n_answered == len(ids) - 2
        assert "which task it is" in status.unreadable
        came, _ = read_all(world.connect(), ref)
        assert len({id_ for id_ in ids for raw in came if id_.encode() in raw}) >= status.n_answered
        with pytest.raises(Retryable, match="Nothing more is bought"):
            world.connect().list_task_ids(ref)

    @pytest.mark.parametrize("price", PRICES)
    def test_a_price_that_is_none_hides_no_task(
        self,
        world: LabelStudioWorld,
        fake: LabelStudioFake,
        make_tasks: Make,
        price: Any,
    ) -> None:
        tasks = make_tasks(2)
        ref = submit(world, "night/1", tasks).ref
        for task in tasks:
            world.answer(ref, task.task_id, "ann", "a")
        strange = fake.tasks[world.numbers(ref)[tasks[0].task_id]]
        strange["meta"]["winnow"]["price"] = price
        vendor = world.connect()
        assert vendor.list_task_ids(ref) == {task.task_id for task in tasks}
        status = vendor.status(ref)
        assert (status.n_tasks, status.n_answered, status.charged) == (2, 2, 100_000)
        assert status.n_unreadable == 1 and "`price`" in status.unreadable
        [bad] = [each for each in records(world, ref) if "unread" in each]
        assert bad["task_id"] == tasks[0].task_id and bad["unread"]["result"]

    def test_a_list_of_nothing_that_can_be_read_is_waited_for(
        self, world: LabelStudioWorld, spoilt: Spoilt, make_tasks: Make
    ) -> None:
        ref = submit(world, "night/1", make_tasks(1)).ref
        spoilt.spoil = lambda task: b"7"
        vendor = world.connect()
        vendor.page_size = 1
        with pytest.raises(Retryable, match="no number of them"):
            vendor.status(ref)


class TestAnswers:
    """What comes home."""

    def test_a_whole_answer(self, world: LabelStudioWorld, make_tasks: Make) -> None:
        (task,) = make_tasks(1)
        ref = submit(world, "night/1", [task]).ref
        number = world.numbers(ref)[task.task_id]
        made = world.annotate(number, "ann", result=rated("b", 2, 5, "Clear."), lead_time=12.5)
        (record,) = read_all(world.connect(), ref)[0]
        got = DeliveredAnnotation.model_validate_json(record)
        finished = datetime.fromisoformat(made["created_at"])
        assert got == DeliveredAnnotation(
            annotation_id=str(made["id"]),
            revision=0,
            task_id=task.task_id,
            annotator=str(world.user("ann")),
            choice="b",
            ratings={"helpfulness": {"a": 2, "b": 5}},
            rationale="Clear.",
            started_at=finished - timedelta(seconds=12.5),
            finished_at=finished,
            active_seconds=12.5,
            price=task.price,
        )

    def test_every_annotation_of_a_task_comes_and_is_paid_by_annotator(
        self, world: LabelStudioWorld, make_tasks: Make
    ) -> None:
        (task,) = make_tasks(1)
        ref = submit(world, "night/1", [task]).ref
        for annotator in ("ann", "ann", "bob"):
            world.answer(ref, task.task_id, annotator, "a")
        assert len(records(world, ref)) == 3
        assert checked_status(world, ref).charged == 2 * task.price

    def test_the_servers_own_skip_is_a_skip_that_is_not_paid(
        self, world: LabelStudioWorld, make_tasks: Make
    ) -> None:
        (task,) = make_tasks(1)
        ref = submit(world, "night/1", [task]).ref
        world.annotate(world.numbers(ref)[task.task_id], "ann", result=[], was_cancelled=True)
        (record,) = records(world, ref)
        assert (record["choice"], record["price"]) == ("skip", 0)
        status = checked_status(world, ref)
        assert (status.state, status.n_answered, status.charged) == ("complete", 1, 0)

    @pytest.mark.parametrize(
        "result",
        [
            None,
            "text",
            [],
            [7],
            [{"from_name": "choice"}],
            [{"from_name": "choice", "value": {"choices": []}}],
            [{"from_name": "choice", "value": {"choices": ["a", "b"]}}],
            [{"from_name": "choice", "value": {"choices": [{"a": 1}]}}],
            rated("a", 0, 5, "x"),
            rated("a", 6, 5, "x"),
            [*chosen("a"), {"from_name": "rationale", "value": {"text": [7]}}],
            [*chosen("a"), {"from_name": "rationale", "value": "x"}],
        ],
    )
    def test_what_does_not_fit_comes_home_all_the_same(
        self, world: LabelStudioWorld, make_tasks: Make, result: Any
    ) -> None:
        (task,) = make_tasks(1)
        ref = submit(world, "night/1", [task]).ref
        world.annotate(world.numbers(ref)[task.task_id], "ann", result=result)
        (record,) = read_all(world.connect(), ref)[0]
        with pytest.raises(Unreadable):
            DeliveredAnnotation.of(json.loads(record))
        assert json.loads(record)["task_id"] == task.task_id

    @pytest.mark.parametrize(
        "part",
        [
            b'"created_at": "0001-01-01T00:00:00+01:00"',
            b'"updated_at": "10000-01-01T00:00:00Z"',
            b'"result": ' + b"[" * 5000 + b"]" * 5000,
            b'"lead_time": ' + b"9" * 5000,
            b'"result": [{"from_name": "\\ud800"}]',
            b'"id": "none"',
            b'"id": 7, "id": 8',
        ],
    )
    def test_one_strange_annotation_costs_no_other_answer(self, part: bytes) -> None:
        fine = (
            b'"id": 1, "completed_by": 3, "result": [], "created_at": "2026-11-22T00:00:00Z", '
            b'"updated_at": "2026-11-22T00:00:00Z"'
        )
        name = part.split(b":")[0]
        whole = b", ".join(p for p in fine.split(b", ") if not p.startswith(name))
        listed = b"[{" + fine + b"}, {" + whole + b", " + part + b"}]"
        meta = b'{"winnow": {"task_id": "t1", "price": 5}}'
        task = StoredTask.read(b'{"id": 4, "meta": ' + meta + b', "annotations": ' + listed + b"}")
        assert Books([task]).answered == {"t1"}
        asked = {"t1": AskedTask("p", False, "comparison")}
        key = AnnotatorKey("label_studio", b"salt")
        for record in records_of(task, ()):
            kept = pseudonymous(record, key)
            assert b"t1" in kept
            with pytest.raises(NotAnAnnotation):
                read_annotation(kept, asked)

    @given(ANYTHING)
    def test_no_result_breaks_the_reading(self, result: Any) -> None:
        assert "choice" in read_result(result, ("helpfulness",))

    def test_a_dimension_rated_for_one_side_is_left_out(self) -> None:
        half = [part for part in rated("a", 1, 2, "") if part["from_name"] != "rating_0_b"]
        assert read_result(half, ("helpfulness", "truth"))["ratings"] == {}

    @pytest.mark.parametrize("lead_time", [None, "soon", -1, True, 1e300, float("1e9")])
    def test_an_odd_lead_time_costs_no_answer(
        self, world: LabelStudioWorld, make_tasks: Make, lead_time: Any
    ) -> None:
        (task,) = make_tasks(1)
        ref = submit(world, "night/1", [task]).ref
        number = world.numbers(ref)[task.task_id]
        world.annotate(number, "ann", result=chosen("a"), lead_time=lead_time)
        (record,) = read_all(world.connect(), ref)[0]
        got = DeliveredAnnotation.model_validate_json(record)
        assert (got.choice, got.active_seconds, got.started_at) == ("a", None, None)

    def test_answers_of_deleted_users_are_not_one_persons(
        self, world: LabelStudioWorld, make_tasks: Make
    ) -> None:
        (task,) = make_tasks(1)
        ref = submit(world, "night/1", [task]).ref
        number = world.numbers(ref)[task.task_id]
        for _ in range(2):
            world.annotate(number, "ann", result=chosen("a"), completed_by=None)
        assert len({r["annotator"] for r in records(world, ref)}) == 2

    def test_an_edit_leaves_the_earlier_answer_the_earlier_one(
        self, world: LabelStudioWorld, make_tasks: Make
    ) -> None:
        (task,) = make_tasks(1)
        ref = submit(world, "night/1", [task]).ref
        world.answer(ref, task.task_id, "ann", "a")
        world.answer(ref, task.task_id, "ann", "b")
        world.edit(ref, task.task_id, "tie")
        first, second = records(world, ref)
        assert (first["choice"], second["choice"]) == ("tie", "b")
        assert first["finished_at"] < second["finished_at"]
        assert first["revision"] == 2_000_000

    def test_an_answer_between_the_pages_is_not_the_end(
        self, world: LabelStudioWorld, make_tasks: Make
    ) -> None:
        tasks = make_tasks(5)
        ref = submit(world, "night/1", tasks).ref
        for task in tasks[1:]:
            world.answer(ref, task.task_id, "ann", "a")
        vendor = world.connect()
        page = vendor.fetch(ref, None)
        world.answer(ref, tasks[0].task_id, "ann", "a")
        while page.next_cursor is not None:
            page = vendor.fetch(ref, page.next_cursor)
        assert not page.complete
        assert read_all(vendor, ref)[1].complete

    @pytest.mark.parametrize("cursor", ["", "1", "2-1", "1-x", "1-1-1"])
    def test_an_unknown_cursor_is_fatal(self, world: LabelStudioWorld, cursor: str) -> None:
        ref = world.connect().open_batch("night/1", terms_of(world))
        with pytest.raises(Fatal, match="cursor"):
            world.connect().fetch(ref, cursor)


class TestAccount:
    """Tokens, and what the registry knows."""

    def test_the_registry_connects(self) -> None:
        vendor = connect("label_studio", VendorAccount(URL, TOKEN))
        assert (vendor.name, vendor.snapshot) == ("label_studio", True)
        assert VENDORS["label_studio"].webhook == "header"

    def test_a_personal_access_token_is_traded_and_renewed(self, fake: LabelStudioFake) -> None:
        vendor = LabelStudioVendor(URL, REFRESH_TOKEN, fake.transport(), lambda _: None)
        deadline = datetime(2027, 1, 1, tzinfo=UTC)
        ref = vendor.open_batch("night/1", BatchTerms("", "r", (), deadline))
        fake.shorts.clear()
        assert vendor.status(ref).state == "draft"
        trades = [r for r in fake.requests if r.url.path == "/api/token/refresh/"]
        assert len(trades) == 2
        assert all(
            REFRESH_TOKEN.encode() not in r.content for r in fake.requests if r not in trades
        )
        assert all(REFRESH_TOKEN not in str(r.headers) for r in fake.requests)

    def test_a_refused_trade_is_fatal(self, fake: LabelStudioFake) -> None:
        vendor = LabelStudioVendor(URL, "no.such.token", fake.transport(), lambda _: None)
        with pytest.raises(Fatal, match="token") as raised:
            vendor.list_task_ids("1")
        assert "no.such.token" not in str(raised.value)

    @pytest.mark.parametrize(
        ("body", "ref"),
        [
            (
                b'{"action": "ANNOTATION_CREATED", "annotation": {"id": 4}, "project": {"id": 7}}',
                "7",
            ),
            (b'{"action": "PROJECT_DELETED"}', None),
            (b'{"project": {"id": "x"}}', None),
            (b"[]", None),
            (b"\xff", None),
        ],
    )
    def test_a_webhook_names_its_project(self, body: bytes, ref: str | None) -> None:
        assert batch_of_event("label_studio", body) == ref


@pytest.mark.parametrize(
    "change", [{"annotations": {}}, {"annotations": 7}, {"meta": [1]}], ids=str
)
def test_a_task_that_cannot_be_read_holds_no_other(fake, world, make_tasks, change) -> None:
    tasks = make_tasks(3)
    ref = submit(world, "night/1", tasks).ref
    for task in tasks[1:]:
        world.answer(ref, task.task_id, "ann", "a")
    fake.tasks[world.numbers(ref)[tasks[0].task_id]].update(change)
    assert len(read_all(world.connect(), ref)[0]) >= 2
