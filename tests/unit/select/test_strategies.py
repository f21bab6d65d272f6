"""Named strategies: each scores as its definition says, and a wrong name is told at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Fatal
from winnow.reward import Posterior, centre
from winnow.select import (
    STRATEGIES,
    Pool,
    PoolState,
    Rules,
    Strategy,
    choose_for_pools,
    choose_pairs,
)
from winnow.select.belief import policy_covariance
from winnow.select.gains import exact_expected_fisher, exact_info_gain
from winnow.select.state import EVERY
from winnow.select.strategies import strategy_named

HEADS = {
    "right": Posterior(np.array([0.5, -0.2, 0.1]), np.diag([1.0, 0.5, 0.2]), 1.0, 300),
    "safe": Posterior(np.array([-0.1, 0.3, 0.4]), np.diag([0.1, 0.7, 1.5]), 1.0, 300),
}


def pool_of(n: int = 6, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    return Pool("p", [f"r{k}" for k in range(n)], rng.normal(size=(n, 3)))


def state_of(strategy: str, pool: Pool | None = None, **rules: object) -> PoolState:
    return PoolState(pool or pool_of(), HEADS, Rules(3, strategy, **rules), with_policy=True)


def scores(state: PoolState) -> np.ndarray:
    return strategy_named(state.rules.strategy).score(state, EVERY)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_every_strategy_scores_any_part_of_the_pairs_alike(strategy: str) -> None:
    state = state_of(strategy)
    score_e = scores(state)
    assert score_e.shape == (15,)
    assert not np.isnan(score_e).any()
    rows = np.array([14, 3, 7])
    some = strategy_named(strategy).score(state, rows)
    np.testing.assert_allclose(some, score_e[rows], rtol=1e-12)


def test_scores_follow_their_definitions_pair_by_pair() -> None:
    pool = pool_of()
    expected: dict[str, list[float]] = {
        name: [] for name in ("info_gain", "diversity", "uncertainty", "delta")
    }
    for i in range(6):
        for j in range(i + 1, 6):
            z = pool.features_nd[i] - pool.features_nd[j]
            mu = [float(z @ head.mean_d) for head in HEADS.values()]
            var = [float(z @ head.cov_dd @ z) for head in HEADS.values()]
            fisher = exact_expected_fisher(mu, np.sqrt(var))
            expected["info_gain"].append(float(exact_info_gain(mu, np.sqrt(var)).sum()))
            expected["diversity"].append(float(np.log1p(fisher * var).sum()))
            expected["uncertainty"].append(-abs(sum(mu) / 2))
            expected["delta"].append(abs(sum(mu) / 2) + np.sqrt(sum(var)) / 2)
    for name, values in expected.items():
        np.testing.assert_allclose(scores(state_of(name)), values, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), pair=st.integers(0, 14), n_heads=st.integers(1, 2))
def test_decision_gain_is_the_fall_of_the_policy_weighted_variance(
    seed: int, pair: int, n_heads: int
) -> None:
    """tr(AC) before less after, C from covariances of weights that saw one more label."""
    pool = pool_of(seed=seed)
    heads = dict(list(HEADS.items())[:n_heads])
    state = PoolState(pool, heads, Rules(3, "decision_gain"), with_policy=True)
    policy = policy_covariance(state.draws_sm, 4.0)
    features = centre(pool.features_nd)
    i, j = state.first_e[pair], state.second_e[pair]
    z, fall = features[i] - features[j], 0.0
    for head, fisher in zip(heads.values(), state.fisher()[:, pair], strict=True):
        after = np.linalg.inv(np.linalg.inv(head.cov_dd) + fisher * np.outer(z, z))
        fall += float(np.trace(policy @ features @ (head.cov_dd - after) @ features.T))
    assert state.decision_gain()[pair] == pytest.approx(fall, abs=1e-10)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), taken=st.lists(st.integers(0, 14), max_size=4))
def test_decision_bound_is_never_below_the_decision_gain(seed: int, taken: list[int]) -> None:
    state = state_of("decision_gain", pool_of(seed=seed))
    np.testing.assert_allclose(state.decision_bound(), state.decision_gain(), rtol=3e-5)
    for pair in taken:
        state.take(pair, state.prospects(pair).fishers)
        assert (state.decision_bound() >= state.decision_gain() - 1e-12).all()


def test_policy_covariance_averages_that_of_each_draw() -> None:
    draws = np.random.default_rng(0).normal(size=(5, 4))
    expected = np.zeros((4, 4))
    for draw in draws:
        policy = np.exp(2.0 * draw) / np.exp(2.0 * draw).sum()
        expected += (np.diag(policy) - np.outer(policy, policy)) / 5
    np.testing.assert_allclose(policy_covariance(draws, 2.0), expected, atol=1e-15)
    np.testing.assert_allclose(policy_covariance(draws + 1e6, 2.0), expected, atol=1e-9)


def test_draws_have_the_mean_and_the_joint_covariance_of_the_head() -> None:
    pool, head = pool_of(4), HEADS["right"]
    state = PoolState(pool, {"right": head}, Rules(3, n_draws=20_000), with_policy=False)
    features = centre(pool.features_nd)
    np.testing.assert_allclose(state.draws_sm.mean(axis=0), head.mean(features), atol=0.05)
    np.testing.assert_allclose(np.cov(state.draws_sm.T), head.cov(features), atol=0.1)


def test_double_thompson_sampling_pairs_the_best_of_two_draws() -> None:
    """One draw's favourite meets that of the next draw that has another one."""
    for seed in range(20):
        state = state_of("dts", pool_of(seed=seed))
        best = state.draws_sm.argmax(axis=1)
        expected = {best[0], next((b for b in best[1:] if b != best[0]), None)}
        pair = int(scores(state).argmax())
        if None not in expected:
            assert {state.first_e[pair], state.second_e[pair]} == expected


def test_double_thompson_sampling_pairs_the_best_two_when_all_draws_agree() -> None:
    certain = Posterior(np.array([1.0, 0.0, 0.0]), 1e-12 * np.eye(3), 1.0, 300)
    pool = Pool("p", ["a", "b", "c"], np.diag([0.0, 0.0, 0.0]) + np.array([[3.0], [1.0], [2.0]]))
    choice = choose_pairs(pool, certain, Rules(1, "dts", exploration=0.0))[0]
    assert (choice.i, choice.j) == (0, 2)


def test_traditional_stays_among_a_few_random_responses() -> None:
    few = set()
    for k in range(30):
        pool = replace(pool_of(12), prompt_id=f"p{k}")
        rules = Rules(4, "traditional", exploration=0.0, max_pairs_per_response=None)
        choices = choose_pairs(pool, HEADS, rules)
        assert len(choices) == 4
        held = {r for c in choices for r in (c.i, c.j)}
        assert len(held) <= 4
        few |= held
    assert few == set(range(12))


def test_traditional_compares_two_responses_where_one_pair_is_asked_for() -> None:
    assert len(choose_pairs(pool_of(8), HEADS, Rules(1, "traditional", 0.0))) == 1


def test_traditional_draws_as_many_responses_as_the_rules_say() -> None:
    rules = Rules(99, "traditional", 0.0, None, traditional_k=3)
    assert len(choose_pairs(pool_of(8), HEADS, rules)) == 3


@pytest.mark.parametrize(("alpha", "pure"), [(0.0, "decision_gain"), (1.0, "info_gain")])
def test_hybrid_at_its_ends_is_the_pure_strategy(alpha: float, pure: str) -> None:
    for seed in range(10):
        pool, rules = pool_of(9, seed), Rules(5, pure, exploration=0.0)
        mixed = replace(rules, strategy="hybrid", alpha=alpha, spread=False)
        one, other = choose_pairs(pool, HEADS, rules), choose_pairs(pool, HEADS, mixed)
        assert [(c.i, c.j) for c in one] == [(c.i, c.j) for c in other]


def test_hybrid_follows_its_formula_after_a_pick() -> None:
    pool = replace(pool_of(), n_tokens=[5, 10, 20, 40, 80, 160])
    state = state_of("hybrid", pool, alpha=0.3, cost_base=2.0, cost_per_token=0.01)
    first_decision, first_info = state.decision_gain().max(), state.info_gain().max()
    scores(state)
    state.take(4, state.prospects(4).fishers)
    z_ed = pool.features_nd[state.first_e] - pool.features_nd[state.second_e]
    unit_ed = z_ed / np.linalg.norm(z_ed, axis=1, keepdims=True)
    tokens = np.array(pool.n_tokens)
    cost_e = 2.0 + 0.01 * (tokens[state.first_e] + tokens[state.second_e])
    gain_e = 0.7 * state.decision_gain() / first_decision + 0.3 * state.info_gain() / first_info
    expected = gain_e * (1.0 - np.abs(unit_ed @ unit_ed[4])) / cost_e
    np.testing.assert_allclose(scores(state), expected, atol=1e-12)


def test_hybrid_asks_for_information_alone_before_any_label() -> None:
    unlabelled = {name: replace(head, n_labels=0) for name, head in HEADS.items()}
    rules = Rules(1, "hybrid", exploration=0.0)
    state = PoolState(pool_of(), unlabelled, rules, with_policy=True)
    np.testing.assert_allclose(scores(state), state.info_gain() / state.info_gain().max())
    assert not np.allclose(scores(state_of("hybrid")), scores(state))


def test_a_price_for_tokens_needs_token_counts() -> None:
    with pytest.raises(Fatal, match="n_tokens"):
        choose_pairs(pool_of(), HEADS, Rules(1, "hybrid", cost_per_token=0.1))


def test_a_strategy_that_reads_the_decision_gain_undeclared_is_told() -> None:
    state = PoolState(pool_of(), HEADS, Rules(3), with_policy=False)
    with pytest.raises(Fatal, match="with_policy"):
        state.decision_gain()


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(Fatal, match=r"'infogain' is unknown.*diversity, dts, hybrid, info_gain"):
        strategy_named("infogain")


@pytest.mark.parametrize("threads", [1, 2])
def test_a_caller_may_bring_strategies_that_no_campaign_can_name(threads: int) -> None:
    last = Strategy(lambda state, rows: np.arange(float(len(state.first_e)))[rows])
    rules = Rules(2, "last", exploration=0.0)
    own = choose_for_pools([pool_of()], HEADS, rules, threads=threads, strategies={"last": last})
    assert [(c.i, c.j) for _, choices in own for c in choices] == [(4, 5), (3, 5)]
    assert choose_pairs(pool_of(), HEADS, rules, {"last": last})[0].score == 14.0
    with pytest.raises(Fatal, match="'last' is unknown"):
        choose_pairs(pool_of(), HEADS, rules)
    with pytest.raises(Fatal, match="'random' is unknown: choose one of last"):
        choose_pairs(pool_of(), HEADS, Rules(2, "random"), {"last": last})
