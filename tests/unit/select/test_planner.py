"""Planning a batch: gains against a slow reference, money to the micro-dollar, the best design."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Corrupt, Fatal
from winnow.reward import Posterior, centre
from winnow.select import Pool, Rules, choose_pairs
from winnow.select.curves import CurvePoint, gain_curves
from winnow.select.plan_text import render
from winnow.select.planner import Plan, Prices, plan

GREEDY = Rules(budget=1, strategy="info_gain", exploration=0.0)
UNIFORM = 1e-12
"""A kappa under which the policy is uniform: A = I / m - 11ᵀ / m² whatever is drawn."""

PRICES = Prices(
    label=100_000,
    second_vote_share=0.15,
    gpu_hour=2_000_000,
    tokens_per_second=2_500.0,
    tokens_per_response=300.0,
)


def pools_of(n_pools: int, n: int, d: int = 5, seed: int = 0) -> list[Pool]:
    rng = np.random.default_rng(seed)
    return [
        Pool(f"p{k:02d}", [f"r{k:02d}-{i:03d}" for i in range(n)], rng.normal(size=(n, d)))
        for k in range(n_pools)
    ]


def head_of(d: int = 5, seed: int = 0) -> Posterior:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    return Posterior(0.5 * rng.normal(size=d), root @ root.T / d + 0.05 * np.eye(d), 1.0)


def gains(points: list[CurvePoint]) -> list[float]:
    return [point.gain for point in points]


# Gains.


@pytest.mark.parametrize("batch_prompts", [3, 300])
def test_the_gain_is_the_share_of_uncertainty_that_a_slow_reference_removes(
    batch_prompts: int,
) -> None:
    pools, head, rules = pools_of(3, 7), head_of(), replace(GREEDY, kappa=UNIFORM)
    points = gain_curves(pools, {"good": head}, rules, [7], 4, batch_prompts)
    chosen = [choose_pairs(pool, {"good": head}, replace(rules, budget=4)) for pool in pools]
    for labels, point in enumerate(points, start=1):
        precision = np.linalg.inv(head.cov_dd)
        for pool, choices in zip(pools, chosen, strict=True):
            for choice in choices[:labels]:
                z = pool.features_nd[choice.i] - pool.features_nd[choice.j]
                precision = precision + batch_prompts / 3 * choice.fisher * np.outer(z, z)
        left = before = 0.0
        for pool in pools:
            policy = np.eye(7) / 7 - np.full((7, 7), 1 / 49)
            features = centre(pool.features_nd)
            before += np.trace(policy @ features @ head.cov_dd @ features.T)
            left += np.trace(policy @ features @ np.linalg.inv(precision) @ features.T)
        assert point.gain == pytest.approx(1.0 - left / before, rel=1e-9)


def test_prompts_that_share_no_feature_gain_the_sum_of_their_own_decision_gains() -> None:
    rules = replace(GREEDY, strategy="decision_gain", kappa=UNIFORM)
    blocks = [np.eye(8)[:4], np.eye(8)[4:]]
    pools = [
        replace(pool, features_nd=pool.features_nd @ block)
        for pool, block in zip(pools_of(2, 9, d=4), blocks, strict=True)
    ]
    cov = np.zeros((8, 8))
    cov[:4, :4], cov[4:, 4:] = head_of(4, 1).cov_dd, head_of(4, 2).cov_dd
    heads = {"good": Posterior(np.ones(8), cov, 1.0)}
    policy = np.eye(9) / 9 - np.full((9, 9), 1 / 81)
    before = sum(np.trace(policy @ heads["good"].cov(pool.features_nd)) for pool in pools)
    chosen = [choose_pairs(pool, heads, replace(rules, budget=5)) for pool in pools]
    for labels, point in enumerate(gain_curves(pools, heads, rules, [9], 5, 2), start=1):
        own = sum(float(c.decision_gain or 0.0) for cs in chosen for c in cs[:labels])
        assert point.gain == pytest.approx(own / before, rel=2e-3)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    strategy=st.sampled_from(["info_gain", "decision_gain", "random"]),
    exploration=st.sampled_from([0.0, 0.3, 1.0]),
    batch_prompts=st.sampled_from([1, 50, 5000]),
)
def test_gains_never_fall_with_more_labels_and_are_shares(
    seed: int, strategy: str, exploration: float, batch_prompts: int
) -> None:
    rules = Rules(1, strategy, exploration)
    points = gain_curves(
        pools_of(3, 8, seed=seed), {"a": head_of(seed=seed)}, rules, [4, 8], 5, batch_prompts
    )
    assert [(p.pool_size, p.labels) for p in points] == [
        (n, k) for n in (4, 8) for k in range(1, 6)
    ]
    for few, more in pairwise(points):
        assert few.pool_size < more.pool_size or more.gain >= few.gain - 1e-12
    for point in points:
        assert 0.0 <= point.low <= point.gain <= point.high <= 1.0
        assert point.n_prompts == 3


def test_a_larger_batch_gains_more_per_prompt_with_falling_returns() -> None:
    pools, heads = pools_of(4, 10), {"a": head_of()}
    first, second, third = (
        gain_curves(pools, heads, GREEDY, [10], 2, prompts)[1].gain for prompts in (20, 40, 60)
    )
    assert first < second < third
    assert third - second < second - first


def test_the_interval_is_wide_where_prompts_differ_and_closed_where_they_differ_in_size() -> None:
    one, rules = pools_of(1, 6)[0], replace(GREEDY, kappa=UNIFORM)
    alike = [
        replace(one, prompt_id=f"p{k}", features_nd=(k + 1.0) * one.features_nd) for k in range(4)
    ]
    closed = gain_curves(alike, {"a": head_of()}, rules, [6], 2, 4)[-1]
    assert closed.high - closed.low < 1e-9
    wide = gain_curves(pools_of(4, 6), {"a": head_of()}, rules, [6], 2, 4)[-1]
    assert wide.high - wide.low > 0.01


def test_a_larger_pool_offers_better_pairs() -> None:
    points = gain_curves(pools_of(12, 40), {"a": head_of()}, GREEDY, [3, 40], 1, 12)
    assert points[-1].gain > points[0].gain + 0.05


def test_two_equal_heads_gain_the_share_that_one_does() -> None:
    pools, rules = pools_of(3, 8), replace(GREEDY, kappa=UNIFORM)
    one = gain_curves(pools, {"a": head_of()}, rules, [4, 8], 3, 10)
    two = gain_curves(pools, {"a": head_of(), "b": head_of()}, rules, [4, 8], 3, 10)
    np.testing.assert_allclose(gains(one), gains(two), rtol=1e-9)


def test_the_order_of_prompts_responses_sizes_and_heads_does_not_matter() -> None:
    pools, rng = pools_of(6, 12), np.random.default_rng(5)
    heads = {"a": head_of(seed=1), "b": head_of(seed=2)}
    shuffled = []
    for k in rng.permutation(6):
        rows = rng.permutation(12)
        ids = [pools[k].response_ids[row] for row in rows]
        shuffled.append(Pool(pools[k].prompt_id, ids, pools[k].features_nd[rows]))
    rules = Rules(1, "info_gain", 0.3)
    one = gain_curves(pools, heads, rules, [4, 12], 3, 100, n_prompts=4)
    backwards = dict(reversed(heads.items()))
    assert gain_curves(shuffled, backwards, rules, [12, 4, 4], 3, 100, n_prompts=4) == one
    assert gain_curves(pools, heads, rules, [4, 12], 3, 100, seed=1, n_prompts=4) != one


def test_exploration_is_spread_over_the_labels() -> None:
    pools, heads = pools_of(40, 30), {"a": head_of()}
    greedy, half, drawn = (
        gain_curves(pools, heads, Rules(1, "info_gain", share), [30], 6, 5)[0].gain
        for share in (0.0, 0.5, 1.0)
    )
    assert drawn + 0.25 * (greedy - drawn) < half < greedy


# The best response.


def test_a_larger_pool_holds_the_smaller_one() -> None:
    """Where nothing is left to learn, the best reward is the largest mean of the responses."""
    pools = pools_of(12, 20)
    head = replace(head_of(), cov_dd=1e-18 * np.eye(5))
    points = gain_curves(pools, {"a": head}, GREEDY, range(2, 21), 1, 12)
    best = [point.best_reward for point in points]
    assert best == sorted(best)
    top = np.mean([head.mean(centre(pool.features_nd)).max() for pool in pools])
    assert best[-1] == pytest.approx(top)
    assert best[0] < best[-1] - 0.5


def test_the_best_reward_of_two_responses_is_the_mean_of_a_folded_normal() -> None:
    gap, variance, batch = 0.3, 4.0, 50
    pools = [Pool(f"p{k}", [f"{k}a", f"{k}b"], np.array([[0.0], [1.0]])) for k in range(64)]
    head = Posterior(np.array([gap]), np.array([[variance]]), 1.0)
    choice = choose_pairs(pools[0], {"a": head}, GREEDY)[0]
    spread = np.sqrt(variance - 1.0 / (1.0 / variance + batch * choice.fisher))
    draws = gap + spread * np.random.default_rng(0).standard_normal(400_000)
    point = gain_curves(pools, {"a": head}, GREEDY, [2], 1, batch)[0]
    assert point.best_reward == pytest.approx(np.abs(draws).mean() / 2, rel=0.03)


def test_a_certain_favourite_is_expected_to_be_as_good_as_it_looks() -> None:
    pools = [Pool(f"p{k}", [f"{k}a", f"{k}b"], np.array([[0.0], [1.0]])) for k in range(3)]
    head = Posterior(np.array([10.0]), np.array([[0.5]]), 1.0)
    point = gain_curves(pools, {"a": head}, GREEDY, [2], 1, 1000)[0]
    assert point.best_reward == pytest.approx(5.0, rel=1e-9)


def test_several_heads_recommend_by_their_mean_and_a_constant_reward_changes_nothing() -> None:
    class Shifted(Posterior):
        def mean(self, features_nd: np.ndarray) -> np.ndarray:
            return features_nd @ self.mean_d + 7.0

    pools, tight = pools_of(4, 9), 1e-18 * np.eye(5)
    heads = {
        "a": replace(head_of(seed=1), cov_dd=tight),
        "b": Shifted(head_of(seed=2).mean_d, tight, 1.0),
    }
    mean_d = 0.5 * (heads["a"].mean_d + heads["b"].mean_d)
    best = np.mean([(centre(pool.features_nd) @ mean_d).max() for pool in pools])
    point = gain_curves(pools, heads, GREEDY, [9], 1, 4)[0]
    assert point.best_reward == pytest.approx(best, rel=1e-6)


def test_labels_raise_the_reward_expected_of_the_recommended_response() -> None:
    pools, head = pools_of(8, 20), replace(head_of(), mean_d=np.zeros(5))
    few, _, _, many = gain_curves(pools, {"a": head}, GREEDY, [20], 4, 8)
    assert 0.0 < few.best_reward < many.best_reward


def test_a_blocked_response_is_not_recommended() -> None:
    pools, heads = pools_of(4, 6), {"a": replace(head_of(), cov_dd=1e-18 * np.eye(5))}
    blocked = []
    for pool in pools:
        mean = heads["a"].mean(centre(pool.features_nd))
        blocked.append(replace(pool, blocked=mean >= np.sort(mean)[-2]))
    third = [np.sort(heads["a"].mean(centre(pool.features_nd)))[-3] for pool in pools]
    point = gain_curves(blocked, heads, GREEDY, [6], 1, 4)[0]
    assert point.best_reward == pytest.approx(np.mean(third))
    none_left = [replace(pool, blocked=np.ones(6, dtype=bool)) for pool in pools]
    assert gain_curves(none_left, heads, GREEDY, [6], 1, 4)[0].best_reward == 0.0


# Which pools are measured.


def test_only_pools_of_the_largest_size_are_measured_and_the_error_names_the_largest() -> None:
    pools = [*pools_of(5, 10), *[replace(p, prompt_id=f"q{p.prompt_id}") for p in pools_of(9, 6)]]
    assert gain_curves(pools, {"a": head_of()}, GREEDY, [4, 8], 1, 9)[0].n_prompts == 5
    assert gain_curves(pools, {"a": head_of()}, GREEDY, [4, 6], 1, 9)[0].n_prompts == 14
    assert gain_curves(pools, {"a": head_of()}, GREEDY, [4], 1, 9, n_prompts=3)[0].n_prompts == 3
    with pytest.raises(Fatal, match=r"0 of 14 pools hold 11 responses.*up to 10"):
        gain_curves(pools, {"a": head_of()}, GREEDY, [4, 11], 1, 9)
    alone = replace(pools_of(1, 40)[0], prompt_id="alone")
    with pytest.raises(Fatal, match=r"1 of 15 pools hold 11 responses.*up to 10"):
        gain_curves([*pools, alone], {"a": head_of()}, GREEDY, [4, 11], 1, 9)


def test_a_text_drawn_twice_counts_as_two_responses_and_is_never_asked_against_itself() -> None:
    rows = [0, 1, 2, 3, 0, 1, 0]
    pools = [
        Pool(p.prompt_id, [p.response_ids[row] for row in rows], p.features_nd[rows])
        for p in pools_of(3, 4)
    ]
    rules = replace(GREEDY, kappa=UNIFORM, max_pairs_per_response=None)
    repeated = gain_curves(pools, {"a": head_of()}, rules, [7], 6, 3)
    plain = gain_curves(pools_of(3, 4), {"a": head_of()}, rules, [4], 6, 3)
    np.testing.assert_allclose(gains(repeated), gains(plain), rtol=1e-9)


def test_pools_without_a_pair_gain_nothing() -> None:
    pools = [Pool(f"p{k}", ["same", "same", "same"], np.ones((3, 5))) for k in range(2)]
    point = gain_curves(pools, {"a": head_of()}, GREEDY, [3], 1, 2)[0]
    assert (point.gain, point.low, point.high, point.best_reward) == (0.0, 0.0, 0.0, 0.0)


def test_impossible_questions_are_refused() -> None:
    pools, heads = pools_of(3, 6), {"a": head_of()}
    with pytest.raises(Corrupt, match="p00"):
        gain_curves([*pools, pools[0]], heads, GREEDY, [4], 1, 3)
    for sizes, labels, batch in [([], 1, 3), ([1, 4], 1, 3), ([4], 0, 3), ([4], 1, 0)]:
        with pytest.raises(Fatal, match="at least 2"):
            gain_curves(pools, heads, GREEDY, sizes, labels, batch)
        with pytest.raises(Fatal, match="at least 2"):
            plan([], PRICES, batch, 10, sizes, labels)


# Money.


@settings(max_examples=60, deadline=None)
@given(
    label=st.integers(0, 10**7),
    gpu_hour=st.integers(0, 10**8),
    rate=st.integers(1, 10**5),
    tokens=st.integers(0, 4000),
    prompts=st.integers(1, 50_000),
    size=st.integers(2, 200),
    labels=st.integers(1, 9),
    data=st.data(),
)
def test_costs_and_affordable_prompts_are_exact(
    label: int,
    gpu_hour: int,
    rate: int,
    tokens: int,
    prompts: int,
    size: int,
    labels: int,
    data: st.DataObject,
) -> None:
    prices = Prices(label, 0.25, gpu_hour, float(rate), float(tokens))

    def cost(n: int) -> int:
        generation = round(Fraction(n * size * tokens * gpu_hour, rate * 3600))
        return generation + n * labels * round(label * 1.25)

    budget = data.draw(st.integers(0, cost(prompts) + 1000))
    made = plan([], prices, prompts, budget, [size], labels)
    option = next(o for o in made.options + made.infeasible if o.labels == labels)
    assert option.cost == option.generation_cost + option.label_cost == cost(prompts)
    assert option.gpu_hours == pytest.approx(prompts * size * tokens / rate / 3600)
    assert 0 <= option.affordable <= prompts
    assert cost(option.affordable) <= budget
    assert option.affordable == prompts or cost(option.affordable + 1) > budget
    assert (option in made.options) == (cost(prompts) <= budget)


def test_the_budget_binds_at_the_micro_dollar() -> None:
    cost = plan([], PRICES, 1000, 0, [50], 1).infeasible[0].cost
    assert cost == round(1000 * 50 * 300 / 2500 / 3600 * 2_000_000) + 1000 * 115_000
    assert len(plan([], PRICES, 1000, cost, [50], 1).options) == 1
    assert len(plan([], PRICES, 1000, cost - 1, [50], 1).options) == 0


@pytest.mark.parametrize(
    "wrong",
    [{"label": -1}, {"gpu_hour": -1}, {"tokens_per_second": 0.0}, {"tokens_per_response": -1.0}],
)
def test_prices_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Fatal, match="Prices"):
        replace(PRICES, **wrong)


# The best design.


def curves_of(table: dict[tuple[int, int], float], prompts: int = 100) -> list[CurvePoint]:
    return [
        CurvePoint(n, k, gain, gain - 0.01, gain + 0.01, n / 100 + 1.0, 64, prompts)
        for (n, k), gain in table.items()
    ]


@settings(max_examples=100, deadline=None)
@given(
    table=st.dictionaries(
        st.tuples(st.sampled_from([10, 25, 50, 100]), st.integers(1, 6)),
        st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8]),
        min_size=1,
    ),
    budget=st.integers(0, 90_000_000),
    seed=st.integers(0, 100),
)
def test_the_best_has_the_highest_gain_within_the_budget_and_is_the_cheapest_of_equals(
    table: dict[tuple[int, int], float], budget: int, seed: int
) -> None:
    curves = curves_of(table)
    np.random.default_rng(seed).shuffle(curves)  # type: ignore[arg-type]
    made = plan(curves, PRICES, 100, budget, [10, 25, 50, 100], 6)
    best = None
    for (n, k), gain in table.items():
        option = next(
            o for o in made.options + made.infeasible if (o.pool_size, o.labels) == (n, k)
        )
        if option.cost <= budget and (best is None or (gain, -option.cost) > best[:2]):
            best = (gain, -option.cost, n, k)
    if best is None:
        assert made.best is None
        return
    assert made.best is not None
    assert (made.best.pool_size, made.best.labels) == best[2:]
    assert made.best.gain_per_dollar == pytest.approx(best[0] / (-best[1] / 1e6))


def test_options_come_cheapest_first_and_unmeasured_ones_are_priced_without_a_gain() -> None:
    made = plan(curves_of({(10, 1): 0.4}), PRICES, 100, 30_000_000, [50, 10], 4)
    listed = made.options + made.infeasible
    assert [o.cost for o in listed] == sorted(o.cost for o in listed)
    assert len(listed) == 8
    unknown = next(o for o in listed if (o.pool_size, o.labels) == (50, 1))
    assert unknown.point is None and np.isnan(unknown.gain) and unknown.cost > 0


def test_gains_of_another_batch_size_are_refused() -> None:
    with pytest.raises(Fatal, match=r"batches of \[99\] prompts, the plan for 100"):
        plan(curves_of({(10, 1): 0.4}, prompts=99), PRICES, 100, 10, [10], 1)


# Text.


def made(budget: int, table: dict[tuple[int, int], float] | None = None) -> Plan:
    return plan(curves_of(table or {}), PRICES, 100, budget, [10, 50], 3)


def test_the_text_advises_the_best_what_is_nearly_as_good_and_the_next_step_up() -> None:
    table = {(10, 1): 0.3, (10, 2): 0.58, (50, 2): 0.60, (50, 3): 0.66}
    text = render(made(30_000_000, table))
    assert "Buy pools of 50 and 2 label(s) per prompt: $23.33" in text
    assert "60.0%" in text and "measured on 64 prompts" in text
    assert "pools of 10 and 2 label(s) per prompt, 97% of that gain for 99% of the money, " in text
    assert (
        "The next step up, pools of 50 and 3 label(s) per prompt, costs $34.83: "
        "10.0% more gain for 49.3% more money, best response at +1.50 logits instead of +1.50."
    ) in text
    starred = [line.split() for line in text.splitlines() if line.startswith("*") and "$" in line]
    assert [row[1:3] for row in starred] == [["50", "2"]]
    assert "best response at +1.10 logits instead of +1.50" in text
    assert "pool   10  ▃▅  30.0% to 58.0%" in text


def test_the_text_without_gains_lists_costs_only() -> None:
    text = render(made(30_000_000))
    assert "gains are unknown until a batch with such pools exists" in text
    assert "$23.33" in text and "Buy" not in text and "▁" not in text


def test_the_text_says_how_many_prompts_a_short_budget_pays_for() -> None:
    short = made(5_000_000, {(10, 1): 0.3})
    least = short.infeasible[0]
    assert short.best is None and 0 < least.affordable < 100
    text = render(short)
    assert f"pools of 10 and 1 label(s) per prompt, for {least.affordable} of them" in text
    assert f"Raise it to ${least.cost / 1e6:.2f}" in text


def test_the_text_of_a_best_that_nothing_beats_says_so() -> None:
    text = render(made(10**9, {(10, 1): 0.3}))
    assert "No larger option considered gains more." in text
    assert "Nearly as good" not in text


@settings(max_examples=20, deadline=None)
@given(budget=st.integers(0, 10**8), gain=st.floats(0.0, 1.0))
def test_every_plan_can_be_written(budget: int, gain: float) -> None:
    assert render(made(budget, {(10, 1): gain, (50, 2): 0.0})).endswith(".\n")
