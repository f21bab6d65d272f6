"""Nothing a vendor sends is lost, believed unread, or traceable to a person."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Corrupt, Fatal
from winnow.label.collect import Collection, collect_annotations
from winnow.label.submit import submit_tasks
from winnow.label.vendor import AnnotationPage
from winnow.records import ANNOTATIONS, QUARANTINE, to_table

Row = dict[str, Any]
SALT = b"salt"
COMPARISONS = [{"pair_id": "pair", "first_id": "one", "second_id": "two"}]
TASKS = [
    {"task_id": "straight", "pair_id": "pair", "shown_a": "one", "shown_b": "two"},
    {"task_id": "swapped", "pair_id": "pair", "shown_a": "two", "shown_b": "one"},
]


class Pages:
    """A vendor that has these pages of raw records to give."""

    name = "pages"

    def __init__(self, *pages: Sequence[bytes], circle: bool = False) -> None:
        self.pages, self.circle = pages, circle

    def fetch(self, _ref: str, cursor: str | None) -> AnnotationPage:
        number = int(cursor or 0)
        last = number + 1 >= len(self.pages)
        following = str(number + 1) if not last else ("0" if self.circle else None)
        records = tuple(self.pages[number]) if self.pages else ()
        return AnnotationPage(records, following, complete=last)


def record(**changes: Any) -> Row:
    base = {
        "annotation_id": "ann-1",
        "revision": 0,
        "task_id": "straight",
        "annotator": "Grace H.",
        "choice": "a",
        "strength": 2,
        "rationale": "clearer\u202e",
        "started_at": "2026-11-22T10:00:00Z",
        "finished_at": "2026-11-22T10:01:00Z",
        "active_seconds": 55.5,
        "status": "submitted",
        "price": 100_000,
    }
    return {**base, **changes}


def raw(**changes: Any) -> bytes:
    return json.dumps(record(**changes)).encode()


def collect(*pages: Sequence[bytes]) -> Collection:
    return collect_annotations(Pages(*pages), "ref", TASKS, COMPARISONS, SALT)


def reasons(collection: Collection) -> list[str]:
    return [q.reason for q in collection.quarantined]


@pytest.mark.parametrize(
    ("task", "choice", "preferred"),
    [
        ("straight", "a", "first"),
        ("straight", "b", "second"),
        ("swapped", "a", "second"),
        ("swapped", "b", "first"),
        ("swapped", "tie", "tie"),
        ("straight", "both_bad", "both_bad"),
        ("swapped", "skip", None),
    ],
)
def test_a_choice_as_shown_becomes_the_preferred_response(task, choice, preferred) -> None:
    [annotation] = collect([raw(task_id=task, choice=choice)]).annotations
    assert annotation.preferred == preferred
    assert annotation.swapped == (task == "swapped")
    assert annotation.choice == choice


def test_a_good_record_fits_the_table_of_annotations() -> None:
    collection = collect([raw()])
    [row] = to_table(collection.annotations, ANNOTATIONS).to_pylist()
    assert row["rationale"] == "clearer"
    assert row["price"] == 100_000
    assert row["finished_at"].isoformat() == "2026-11-22T10:01:00+00:00"
    assert len(row["annotator"]) == 16


BAD = {
    "does_not_parse": [
        b"{truncated",
        b"",
        b"\xff\xfe",
        b"null",
        b"[1]",
        b"[" * 100_000,
        raw(price="free"),
        raw(price=-1),
        raw(active_seconds=-1.0),
        raw(strength=4),
        raw(status="gone"),
        raw(annotator=""),
        raw(annotator=7),
        raw(finished_at="yesterday"),
        raw(finished_at="2026-11-22T10:01:00"),
        json.dumps({k: v for k, v in record().items() if k != "choice"}).encode(),
    ],
    "unknown_task": [raw(task_id="nobody asked")],
    "unknown_choice": [raw(choice="ZZZ"), raw(choice="A"), raw(choice="")],
}


@pytest.mark.parametrize(("reason", "bad"), [(r, b) for r, bads in BAD.items() for b in bads])
def test_a_record_that_is_no_annotation_goes_to_quarantine(reason: str, bad: bytes) -> None:
    collection = collect([bad, raw(annotation_id="good")])
    assert [a.annotation_id for a in collection.annotations] == ["good"]
    [quarantined] = collection.quarantined
    assert (quarantined.stage, quarantined.reason) == ("label", reason)
    assert (quarantined.file, quarantined.line) == ("pages/ref", 1)
    assert quarantined.detail
    assert to_table([quarantined], QUARANTINE).num_rows == 1


def test_raw_bytes_are_kept_as_they_came_where_they_name_nobody() -> None:
    assert collect([b"{truncated"]).quarantined[0].raw == b"{truncated"


@pytest.mark.parametrize(
    "bad", [raw(choice="ZZZ"), raw(price=-1), raw(annotator={"id": "Grace H."}, price=-1)]
)
def test_no_annotator_is_named_even_in_quarantine(bad: bytes) -> None:
    collection = collect([bad, raw(), raw(annotation_id="ann-2")])
    assert len(collection.quarantined) == 2
    assert "Grace" not in repr(collection)
    assert json.loads(collection.quarantined[0].raw or b"")["price"] == json.loads(bad)["price"]


def test_an_annotator_is_the_same_over_tasks_and_another_under_another_salt() -> None:
    records = [raw(), raw(annotation_id="ann-2", task_id="swapped")]
    one, other = collect(records).annotations
    salted = collect_annotations(Pages(records), "ref", TASKS, COMPARISONS, b"other").annotations
    assert one.annotator == other.annotator != salted[0].annotator


def test_the_same_record_again_is_counted_and_kept_once() -> None:
    collection = collect([raw(), raw()], [raw()])
    assert len(collection.annotations) == 1
    assert (collection.n_received, collection.n_redelivered) == (3, 2)


def test_another_record_under_the_same_revision_is_quarantined() -> None:
    collection = collect([raw(choice="b"), raw(choice="a")])
    assert len(collection.annotations) == 1
    assert reasons(collection) == ["conflicting_delivery"]


def test_every_revision_of_an_annotation_is_kept() -> None:
    collection = collect([raw(revision=1, choice="b"), raw()])
    assert [(a.revision, a.choice) for a in collection.annotations] == [(0, "a"), (1, "b")]


def test_an_annotators_second_answer_to_a_task_is_quarantined_with_its_revisions() -> None:
    later = {"annotation_id": "ann-0", "finished_at": "2026-11-22T11:00:00Z"}
    collection = collect([raw(**later, revision=1), raw(**later), raw()])
    assert [a.annotation_id for a in collection.annotations] == ["ann-1"]
    assert reasons(collection) == ["repeated_annotator"] * 2
    assert {q.record_id for q in collection.quarantined} == {"ann-0"}


def test_two_annotators_may_answer_one_task() -> None:
    assert len(collect([raw(), raw(annotation_id="x", annotator="Ada")]).annotations) == 2


def test_after_a_retraction_the_annotators_next_answer_counts() -> None:
    later = raw(annotation_id="ann-2", finished_at="2026-11-22T11:00:00Z")
    collection = collect([raw(), raw(revision=1, status="retracted"), later])
    assert len(collection.annotations) == 3
    assert not collection.quarantined


def test_a_circle_of_pages_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="circle"):
        collect_annotations(Pages([raw()], [], circle=True), "ref", TASKS, COMPARISONS, SALT)


def test_a_task_without_its_comparison_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="select_pairs"):
        collect_annotations(Pages([]), "ref", TASKS, [], SALT)


def test_an_empty_salt_is_fatal() -> None:
    with pytest.raises(Fatal, match="salt"):
        collect_annotations(Pages([]), "ref", TASKS, COMPARISONS, b"")


records = st.one_of(
    st.binary(max_size=12),
    st.builds(
        raw,
        annotation_id=st.sampled_from(["x", "y", "z"]),
        revision=st.integers(0, 1),
        annotator=st.sampled_from(["Grace H.", "Ada"]),
        task_id=st.sampled_from(["straight", "swapped", "other"]),
        choice=st.sampled_from(["a", "b", "skip", "ZZZ"]),
        status=st.sampled_from(["submitted", "retracted"]),
        rationale=st.text(st.characters(), max_size=3),
    ),
)


@given(st.lists(records, max_size=12), st.integers(1, 5), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_counts_add_up_and_order_does_not_matter(
    raws: list[bytes], page: int, rng: random.Random
) -> None:
    collection = collect(*[raws[i : i + page] for i in range(0, len(raws), page)])
    n_kept = len(collection.annotations) + len(collection.quarantined)
    assert n_kept + collection.n_redelivered == collection.n_received == len(raws)
    keys = [(a.annotation_id, a.revision) for a in collection.annotations]
    assert keys == sorted(set(keys))
    shuffled = rng.sample(raws, len(raws))
    assert collect(shuffled).annotations == collection.annotations
    assert sorted(q.reason for q in collect(shuffled).quarantined) == sorted(reasons(collection))


def test_what_the_simulator_answers_is_collected_whole(simulator, make_tasks) -> None:
    requests = make_tasks(80)
    ref = submit_tasks(simulator.connect(), "day-1", requests, 10**9).ref
    simulator.finish()
    tasks = [
        {"task_id": r.task_id, "pair_id": r.pair_id, "shown_a": "one", "shown_b": "two"}
        for r in requests
    ]
    comparisons = [{**COMPARISONS[0], "pair_id": r.pair_id} for r in requests]
    collection = collect_annotations(simulator.connect(), ref, tasks, comparisons, SALT)
    status = simulator.connect().status(ref)
    assert len(collection.annotations) == status.n_answered > 70
    assert not collection.quarantined
    assert sum(a.price for a in collection.annotations) == status.charged
    assert len({a.annotator for a in collection.annotations}) > 5
    assert "simulated-annotator" not in repr(collection)
