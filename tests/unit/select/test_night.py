"""A night's batch over many prompts: exact books, honest shares, and no order effects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Corrupt, Fatal
from winnow.reward import Posterior, prior
from winnow.select import Choice, Pool, PoolChooser, Rules, choose_pairs, observe
from winnow.select.budget import NightRules, count_capacity
from winnow.select.night import Night

D = 4
GREEDY = Rules(2, "info_gain", exploration=0.0, max_pairs_per_response=None)


def pools_of(sizes: list[int], seed: int = 0, scale: list[float] | None = None) -> list[Pool]:
    rng = np.random.default_rng(seed)
    return [
        Pool(
            f"p{k:03d}",
            [f"p{k:03d}-r{i:02d}" for i in range(n)],
            (scale[k] if scale else 1.0) * rng.normal(size=(n, D)),
        )
        for k, n in enumerate(sizes)
    ]


def posterior_of(seed: int = 0) -> Posterior:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(D, D))
    return Posterior(0.5 * rng.normal(size=D), root @ root.T / D + 0.05 * np.eye(D), 1.0)


def night_of(pools: list[Pool], rules: NightRules, posterior: Posterior | None = None) -> Night:
    head = posterior or posterior_of()
    return Night(iter(pools), head, rules, count_capacity(pools, rules))


def choices_of(pools: list[Pool], rules: NightRules) -> list[list[Choice]]:
    return [choices for _, choices in night_of(pools, rules)]


def as_fixed(choices: list[Choice]) -> list[Choice]:
    """Choices but for their reason, in which a minimum and a best pair differ."""
    return [replace(choice, reason="") for choice in choices]


# One prompt after another, or all together.


@pytest.mark.parametrize("strategy", ["info_gain", "decision_gain", "hybrid", "random", "dts"])
@pytest.mark.parametrize("exploration", [0.0, 0.4, 1.0])
def test_a_fixed_budget_per_prompt_gives_what_choose_pairs_gives(
    strategy: str, exploration: float
) -> None:
    pools = pools_of([5, 7, 2, 6, 1, 8, 3])
    rules = Rules(3, strategy, exploration)
    heads = {"reward": posterior_of()}
    chosen = choices_of(pools, NightRules(rules, 3, 3, shard_size=3))
    for start in (0, 3, 6):
        shard = pools[start : start + 3]
        expected = [choose_pairs(pool, heads, rules) for pool in shard]
        for ours, theirs in zip(chosen[start : start + 3], expected, strict=True):
            assert as_fixed(ours) == as_fixed(theirs)
        heads = observe(heads, list(zip(shard, expected, strict=True)))


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    budget=st.integers(1, 4),
    exploration=st.sampled_from([0.0, 0.3]),
    cap=st.sampled_from([None, 1, 2]),
)
def test_prompts_that_all_get_as_many_are_chosen_from_as_if_they_shared(
    sizes: list[int], budget: int, exploration: float, cap: int | None
) -> None:
    rules = Rules(budget, "decision_gain", exploration, cap)
    alike = NightRules(rules, budget, budget, shard_size=3)
    sharing = replace(alike, total_pairs=budget * len(sizes))
    assert alike.are_alike and not sharing.are_alike
    one, other = (night_of(pools_of(sizes), each) for each in (alike, sharing))
    assert [choices for _, choices in one] == [choices for _, choices in other]
    assert repr(one.report) == repr(other.report)


def merged_by_gain(pools: list[Pool], rules: NightRules, budget: int) -> list[int]:
    """Pairs per pool by an obvious water-filling of each pool's own sequence of gains."""
    deepest = replace(rules.pool_rules, budget=rules.max_pairs_per_prompt)
    gains = [[c.score for c in choose_pairs(p, posterior_of(), deepest)] for p in pools]
    counts = [min(rules.min_pairs_per_prompt, len(each)) for each in gains]
    while sum(counts) < budget:
        following = [
            (each[count], -k)
            for k, (each, count) in enumerate(zip(gains, counts, strict=True))
            if count < len(each)
        ]
        if not following:
            break
        counts[-max(following)[1]] += 1
    return counts


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    strategy=st.sampled_from(["info_gain", "diversity", "uncertainty", "decision_gain"]),
    least=st.integers(0, 2),
    most=st.integers(2, 5),
)
def test_a_shard_is_water_filled_like_merged_sequences(
    seed: int, sizes: list[int], strategy: str, least: int, most: int
) -> None:
    pools = pools_of(sizes, seed)
    rules = NightRules(replace(GREEDY, strategy=strategy), least, most)
    counts = [len(choices) for choices in choices_of(pools, rules)]
    assert counts == merged_by_gain(pools, rules, 2 * len(pools))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(2, 7), min_size=2, max_size=6))
def test_the_last_pair_taken_is_worth_as_much_as_any_left_below_a_maximum(
    seed: int, sizes: list[int]
) -> None:
    pools = pools_of(sizes, seed)
    rules = NightRules(replace(GREEDY, max_pairs_per_response=2), 0, 4)
    last, left = np.inf, -np.inf
    for pool, choices in night_of(pools, rules):
        chooser = PoolChooser(pool, posterior_of(), rules.pool_rules)
        for choice in choices:
            candidate = chooser.best()
            assert candidate is not None
            assert chooser.take(candidate, choice.reason) == choice
            last = min(last, candidate.score)
        refused = chooser.best()
        if refused is not None and len(choices) < 4:
            left = max(left, refused.score)
    assert last >= left


@pytest.mark.parametrize("strategy", ["hybrid", "decision_gain", "info_gain", "diversity"])
def test_slots_go_to_prompts_with_more_to_learn_even_where_scores_are_relative(
    strategy: str,
) -> None:
    pools = pools_of([6, 6, 6, 6], scale=[0.02, 1.0, 0.02, 1.0])
    head = Posterior(np.zeros(D), np.eye(D), 1.0, n_labels=500)
    rules = NightRules(replace(GREEDY, strategy=strategy, kappa=1.0), 1, 3)
    counts = [len(choices) for _, choices in night_of(pools, rules, head)]
    assert counts == [1, 3, 1, 3]


def test_reasons_say_minimum_best_and_exploration() -> None:
    rules = NightRules(replace(GREEDY, exploration=0.25), 1, 4)
    chosen = choices_of(pools_of([6] * 12), rules)
    for choices in chosen:
        explored = [c for c in choices if c.arm == "explore"]
        assert [c.reason for c in explored] == ["exploration"] * len(explored)
        expected = ([] if explored else ["minimum"]) + ["best"] * 4
        rest = [c.reason for c in choices[len(explored) :]]
        assert rest == expected[: len(rest)]
    assert {c.reason for choices in chosen for c in choices} == {"exploration", "minimum", "best"}


# The books.


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.integers(0, 6), max_size=12),
    least=st.integers(0, 2),
    most=st.integers(2, 6),
    shard_size=st.integers(1, 5),
    extra=st.integers(0, 20),
    exploration=st.sampled_from([0.0, 0.15, 0.5, 1.0]),
)
def test_every_pair_is_accounted_for(
    seed: int,
    sizes: list[int],
    least: int,
    most: int,
    shard_size: int,
    extra: int,
    exploration: float,
) -> None:
    pools = pools_of(sizes, seed)
    pool_rules = replace(GREEDY, exploration=exploration)
    budget = count_capacity(pools, NightRules(pool_rules, least, most)).promised + extra
    rules = NightRules(pool_rules, least, most, budget, shard_size=shard_size)
    night = night_of(pools, rules)
    chosen = [choices for _, choices in night]
    counts = [len(choices) for choices in chosen]
    possible = [n * (n - 1) // 2 for n in sizes]
    report = night.report
    assert (report.budget, report.spent, report.unspent) == (
        budget,
        sum(counts),
        budget - sum(counts),
    )
    assert all(
        min(least, pairs) <= count <= min(most, pairs)
        for count, pairs in zip(counts, possible, strict=True)
    )
    assert report.spent == min(budget, sum(min(most, pairs) for pairs in possible))
    assert report.without_pairs == counts.count(0)
    every = [choice for choices in chosen for choice in choices]
    assert report.explored == sum(choice.arm == "explore" for choice in every)
    if every:
        assert report.mean_info_gain == pytest.approx(np.mean([c.info_gain for c in every]))
    else:
        assert report.mean_info_gain is None


def test_what_a_shard_cannot_spend_goes_to_later_ones() -> None:
    rules = NightRules(GREEDY, 1, 4, shard_size=2)
    night = night_of(pools_of([2, 2, 6, 6, 6, 6]), rules)
    counts = [len(choices) for _, choices in night]
    assert counts[:2] == [1, 1]
    assert sum(counts[2:4]) == 5 and sum(counts[4:]) == 5  # ten pairs left for four prompts
    assert (night.report.carried, night.report.unspent) == (2, 0)


def test_what_the_last_shard_cannot_spend_stays_unspent() -> None:
    night = night_of(pools_of([2, 2]), NightRules(GREEDY, 1, 4))
    assert len(list(night)) == 2
    assert (night.report.carried, night.report.spent, night.report.unspent) == (0, 2, 2)


def test_earlier_shards_take_what_later_prompts_could_not_give() -> None:
    rules = NightRules(GREEDY, 1, 4, shard_size=2)
    night = night_of(pools_of([6, 6, 2, 2]), rules)
    assert [len(choices) for _, choices in night] == [3, 3, 1, 1]
    assert night.report.unspent == 0


def test_a_budget_beyond_all_pairs_takes_each_pair_once() -> None:
    pools = pools_of([1, 2, 4, 5])
    rules = NightRules(GREEDY, 1, 99, total_pairs=1000, shard_size=3)
    for pool, choices in night_of(pools, rules):
        every = list(combinations(range(len(pool.response_ids)), 2))
        assert sorted((c.i, c.j) for c in choices) == every


def test_decision_gains_are_averaged_where_they_are_worked_out() -> None:
    pools = pools_of([5, 5])
    night = night_of(pools, NightRules(replace(GREEDY, strategy="decision_gain"), 1, 4))
    gains = [choice.decision_gain for _, choices in night for choice in choices]
    assert night.report.mean_decision_gain == pytest.approx(np.mean(np.array(gains, float)))
    other = night_of(pools, NightRules(GREEDY, 1, 4))
    assert len(list(other)) == 2
    assert other.report.mean_decision_gain is None


# Streaming.


def test_a_night_of_equal_pools_does_not_ask_the_same_thing_every_time() -> None:
    one = pools_of([5])[0]
    equal = [Pool(f"p{k}", one.response_ids, one.features_nd) for k in range(8)]
    rules = NightRules(replace(GREEDY, budget=1), 1, 1)
    head = prior(D, 0.5)

    def asked(shard_size: int) -> set[tuple[int, int]]:
        night = night_of(equal, replace(rules, shard_size=shard_size), head)
        return {(c.i, c.j) for _, choices in night for c in choices}

    assert len(asked(8)) == 1
    assert len(asked(1)) >= 4


def test_the_heads_after_the_night_hold_what_all_shards_taught() -> None:
    pools = pools_of([5] * 6)
    night = night_of(pools, NightRules(GREEDY, 1, 4, shard_size=4))
    chosen = list(night)
    heads = observe(observe(posterior_of(), chosen[:4]), chosen[4:])
    np.testing.assert_array_equal(night.heads["reward"].cov_qq, heads["reward"].cov_qq)
    assert np.trace(night.heads["reward"].cov_qq) < np.trace(posterior_of().cov_dd)


def test_no_more_than_a_shard_is_read_ahead() -> None:
    pools, read = pools_of([4] * 20), []

    def stream() -> Iterator[Pool]:
        for pool in pools:
            read.append(pool.prompt_id)
            yield pool

    rules = NightRules(GREEDY, 1, 4, shard_size=3)
    night = Night(stream(), posterior_of(), rules, count_capacity(pools, rules))
    for seen, _ in enumerate(night):
        assert len(read) <= 3 * (seen // 3 + 1)


# What must not matter, and what must.


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    strategy=st.sampled_from(["info_gain", "decision_gain", "hybrid", "random"]),
)
def test_the_order_of_responses_and_of_pools_as_stored_does_not_matter(
    seed: int, strategy: str
) -> None:
    pools = pools_of([5, 3, 6, 4, 5], seed)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(pool.response_ids)) for pool in pools]
    shuffled = [
        replace(
            pool,
            response_ids=[pool.response_ids[k] for k in order],
            features_nd=pool.features_nd[order],
        )
        for pool, order in zip(pools, orders, strict=True)
    ]
    arrived = [shuffled[k] for k in rng.permutation(5)]
    rules = NightRules(Rules(2, strategy, 0.3), 1, 4, shard_size=2)

    def ids(stored: list[Pool]) -> list[list[tuple[str, str, str]]]:
        night = night_of(sorted(stored, key=lambda pool: pool.prompt_id), rules)
        return [
            [(p.response_ids[c.i], p.response_ids[c.j], c.reason) for c in choices]
            for p, choices in night
        ]

    assert ids(arrived) == ids(pools)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    pools = pools_of([8] * 6)
    rules = NightRules(Rules(2, "decision_gain", 0.3), 1, 4, shard_size=2)
    assert repr(choices_of(pools, rules)) == repr(choices_of(pools, rules))
    other = replace(rules, pool_rules=replace(rules.pool_rules, seed=1))
    assert repr(choices_of(pools, other)) != repr(choices_of(pools, rules))


# The exploration arm.


def test_exploration_alone_is_uniform_over_pairs() -> None:
    one = pools_of([5])[0]
    pools = [replace(one, prompt_id=f"p{k:04d}") for k in range(900)]
    rules = NightRules(replace(GREEDY, strategy="uncertainty", exploration=1.0), 0, 4)
    counts = dict.fromkeys(combinations(range(5), 2), 0)
    for choices in choices_of(pools, rules):
        for choice in choices:
            assert choice.arm == "explore"
            counts[choice.i, choice.j] += 1
    assert sum(counts.values()) == 1800
    chi_square = sum((count - 180) ** 2 / 180 for count in counts.values())
    assert chi_square < 27.9  # 9 degrees of freedom, p = 0.001


def test_the_inverse_propensity_mean_is_unbiased() -> None:
    one = pools_of([5])[0]
    pools = [replace(one, prompt_id=f"p{k:04d}") for k in range(1200)]
    rules = NightRules(replace(GREEDY, strategy="uncertainty", exploration=0.4), 1, 4)
    values = np.random.default_rng(1).exponential(size=(5, 5))
    estimates = [
        sum(values[c.i, c.j] / c.propensity for c in choices if c.propensity is not None) / 10
        for choices in choices_of(pools, rules)
    ]
    truth = np.mean([values[pair] for pair in combinations(range(5), 2)])
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(truth, abs=3 * error)


# Refusals.


def test_a_budget_below_what_prompts_are_promised_is_refused() -> None:
    with pytest.raises(Fatal, match="promised 3"):
        night_of(pools_of([4, 4, 4]), NightRules(GREEDY, 1, 4, total_pairs=2))


def test_prompts_that_repeat_or_come_out_of_order_are_corrupt() -> None:
    one, two = pools_of([4, 4])
    rules = NightRules(GREEDY, 1, 4, shard_size=1)
    with pytest.raises(Corrupt, match="same prompt id p000"):
        list(night_of([one, one], rules))
    with pytest.raises(Corrupt, match="p000 comes after p001"):
        list(night_of([two, one], rules))


def test_pools_that_were_not_counted_are_corrupt() -> None:
    pools, rules = pools_of([4, 4, 4]), NightRules(GREEDY, 1, 4, shard_size=2)
    counted = count_capacity(pools[:2], rules)
    with pytest.raises(Corrupt, match="1 more prompts"):
        list(Night(pools, posterior_of(), rules, counted))
    with pytest.raises(Corrupt, match="1 of the prompts counted"):
        list(Night(pools[:1], posterior_of(), rules, counted))


def test_a_label_teaches_only_the_dimension_that_its_prompt_asks_for() -> None:
    rules = NightRules(GREEDY, 2, 2)
    pools = [
        replace(pool, asked=dimension)
        for pool, dimension in zip(pools_of([5, 5]), ["helpfulness", "correctness"], strict=True)
    ]
    heads = {"correctness": posterior_of(1), "harmlessness": posterior_of(2)}
    with pytest.raises(Fatal, match="p000 asks for helpfulness"):
        list(Night(pools, heads, rules, count_capacity(pools, rules)))
    heads["helpfulness"] = posterior_of(3)
    night = Night(pools, heads, rules, count_capacity(pools, rules))
    contested = [{choice.contested for choice in choices} for _, choices in night]
    assert contested == [{"helpfulness"}, {"correctness"}]
    alone = choose_pairs(pools[0], {"helpfulness": heads["helpfulness"]}, GREEDY)
    expected = observe({"helpfulness": heads["helpfulness"]}, [(pools[0], alone)])
    np.testing.assert_array_equal(night.heads["helpfulness"].cov_qq, expected["helpfulness"].cov_qq)
    assert night.heads["harmlessness"] is heads["harmlessness"]
