"""Tasks follow from content alone: same sides, same second votes, same ids on every run."""

from __future__ import annotations

from itertools import pairwise, starmap
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Corrupt
from winnow.ids import pair_id, response_id
from winnow.label.shown import ShownPair, of_comparison
from winnow.label.tasks import (
    Held,
    build_tasks,
    draft_tasks,
    messages_of,
    rubric_version,
    tasks_of,
)
from winnow.label.vendor import Message
from winnow.records import TASKS, to_table
from winnow.text import plain_text

from . import slow_tasks
from .task_batches import (
    LABEL,
    PROMPTS,
    Row,
    build_many,
    comparison,
    gold_items,
    of_kind,
    responses,
)


@pytest.mark.parametrize("among_second_votes", [False, True])
def test_about_half_of_the_pairs_show_their_second_response_first(among_second_votes) -> None:
    built = build_many(2000)
    texts = [f"answer {i:04}" for i in range(2001)]
    first_of = {c["pair_id"]: c["first_id"] for c in starmap(comparison, pairwise(texts))}
    asked_twice = {t.pair_id for t in built.tasks if t.repetition == 1}
    swapped = [
        t.shown_a != first_of[t.pair_id]
        for t in built.tasks
        if t.repetition == 0 and (t.pair_id in asked_twice) >= among_second_votes
    ]
    assert 0.43 < sum(swapped) / len(swapped) < 0.57


def test_the_second_vote_swaps_the_sides_of_the_first() -> None:
    by_pair: dict[str, list[Any]] = {}
    for task in sorted(build_many(400).tasks, key=lambda t: t.repetition):
        by_pair.setdefault(task.pair_id, []).append(task)
    twice = [tasks for tasks in by_pair.values() if len(tasks) == 2]
    assert 70 < len(twice) < 130
    for one, other in twice:
        assert (one.shown_a, one.shown_b) == (other.shown_b, other.shown_a)
        assert (one.repetition, other.repetition) == (0, 1)
        assert one.task_id != other.task_id
        assert one.swapped != other.swapped


@pytest.mark.parametrize(("share", "n_tasks"), [(0.0, 50), (1.0, 100)])
def test_the_share_of_second_votes_is_exact_at_its_ends(share: float, n_tasks: int) -> None:
    label = LABEL.model_copy(update={"second_vote_share": share})
    assert len(build_many(50, label).tasks) == n_tasks


def test_tasks_do_not_depend_on_which_other_pairs_are_in_the_batch() -> None:
    few = {t.task_id for t in build_many(20).tasks}
    many = {t.task_id for t in build_many(60).tasks}
    assert few < many


def test_another_seed_deals_other_sides() -> None:
    one, other = build_many(50), build_many(50, seed=1)
    assert {t.task_id for t in one.tasks} != {t.task_id for t in other.tasks}


def test_requests_show_plain_text_on_the_sides_of_their_rows() -> None:
    texts = ["left\u200b\x1b[31m", "right\u202e\nnext"]
    built = build_tasks([comparison(*texts)], responses(*texts), PROMPTS, [], LABEL, 0)
    shown = dict(
        zip((response_id("p", t) for t in texts), ["left[31m", "right\nnext"], strict=True)
    )
    for task, request in zip(built.tasks, built.requests, strict=True):
        assert request.task_id == task.task_id
        assert request.response_a == shown[task.shown_a]
        assert request.response_b == shown[task.shown_b]
        assert request.messages[0].content == "Why?"
        assert request.price == task.price == 250_000


def test_rows_fit_the_table_of_tasks() -> None:
    table = to_table(build_many(5).tasks, TASKS)
    assert table.column("shown_a").null_count == 0
    assert table.column("vendor_ref").null_count == table.num_rows


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("same", "sa\u200bme ", "look_the_same"),
        ("\u200b\u200e", "words", "nothing_to_show"),
        ("words", "", "nothing_to_show"),
    ],
)
def test_a_pair_not_worth_asking_goes_to_quarantine(first: str, second: str, reason: str) -> None:
    built = build_tasks(
        [comparison(first, second)], responses(first, second), PROMPTS, [], LABEL, 0
    )
    assert not built.tasks
    assert not built.requests
    assert [(q.stage, q.reason) for q in built.quarantined] == [("label", reason)]


def test_a_comparison_without_its_response_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="expand_pools"):
        build_tasks([comparison("a", "b")], responses("a"), PROMPTS, [], LABEL, 0)


@given(st.lists(st.text("a \u200b", max_size=3), min_size=2, max_size=8, unique=True))
@settings(max_examples=40)
def test_every_pair_is_asked_or_quarantined(texts: list[str]) -> None:
    comparisons = [comparison(*pair) for pair in pairwise(texts)]
    built = build_tasks(comparisons, responses(*texts), PROMPTS, [], LABEL, 0)
    asked = {t.pair_id for t in built.tasks}
    quarantined = {q.record_id for q in built.quarantined}
    assert asked | quarantined == {c["pair_id"] for c in comparisons}
    assert not asked & quarantined


def test_swapped_says_that_side_a_shows_the_second_response() -> None:
    texts = [f"answer {i:04}" for i in range(101)]
    first_of = {c["pair_id"]: c["first_id"] for c in starmap(comparison, pairwise(texts))}
    for task in build_many(100).tasks:
        assert task.swapped == (task.shown_a != first_of[task.pair_id])


@pytest.mark.parametrize(
    "change", [{"instructions": "Which is safer?"}, {"rated_dimensions": ["honesty"]}]
)
def test_a_changed_rubric_never_hides_behind_its_old_name(change: Row) -> None:
    other = LABEL.model_copy(update=change)
    assert rubric_version(LABEL) != rubric_version(other)
    assert rubric_version(other).startswith("helpfulness-1+")
    ids, other_ids = ({t.task_id for t in build_many(9, label).tasks} for label in (LABEL, other))
    assert not ids & other_ids
    assert {r.rubric_version for r in build_many(9, other).requests} == {rubric_version(other)}


@pytest.mark.parametrize("policy", ["scrub", "send", "block"])
def test_pii_is_scrubbed_sent_or_blocked_and_always_counted(policy: str) -> None:
    first, second = "Ask ann@site.org.", "Ask bob@site.org, or ann@site.org."
    prompts = [{"prompt_id": "p", "messages": [{"role": "user", "content": "I am bob@site.org"}]}]
    label = LABEL.model_copy(update={"pii": policy, "second_vote_share": 1.0})
    built = build_tasks(
        [comparison(first, second)], responses(first, second), prompts, [], label, 0
    )
    assert built.pii == {"email": 4}
    sent = repr(built.requests)
    assert ("@" in sent) == (policy == "send")
    if policy == "block":
        assert [(q.reason, q.record_id) for q in built.quarantined] == [
            ("pii", comparison(first, second)["pair_id"])
        ]
        assert "4 email" in built.quarantined[0].detail
        assert "@" not in repr(built.quarantined)
        assert not built.tasks
    if policy == "scrub":
        for request in built.requests:
            assert request.messages[0].content == "I am [email 1]"
            assert {request.response_a, request.response_b} == {
                "Ask [email 2].",
                "Ask [email 1], or [email 2].",
            }


def test_pii_of_a_text_in_many_pairs_is_counted_once() -> None:
    texts = ["ann@site.org", "b", "c"]
    comparisons = [comparison(texts[0], other) for other in texts[1:]]
    built = build_tasks(comparisons, responses(*texts), PROMPTS, [], LABEL, 0)
    assert built.pii == {"email": 1}


def test_many_turns_stay_turns() -> None:
    turns = [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why?")]
    prompts = [{"prompt_id": "p", "messages": [{"role": r, "content": c} for r, c in turns]}]
    built = build_tasks([comparison("a", "b")], responses("a", "b"), prompts, [], LABEL, 0)
    assert [(m.role, m.content) for m in built.requests[0].messages] == turns


def built_beside(held: dict[str, Held], **changes: Any) -> Any:
    texts = [f"answer {i}" for i in range(41)]
    pairs = [comparison(*texts[i : i + 2]) for i in range(40)]
    label = LABEL.model_copy(update=changes)
    return build_tasks(pairs, responses(*texts), PROMPTS, gold_items(40), label, 0, held)


def test_a_pair_that_holds_its_votes_is_not_asked_and_counts_for_no_gold() -> None:
    asked = built_beside({}, second_vote_share=0.0, gold_share=0.5)
    pairs = sorted({task.pair_id for task in asked.tasks if task.kind == "comparison"})
    held = {pair: Held(1, False, False) for pair in pairs[:30]}
    built = built_beside(held, second_vote_share=0.0, gold_share=0.5)
    kinds = {kind: len(of_kind(built, kind)) for kind in ("comparison", "gold")}
    assert kinds == {"comparison": 10, "gold": 5}
    assert not held.keys() & {task.pair_id for task in built.tasks}
    assert built.quarantined == []


def test_a_second_vote_swaps_the_sides_of_the_held_one_and_goes_on_from_its_number() -> None:
    pairs = sorted({task.pair_id for task in built_beside({}, gold_share=0.0).tasks})
    held = {pair: Held(1, n % 2 == 0, False) for n, pair in enumerate(pairs)}
    built = built_beside(held, second_vote_share=1.0, repeat_share=1.0, gold_share=0.0)
    assert {(task.kind, task.repetition) for task in built.tasks} == {("comparison", 1)}
    assert len(built.tasks) == 40
    assert all(task.swapped != held[task.pair_id].last_swapped for task in built.tasks)


@pytest.mark.parametrize(("third_votes", "n_tasks"), [(True, 1), (False, 0)])
def test_held_votes_that_cancel_call_for_a_third(third_votes: bool, n_tasks: int) -> None:
    pairs = sorted({task.pair_id for task in built_beside({}, gold_share=0.0).tasks})
    held = {pair: Held(2, True, pair == pairs[0]) for pair in pairs}
    built = built_beside(held, third_votes=third_votes, gold_share=0.0)
    assert [(t.pair_id, t.repetition) for t in built.tasks] == [(pairs[0], 2)] * n_tasks


_WORDS = (
    "yes",
    "no",
    "No ",
    "mail ann@site.org",
    "call +49 30 901820",
    "",
    "a\u200bb",
    "ab",
    "long " * 9,
)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Any, ...]:
    """Comparisons, responses, prompts, gold, settings, seed and held votes, all at odds."""
    prompts = [
        {"prompt_id": f"p{n}", "messages": [{"role": "user", "content": draw(texts)}]}
        for n, texts in enumerate([st.sampled_from(("Why?", "I am bob@site.org", "\u200b"))] * 3)
    ]
    n = draw(st.integers(0, 12))
    rows, pairs = [], []
    for i in range(n):
        prompt = draw(st.sampled_from(("p0", "p1", "p2")))
        ids = [f"r{i}-{side}" for side in "ab"]
        rows += [
            {"response_id": name, "prompt_id": prompt, "message": draw(st.sampled_from(_WORDS))}
            for name in ids
        ]
        chance = draw(st.sampled_from([None, 0.1, 0.25, 0.5, 0.75, 0.9]))
        pairs.append(
            {
                "pair_id": pair_id(*ids),
                "prompt_id": prompt,
                "first_id": ids[0],
                "second_id": ids[1],
                "dimension": draw(st.sampled_from([None, "honesty"])),
                "p_first": chance,
            }
        )
    shares = st.sampled_from([0.0, 0.3, 0.5, 1.0])
    label = LABEL.model_copy(
        update={
            "second_vote_share": draw(shares),
            "repeat_share": draw(shares),
            "gold_share": draw(shares),
            "third_votes": draw(st.booleans()),
            "pii": draw(st.sampled_from(["scrub", "block", "send"])),
        }
    )
    some = draw(
        st.sets(st.sampled_from(pairs or [{"pair_id": "none"}]).map(lambda p: p["pair_id"]))
    )
    held = {
        name: Held(*draw(st.tuples(st.integers(1, 2), st.booleans(), st.booleans())))
        for name in sorted(some)
    }
    gold = [
        *gold_items(draw(st.integers(0, 4)), "Why?"),
        # Gold that is a comparison's pair as well.
        *(
            ShownPair(f"g{i}", "x", "y", (Message("user", "Why?"),), "yes", "no", "h", "first")
            for i in range(draw(st.integers(0, 2)))
        ),
    ]
    return pairs, rows, prompts, gold, label, draw(st.integers(0, 3)), held


@given(batches())
@settings(max_examples=150, deadline=None)
def test_the_tasks_are_those_that_were_always_built(batch: tuple[Any, ...]) -> None:
    assert build_tasks(*batch) == slow_tasks.build_tasks(*batch)


@given(
    batches(),
    st.sampled_from(["uniform", "disagreement"]),
    st.randoms(use_true_random=False),
)
@settings(max_examples=30, deadline=None)
def test_nothing_depends_on_the_order_in_which_pairs_are_read(
    batch: tuple[Any, ...], second_votes: str, random: Random
) -> None:
    pairs, rows, prompts, gold, label, seed, held = batch
    label = label.model_copy(update={"second_votes": second_votes})
    texts = {row["response_id"]: plain_text(row["message"]) for row in rows}
    turns = {row["prompt_id"]: messages_of(row["messages"]) for row in prompts}
    offered = [(n, of_comparison(pair, texts, turns)) for n, pair in enumerate(pairs)]
    random.shuffle(offered)
    with TemporaryDirectory() as folder:
        draft = draft_tasks(offered, gold, label, seed, held, Path(folder))
        asked = [row for page in draft.asked for row in page.to_pylist()]
    built = build_tasks(pairs, rows, prompts, gold, label, seed, held)
    assert tasks_of(asked) == built.tasks
    assert (list(draft.quarantined), draft.pii) == (built.quarantined, built.pii)
