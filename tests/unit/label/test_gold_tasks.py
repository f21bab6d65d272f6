"""Gold, repeats and the order of a batch: unannounced, spread evenly, the same on every run."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

from winnow.label.gold import read_gold

from .task_batches import LABEL, build_many, comparison, gold_items, of_kind


def test_a_repeat_shows_its_first_task_again_with_sides_swapped_half_a_batch_later() -> None:
    label = LABEL.model_copy(update={"repeat_share": 0.3})
    built = build_many(400, label, gold=gold_items(30))
    place = {task.task_id: i for i, task in enumerate(built.tasks)}
    repeats = of_kind(built, "repeat")
    assert 90 < len(repeats) < 150
    by_id = dict(zip(place, built.tasks, strict=True))
    for task, request in repeats:
        first = by_id[request.repeats]
        assert (first.pair_id, first.kind, first.repetition) == (task.pair_id, "comparison", 0)
        assert (first.shown_a, first.shown_b) == (task.shown_b, task.shown_a)
        assert 0.4 < (place[task.task_id] - place[first.task_id]) / len(built.tasks) < 0.6
    assert all(request.repeats is None for _, request in of_kind(built, "comparison"))
    assert len(place) == len(built.tasks)
    assert len({(t.pair_id, t.repetition) for t in built.tasks}) == len(built.tasks)


def test_gold_tasks_are_a_share_of_the_pairs_with_their_better_side_noted() -> None:
    items = {item.pair_id: item for item in gold_items(40)}
    gold = of_kind(build_many(101, gold=list(items.values())), "gold")
    assert len(gold) == 6
    for task, request in gold:
        item = items[task.pair_id]
        better = task.shown_a if (task.expected == "second") == task.swapped else task.shown_b
        assert better == (item.first_id if item.expected == "first" else item.second_id)
        shown = {task.shown_a: request.response_a, task.shown_b: request.response_b}
        assert shown == {item.first_id: item.first, item.second_id: item.second}
        assert shown[better].startswith("right")
        assert request.messages[0].content == "2 + 2?"


def test_nothing_that_is_sent_tells_gold_from_the_rest() -> None:
    label = LABEL.model_copy(update={"gold_share": 1.0, "second_vote_share": 0.0})
    built = build_many(400, label, gold=gold_items(400))
    gold = of_kind(built, "gold")
    assert Counter(task.expected for task, _ in gold).keys() == {"first", "second"}
    on_side_a = sum((task.expected == "second") == task.swapped for task, _ in gold)
    assert 160 < on_side_a < 240
    for sent in ("dimension", "instructions", "rubric_version", "price", "repeats"):
        assert len({getattr(request, sent) for request in built.requests}) == 1


def test_each_batch_draws_other_gold_and_never_the_same_task_again() -> None:
    items = gold_items(40)
    one, again, other = (
        {t.task_id: t.pair_id for t, _ in of_kind(build_many(n, gold=items), "gold")}
        for n in (100, 100, 120)
    )
    assert one == again
    assert set(one.values()) != set(other.values())
    label = LABEL.model_copy(update={"gold_share": 1.0})
    few, many = (
        {t.task_id for t, _ in of_kind(build_many(n, label, gold=items), "gold")} for n in (60, 80)
    )
    assert len(few) == len(many) == 40
    assert not few & many


def test_a_gold_item_that_is_one_of_the_pairs_is_left_out() -> None:
    row = {"prompt": "Why?", "chosen": "answer  0001\n", "rejected": "answer 0000"}
    same, _ = read_gold("gold.jsonl", json.dumps(row).encode())
    label = LABEL.model_copy(update={"gold_share": 1.0})
    built = build_many(5, label, gold=[*same, *gold_items(1)])
    assert [task.pair_id for task, _ in of_kind(built, "gold")] == [gold_items(1)[0].pair_id]
    assert not built.quarantined


def test_hard_pairs_lie_evenly_among_easier_ones_and_gold_through_all() -> None:
    label = LABEL.model_copy(update={"second_vote_share": 0.0, "gold_share": 0.1})
    n = 400
    built = build_many(n, label, gold=gold_items(40))
    texts = [f"answer {i:04}" for i in range(n + 1)]
    p_first = {comparison(*p)["pair_id"]: i / n for i, p in enumerate(pairwise(texts))}
    hard = [abs(p_first.get(t.pair_id, 0.0) - 0.5) < 0.05 for t in built.tasks]
    for start in range(0, n, 50):
        assert 3 <= sum(hard[start : start + 50]) <= 8
        assert 2 <= sum(t.kind == "gold" for t in built.tasks[start : start + 50]) <= 8
    assert [t.task_id for t in build_many(n, label, gold=gold_items(40)).tasks] == [
        t.task_id for t in built.tasks
    ]


def test_gold_with_pii_is_blocked_by_its_place_in_the_file_and_another_item_asked() -> None:
    rows = [
        {"prompt": "Q", "chosen": "mail ann@site.org", "rejected": "no"},
        {"prompt": "Q", "chosen": "yes", "rejected": "no"},
    ]
    items, _ = read_gold("gold.jsonl", "\n".join(map(json.dumps, rows)).encode())
    label = LABEL.model_copy(update={"pii": "block", "gold_share": 1.0})
    built = build_many(10, label, gold=items)
    assert [task.pair_id for task, _ in of_kind(built, "gold")] == [items[1].pair_id]
    assert [(q.reason, q.file, q.line) for q in built.quarantined] == [("pii", "gold.jsonl", 1)]
