"""Gold, repeats and second votes: exact counts, steady draws, and hard pairs apart."""

from __future__ import annotations

from itertools import groupby, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Corrupt, Fatal
from winnow.select.controls import (
    Controls,
    ControlShares,
    gold_candidates,
    plan_controls,
    space_hard,
)

SHARES = ControlShares()


def pairs_of(n: int) -> list[str]:
    return [f"pair{k:04d}" for k in range(n)]


def plan(n: int, n_gold: int = 500, shares: ControlShares = SHARES) -> Controls:
    return plan_controls(pairs_of(n), [f"gold{k}" for k in range(n_gold)], shares, 7, "night")


# Counts.


@pytest.mark.parametrize(
    ("n", "gold", "repeats", "second"),
    [(0, 0, 0, 0), (9, 0, 0, 1), (10, 1, 1, 2), (200, 10, 10, 30), (1000, 50, 50, 150)],
)
def test_each_control_has_its_share_of_the_batch(
    n: int, gold: int, repeats: int, second: int
) -> None:
    controls = plan(n)
    assert (len(controls.gold), len(controls.repeats), len(controls.second_votes)) == (
        gold,
        repeats,
        second,
    )
    assert controls.gold_wanted == gold


def test_repeats_and_second_votes_are_pairs_of_the_batch_and_kept_apart() -> None:
    controls = plan(400)
    assert set(controls.repeats) | set(controls.second_votes) <= set(pairs_of(400))
    assert not set(controls.repeats) & set(controls.second_votes)


def test_a_pair_is_repeated_and_second_voted_only_when_there_are_too_few() -> None:
    controls = plan(10, shares=ControlShares(0.0, repeats=0.5, second_votes=0.8))
    assert len(set(controls.repeats)) == 5 and len(set(controls.second_votes)) == 8
    assert len(set(controls.repeats) & set(controls.second_votes)) == 3


def test_too_little_gold_is_used_whole_and_the_shortfall_shows() -> None:
    controls = plan(200, n_gold=3)
    assert sorted(controls.gold) == ["gold0", "gold1", "gold2"]
    assert controls.gold_wanted == 10


def test_gold_is_never_a_pair_that_the_batch_asks_anyway() -> None:
    controls = plan_controls(pairs_of(40), [*pairs_of(40), "gold"], SHARES, 7, "night")
    assert controls.gold == ["gold"]


def test_the_least_used_gold_comes_first() -> None:
    uses = {f"gold{k}": k % 3 for k in range(30)}
    controls = plan_controls(pairs_of(200), list(uses), SHARES, 7, "night", uses)
    assert {uses[pair] for pair in controls.gold} == {0}
    more = plan_controls(pairs_of(300), list(uses), SHARES, 7, "night", uses)
    assert sorted(uses[pair] for pair in more.gold) == [0] * 10 + [1] * 5


# What must not matter, and what must.


@given(order=st.permutations(range(40)))
def test_the_order_of_pairs_and_gold_does_not_matter(order: list[int]) -> None:
    pairs, gold = pairs_of(40), [f"gold{k}" for k in range(40)]
    shuffled = plan_controls(
        [pairs[k] for k in order], [gold[k] for k in order], SHARES, 7, "night"
    )
    assert shuffled == plan_controls(pairs, gold, SHARES, 7, "night")


@given(n=st.integers(20, 200))
@settings(max_examples=60, deadline=None)
def test_one_pair_more_hardly_changes_the_draw(n: int) -> None:
    before, after = plan(n), plan(n + 1)
    assert set(before.gold) <= set(after.gold)
    assert len(set(before.repeats) ^ set(after.repeats)) <= 2
    assert len(set(before.second_votes) ^ set(after.second_votes)) <= 4


def test_seed_and_batch_name_decide_the_draw() -> None:
    gold = [f"gold{k}" for k in range(500)]
    first = plan_controls(pairs_of(200), gold, SHARES, 7, "night")
    for seed, batch in [(8, "night"), (7, "other")]:
        other = plan_controls(pairs_of(200), gold, SHARES, seed, batch)
        assert set(other.gold) != set(first.gold)
        assert set(other.repeats) != set(first.repeats)
        assert set(other.second_votes) != set(first.second_votes)


def test_every_pair_is_as_likely_as_any_other_to_be_second_voted() -> None:
    counts = dict.fromkeys(pairs_of(20), 0)
    for seed in range(1000):
        for pair in plan_controls(pairs_of(20), [], SHARES, seed, "night").second_votes:
            counts[pair] += 1
    chi_square = sum((count - 150) ** 2 / 150 for count in counts.values())
    assert chi_square < 43.8  # 19 degrees of freedom, p = 0.001


# Gold candidates.


def row(pair: str = "p", **changed: object) -> dict[str, object]:
    known = {"votes": 3, "agreement": 1.0, "preferred": "first", "p_preferred": 0.95}
    return {"pair_id": pair, **known, **changed}


def test_unanimous_confident_pairs_become_gold_whichever_side_won() -> None:
    rows = [row("b"), row("a", preferred="second", p_preferred=0.05), row("c", votes=7)]
    assert gold_candidates(rows) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "changed",
    [
        {"votes": 2},
        {"agreement": 0.75},
        {"agreement": None, "votes": 1},
        {"preferred": "tie", "p_preferred": 0.5},
        {"p_preferred": 0.9},
        {"preferred": "second", "p_preferred": 0.95},
        {"preferred": "second", "p_preferred": 0.1},
    ],
)
def test_a_pair_in_doubt_does_not_become_gold(changed: dict[str, object]) -> None:
    assert gold_candidates([row(**changed)]) == []


# Spacing.


def longest_run(flags: list[bool]) -> int:
    return max((len(list(run)) for hard, run in groupby(flags) if hard), default=0)


def batch_difficulty(queue: list[bool]) -> dict[str, float]:
    """The queue's pairs, named by place, among enough easy ones to make the flagged a third."""
    hard = {f"q{k}": 0.6 for k, is_hard in enumerate(queue) if is_hard}
    easy = {f"q{k}": 0.1 for k, is_hard in enumerate(queue) if not is_hard}
    others = {f"other{k}": 0.2 for k in range(max(0, 2 * len(hard) - len(easy)))}
    surplus = max(0, len(easy) - 2 * len(hard))
    hard_others = {f"hard{k}": 0.7 for k in range(-(-surplus // 2))}
    odd = {"odd": 0.0} if surplus % 2 else {}
    return hard | easy | others | hard_others | odd


@given(queue=st.lists(st.booleans(), max_size=8), longest=st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_hard_pairs_are_spaced_whenever_an_arrangement_exists(
    queue: list[bool], longest: int
) -> None:
    order = [f"q{k}" for k in range(len(queue))]
    flags = dict(zip(order, queue, strict=True))
    spaced = space_hard(order, batch_difficulty(queue), longest)
    assert sorted(spaced) == sorted(order)
    reached = longest_run([flags[pair] for pair in spaced])
    possible = min(longest_run(list(arranged)) for arranged in set(permutations(queue)))
    assert reached <= max(longest, possible)


@given(queue=st.lists(st.booleans(), max_size=30))
@settings(max_examples=100, deadline=None)
def test_an_order_that_is_fine_stays_and_hard_and_easy_keep_theirs(queue: list[bool]) -> None:
    order = [f"q{k}" for k in range(len(queue))]
    spaced = space_hard(order, batch_difficulty(queue))
    if longest_run(queue) <= 3:
        assert spaced == order
    for kind in (True, False):
        kept = [pair for pair in order if queue[int(pair[1:])] is kind]
        assert [pair for pair in spaced if queue[int(pair[1:])] is kind] == kept


def test_hard_is_the_top_third_of_the_batch_not_of_the_queue() -> None:
    difficulty = {f"q{k}": 0.5 for k in range(6)} | {f"other{k}": 0.6 for k in range(3)}
    queue = ["q0", "q1", "q2", "q3", "q4", "q5"]
    assert space_hard(queue, difficulty) == queue
    harder = {f"other{k}": 0.1 for k in range(12)}
    assert space_hard([*queue, "other0"], {f"q{k}": 0.5 for k in range(6)} | harder) == [
        "q0",
        "q1",
        "q2",
        "other0",
        "q3",
        "q4",
        "q5",
    ]


# Refusals.


@pytest.mark.parametrize("wrong", [{"gold": -0.1}, {"repeats": 1.1}, {"second_votes": 2.0}])
def test_a_share_that_is_no_share_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Fatal, match=next(iter(wrong))):
        ControlShares(**wrong)


def test_a_pair_listed_twice_is_corrupt() -> None:
    with pytest.raises(Corrupt, match="listed twice"):
        plan_controls(["a", "b", "a"], [], SHARES, 7, "night")


def test_spacing_refuses_no_hard_pair_at_all_and_pairs_without_difficulty() -> None:
    with pytest.raises(Fatal, match="at least 1"):
        space_hard(["a"], {"a": 0.1}, longest=0)
    with pytest.raises(Corrupt, match="first b"):
        space_hard(["a", "b"], {"a": 0.1})
