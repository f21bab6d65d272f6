"""Rankings to rewards, against enumeration; and what pairs at 2 / K say against the whole model."""

from __future__ import annotations

import math
from itertools import combinations, pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from winnow.reward.laplace import fit
from winnow.reward.plackett_luce import log_likelihood, rewards, slopes

REWARDS = st.lists(st.floats(-4.0, 4.0), min_size=2, max_size=5).map(np.array)


@st.composite
def orders(draw: st.DrawFn, n: int | None = None) -> list[list[int]]:
    """A weak order of up to five responses, best first."""
    n = draw(st.integers(2, 5)) if n is None else n
    names = draw(st.permutations(range(n)))
    cuts = sorted(draw(st.sets(st.integers(1, n - 1)))) if n > 1 else []
    return [list(names[a:b]) for a, b in pairwise([0, *cuts, n])]


@given(REWARDS)
def test_it_is_the_chance_to_pick_the_best_of_what_is_left(reward_n) -> None:
    total = 0.0
    for order in permutations(range(len(reward_n))):
        chance, left = 1.0, list(order)
        for best in order:
            chance *= math.exp(reward_n[best]) / sum(math.exp(reward_n[each]) for each in left)
            left.remove(best)
        stated = math.exp(log_likelihood(reward_n, [[each] for each in order]))
        assert stated == pytest.approx(chance, rel=1e-9)
        total += stated
    assert total == pytest.approx(1.0)


@given(st.data())
def test_names_and_a_shift_change_nothing(data) -> None:
    order = data.draw(orders())
    n = sum(map(len, order))
    reward_n = np.array(data.draw(st.lists(st.floats(-3, 3), min_size=n, max_size=n)))
    told = log_likelihood(reward_n, order)
    assert log_likelihood(reward_n + 1.5, order) == pytest.approx(told)
    new = data.draw(st.permutations(range(n)))
    renamed_n = np.empty(n)
    renamed_n[list(new)] = reward_n
    renamed = [[new[each] for each in group] for group in order]
    assert log_likelihood(renamed_n, renamed) == pytest.approx(told)
    assert rewards([renamed], n)[list(new)] == pytest.approx(rewards([order], n), abs=1e-6)


@given(st.data())
def test_slopes_are_those_of_the_likelihood(data) -> None:
    order = data.draw(orders())
    n = sum(map(len, order))
    reward_n = np.array(data.draw(st.lists(st.floats(-3, 3), min_size=n, max_size=n)))
    gradient_n, fisher_nn = slopes(reward_n, order)
    for k in range(n):
        step_n = 1e-5 * np.eye(n)[k]
        rise = log_likelihood(reward_n + step_n, order) - log_likelihood(reward_n - step_n, order)
        assert gradient_n[k] == pytest.approx(rise / 2e-5, abs=1e-6)
        bend_n = slopes(reward_n + step_n, order)[0] - slopes(reward_n - step_n, order)[0]
        assert fisher_nn[k] == pytest.approx(-bend_n / 2e-5, abs=1e-5)


@given(st.data())
def test_rewards_follow_the_order(data) -> None:
    order = data.draw(orders())
    n = sum(map(len, order))
    reward_n = rewards([order], n)
    assert reward_n.sum() == pytest.approx(0.0, abs=1e-9) and np.isfinite(reward_n).all()
    for better, worse in pairwise(order):
        assert min(reward_n[better]) > max(reward_n[worse])
    for group in order:
        assert np.ptp(reward_n[group]) < 1e-6


def test_two_that_are_tied_are_two_half_votes() -> None:
    reward_n = np.array([0.7, -0.4])
    half = 0.5 * sum(log_likelihood(reward_n, [[k], [1 - k]]) for k in (0, 1))
    assert log_likelihood(reward_n, [[0, 1]]) == pytest.approx(half)


@pytest.mark.parametrize("size", [4, 8])
def test_pairs_at_two_over_k_teach_what_rankings_do(size) -> None:
    """Direction and information of the fit that is used, against the likelihood of whole orders."""
    rng, d, n = np.random.default_rng(0), 5, 150
    weights_d = rng.normal(size=d)
    phi_nkd = rng.normal(size=(n, size, d))
    drawn_nk = phi_nkd @ weights_d + rng.gumbel(size=(n, size))
    order_nk = (-drawn_nk).argsort(axis=1)

    def loss(w_d: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope_d = 0.5 * w_d @ w_d, w_d.copy()
        for phi_kd, order_k in zip(phi_nkd, order_nk, strict=True):
            order = [[int(k)] for k in order_k]
            value -= log_likelihood(phi_kd @ w_d, order)
            slope_d -= phi_kd.T @ slopes(phi_kd @ w_d, order)[0]
        return value, slope_d

    whole_d = minimize(loss, np.zeros(d), jac=True).x
    fisher_dd = np.eye(d)
    for phi_kd, order_k in zip(phi_nkd, order_nk, strict=True):
        fisher_dd += phi_kd.T @ slopes(phi_kd @ whole_d, [[int(k)] for k in order_k])[1] @ phi_kd
    z_ed = np.array(
        [
            phi[a] - phi[b]
            for phi, o in zip(phi_nkd, order_nk, strict=True)
            for a, b in combinations(o, 2)
        ]
    )
    nothing_e, ones_e = np.zeros(len(z_ed)), np.ones(len(z_ed))

    def learnt(weight: float):
        return fit(z_ed, ones_e, weight * ones_e, nothing_e, nothing_e, prior_precision=1.0)

    pairs, all_pairs = learnt(2.0 / size), learnt(1.0)
    cosine = pairs.mean_d @ whole_d / np.linalg.norm(pairs.mean_d) / np.linalg.norm(whole_d)
    assert cosine > 0.99
    assert np.linalg.norm(pairs.mean_d) == pytest.approx(np.linalg.norm(whole_d), rel=0.05)
    known, overstated = (
        np.trace(np.linalg.inv(each.cov_dd)) / np.trace(fisher_dd) for each in (pairs, all_pairs)
    )
    # 0.75 and 0.57 of what the orders tell; as whole votes 1.5 and 2.3 times as much.
    assert 0.5 < known < 1.0 < overstated
