"""What prompts can give, against plain counting, and settings that contradict each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Fatal
from winnow.select import Pool, Rules
from winnow.select.budget import NightRules, count_capacity
from winnow.select.packing import matched_pairs

FLOORS = {"language:de": 5, "failure:refusal": 3, "contested:safety": 2}


def pool_of(n: int, refusals: int = 0, language: str = "de", prompt_id: str = "p") -> Pool:
    flags = [frozenset({"failure:refusal"} if k < refusals else set()) for k in range(n)]
    ids = [f"{prompt_id}-{k}" for k in range(n)]
    return Pool(
        prompt_id,
        ids,
        np.empty((n, 0)),
        strata=(f"language:{language}",),
        response_strata=flags,
    )


def rules_of(least: int = 1, most: int = 4, cap: int | None = None, rho: float = 0.0) -> NightRules:
    rules = Rules(2, exploration=rho, max_pairs_per_response=cap)
    return NightRules(rules, least, most, floors=FLOORS)


def test_a_prompt_gives_its_pairs_between_minimum_and_maximum() -> None:
    counted = count_capacity([pool_of(10, refusals=1)], rules_of())
    assert (counted.n_prompts, counted.promised, counted.most) == (1, 1, 4)
    assert rules_of().strata == ["contested:safety", "failure:refusal", "language:de"]
    assert counted.floors.most_k.tolist() == [4, 4, 4]
    assert counted.floors.least_k.tolist() == [0, 0, 1]


def test_pairs_outside_a_stratum_can_serve_the_minimum() -> None:
    counted = count_capacity([pool_of(3, refusals=1)], rules_of(least=2))
    assert counted.floors.least_k.tolist() == [0, 1, 2]  # one pair of three holds no refusal
    assert counted.floors.most_k.tolist() == [3, 2, 3]


def test_counts_add_up_over_prompts_and_without_an_order() -> None:
    pools = [pool_of(k, k // 2, "de" if k % 2 else "en", f"p{k}") for k in range(6)]
    counted = count_capacity(pools, rules_of())
    backwards = count_capacity(reversed(pools), rules_of())
    assert counted.n_prompts == 6
    assert counted.promised == 4  # pools of 0 and 1 responses hold no pair
    assert counted.most == 1 + 3 + 4 + 4
    assert counted.floors.most_k.tolist() == backwards.floors.most_k.tolist() == [12, 11, 7]
    left = counted.plus(count_capacity(pools[:5], rules_of()), sign=-1)
    assert (left.n_prompts, left.promised, left.most) == (1, 1, 4)
    assert left.floors.most_k.tolist() == [4, 4, 4]


def test_copies_blocked_responses_and_caps_give_fewer_pairs() -> None:
    copies = Pool("p", ["a", "a", "b"], np.empty((3, 0)), strata=("language:de",))
    assert count_capacity([copies], rules_of()).most == 1
    blocked = Pool("p", ["a", "b", "c"], np.empty((3, 0)), blocked=np.array([False, False, True]))
    assert count_capacity([blocked], rules_of()).most == 1
    assert count_capacity([pool_of(5)], rules_of(cap=1)).most == 2


def test_exploration_is_promised_even_beyond_the_cap() -> None:
    assert count_capacity([pool_of(10)], rules_of(least=0, rho=0.3)).promised == 1
    counted = count_capacity([pool_of(3)], rules_of(least=0, cap=1, rho=1.0))
    assert (counted.promised, counted.most) == (2, 2)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), m=st.integers(2, 5))
def test_the_bound_under_caps_is_never_too_low_and_exact_for_complete_pools(
    seed: int, m: int
) -> None:
    rng = np.random.default_rng(seed)
    every = list(combinations(range(m), 2))
    some = [pair for pair in every if rng.random() < 0.7] or every[:1]
    caps = rng.integers(0, 3, size=m)
    for pairs, left_m, exact in [(some, caps, False), (every, np.full(m, caps[0]), True)]:
        first_e, second_e = np.array(pairs).T
        possible = max(
            size
            for size in range(len(pairs) + 1)
            for picks in combinations(pairs, size)
            if all(sum(k in pair for pair in picks) <= left_m[k] for k in range(m))
        )
        among_e = np.ones(len(pairs), dtype=np.bool_)
        bound = matched_pairs(first_e, second_e, among_e, left_m)
        assert bound == possible if exact else bound >= possible


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_pairs_per_prompt": 3},
        {"min_pairs_per_prompt": -1},
        {"max_pairs_per_prompt": 1},
        {"shard_size": 0},
        {"total_pairs": -1},
        {"floors": {"language:de": -1}},
    ],
)
def test_contradicting_rules_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Fatal):
        NightRules(
            **{
                "pool_rules": Rules(2),
                "min_pairs_per_prompt": 1,
                "max_pairs_per_prompt": 4,
                **wrong,
            }
        )


@settings(max_examples=150, deadline=None)
@given(
    clusters=st.lists(st.integers(0, 4), min_size=0, max_size=9),
    seed=st.integers(0, 1_000),
    cap=st.sampled_from([None, 1, 2]),
    rho=st.sampled_from([0.0, 0.5]),
)
def test_without_floors_the_sizes_of_clusters_tell_as_much_as_all_pairs(
    clusters: list[int], seed: int, cap: int | None, rho: float
) -> None:
    n = len(clusters)
    blocked = np.random.default_rng(seed).random(n) < 0.3
    ids = [f"r{k % max(n - 2, 1)}" for k in range(n)]
    pool = Pool("p", ids, np.empty((n, 0)), clusters=clusters, blocked=blocked)
    every = replace(pool, eligible_nn=np.ones((n, n), dtype=np.bool_))
    rules = NightRules(Rules(2, exploration=rho, max_pairs_per_response=cap), 1, 4)
    counted, expected = count_capacity([pool], rules), count_capacity([every], rules)
    assert (counted.promised, counted.most) == (expected.promised, expected.most)
