"""The bake-off against slow and obvious references, and on worlds whose answer is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from winnow.errors import Corrupt
from winnow.reward import Posterior, prior
from winnow.reward.logistic import sigmoid
from winnow.select import Pool, Rules
from winnow.select.bake_off import (
    BEST_SHARE,
    COMPARED,
    UNIFORM,
    Explored,
    Worth,
    after_vote,
    explored_pairs,
    picks,
    worth,
)
from winnow.select.bake_off_tally import (
    MIN_CLUSTERS,
    Tally,
    as_figures,
    contenders,
    tally,
    together,
)
from winnow.select.gains import info_gain, preference_by_mixture
from winnow.select.state import PoolState

RULES = Rules(budget=4, exploration=0.5, residual_sd=0.4)


def pool(n: int, seed: int, d: int = 4) -> Pool:
    rng = np.random.default_rng(seed)
    ids = [f"r{seed:03d}{i:03d}" for i in range(n)]
    return Pool(f"q{seed:04d}", ids, rng.normal(size=(n, d)))


def head(d: int = 4, seed: int = 0) -> Posterior:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d)) * 0.4
    return Posterior(rng.normal(size=d), root @ root.T + 0.3 * np.eye(d), 1.0, n_labels=200)


def all_pairs(of: Pool) -> list[tuple[str, str]]:
    return list(combinations(sorted(of.response_ids), 2))


@given(n=st.integers(2, 12), seed=st.integers(0, 200))
@settings(max_examples=40)
def test_a_strategy_picks_evenly_among_its_best_tenth(n: int, seed: int) -> None:
    one = pool(n, seed)
    state = PoolState(one, {"reward": head()}, RULES, with_policy=True)
    open_e = one.open_pairs(state.order_m)
    chance_se = picks(state, open_e)
    assert chance_se.sum(axis=1) == pytest.approx(1.0)
    n_best = max(1, round(BEST_SHARE * n * (n - 1) / 2))
    gain_e = state.info_gain()
    best = set(np.argsort(-gain_e)[:n_best].tolist())
    chance_e = chance_se[COMPARED.index("info_gain")]
    assert {int(e) for e in np.flatnonzero(chance_e)} == best
    assert chance_e[list(best)] == pytest.approx(1.0 / n_best)


def test_equal_scores_share_their_places() -> None:
    one = Pool("q", [f"r{i}" for i in range(8)], np.eye(8))
    state = PoolState(one, {"reward": prior(8, 8.0)}, RULES, with_policy=True)
    chance_e = picks(state, np.ones(28, dtype=np.bool_))[COMPARED.index("diversity")]
    assert chance_e == pytest.approx(1.0 / 28)


@given(seed=st.integers(0, 10_000), n=st.integers(3, 7), share=st.floats(0.05, 1.0))
@settings(max_examples=40)
def test_the_weighted_mean_over_all_draws_is_the_mean_over_the_picks(
    seed: int, n: int, share: float
) -> None:
    """Unbiased: drawn alone, each pair with its chance, Σ π/p Y averages to Σ π Y exactly."""
    one, values = pool(n, seed), np.random.default_rng(seed).normal(size=n * (n - 1) // 2)
    pairs = all_pairs(one)
    found = explored_pairs(one, {"reward": head()}, RULES, dict.fromkeys(pairs, share))
    state = PoolState(one, {"reward": head()}, RULES, with_policy=True)
    chance_se = picks(state, np.ones(len(pairs), dtype=np.bool_))
    expected_s = np.zeros(len(COMPARED))
    for pair, value in zip(pairs, values, strict=True):
        # Drawn with chance `share`: adds π/p Y then, and nothing otherwise.
        expected_s += share * found[pair].weight_s * value
    assert expected_s == pytest.approx(chance_se @ values)


def test_a_pair_that_is_not_open_is_left_out() -> None:
    one = pool(5, 3)
    a, b, c, *_ = sorted(one.response_ids)
    blocked = np.array([each == a for each in one.response_ids])
    drawn = {(a, b): 0.1, (b, c): 0.1, (b, "elsewhere"): 0.1}
    found = explored_pairs(replace(one, blocked=blocked), {"reward": head()}, RULES, drawn)
    assert set(found) == {(b, c)}


@given(mu=st.floats(-4, 4), var=st.floats(0.01, 9), y=st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=60)
def test_a_vote_moves_the_belief_as_the_integral_says(mu: float, var: float, y: float) -> None:
    sd = np.sqrt(var)

    def weight(u: float) -> float:
        x = mu + sd * u
        return float(np.exp(-0.5 * u * u) * sigmoid(x) ** y * sigmoid(-x) ** (1 - y))

    mass = quad(weight, -9, 9)[0]
    mean = mu + sd * quad(lambda u: u * weight(u), -9, 9)[0] / mass
    second = quad(lambda u: (mu + sd * u - mean) ** 2 * weight(u), -9, 9)[0] / mass
    found = after_vote(np.array([mu]), np.array([var]), np.array([y]))
    assert [float(each[0]) for each in found[:2]] == pytest.approx([mean, second], abs=2e-5)


def test_expected_information_is_the_information_gain_of_selection() -> None:
    """The realised divergence, averaged over both votes by their chance, is EIG."""
    mu, sd = np.array([0.0, 1.0, -2.0]), np.array([1.0, 0.5, 2.0])
    p = preference_by_mixture(mu, sd)
    first, second = (after_vote(mu, sd**2, np.full(3, y))[2] for y in (1.0, 0.0))
    assert p * first + (1 - p) * second == pytest.approx(info_gain(mu, sd), abs=1e-3)


def world(n_prompts: int, seed: int, noise: float = 0.0) -> tuple[list[Explored], Posterior]:
    """Votes on two pairs a prompt; `noise` is the share of coin flips among them."""
    rng, belief = np.random.default_rng(seed), head(seed=1)
    truth = belief.mean_d + np.linalg.cholesky(belief.cov_dd) @ rng.normal(size=4)
    votes = []
    for k in range(n_prompts):
        one = pool(8, 1000 * seed + k)
        pairs = all_pairs(one)
        drawn = [pairs[i] for i in rng.choice(len(pairs), 2, replace=False)]
        propensity = 2 / len(pairs)
        found = explored_pairs(one, {"reward": belief}, RULES, dict.fromkeys(drawn, propensity))
        row = {name: i for i, name in enumerate(one.response_ids)}
        for a, b in drawn:
            z = one.features_nd[row[a]] - one.features_nd[row[b]]
            p = 0.5 if rng.random() < noise else float(sigmoid(np.array(truth @ z)))
            votes.append(found[a, b].voted(float(rng.random() < p)))
    return votes, belief


def slow_worth(votes: list[Explored], belief: Posterior) -> np.ndarray:
    """`taught`, one vote and one judge at a time."""
    uniform, found = COMPARED.index(UNIFORM), []
    for one in votes:
        mean, after, _ = after_vote(*(np.array([v]) for v in (one.mu, one.var, one.preferred)))
        total = weights = 0.0
        for judge in votes:
            if judge.prompt_id == one.prompt_id:
                continue
            slope = float(judge.basis_q @ belief.cov_dd @ one.basis_q) / one.var
            mu = judge.mu + slope * (float(mean[0]) - one.mu)
            var = judge.var + slope**2 * (float(after[0]) - one.var)
            total += judge.weight_s[uniform] * (loss(judge, judge.mu, judge.var))
            total -= judge.weight_s[uniform] * loss(judge, mu, var)
            weights += judge.weight_s[uniform]
        found.append(total / weights)
    return np.array(found)


def loss(judge: Explored, mu: float, var: float) -> float:
    p = float(preference_by_mixture(mu, np.sqrt(var)))
    return -float(judge.preferred * np.log(p) + (1 - judge.preferred) * np.log(1 - p))


def test_what_votes_taught_is_what_the_slow_way_finds() -> None:
    votes, belief = world(12, 1)
    found = worth(votes, {"reward": belief})
    assert found.taught_v == pytest.approx(slow_worth(votes, belief), rel=1e-6, abs=1e-12)
    assert found.judged_vs.sum(axis=0) == pytest.approx(0.0, abs=1e-9)


def test_a_vote_alone_with_its_prompt_is_judged_by_nobody() -> None:
    votes, belief = world(1, 1)
    assert worth(votes, {"reward": belief}).taught_v.tolist() == [0.0, 0.0]


@given(seed=st.integers(0, 50), n=st.integers(1, 5))
@settings(max_examples=20)
def test_figures_do_not_depend_on_order_and_batches_add_up(seed: int, n: int) -> None:
    parts = [world(6, seed + 100 * k) for k in range(n)]
    sums = [tally(votes, worth(votes, {"reward": belief})) for votes, belief in parts]
    shuffled = []
    for votes, belief in parts:
        mixed = [votes[k] for k in np.random.default_rng(seed).permutation(len(votes))]
        shuffled.append(tally(mixed, worth(mixed, {"reward": belief})))
    one, other = together(sums), together(reversed(shuffled))
    assert one.sum_k == pytest.approx(other.sum_k)
    assert one.product_kk == pytest.approx(other.product_kk)
    assert (one.n_prompts, one.n_votes) == (6 * n, 12 * n)
    again = Tally.from_bytes(one.to_bytes())
    assert again.to_bytes() == one.to_bytes()


def slow_figures(votes: list[Explored], found: Worth, name: str) -> tuple[float, float]:
    """V of `information` and its error, cluster by cluster."""
    s = COMPARED.index(name)
    prompts = sorted({vote.prompt_id for vote in votes})
    rows = [[k for k, vote in enumerate(votes) if vote.prompt_id == p] for p in prompts]
    weight = [sum(votes[k].weight_s[s] for k in own) for own in rows]
    value = [sum(votes[k].weight_s[s] * found.information_v[k] for k in own) for own in rows]
    mean = sum(value) / sum(weight)
    squares = sum((v - mean * w) ** 2 for v, w in zip(value, weight, strict=True))
    return mean, np.sqrt(squares * len(prompts) / (len(prompts) - 1)) / sum(weight)


def test_means_and_errors_are_those_of_the_slow_way() -> None:
    votes, belief = world(400, 2)
    found = worth(votes, {"reward": belief})
    for each in contenders(tally(votes, found)):
        mean, error = slow_figures(votes, found, each.strategy)
        assert each.information.mean == pytest.approx(mean)
        assert each.information.high is not None and each.information.mean is not None
        half = each.information.high - each.information.mean
        assert 1.95 * error < half < 2.2 * error


def test_picks_of_an_information_strategy_inform_more_than_uniform_draws() -> None:
    votes, belief = world(400, 3)
    ranked = {c.strategy: c for c in contenders(tally(votes, worth(votes, {"reward": belief})))}
    informed, uniform = ranked["info_gain"].information, ranked[UNIFORM].information
    assert informed.low is not None and uniform.high is not None
    assert informed.low > uniform.high


def test_votes_of_coins_move_the_model_and_teach_nothing() -> None:
    votes, belief = world(400, 4, noise=1.0)
    by_name = {c.strategy: c for c in contenders(tally(votes, worth(votes, {"reward": belief})))}
    taught, moved = by_name["info_gain"].taught, by_name["info_gain"].information
    assert moved.low is not None and moved.low > 0.0
    honest, honest_belief = world(400, 4)
    true = {
        c.strategy: c for c in contenders(tally(honest, worth(honest, {"reward": honest_belief})))
    }["info_gain"].taught
    assert true.low is not None and true.low > 0.0
    assert taught.mean is not None and true.mean is not None and taught.mean < true.mean


def test_too_few_prompts_give_no_figures() -> None:
    votes, belief = world(MIN_CLUSTERS + 5, 5)
    of = tally(votes, worth(votes, {"reward": belief}))
    found = {each.strategy: each for each in contenders(of)}
    assert found[UNIFORM].taught.mean is not None
    few = found["info_gain"]
    assert few.prompts < MIN_CLUSTERS
    assert few.taught.mean is None and few.information.mean is None and few.gain.mean is None
    said = {
        each["strategy"]: each for each in as_figures(list(found.values()), 1, of)["strategies"]
    }
    assert said["info_gain"]["taught"] is None and len(said[UNIFORM]["taught"]) == 3


def test_nothing_gives_nothing() -> None:
    of = together([])
    assert (of.n_prompts, of.n_votes) == (0, 0)
    assert all(each.taught.mean is None for each in contenders(of))


@pytest.mark.parametrize("data", [b"", b"{}", b'{"names": ["a"], "sums": [1], "products": []}'])
def test_bytes_that_are_no_tally_are_refused(data: bytes) -> None:
    with pytest.raises(Corrupt, match="bake-off"):
        Tally.from_bytes(data)
