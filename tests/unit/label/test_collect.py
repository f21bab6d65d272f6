"""Nothing a vendor sends is lost, believed unread, or traceable to a person."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.label.annotation import UNKNOWN, Annotation, AnnotatorKey, pseudonymous
from winnow.label.collect import Delivery
from winnow.records import ANNOTATIONS, QUARANTINE, to_table

from ...sampling import examples
from . import slow_collect
from .collected import read_deliveries
from .slow_collect import Collection

Row = dict[str, Any]
SALT = b"salt"
SOURCE = "pages/ref"
TASKS = [
    {"task_id": "straight", "pair_id": "pair", "swapped": False, "kind": "comparison"},
    {"task_id": "swapped", "pair_id": "pair", "swapped": True, "kind": "comparison"},
    {"task_id": "other pair", "pair_id": "other", "swapped": False, "kind": "comparison"},
    {"task_id": "known", "pair_id": "gold", "swapped": False, "kind": "gold"},
]


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


def delivered(*looks: Sequence[bytes], salt: bytes = SALT) -> list[Delivery]:
    key = AnnotatorKey("pages", salt)
    records = [(pseudonymous(raw, key), look) for look, raws in enumerate(looks) for raw in raws]
    return [Delivery(raw, SOURCE, line, look) for line, (raw, look) in enumerate(records, 1)]


def collect(*looks: Sequence[bytes]) -> Collection:
    """What a vendor says that tells everything that happened, look by look."""
    return read_deliveries(delivered(*looks), TASKS, {})


def collect_standing(*looks: Sequence[bytes]) -> Collection:
    """What a vendor says that shows what stands at each look."""
    return read_deliveries(delivered(*looks), TASKS, {SOURCE: len(looks) - 1})


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


HALF = "\ud800"

BAD = {
    "invalid_json": [b"{truncated", b"", b"{} {}"],
    "invalid_utf8": [b"\xff\xfe", raw(rationale=HALF), raw(task_id=HALF)],
    "nested_too_deep": [b"[" * 100_000, raw(ratings=json.loads("[" * 90 + "]" * 90))],
    "number_too_long": [raw(price=0).replace(b'"price": 0', b'"price": ' + b"9" * 5000)],
    "no_number": [raw(active_seconds=float("nan")), raw(price=float("inf"))],
    "stands_twice": [
        raw().replace(b'"price": 100000', b'"price": 1, "price": 2'),
        raw().replace(b'"choice": "a"', b'"choice": "a", "choice": "b"'),
        raw(ratings={"h": {"a": 1, "b": 2}}).replace(b'"a": 1', b'"a": 1, "a": 5'),
    ],
    "wrong_time": [
        raw(finished_at="0001-01-01T00:00:00+01:00"),
        raw(started_at="9999-12-31T23:59:59-05:00"),
    ],
    "wrong_type": [b"null", b"[1]"],
    "does_not_parse": [
        raw(finished_at="yesterday"),
        raw(finished_at=17),
        raw(price="free"),
        raw(price=-1),
        raw(price=2**62),
        raw(price=True),
        raw(revision=-1),
        raw(revision=2**62),
        raw(active_seconds=-1.0),
        raw(active_seconds=1e300),
        raw(strength=4),
        raw(strength=1.5),
        raw(status="gone"),
        raw(annotator=["x"]),
        raw(annotator=True),
        raw(annotator=HALF),
        json.dumps({k: v for k, v in record().items() if k != "choice"}).encode(),
    ],
    "unknown_task": [raw(task_id="nobody asked")],
    "unknown_choice": [raw(choice="ZZZ"), raw(choice=" ."), raw(choice="a or b")],
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


SAME = [
    {"annotator": 17},
    {"annotator": 17.0},
    {"active_seconds": "55.5"},
    {"strength": "2"},
    {"strength": 2.0},
    {"price": "100000"},
    {"price": 100_000.0},
    {"revision": None},
    {"status": None},
    {"ratings": None},
    {"choice": " A "},
    {"finished_at": "2026-11-22T10:01:00"},
    {"finished_at": "2026-11-22 10:01:00+00:00"},
    {"finished_at": "2026-11-22T11:01:00+01:00"},
    {"unknown": {"twice": [float("nan")]}},
]


@pytest.mark.parametrize("told", SAME)
def test_what_means_the_same_is_the_same_annotation(told: Row) -> None:
    [plain] = collect([raw(annotator="17")]).annotations
    [found] = collect([raw(**{"annotator": "17", **told})]).annotations
    assert found == plain


def test_both_bad_is_known_however_it_is_written() -> None:
    for choice in ("both_bad", "Both bad", "BOTH-BAD"):
        [found] = collect([raw(choice=choice)]).annotations
        assert found.preferred == "both_bad"


def test_one_id_on_all_answers_of_a_vendor_that_names_nobody_is_nobodys() -> None:
    sent = delivered([raw(), raw(annotation_id="x", task_id="swapped", choice="b")])
    of_one = read_deliveries(sent, TASKS, {}, names_people=True).annotations
    assert [a.kind for a in of_one] == ["comparison", "repeat"]
    found = read_deliveries(sent, TASKS, {}, names_people=False).annotations
    assert [a.kind for a in found] == ["comparison", "comparison"]
    assert all(a.annotator.startswith(UNKNOWN) for a in found)
    assert found[0].annotator != found[1].annotator
    other = delivered([raw(), raw(annotation_id="x", task_id="swapped", annotator="Ada")])
    named = read_deliveries(other, TASKS, {}, names_people=False).annotations
    assert not any(a.annotator.startswith(UNKNOWN) for a in named)


def test_what_nobody_can_read_still_says_which_task_was_answered() -> None:
    bad = raw(finished_at="0001-01-01T00:00:00+01:00")
    broken = raw(task_id="swapped", rationale=HALF)
    assert collect([bad, broken, b"{", raw(task_id="other", price=-1)]).refused == {
        "straight",
        "swapped",
    }
    assert collect([raw()]).refused == set()


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


@pytest.mark.parametrize(
    "bad",
    [
        raw(rationale=HALF),
        raw().replace(b'"price": 100000', b'"price": 1, "price": 2'),
        b'{"workerId": "Grace H.", "choice": ' + b"9" * 5000 + b"}",
        b'{"completed_by": {"email": "Grace H."}, "result": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"annotator": "Grace H.", "choice": ',
    ],
)
def test_no_annotator_is_named_by_what_cannot_be_read(bad: bytes) -> None:
    [kept] = collect([bad]).quarantined
    assert b"Grace" not in (kept.raw or b"")
    assert len(kept.raw or b"") > len(bad) - 40


def test_an_annotator_is_the_same_over_tasks_and_another_under_another_salt() -> None:
    records = [raw(), raw(annotation_id="ann-2", task_id="swapped")]
    one, other = collect(records).annotations
    salted = read_deliveries(delivered(records, salt=b"other"), TASKS, {}).annotations
    assert one.annotator == other.annotator != salted[0].annotator


def test_the_same_record_again_is_counted_and_kept_once() -> None:
    collection = collect([raw(), raw()], [raw()])
    assert len(collection.annotations) == 1
    assert (collection.n_received, collection.n_redelivered) == (3, 2)


def test_a_bad_record_again_is_counted_and_quarantined_once() -> None:
    collection = collect([b"{", raw(choice="?"), raw()], [b"{", raw(choice="?")])
    assert sorted(reasons(collection)) == ["invalid_json", "unknown_choice"]
    assert (collection.n_received, collection.n_redelivered) == (5, 2)


def test_another_record_under_the_same_revision_is_quarantined() -> None:
    collection = collect([raw(choice="b"), raw(choice="a")])
    assert len(collection.annotations) == 1
    assert reasons(collection) == ["conflicting_delivery"]


@pytest.mark.parametrize("name", ["Grace H.", "", None])
def test_ids_that_are_numbers_in_a_list_lose_no_answer(name: str | None) -> None:
    tasks = ["straight", "other pair", "known"]
    sent = [raw(annotation_id="1", task_id=task, annotator=name) for task in tasks]
    collection = collect(sent, sent)
    assert not collection.quarantined and collection.n_redelivered == 3
    assert {a.task_id for a in collection.annotations} == set(tasks)
    assert len({a.annotation_id for a in collection.annotations}) == 3
    assert len({a.annotator for a in collection.annotations}) == (1 if name == "Grace H." else 3)


def test_answers_without_a_name_are_of_people_of_whom_nothing_is_known() -> None:
    sent = [
        raw(annotator=None),
        raw(annotator="", annotation_id="x", task_id="swapped"),
        raw(annotation_id="y", task_id="known"),
    ]
    found = collect(sent).annotations
    assert [a.annotator.startswith(UNKNOWN) for a in found] == [True, True, False]
    assert [a.kind for a in found] == ["comparison", "comparison", "gold"]


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


def test_a_second_judgement_of_a_pair_by_one_annotator_is_no_second_vote() -> None:
    later = raw(
        annotation_id="ann-2", task_id="swapped", finished_at="2026-11-22T11:00:00Z", choice="b"
    )
    other = raw(annotation_id="ann-3", task_id="swapped", annotator="Ada")
    kinds = [a.kind for a in collect([later, other, raw()]).annotations]
    assert kinds == ["comparison", "repeat", "comparison"]


def test_who_skips_first_and_judges_later_has_judged() -> None:
    skip, later = raw(choice="skip"), {"finished_at": "2026-11-22T11:00:00Z"}
    same = collect([skip, raw(**later, annotation_id="x")])
    assert [(a.annotation_id, a.kind) for a in same.annotations] == [("x", "comparison")]
    assert reasons(same) == ["repeated_annotator"]
    other = collect([skip, raw(**later, annotation_id="x", task_id="swapped")])
    assert [(a.choice, a.kind) for a in other.annotations] == [
        ("skip", "repeat"),
        ("a", "comparison"),
    ]


wanderers = st.builds(
    raw,
    annotation_id=st.sampled_from("wxyz"),
    revision=st.integers(0, 2),
    annotator=st.sampled_from(["Grace H.", "Ada"]),
    task_id=st.sampled_from(["straight", "swapped", "other pair", "known"]),
    choice=st.sampled_from(["a", "b", "tie", "skip"]),
    status=st.sampled_from(["submitted", "submitted", "retracted", "rejected"]),
    finished_at=st.sampled_from(["2026-11-22T10:01:00Z", "2026-11-22T11:00:00Z", None]),
)


@given(st.lists(wanderers, max_size=10), st.booleans())
@settings(max_examples=examples(200), deadline=None)
def test_an_annotation_may_move_between_tasks_and_each_judge_has_one_vote(
    raws: list[bytes], stands: bool
) -> None:
    collection = (collect_standing if stands else collect)(raws)
    latest: dict[str, Annotation] = {}
    for a in sorted(collection.annotations, key=lambda a: a.revision):
        latest[a.annotation_id] = a
    kind_of = {t["task_id"]: t["kind"] for t in TASKS}
    for a in collection.annotations:
        assert a.kind == kind_of[a.task_id] or (a.kind, kind_of[a.task_id]) == (
            "repeat",
            "comparison",
        )
    standing = [a for a in latest.values() if a.status in ("submitted", "approved")]
    judged = [a for a in standing if a.preferred and kind_of[a.task_id] == "comparison"]
    judges = Counter((a.pair_id, a.annotator) for a in judged if a.kind == "comparison")
    assert judges == Counter({(a.pair_id, a.annotator) for a in judged})


def test_a_gold_answer_is_told_as_one() -> None:
    [annotation] = collect([raw(task_id="known")]).annotations
    assert annotation.kind == "gold"


def test_ratings_are_said_of_the_pairs_own_order() -> None:
    ratings = {"honesty": {"a": 5, "b": 2}}
    [annotation] = collect([raw(task_id="swapped", ratings=ratings)]).annotations
    assert annotation.ratings == [{"dimension": "honesty", "first": 2, "second": 5}]
    assert reasons(collect([raw(ratings={"honesty": {"a": 6, "b": 1}})])) == ["does_not_parse"]


def test_choices_on_dimensions_are_kept_as_the_ratings_that_stand_for_them() -> None:
    given = {
        "ratings": {"tact": {"a": 2, "b": 4}},
        "dimension_choices": {"care": "A", "wit": "tie"},
    }
    [annotation] = collect([raw(task_id="swapped", **given)]).annotations
    assert annotation.ratings == [
        {"dimension": "care", "first": 1, "second": 5},
        {"dimension": "tact", "first": 4, "second": 2},
        {"dimension": "wit", "first": 3, "second": 3},
    ]
    for wrong in ("skip", "c", 1):
        assert reasons(collect([raw(dimension_choices={"care": wrong})])) == ["does_not_parse"]


def test_what_a_vendor_no_longer_shows_was_retracted() -> None:
    collection = collect_standing([raw(), raw(annotation_id="x", annotator="Ada")], [raw()])
    told = [(a.annotation_id, a.revision, a.status, a.price) for a in collection.annotations]
    assert told == [
        ("ann-1", 0, "submitted", 100_000),
        ("x", 0, "submitted", 100_000),
        ("x", 1, "retracted", 0),
    ]
    assert (collection.n_received, collection.n_redelivered, collection.n_vanished) == (3, 1, 1)


def test_what_comes_back_was_not_retracted_and_an_edit_is_a_revision() -> None:
    edited = raw(revision=9, choice="b")
    assert collect_standing([raw()], [], [raw()]).n_vanished == 0
    assert [a.choice for a in collect_standing([raw()], [edited]).annotations] == ["a", "b"]


def test_when_the_first_answer_vanishes_the_annotators_next_one_counts() -> None:
    later = raw(annotation_id="ann-2", finished_at="2026-11-22T11:00:00Z")
    assert reasons(collect_standing([raw(), later])) == ["repeated_annotator"]
    assert not collect_standing([raw(), later], [later]).quarantined


def test_a_vendor_that_tells_all_that_happened_retracts_in_words_only() -> None:
    assert collect([raw()], []).n_vanished == 0


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
@settings(max_examples=25, deadline=None)
def test_counts_add_up_and_order_does_not_matter(
    raws: list[bytes], page: int, rng: random.Random
) -> None:
    collection = collect(*[raws[i : i + page] for i in range(0, len(raws), page)])
    n_kept = len(collection.annotations) + len(collection.quarantined)
    assert collection.n_vanished == 0
    assert n_kept + collection.n_redelivered == collection.n_received == len(raws)
    keys = [(a.annotation_id, a.revision) for a in collection.annotations]
    assert keys == sorted(set(keys))
    shuffled = rng.sample(raws, len(raws))
    assert collect(shuffled).annotations == collection.annotations
    assert sorted(q.reason for q in collect(shuffled).quarantined) == sorted(reasons(collection))


def at(minute: int, **changes: Any) -> bytes:
    return raw(finished_at=f"2026-11-22T10:{minute:02d}:00Z", **changes)


def test_an_annotation_that_moves_to_a_gold_task_is_of_that_task() -> None:
    before = at(1, annotation_id="ann-2", task_id="swapped")
    moved = at(3, task_id="known", revision=1)
    found = collect([before, at(2), moved]).annotations
    kinds = {(a.annotation_id, a.revision): a.kind for a in found}
    assert kinds["ann-1", 1] == "gold"
    assert kinds["ann-2", 0] == "comparison"


@pytest.mark.parametrize("gone", [{"task_id": "known"}, {"task_id": "known", "status": "rejected"}])
def test_what_moved_away_from_a_pair_makes_no_repeat_of_a_later_vote(gone: Row) -> None:
    later = at(5, annotation_id="ann-2", task_id="swapped")
    found = collect([at(1), at(2, revision=1, **gone), later]).annotations
    assert {a.kind for a in found if a.annotation_id == "ann-2"} == {"comparison"}


odd_records = st.one_of(
    st.binary(max_size=12),
    st.just(b'{"task_id": "swapped", "unread": 1}'),
    st.builds(
        raw,
        annotation_id=st.sampled_from(["x", "y", "z", "\u00e9", 17]),
        revision=st.integers(0, 1),
        annotator=st.sampled_from(["Grace H.", "Ada", None]),
        task_id=st.sampled_from(["straight", "swapped", "other pair", "known", "never asked"]),
        choice=st.sampled_from(["a", "b", "skip", "both bad"]),
        status=st.sampled_from(["submitted", "retracted", "rejected"]),
        finished_at=st.sampled_from([None, "2026-11-22T10:01:00Z", "2026-11-22T11:01:00+01:00"]),
        active_seconds=st.sampled_from([None, 0, 55.5]),
        ratings=st.sampled_from([None, {"clear": {"a": 1, "b": 5}}]),
    ),
)
_BEFORE = Annotation(
    "x-before",
    0,
    "there",
    "pair",
    "comparison",
    AnnotatorKey("pages", SALT).hash("Ada"),
    "a",
    False,
    "first",
    None,
    [],
    None,
    None,
    None,
    None,
    "submitted",
    0,
)


@given(
    st.lists(st.lists(odd_records, max_size=7), max_size=3),
    st.booleans(),
    st.booleans(),
    st.lists(st.sampled_from([_BEFORE, replace(_BEFORE, annotation_id="y", revision=1)])),
)
@settings(max_examples=examples(60), deadline=None)
def test_what_is_read_is_what_was_always_read(
    looks: list[list[bytes]], stands: bool, names_people: bool, taken: list[Annotation]
) -> None:
    sent = delivered(*looks)
    last = {SOURCE: len(looks) - 1} if stands else {}
    tasks = [{**task, "round": n % 2} for n, task in enumerate(TASKS)]
    found = read_deliveries(sent, tasks, last, names_people, taken)
    expected = slow_collect.read_deliveries(sent, tasks, last, names_people)
    if taken:
        every = slow_collect.one_vote_each([*taken, *expected.annotations])
        expected = replace(expected, annotations=every)
    assert found == expected
