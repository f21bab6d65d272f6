"""Tasks follow from content alone: same sides, same second votes, same ids on every run."""

from __future__ import annotations

from itertools import pairwise, starmap
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.campaign import Label
from winnow.errors import Corrupt
from winnow.ids import pair_id, response_id
from winnow.label.tasks import BuiltTasks, build_tasks
from winnow.records import TASKS, to_table

Row = dict[str, Any]
LABEL = Label(budget_usd=100.0, price_usd=0.25, second_vote_share=0.25)
PROMPTS = [{"prompt_id": "p", "messages": [{"role": "user", "content": "Why\u202e?"}]}]


def responses(*texts: str) -> list[Row]:
    return [{"response_id": response_id("p", t), "prompt_id": "p", "message": t} for t in texts]


def comparison(first: str, second: str) -> Row:
    ids = [response_id("p", first), response_id("p", second)]
    return {
        "pair_id": pair_id(*ids),
        "prompt_id": "p",
        "first_id": ids[0],
        "second_id": ids[1],
        "dimension": "helpfulness",
    }


def build_many(n: int, label: Label = LABEL, seed: int = 0) -> BuiltTasks:
    texts = [f"answer {i}" for i in range(n + 1)]
    comparisons = [comparison(*texts[i : i + 2]) for i in range(n)]
    return build_tasks(comparisons, responses(*texts), PROMPTS, label, seed)


@pytest.mark.parametrize("among_second_votes", [False, True])
def test_about_half_of_the_pairs_show_their_second_response_first(among_second_votes) -> None:
    built = build_many(2000)
    texts = [f"answer {i}" for i in range(2001)]
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
    for task in build_many(400).tasks:
        by_pair.setdefault(task.pair_id, []).append(task)
    twice = [tasks for tasks in by_pair.values() if len(tasks) == 2]
    assert 70 < len(twice) < 130
    for one, other in twice:
        assert (one.shown_a, one.shown_b) == (other.shown_b, other.shown_a)
        assert (one.repetition, other.repetition) == (0, 1)
        assert one.task_id != other.task_id


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
    built = build_tasks([comparison(*texts)], responses(*texts), PROMPTS, LABEL, 0)
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
    built = build_tasks([comparison(first, second)], responses(first, second), PROMPTS, LABEL, 0)
    assert not built.tasks
    assert not built.requests
    assert [(q.stage, q.reason) for q in built.quarantined] == [("label", reason)]


def test_a_comparison_without_its_response_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="expand_pools"):
        build_tasks([comparison("a", "b")], responses("a"), PROMPTS, LABEL, 0)


@given(st.lists(st.text("a \u200b", max_size=3), min_size=2, max_size=8, unique=True))
@settings(max_examples=40)
def test_every_pair_is_asked_or_quarantined(texts: list[str]) -> None:
    comparisons = [comparison(*pair) for pair in pairwise(texts)]
    built = build_tasks(comparisons, responses(*texts), PROMPTS, LABEL, 0)
    asked = {t.pair_id for t in built.tasks}
    quarantined = {q.record_id for q in built.quarantined}
    assert asked | quarantined == {c["pair_id"] for c in comparisons}
    assert not asked & quarantined
