"""Choosing the pairs of one pool: right picks, an honest exploration arm, and no order effects."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from threadpoolctl import threadpool_limits

from winnow.errors import Corrupt, Fatal
from winnow.reward import Posterior, centre, prior
from winnow.reward.posterior import shrink
from winnow.select import (
    STRATEGIES,
    Choice,
    Pool,
    PoolChooser,
    PoolState,
    Rules,
    choose_pairs,
    info_gain,
    pair_moments,
)
from winnow.select.belief import policy_covariance
from winnow.select.gains import exact_info_gain
from winnow.select.state import EVERY
from winnow.select.strategies import strategy_named

EXPLOIT = Rules(budget=4, exploration=0.0)


def pool_of(n: int, d: int = 6, seed: int = 0, prompt_id: str = "p") -> Pool:
    rng = np.random.default_rng(seed)
    return Pool(prompt_id, [f"r{k:03d}" for k in range(n)], rng.normal(size=(n, d)))


def posterior_of(d: int = 6, seed: int = 0) -> Posterior:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    return Posterior(0.5 * rng.normal(size=d), root @ root.T / d + 0.05 * np.eye(d), 1.0)


def ids(pool: Pool, choices: list[Choice]) -> list[tuple[str, str]]:
    return [(pool.response_ids[c.i], pool.response_ids[c.j]) for c in choices]


def without_indices(choices: list[Choice]) -> list[Choice]:
    return [replace(choice, i=0, j=0) for choice in choices]


# Against a slow, obvious reference.


def obvious_fisher(mu: float, sd: float) -> float:
    """ω̄ by a sum over a fine grid, which holds for every spread (quadrature does up to 8)."""
    u, step = np.linspace(-10.0, 10.0, 20_001, retstep=True)
    p = expit(mu + sd * u)
    return float(np.sum(p * (1.0 - p) * np.exp(-(u**2) / 2.0)) * step / np.sqrt(2.0 * np.pi))


@pytest.mark.parametrize("cap", [None, 1, 2])
@pytest.mark.parametrize("strategy", ["info_gain", "diversity", "uncertainty"])
@pytest.mark.parametrize("seed", range(3))
def test_each_pick_is_the_best_of_all_open_pairs(strategy: str, cap: int, seed: int) -> None:
    """Replays the picks, scoring pairs one by one with covariances recomputed from the weights."""
    pool, posterior = pool_of(9, seed=seed), posterior_of(seed=seed)
    rules = Rules(6, strategy, exploration=0.0, max_pairs_per_response=cap)
    choices = choose_pairs(pool, posterior, rules)
    precision, used = np.linalg.inv(posterior.cov_dd), []
    for rank, choice in enumerate(choices):
        cov = np.linalg.inv(precision)
        scores = {}
        for i, j in combinations(range(9), 2):
            z = pool.features_nd[i] - pool.features_nd[j]
            mu, sd = float(z @ posterior.mean_d), float(np.sqrt(z @ cov @ z))
            fisher = obvious_fisher(mu, sd)
            scores[i, j] = {
                "info_gain": float(exact_info_gain(mu, sd)),
                "diversity": float(np.log1p(fisher * sd**2)),
                "uncertainty": -abs(mu),
                "fisher": fisher,
            }
        is_open = {
            pair: pair not in used
            and (cap is None or all(sum(r in p for p in used) < cap for r in pair))
            for pair in scores
        }
        pair = (choice.i, choice.j)
        assert is_open[pair]
        assert choice.rank == rank
        best = max(scores[p][strategy] for p in scores if is_open[p])
        assert scores[pair][strategy] > best - 1e-3
        assert choice.score == pytest.approx(scores[pair][strategy], abs=1e-3)
        assert choice.info_gain == pytest.approx(scores[pair]["info_gain"], abs=1e-3)
        assert choice.fisher == pytest.approx(scores[pair]["fisher"], abs=1e-3)
        z = pool.features_nd[choice.i] - pool.features_nd[choice.j]
        precision = precision + choice.fisher * np.outer(z, z)
        used.append(pair)
    open_left = any(
        pair not in used and (cap is None or all(sum(r in p for p in used) < cap for r in pair))
        for pair in combinations(range(9), 2)
    )
    assert len(choices) == 6 or not open_left


def obvious_gains(pool: Pool, posterior: Posterior, policy: np.ndarray) -> dict[str, np.ndarray]:
    """Scores of each pair by its definition, one pair at a time, from the weights."""
    features = centre(pool.features_nd)
    rows = []
    for i, j in combinations(range(len(features)), 2):
        z = features[i] - features[j]
        mu, sd = float(z @ posterior.mean_d), float(np.sqrt(z @ posterior.cov_dd @ z))
        fisher = obvious_fisher(mu, sd)
        after = np.linalg.inv(np.linalg.inv(posterior.cov_dd) + fisher * np.outer(z, z))
        fall = np.trace(policy @ features @ (posterior.cov_dd - after) @ features.T)
        rows.append((float(exact_info_gain(mu, sd)), fall, fisher))
    return dict(zip(("info_gain", "decision_gain", "fisher"), np.array(rows).T, strict=True))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(3, 9),
    strategy=st.sampled_from(["info_gain", "decision_gain", "hybrid"]),
)
def test_the_fast_chooser_chooses_what_a_slow_obvious_one_does(
    seed: int, n: int, strategy: str
) -> None:
    """Equal up to scores that the approximations of the integrals cannot tell apart."""
    pool, posterior = pool_of(n, seed=seed), posterior_of(seed=seed)
    rules = Rules(4, strategy, 0.0, alpha=0.3, spread=False)
    draws = PoolState(pool, {"reward": posterior}, rules, with_policy=False).draws_sm
    policy, first = policy_covariance(draws, rules.kappa), None
    pairs, used = list(combinations(range(n), 2)), []
    for choice in choose_pairs(pool, posterior, rules):
        gains = obvious_gains(pool, posterior, policy)
        first = first or {name: max(values.max(), 1e-12) for name, values in gains.items()}
        shares = [gains[name] / first[name] for name in ("decision_gain", "info_gain")]
        gains["hybrid"] = 0.7 * shares[0] + 0.3 * shares[1]
        counts = np.bincount(np.array(used, dtype=int).ravel(), minlength=n)
        open_e = [pair not in used and max(counts[list(pair)]) < 2 for pair in pairs]
        score_e = np.where(open_e, gains[strategy], -np.inf)
        chosen = pairs.index((choice.i, choice.j))
        assert score_e[chosen] >= score_e.max() * (1 - 5e-3)
        assert choice.fisher == pytest.approx(gains["fisher"][chosen], abs=1e-4)
        z = pool.features_nd[choice.i] - pool.features_nd[choice.j]
        precision = np.linalg.inv(posterior.cov_dd) + choice.fisher * np.outer(z, z)
        posterior = replace(posterior, cov_dd=np.linalg.inv(precision))
        used.append((choice.i, choice.j))
    assert used


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 25),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    scale=st.sampled_from([0.01, 1.0, 10.0]),
)
def test_scoring_only_contenders_chooses_what_scoring_every_pair_does(
    seed: int, n: int, strategy: str, scale: float
) -> None:
    pool = pool_of(n, seed=seed)
    pool = replace(pool, features_nd=scale * pool.features_nd)
    rules = Rules(6, strategy, 0.0)
    state = PoolState(pool, {"reward": posterior_of(seed=seed)}, rules, with_policy=True)
    open_e, uses = np.ones(len(state.first_e), dtype=bool), [0] * n
    for choice in choose_pairs(pool, posterior_of(seed=seed), rules):
        score_e = np.where(open_e, STRATEGIES[strategy].score(state, EVERY), -np.inf)
        pair = int(score_e.argmax())
        assert (choice.i, choice.j) == (state.first_e[pair], state.second_e[pair])
        assert choice.score == pytest.approx(score_e[pair], rel=1e-12)
        state.take(pair, state.prospects(pair).fishers)
        open_e[pair] = False
        for response in (choice.i, choice.j):
            uses[response] += 1
            if uses[response] == rules.max_pairs_per_response:
                open_e &= (state.first_e != response) & (state.second_e != response)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 9))
def test_the_update_among_rewards_equals_the_one_among_weights(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    features, posterior = centre(rng.normal(size=(n, 6))), posterior_of(seed=seed)
    i, j = rng.choice(n, 2, replace=False)
    fisher, z = float(rng.uniform(0.01, 0.25)), features[i] - features[j]
    cov = posterior.cov(features)
    projected = cov[:, i] - cov[:, j]
    shrunk = shrink(cov, projected, float(projected[i] - projected[j]), fisher)
    weights = np.linalg.inv(np.linalg.inv(posterior.cov_dd) + fisher * np.outer(z, z))
    np.testing.assert_allclose(shrunk, features @ weights @ features.T, atol=1e-9)
    assert np.linalg.eigvalsh(shrunk).min() > -1e-10
    mu, before = pair_moments(posterior.mean(features), cov)
    after = pair_moments(posterior.mean(features), shrunk)[1]
    assert info_gain(mu, np.sqrt(after))[i, j] < info_gain(mu, np.sqrt(before))[i, j]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(3, 8),
    residual_sd=st.floats(0.1, 3.0),
    n_taken=st.integers(0, 4),
)
def test_residuals_are_believed_and_learnt_beside_the_weights(
    seed: int, n: int, residual_sd: float, n_taken: int
) -> None:
    """Against the joint posterior of weights and one residual per response."""
    pool, posterior, rng = pool_of(n, seed=seed), posterior_of(), np.random.default_rng(seed)
    rules = Rules(4, "decision_gain", residual_sd=residual_sd)
    state = PoolState(pool, {"reward": posterior}, rules, with_policy=True)
    policy = policy_covariance(state.draws_sm, rules.kappa)
    both = np.hstack([centre(pool.features_nd), np.eye(n)])
    precision = np.diag([0.0] * 6 + [residual_sd**-2] * n)
    precision[:6, :6] = np.linalg.inv(posterior.cov_dd)
    for pair in rng.integers(0, len(state.first_e), n_taken):
        before_e, fishers = state.var_ke[0].copy(), state.prospects(pair).fishers
        state.take(int(pair), fishers)
        z = both[state.first_e[pair]] - both[state.second_e[pair]]
        precision += fishers[0] * np.outer(z, z)
        assert (state.var_ke[0] <= before_e + 1e-12).all()
    z_ed = both[state.first_e] - both[state.second_e]
    cov = np.linalg.inv(precision)
    weighed = both @ cov
    impact_e = np.einsum("ed,dc,ec->e", z_ed, weighed.T @ policy @ weighed, z_ed)
    np.testing.assert_allclose(
        state.var_ke[0], np.einsum("ed,dc,ec->e", z_ed, cov, z_ed), rtol=1e-8, atol=1e-9
    )
    np.testing.assert_allclose(state.impact_ke[0], impact_e, rtol=1e-7, atol=1e-8)


def joint_information(pairs: list[tuple[int, int]], rewards_sn: np.ndarray) -> float:
    """Mutual information of the labels of `pairs` with the weights, by enumerating the labels."""
    first, second = np.array(pairs).T
    p_se = 1.0 / (1.0 + np.exp(rewards_sn[:, second] - rewards_sn[:, first]))
    total = 0.0
    for labels in product([0, 1], repeat=len(pairs)):
        p_s = np.where(labels, p_se, 1.0 - p_se).prod(axis=1)
        total -= p_s.mean() * np.log(p_s.mean())
    entropy_se = -p_se * np.log(p_se) - (1.0 - p_se) * np.log(1.0 - p_se)
    return total - float(entropy_se.sum(axis=1).mean())


def exact_greedy(n: int, budget: int, rewards_sn: np.ndarray) -> list[tuple[int, int]]:
    chosen: list[tuple[int, int]] = []
    for _ in range(budget):
        rest = [pair for pair in combinations(range(n), 2) if pair not in chosen]
        chosen.append(max(rest, key=lambda p: joint_information([*chosen, p], rewards_sn)))
    return chosen


def top_k(pool: Pool, posterior: Posterior, k: int) -> list[tuple[int, int]]:
    mu, var = pair_moments(posterior.mean(pool.features_nd), posterior.cov(pool.features_nd))
    gain = info_gain(mu, np.sqrt(var))
    return sorted(combinations(range(len(gain)), 2), key=lambda pair: -gain[pair])[:k]


def test_greedy_nears_exact_joint_information_and_beats_top_k_on_near_duplicates() -> None:
    shares = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        texts = np.repeat(rng.normal(size=(4, 5)), 2, axis=0)
        features = texts + 0.02 * rng.normal(size=texts.shape)
        pool = Pool(f"p{seed}", [f"r{k}" for k in range(8)], features)
        posterior = prior(5, 0.5)
        rewards = posterior.sample(features, 1500, rng)
        rules = Rules(3, exploration=0.0, max_pairs_per_response=None)
        greedy = [(c.i, c.j) for c in choose_pairs(pool, posterior, rules)]
        best = joint_information(exact_greedy(8, 3, rewards), rewards)
        ours = joint_information(greedy, rewards)
        naive = joint_information(top_k(pool, posterior, 3), rewards)
        shares.append([ours / best, naive / best])
    ours_share, naive_share = np.mean(shares, axis=0)
    assert ours_share >= 0.9
    assert naive_share < ours_share - 0.1


# What must not matter.


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 12),
    strategy=st.sampled_from(sorted(STRATEGIES)),
    exploration=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_the_order_of_responses_does_not_matter(
    seed: int, n: int, strategy: str, exploration: float
) -> None:
    pool, posterior = pool_of(n, seed=seed), posterior_of()
    order = np.random.default_rng(seed).permutation(n)
    shuffled = Pool("p", [pool.response_ids[k] for k in order], pool.features_nd[order])
    rules = Rules(4, strategy, exploration)
    one, other = choose_pairs(pool, posterior, rules), choose_pairs(shuffled, posterior, rules)
    assert ids(pool, one) == ids(shuffled, other)
    assert without_indices(one) == without_indices(other)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_equal_scores_fall_to_the_smaller_response_ids(strategy: str) -> None:
    corners = np.vstack([np.eye(3), -np.eye(3)])  # many pairs of exactly equal variance
    names = ["c", "f", "a", "e", "b", "d"]
    reordered = [4, 2, 0, 5, 1, 3]
    pool = Pool("p", names, corners)
    other = Pool("p", [names[k] for k in reordered], corners[reordered])
    rules = Rules(5, strategy, exploration=0.0)
    chosen = ids(pool, choose_pairs(pool, prior(3, 1.0), rules))
    assert chosen == ids(other, choose_pairs(other, prior(3, 1.0), rules))
    assert all(first < second for first, second in chosen)
    if strategy == "uncertainty":
        assert chosen[:3] == [("a", "b"), ("a", "c"), ("b", "c")]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), strategy=st.sampled_from(sorted(STRATEGIES)))
def test_duplicates_are_never_paired_and_do_not_change_the_chosen_texts(
    seed: int, strategy: str
) -> None:
    pool, posterior = pool_of(6, seed=seed), posterior_of()
    copies = np.random.default_rng(seed).choice(6, 5)
    rows = [*range(6), *copies]
    doubled = Pool("p", [pool.response_ids[k] for k in rows], pool.features_nd[rows])
    rules = Rules(5, strategy, exploration=0.4)
    chosen = ids(doubled, choose_pairs(doubled, posterior, rules))
    assert chosen == ids(pool, choose_pairs(pool, posterior, rules))
    assert all(first != second for first, second in chosen)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_features_shifted_within_the_prompt_do_not_matter(strategy: str) -> None:
    pool, posterior = pool_of(10), posterior_of()
    shifted = replace(pool, features_nd=pool.features_nd + 1e8 * np.arange(6.0))
    rules = Rules(6, strategy)
    assert ids(pool, choose_pairs(pool, posterior, rules)) == ids(
        shifted, choose_pairs(shifted, posterior, rules)
    )


def test_the_same_seed_gives_the_same_choices_and_another_seed_or_prompt_others() -> None:
    pool, posterior, rules = pool_of(20), posterior_of(), Rules(8, "random")
    chosen = choose_pairs(pool, posterior, rules)
    assert repr(choose_pairs(pool, posterior, rules)) == repr(chosen)
    assert choose_pairs(pool, posterior, replace(rules, seed=1)) != chosen
    assert choose_pairs(replace(pool, prompt_id="q"), posterior, rules) != chosen


# Limits.


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
@pytest.mark.parametrize("exploration", [0.0, 0.3, 1.0])
def test_a_budget_beyond_all_pairs_takes_each_pair_once(strategy: str, exploration: float) -> None:
    rules = Rules(99, strategy, exploration, max_pairs_per_response=None)
    choices = choose_pairs(pool_of(5), posterior_of(), rules)
    assert sorted((c.i, c.j) for c in choices) == list(combinations(range(5), 2))
    assert [c.rank for c in choices] == list(range(10))


def test_no_pair_is_chosen_from_fewer_than_two_texts() -> None:
    assert choose_pairs(pool_of(0), posterior_of(), EXPLOIT) == []
    assert choose_pairs(pool_of(1), posterior_of(), EXPLOIT) == []
    copies = Pool("p", ["r", "r"], np.ones((2, 6)))
    assert choose_pairs(copies, posterior_of(), EXPLOIT) == []
    assert choose_pairs(pool_of(5), posterior_of(), Rules(0)) == []


def test_two_responses_give_their_one_pair() -> None:
    assert [(c.i, c.j) for c in choose_pairs(pool_of(2), posterior_of(), EXPLOIT)] == [(0, 1)]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 9),
    cap=st.integers(1, 3),
    strategy=st.sampled_from(sorted(STRATEGIES)),
)
def test_no_response_exceeds_its_cap_whatever_the_budget(
    seed: int, n: int, cap: int, strategy: str
) -> None:
    rules = Rules(50, strategy, exploration=0.0, max_pairs_per_response=cap, seed=seed)
    choices = choose_pairs(pool_of(n, seed=seed), posterior_of(), rules)
    counts = np.bincount([k for c in choices for k in (c.i, c.j)], minlength=n)
    assert counts.max() <= cap


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 9),
    exploration=st.sampled_from([0.0, 0.4]),
    strategy=st.sampled_from(sorted(set(STRATEGIES) - {"random", "traditional"})),
)
def test_fresh_responses_come_first_and_no_pair_is_lost_for_it(
    seed: int, n: int, exploration: float, strategy: str
) -> None:
    rules = Rules(50, strategy, exploration, max_pairs_per_response=None, seed=seed)
    pool, head = pool_of(n, seed=seed), posterior_of(seed=seed)
    choices = choose_pairs(pool, head, replace(rules, fresh_first=True))
    assert len(choices) == len(choose_pairs(pool, head, rules)) == n * (n - 1) // 2
    used: set[int] = set()
    for choice in choices:
        pair = {choice.i, choice.j}
        if choice.arm == "exploit" and len(used) <= n - 2:
            assert used.isdisjoint(pair)
        used |= pair


def test_uniform_strategies_stay_uniform_where_fresh_responses_come_first() -> None:
    for strategy in ("random", "traditional"):
        rules = Rules(6, strategy, 0.0, max_pairs_per_response=None, traditional_k=5)
        fresh = choose_pairs(pool_of(8), posterior_of(), replace(rules, fresh_first=True))
        assert ids(pool_of(8), fresh) == ids(
            pool_of(8), choose_pairs(pool_of(8), posterior_of(), rules)
        )


def test_the_cap_counts_exploration_picks() -> None:
    for seed in range(30):
        rules = Rules(3, exploration=1 / 3, max_pairs_per_response=1, seed=seed)
        choices = choose_pairs(pool_of(8), posterior_of(), rules)
        assert len({k for c in choices for k in (c.i, c.j)}) == 6


@pytest.mark.parametrize("exploration", [0.0, 0.5])
def test_only_eligible_pairs_are_chosen(exploration: float) -> None:
    mask = np.zeros((6, 6), dtype=bool)
    for i, j in [(0, 3), (1, 4), (2, 5)]:
        mask[i, j] = mask[j, i] = True
    pool = replace(pool_of(6), eligible_nn=mask)
    choices = choose_pairs(pool, posterior_of(), Rules(9, exploration=exploration))
    assert sorted((c.i, c.j) for c in choices) == [(0, 3), (1, 4), (2, 5)]


def test_p_first_is_the_chance_that_i_wins() -> None:
    pool = Pool("p", ["a", "b"], np.array([[1.0], [0.0]]))
    certain = Posterior(np.array([2.0]), np.zeros((1, 1)), 1.0)
    assert choose_pairs(pool, certain, EXPLOIT)[0].p_first == pytest.approx(0.880797, abs=2e-4)
    other = Pool("p", ["b", "a"], np.array([[1.0], [0.0]]))
    assert choose_pairs(other, certain, EXPLOIT)[0].p_first == pytest.approx(0.119203, abs=2e-4)


@pytest.mark.parametrize("exploration", [0.0, 1.0])
def test_blocked_responses_and_pairs_within_a_cluster_are_never_chosen(exploration: float) -> None:
    blocked = np.array([True, False, False, False, False, False])
    pool = replace(pool_of(6), blocked=blocked, clusters=[0, 1, 3, 2, 1, 3])
    rules = Rules(99, exploration=exploration, max_pairs_per_response=None)
    chosen = {(c.i, c.j) for c in choose_pairs(pool, posterior_of(), rules)}
    allowed = {pair for pair in combinations(range(1, 6), 2) if pair not in {(1, 4), (2, 5)}}
    assert chosen <= allowed
    if exploration:
        assert chosen == allowed
    else:  # One pair for each two clusters: {1, 4} with 3, {2, 5} with 3, {1, 4} with {2, 5}.
        assert len(chosen) == 3


def test_no_policy_plays_a_blocked_response() -> None:
    blocked = np.array([False, False, True, False])
    pool = replace(pool_of(4), blocked=blocked)
    for strategy in ("decision_gain", "dts", "traditional"):
        state = PoolState(pool, {"reward": posterior_of()}, Rules(4, strategy), with_policy=True)
        policy = policy_covariance(state.draws_sm, 4.0)
        assert not policy[2].any()
        assert 2 not in state.draws_sm.argmax(axis=1)
        assert 2 not in state.few_m


# Callers that put pools together themselves.


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_best_among_some_pairs_is_the_best_of_those(strategy: str) -> None:
    rng = np.random.default_rng(0)
    rules = Rules(4, strategy, 0.0, max_pairs_per_response=None)
    chooser = PoolChooser(pool_of(10), posterior_of(), rules)
    reference = PoolState(pool_of(10), {"reward": posterior_of()}, rules, with_policy=True)
    for _ in range(4):
        among = rng.random(45) < 0.3
        found = chooser.best(among)
        assert found is not None
        score_e = np.where(
            among & chooser.open_e, STRATEGIES[strategy].score(reference, EVERY), -9e9
        )
        if strategy != "traditional":
            assert found.pair == int(score_e.argmax())
        assert among[found.pair]
        assert (found.i, found.j) == tuple(chooser.pairs_e2[found.pair])
        chooser.take(found, "floor language:de")
        reference.take(found.pair, found.prospects.fishers)
    assert [c.reason for c in chooser.choices] == ["floor language:de"] * 4
    assert chooser.best(np.zeros(45, dtype=bool)) is None
    assert chooser.n_open == 41


def test_choices_say_why_they_were_taken_and_what_was_known() -> None:
    heads = {
        "right": Posterior(np.array([1.0, 0.0]), np.eye(2), 1.0, 9),
        "safe": Posterior(np.array([-1.0, 0.0]), 4.0 * np.eye(2), 1.0, 9),
    }
    pool = Pool("p", ["a", "b", "c"], np.array([[9.0, 0.0], [0.0, 0.1], [0.0, 0.0]]))
    rules = Rules(3, "decision_gain", exploration=1 / 3)
    explored, *best = choose_pairs(pool, heads, rules)
    assert (explored.reason, explored.arm) == ("exploration", "explore")
    assert all((c.reason, c.arm) == ("best", "exploit") for c in best)
    for choice in (explored, *best):
        assert choice.score == pytest.approx(choice.decision_gain, rel=1e-9)
        assert choice.conflict
        assert choice.contested == "safe"
        assert choice.fisher == choice.fishers[1]
    known = choose_pairs(pool, heads["right"], rules)
    assert {c.contested for c in known} == {"reward"}
    assert not any(c.conflict for c in known)


def test_a_dimension_that_counts_for_nothing_steers_nothing() -> None:
    heads = {"right": posterior_of(seed=1), "safe": posterior_of(seed=2)}
    rules = Rules(4, "decision_gain", exploration=0.0)
    weighed = replace(rules, dimension_weights=(("safe", 0.0),))

    def chosen(heads: dict[str, Posterior], rules: Rules) -> list[tuple[int, int, float]]:
        gains = choose_pairs(pool_of(10), heads, rules)
        return [(c.i, c.j, pytest.approx(c.decision_gain)) for c in gains]

    alone = chosen({"right": heads["right"]}, rules)
    assert chosen(heads, weighed) == alone != chosen(heads, rules)
    none = replace(rules, dimension_weights=(("safe", 0.0), ("right", 0.0)))
    assert chosen(heads, none) == chosen(heads, rules)
    double = replace(rules, dimension_weights=(("safe", 2.0), ("right", 2.0)))
    twice = choose_pairs(pool_of(10), heads, double)
    assert [(c.i, c.j) for c in twice] == [(i, j) for i, j, _ in chosen(heads, rules)]
    with pytest.raises(Fatal, match="dimension_weights"):
        replace(rules, dimension_weights=(("safe", -1.0),))


def test_contested_dimensions_are_told_for_every_pair() -> None:
    heads = {"right": posterior_of(seed=1), "safe": posterior_of(seed=2)}
    rules = Rules(45, exploration=0.0, max_pairs_per_response=None)
    chooser = PoolChooser(pool_of(10), heads, rules)
    contested = chooser.contested()
    found = chooser.best()
    assert found is not None
    assert found.prospects.contested == ("right", "safe")[contested[found.pair]]
    assert set(contested) == {0, 1}


def test_choosing_gives_the_same_bytes_whatever_the_threads_of_blas() -> None:
    rules = Rules(8, "decision_gain", exploration=0.2)
    for seed in range(8):  # About half of these differ without the limit inside.
        pool, posterior = pool_of(100, 64, seed), posterior_of(64, seed)
        with threadpool_limits(1, "blas"):
            one = repr(choose_pairs(pool, posterior, rules))
        with threadpool_limits(2, "blas"):
            assert repr(choose_pairs(pool, posterior, rules)) == one


# The exploration arm.


def explored(rules: Rules, n_pools: int, n: int = 6) -> list[list[Choice]]:
    pool, posterior = pool_of(n), posterior_of()
    runs = [
        choose_pairs(replace(pool, prompt_id=f"p{k}"), posterior, rules) for k in range(n_pools)
    ]
    return [[c for c in run if c.arm == "explore"] for run in runs]


def test_exploration_alone_is_uniform_over_pairs() -> None:
    rules = Rules(2, "uncertainty", exploration=1.0)
    counts = dict.fromkeys(combinations(range(6), 2), 0)
    for run in explored(rules, 900):
        for choice in run:
            counts[choice.i, choice.j] += 1
    expected = 900 * 2 / 15
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 36.1  # 14 degrees of freedom, p = 0.001


def test_the_exploration_share_is_met_on_average_and_comes_first() -> None:
    runs = explored(Rules(4, "uncertainty", exploration=0.4), 800)
    counts = [len(run) for run in runs]
    assert set(counts) == {1, 2}
    assert np.mean(counts) == pytest.approx(1.6, abs=0.07)
    assert all([c.rank for c in run] == list(range(len(run))) for run in runs)
    assert {c.propensity for run in runs for c in run} == {1.6 / 15}


def test_the_inverse_propensity_mean_is_unbiased() -> None:
    mask = np.ones((6, 6), dtype=bool)
    mask[0, 1:4] = mask[1:4, 0] = False
    values = np.random.default_rng(1).exponential(size=(6, 6))
    pairs = [pair for pair in combinations(range(6), 2) if mask[pair]]
    pool, rules = replace(pool_of(6), eligible_nn=mask), Rules(4, "uncertainty", exploration=0.4)
    estimates = []
    for k in range(900):
        run = choose_pairs(replace(pool, prompt_id=f"p{k}"), posterior_of(), rules)
        weighted = [values[c.i, c.j] / c.propensity for c in run if c.propensity is not None]
        estimates.append(sum(weighted) / len(pairs))
    error = np.std(estimates) / np.sqrt(len(estimates))
    assert np.mean(estimates) == pytest.approx(np.mean([values[p] for p in pairs]), abs=3 * error)


def test_the_cap_does_not_bend_the_uniform_draw() -> None:
    rules = Rules(3, exploration=1.0, max_pairs_per_response=1)
    choices = choose_pairs(pool_of(3), posterior_of(), rules)
    assert sorted((c.i, c.j) for c in choices) == [(0, 1), (0, 2), (1, 2)]
    assert {c.propensity for c in choices} == {1.0}


def test_only_exploration_picks_carry_a_propensity() -> None:
    choices = choose_pairs(pool_of(6), posterior_of(), Rules(4, exploration=0.5))
    assert [c.arm for c in choices] == ["explore", "explore", "exploit", "exploit"]
    assert [c.propensity for c in choices] == [2 / 15, 2 / 15, None, None]


# Refusals.


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": -1},
        {"exploration": 1.1},
        {"exploration": -0.1},
        {"max_pairs_per_response": 0},
        {"kappa": 0.0},
        {"alpha": 1.5},
        {"cost_base": 0.0},
        {"cost_per_token": -1.0},
        {"residual_sd": -0.1},
        {"residual_sd": float("inf")},
        {"n_draws": 1},
        {"traditional_k": 1},
    ],
)
def test_impossible_rules_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(Fatal):
        strategy_named(Rules(**{"budget": 4, **wrong}).strategy)


def test_a_strategy_that_there_is_not_is_refused() -> None:
    with pytest.raises(Fatal):
        choose_pairs(pool_of(6), posterior_of(), Rules(4, strategy="best"))


@pytest.mark.parametrize(
    ("n_ids", "features", "mask"),
    [
        (3, np.zeros((2, 4)), None),
        (2, np.zeros(2), None),
        (2, np.zeros((2, 4)), np.ones((3, 3), dtype=bool)),
        (2, np.array([[1.0], [np.nan]]), None),
    ],
)
def test_a_pool_whose_parts_disagree_is_corrupt(
    n_ids: int, features: np.ndarray, mask: np.ndarray | None
) -> None:
    with pytest.raises(Corrupt, match="Prompt p"):
        Pool("p", [f"r{k}" for k in range(n_ids)], features, mask)


def test_facts_about_responses_must_match_their_number() -> None:
    with pytest.raises(Corrupt, match="Prompt p"):
        replace(pool_of(3), clusters=[0, 1])
    with pytest.raises(Corrupt, match="Prompt p"):
        replace(pool_of(3), n_tokens=[1])
