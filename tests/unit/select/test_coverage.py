"""Floors: met whenever feasible, spread over shards, and reported exactly where they are not."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from winnow.reward import Posterior
from winnow.select import Choice, Pool, Rules
from winnow.select.budget import NightRules, count_capacity
from winnow.select.coverage import Supply, floor_members, shard_quota
from winnow.select.night import Floor, Night, NightReport

D = 4
GREEDY = Rules(2, "info_gain", exploration=0.0, max_pairs_per_response=None)
REFUSAL, LOOP = "failure:refusal", "failure:loop"


def pool_of(
    k: int,
    n: int,
    strata: tuple[str, ...] = (),
    flags: dict[int, str] | None = None,
    scale: float = 1.0,
) -> Pool:
    features = scale * np.random.default_rng(k).normal(size=(n, D))
    found = [frozenset([flags[i]] if flags and i in flags else []) for i in range(n)]
    ids = [f"p{k:02d}-r{i}" for i in range(n)]
    return Pool(f"p{k:02d}", ids, features, strata=strata, response_strata=found)


def head_of(seed: int = 0) -> Posterior:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(D, D))
    return Posterior(0.5 * rng.normal(size=D), root @ root.T / D + 0.05 * np.eye(D), 1.0)


def night(
    pools: list[Pool], rules: NightRules, heads: dict[str, Posterior] | None = None
) -> tuple[list[list[Choice]], NightReport]:
    chosen = Night(pools, heads or head_of(), rules, count_capacity(pools, rules))
    choices = [each for _, each in chosen]
    return choices, chosen.report


# Which pairs count.


def test_a_pair_counts_for_its_prompt_and_for_either_response() -> None:
    pool = pool_of(0, 3, ("language:de", "topic:3"), {0: REFUSAL, 2: LOOP})
    i_e, j_e = np.array([0, 0, 1]), np.array([1, 2, 2])
    member_ke = floor_members(pool, i_e, j_e, ["language:de", "language:en", REFUSAL, LOOP])
    assert member_ke.tolist() == [[True] * 3, [False] * 3, [True, True, False], [False, True, True]]


@settings(max_examples=100, deadline=None)
@given(
    wanted=st.integers(0, 30),
    shards=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 10)).map(sorted), min_size=1, max_size=6
    ),
)
def test_quotas_add_up_to_what_is_wanted_as_far_as_capacity_goes(
    wanted: int, shards: list[list[int]]
) -> None:
    supplies = [Supply(np.array([least]), np.array([most])) for least, most in shards]
    got = 0
    for place, here in enumerate(supplies):
        rest = supplies[place + 1 :]
        later = Supply(
            np.array([sum(int(each.least_k[0]) for each in rest)]),
            np.array([sum(int(each.most_k[0]) for each in rest)]),
        )
        quota_k, _ = shard_quota(np.array([wanted - got]), here, later)
        assert 0 <= quota_k[0] <= here.most_k[0]
        got += int(quota_k[0])
    brought = sum(least for least, _ in shards)
    assert got <= wanted
    assert max(got, brought) >= min(wanted, sum(most for _, most in shards))


def test_a_quota_is_in_proportion_to_what_shards_can_give_beyond_minimums() -> None:
    here, later = Supply(np.array([4]), np.array([24])), Supply(np.array([16]), np.array([96]))
    quota_k, later_k = shard_quota(np.array([50]), here, later)
    assert (quota_k[0], later_k[0]) == (4 + 6, 24)  # 30 beyond minimums, a fifth of them here
    quota_k, later_k = shard_quota(np.array([18]), here, later)
    assert later_k[0] == 0  # minimums bring 20


# Met whenever feasible.


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    prompts=st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from(["a", "b", "none"])), min_size=1, max_size=6
    ),
    floors=st.fixed_dictionaries({"topic:a": st.integers(0, 9), "topic:b": st.integers(0, 9)}),
    least=st.integers(0, 2),
    shard_size=st.integers(1, 3),
)
def test_floors_of_disjoint_prompts_are_met_exactly_when_they_can_be(
    seed: int,
    prompts: list[tuple[int, str]],
    floors: dict[str, int],
    least: int,
    shard_size: int,
) -> None:
    pools = [pool_of(k, n, (f"topic:{topic}",)) for k, (n, topic) in enumerate(prompts)]
    rules = NightRules(GREEDY, least, 4, floors=floors, shard_size=shard_size)
    choices, report = night(pools, rules, {"reward": head_of(seed)})
    bounds = [
        (min(least, pairs), min(4, pairs)) for pairs in (n * (n - 1) // 2 for n, _ in prompts)
    ]
    needed = dict.fromkeys(("a", "b", "none"), 0)
    for (low, _), (_, topic) in zip(bounds, prompts, strict=True):
        needed[topic] += low
    most = {
        topic: sum(
            high for (_, high), (_, each) in zip(bounds, prompts, strict=True) if each == topic
        )
        for topic in ("a", "b")
    }
    feasible = all(floors[f"topic:{t}"] <= most[t] for t in ("a", "b")) and (
        needed["none"] + sum(max(needed[t], floors[f"topic:{t}"]) for t in ("a", "b"))
        <= 2 * len(prompts)
    )
    assert (not report.unmet) == feasible
    for floor in report.floors:
        topic = floor.stratum.removeprefix("topic:")
        got = sum(
            len(each) for each, (_, other) in zip(choices, prompts, strict=True) if other == topic
        )
        assert floor == Floor(floor.stratum, floors[floor.stratum], got)
    assert report.spent == min(2 * len(prompts), sum(high for _, high in bounds))


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    kinds=st.lists(st.sampled_from(["refusal", "loop", "either", "none"]), min_size=1, max_size=3),
    wanted=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    least=st.integers(0, 2),
)
@example(seed=0, kinds=["either", "either", "loop"], wanted=(2, 5), least=0)
def test_floors_of_disjoint_pairs_are_met_as_far_as_any_choice_could(
    seed: int, kinds: list[str], wanted: tuple[int, int], least: int
) -> None:
    """Pools of four responses whose pairs are eligible only if in one stratum at most."""
    pools, counts = [], []
    for k, kind in enumerate(kinds):
        flags = {"refusal": {0: REFUSAL}, "loop": {3: LOOP}, "none": {}}.get(
            kind, {0: REFUSAL, 3: LOOP}
        )
        pool = pool_of(k, 4, flags=flags)
        eligible = np.ones((4, 4), dtype=bool)
        eligible[0, 3] = eligible[3, 0] = False  # would be in both strata
        pools.append(replace(pool, eligible_nn=eligible))
        counts.append((2 * (0 in flags), 2 * (3 in flags), 5 - 2 * len(flags)))
    floors = {LOOP: wanted[1], REFUSAL: wanted[0]}
    rules = NightRules(GREEDY, least, 3, floors=floors)
    _, report = night(pools, rules, {"reward": head_of(seed)})
    missing = sum(max(0, floor.wanted - floor.got) for floor in report.floors)
    ways = [
        [way for way in product(*(range(count + 1) for count in each)) if least <= sum(way) <= 3]
        for each in counts
    ]
    possible = [np.sum(way, axis=0) for way in product(*ways) if np.sum(way) <= 2 * len(pools)]
    fewest = min(
        max(0, wanted[0] - int(total[0])) + max(0, wanted[1] - int(total[1])) for total in possible
    )
    assert missing == fewest


def test_a_pair_in_two_strata_counts_for_both() -> None:
    pools = [pool_of(k, 4, ("language:de",), {0: REFUSAL}) for k in range(4)]
    rules = NightRules(GREEDY, 0, 3, floors={"language:de": 8, REFUSAL: 8})
    choices, report = night(pools, rules)
    assert [floor.got for floor in report.floors] == [8, 8]
    assert all(0 in (choice.i, choice.j) for each in choices for choice in each)


def test_slots_that_a_pair_of_two_strata_saves_go_to_the_best_pairs() -> None:
    flags = dict.fromkeys(range(4), REFUSAL)
    pools = [pool_of(0, 4, ("language:de",), flags, scale=0.05), pool_of(1, 4)]
    rules = NightRules(GREEDY, 0, 4, floors={"language:de": 2, REFUSAL: 2})
    choices, report = night(pools, rules)
    assert [len(each) for each in choices] == [2, 2]
    assert not report.unmet


# How they press, and what they leave alone.


def test_a_floor_that_is_met_anyway_changes_nothing() -> None:
    pools = [pool_of(k, 5, ("language:de" if k % 2 else "language:en",)) for k in range(8)]
    rules = NightRules(GREEDY, 1, 4, shard_size=4)
    with_floor = replace(rules, floors={"language:de": 4})
    choices, report = night(pools, with_floor)
    assert choices == night(pools, rules)[0]
    assert not report.unmet


def test_a_pair_taken_for_a_floor_says_so_and_only_then() -> None:
    pools = [
        pool_of(k, 6, (f"language:{'de' if k < 2 else 'en'}",), scale=0.05 if k < 2 else 1.0)
        for k in range(4)
    ]
    rules = NightRules(GREEDY, 1, 6, floors={"language:de": 5})
    choices, report = night(pools, rules)
    german, english = (
        [choice.reason for each in part for choice in each] for part in (choices[:2], choices[2:])
    )
    assert sorted(german) == ["floor language:de"] * 3 + ["minimum"] * 2
    assert set(english) == {"minimum", "best"}
    assert report.floors == (Floor("language:de", 5, 5),)


def test_another_prompts_sacrifice_is_no_reason_for_a_pair() -> None:
    far = pool_of(0, 4, flags={0: REFUSAL}, scale=3.0)
    far.features_nd[0] = far.features_nd[1:].mean(axis=0)  # the refusal is no part of the best pair
    near = pool_of(1, 4, flags=dict.fromkeys(range(4), REFUSAL), scale=0.1)
    rules = NightRules(replace(GREEDY, budget=1, strategy="diversity"), 1, 1, floors={REFUSAL: 2})
    choices, _ = night([far, near], rules)
    assert [[choice.reason for choice in each] for each in choices] == [
        [f"floor {REFUSAL}"],
        ["minimum"],
    ]


def test_explored_pairs_leave_less_for_a_floor_to_ask() -> None:
    pools = [
        pool_of(k, 5, ("language:de",) if k < 4 else (), scale=0.05 if k < 4 else 1.0)
        for k in range(8)
    ]
    rules = NightRules(replace(GREEDY, exploration=0.5), 0, 4, floors={"language:de": 4})
    choices, report = night(pools, rules)
    assert [len(each) for each in choices[:4]] == [1, 1, 1, 1]
    assert not report.unmet


def test_a_floor_is_spread_over_shards_and_not_left_to_the_first_or_last() -> None:
    pools = [
        pool_of(k, 6, (f"language:{'en' if k % 2 else 'de'}",), scale=1.0 if k % 2 else 0.05)
        for k in range(16)
    ]
    rules = NightRules(GREEDY, 0, 4, floors={"language:de": 8}, shard_size=4)
    choices, report = night(pools, rules)
    got = [sum(len(each) for each in choices[start : start + 4 : 2]) for start in (0, 4, 8, 12)]
    assert got == [2, 2, 2, 2]
    assert not report.unmet


def test_a_stratum_of_one_shard_gets_more_than_that_shards_even_share() -> None:
    pools = [pool_of(k, 6, ("language:de",) if k < 2 else ()) for k in range(6)]
    rules = NightRules(GREEDY, 0, 6, floors={"language:de": 11}, shard_size=2)
    choices, report = night(pools, rules)
    assert len(choices[0]) + len(choices[1]) == 11
    assert (report.spent, report.unmet) == (12, ())
    late = [pool_of(k, 6, ("language:de",) if k >= 4 else ()) for k in range(6)]
    choices, report = night(late, rules)
    assert len(choices[4]) + len(choices[5]) == 11
    assert (report.spent, report.unmet) == (12, ())


def test_exploration_counts_for_floors_and_is_not_bent_by_them() -> None:
    pools = [pool_of(k, 5, flags={0: REFUSAL}) for k in range(20)]
    rules = NightRules(replace(GREEDY, exploration=0.5), 0, 4, floors={REFUSAL: 24})
    choices, report = night(pools, rules)
    explored = [[c for c in each if c.arm == "explore"] for each in choices]
    plain = night(pools, replace(rules, floors={}))[0]
    assert explored == [[c for c in each if c.arm == "explore"] for each in plain]
    (floor,) = report.floors
    assert floor.got == sum(0 in (c.i, c.j) for each in choices for c in each) >= 24


def test_floors_on_contested_dimensions_count_what_choices_are_contested_on() -> None:
    def two_heads(rng: np.random.Generator) -> dict[str, Posterior]:
        wide, narrow = np.diag([4.0, 4.0, 0.1, 0.1]), np.diag([0.1, 0.1, 2.0, 2.0])
        mean = 0.1 * rng.normal(size=D)
        return {"helpful": Posterior(mean, wide, 1.0), "safe": Posterior(mean, narrow, 1.0)}

    heads = two_heads(np.random.default_rng(0))
    pools = [pool_of(k, 6) for k in range(6)]
    rules = NightRules(GREEDY, 1, 4, shard_size=3)
    plain, _ = night(pools, rules, heads)
    natural = sum(c.contested == "safe" for each in plain for c in each)
    choices, report = night(pools, replace(rules, floors={"contested:safe": 8}), heads)
    got = sum(c.contested == "safe" for each in choices for c in each)
    assert natural < 8 <= got
    assert report.floors == (Floor("contested:safe", 8, got),)
    assert "floor contested:safe" in {c.reason for each in choices for c in each}


def test_unmet_floors_are_reported_with_what_they_wanted_and_got() -> None:
    pools = [pool_of(k, 3, ("language:de",)) for k in range(2)]
    floors = {"language:de": 3, "language:fr": 2, "language:en": 0}
    _, report = night(pools, NightRules(GREEDY, 1, 4, floors=floors))
    assert report.floors == (
        Floor("language:de", 3, 4),
        Floor("language:en", 0, 0),
        Floor("language:fr", 2, 0),
    )
    assert report.unmet == (Floor("language:fr", 2, 0),)


@pytest.mark.parametrize("cap", [1, 2])
def test_caps_on_pairs_per_response_hold_under_floors(cap: int) -> None:
    pools = [pool_of(k, 5, flags={0: REFUSAL}) for k in range(4)]
    rules = NightRules(replace(GREEDY, max_pairs_per_response=cap), 1, 4, floors={REFUSAL: 8})
    choices, report = night(pools, rules)
    for each in choices:
        assert np.bincount([k for c in each for k in (c.i, c.j)], minlength=5).max() <= cap
    assert report.floors == (Floor(REFUSAL, 8, 4 * cap),)
