"""Gains of one label: information theory holds, and the tables agree with the integrals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.select.gains import (
    NARROWEST,
    exact_expected_fisher,
    exact_info_gain,
    expected_fisher,
    info_gain,
    pair_moments,
    preference_by_mixture,
)
from winnow.select.labels import label_prospects

LN2 = np.log(2.0)
MEANS = st.floats(-60.0, 60.0)
SPREADS = st.floats(0.0, 60.0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


def entropy(p: np.ndarray) -> np.ndarray:
    q = 1.0 - p
    tiny = 1e-300
    return -(p * np.log(np.maximum(p, tiny)) + q * np.log(np.maximum(q, tiny)))


def fine_integral(mu: float, s: float) -> tuple[float, float, float]:
    """EIG, expected Fisher and preference probability on 20,001 nodes over [-9, 9]."""
    u = np.linspace(-9.0, 9.0, 20_001)
    weight = np.exp(-0.5 * u**2) / np.exp(-0.5 * u**2).sum()
    p = sigmoid(mu + s * u)
    gain = float(entropy(weight @ p) - weight @ entropy(p))
    return gain, float(weight @ (p * (1.0 - p))), float(weight @ p)


@pytest.mark.parametrize("gain", [info_gain, exact_info_gain])
@settings(deadline=None)
@given(mu=MEANS, s=SPREADS)
def test_info_gain_lies_between_nothing_and_one_bit(gain: object, mu: float, s: float) -> None:
    assert 0.0 <= gain(mu, s) <= LN2


@pytest.mark.parametrize("gain", [info_gain, exact_info_gain, expected_fisher])
@settings(deadline=None)
@given(mu=MEANS, s=SPREADS)
def test_gains_do_not_depend_on_which_response_comes_first(
    gain: object, mu: float, s: float
) -> None:
    assert gain(mu, s) == pytest.approx(gain(-mu, s), abs=1e-12)


@pytest.mark.parametrize("gain", [info_gain, exact_info_gain])
@settings(deadline=None)
@given(mu=MEANS)
def test_a_known_difference_has_no_info_gain(gain: object, mu: float) -> None:
    assert gain(mu, 0.0) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("gain", [info_gain, exact_info_gain])
@settings(deadline=None)
@given(s=st.floats(0.0, 8.0))
def test_info_gain_falls_as_the_preference_becomes_clear(gain: object, s: float) -> None:
    mu = np.linspace(0.0, 60.0, 300)
    assert (np.diff(gain(mu, np.full(300, s))) <= 1e-9).all()


@pytest.mark.parametrize(("gain", "widest"), [(info_gain, 300.0), (exact_info_gain, 8.0)])
def test_info_gain_of_a_coin_flip_rises_with_its_spread(gain: object, widest: float) -> None:
    s = np.linspace(0.0, widest, 4_000)
    assert (np.diff(gain(np.zeros(4_000), s)) > 0).all()


@pytest.mark.parametrize("gain", [info_gain, exact_info_gain])
@settings(deadline=None)
@given(mu=st.floats(-4.0, 4.0))
def test_a_small_spread_gains_half_its_fisher_information(gain: object, mu: float) -> None:
    s = 1e-3
    fisher = float(sigmoid(mu) * sigmoid(-mu))
    assert gain(mu, s) / (0.5 * fisher * s**2) == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize(("mu", "s"), [(0.0, 0.5), (0.7, 1.5), (-2.0, 3.0), (5.0, 6.0)])
def test_info_gain_is_the_expected_divergence_and_the_literal_reading_is_zero(
    mu: float, s: float
) -> None:
    grid = np.linspace(mu - 9 * s, mu + 9 * s, 40_001)
    belief = np.exp(-0.5 * ((grid - mu) / s) ** 2)
    belief /= belief.sum()
    p, q = sigmoid(grid), sigmoid(-grid)
    p_mean, q_mean = float(belief @ p), float(belief @ q)
    after_win, after_loss = belief * p / p_mean, belief * q / q_mean

    def divergence(one: np.ndarray, other: np.ndarray) -> float:
        positive = one > 0
        return float(one[positive] @ np.log(one[positive] / other[positive]))

    over_labels = p_mean * divergence(after_win, belief)
    over_labels += q_mean * divergence(after_loss, belief)
    over_weights = belief @ (p * np.log(p / p_mean) + q * np.log(q / q_mean))
    assert exact_info_gain(mu, s) == pytest.approx(over_labels, abs=2e-6)
    assert over_weights == pytest.approx(over_labels, abs=1e-9)

    p_expected = p_mean * float(after_win @ p) + q_mean * float(after_loss @ p)
    current, expected = np.array([p_mean, q_mean]), np.array([p_expected, 1 - p_expected])
    assert abs(divergence(current, expected)) < 1e-12


@settings(max_examples=150, deadline=None)
@given(ratio=st.floats(-9.0, 9.0), s=st.floats(0.0, 300.0))
def test_approximations_agree_with_the_integral_at_every_spread(ratio: float, s: float) -> None:
    mu = ratio * float(np.sqrt(1.0 + s**2))
    gain, fisher, probability = fine_integral(mu, s)
    assert info_gain(mu, s) == pytest.approx(gain, abs=3e-4)
    assert expected_fisher(mu, s) == pytest.approx(fisher, abs=1e-4)
    assert preference_by_mixture(mu, s) == pytest.approx(probability, abs=2e-4)


@settings(max_examples=100, deadline=None)
@given(mu=st.floats(-20.0, 20.0), s=st.floats(0.0, 8.0))
def test_sixty_one_nodes_are_enough_within_the_table(mu: float, s: float) -> None:
    gain, fisher, _ = fine_integral(mu, s)
    assert exact_info_gain(mu, s) == pytest.approx(gain, abs=1.2e-5)
    assert exact_expected_fisher(mu, s) == pytest.approx(fisher, abs=1.2e-5)


def test_one_call_scores_a_matrix_as_many_calls_would() -> None:
    rng = np.random.default_rng(0)
    mu, s = rng.normal(size=(5, 5)) * 4, rng.uniform(0.0, 20.0, (5, 5))
    one_by_one = [[float(info_gain(mu[i, j], s[i, j])) for j in range(5)] for i in range(5)]
    np.testing.assert_allclose(info_gain(mu, s), one_by_one, atol=1e-15)


def test_pair_moments_follow_the_definition_pair_by_pair() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 4))
    mean, cov = rng.normal(size=6), root @ root.T
    mu, var = pair_moments(mean, cov)
    for i in range(6):
        for j in range(6):
            assert mu[i, j] == pytest.approx(mean[i] - mean[j])
            assert var[i, j] == pytest.approx(cov[i, i] + cov[j, j] - 2 * cov[i, j])
    assert (var.diagonal() == 0).all()


def test_rewards_shifted_by_a_constant_leave_every_pair_as_it_was() -> None:
    mean, cov = np.array([0.5, -1.0, 2.0]), np.diag([1.0, 2.0, 3.0])
    for before, after in zip(pair_moments(mean, cov), pair_moments(mean + 8, cov + 8), strict=True):
        np.testing.assert_allclose(before, after)


@settings(max_examples=100, deadline=None)
@given(mu=st.floats(-15.0, 15.0), spreads=st.lists(st.floats(0.0, 50.0), min_size=2, max_size=2))
def test_info_gain_and_fisher_bound_rise_with_the_spread(mu: float, spreads: list[float]) -> None:
    """What lazy greedy relies on: an old score bounds the new one after variances shrank."""
    low, high = sorted(spreads)
    assert info_gain(mu, low) <= info_gain(mu, high) * (1 + 1e-6) + 1e-12
    bound_low = expected_fisher(mu, low) * (NARROWEST + low**2)
    assert bound_low <= expected_fisher(mu, high) * (NARROWEST + high**2) * (1 + 1e-12)


@settings(max_examples=100, deadline=None)
@given(mu=MEANS, s=SPREADS, impact=st.floats(0.0, 10.0))
def test_one_pair_in_plain_floats_says_what_the_arrays_say(
    mu: float, s: float, impact: float
) -> None:
    said = label_prospects(["reward"], [mu], [s**2], [impact])
    fisher = float(expected_fisher(mu, s))
    assert said.info_gain == pytest.approx(float(info_gain(mu, s)), abs=1e-14)
    assert said.fisher == pytest.approx(fisher, rel=1e-12, abs=1e-300)
    assert said.p_first == pytest.approx(float(preference_by_mixture(mu, s)), abs=1e-14)
    assert said.decision_gain == pytest.approx(fisher * impact / (1 + fisher * s**2), rel=1e-12)


def test_the_contested_dimension_is_the_one_a_label_says_most_about() -> None:
    said = label_prospects(["safe", "right"], [0.0, 5.0], [1.0, 4.0], None)
    assert said.contested == "safe"
    assert said.fisher == said.fishers[0] == pytest.approx(float(expected_fisher(0.0, 1.0)))
    assert said.decision_gain is None
    assert said.info_gain == pytest.approx(float(info_gain([0.0, 5.0], [1.0, 2.0]).sum()))


def test_the_chance_of_the_choice_is_that_of_its_own_dimension() -> None:
    names, moments = ["safe", "right"], ([2.0, -1.0], [0.5, 4.0])
    alone = label_prospects(["safe"], [2.0], [0.5], None)
    both = label_prospects(names, *moments, None, "safe")
    assert (both.contested, both.p_first) == ("right", alone.p_first)
    assert label_prospects(names, *moments, None).p_first < 0.5 < both.p_first


@pytest.mark.parametrize(
    ("mu", "var", "conflict"),
    [
        ([3.0, -3.0], [1.0, 1.0], True),
        ([3.0, 3.0], [1.0, 1.0], False),
        ([0.0, 3.0], [1.0, 1.0], True),
        ([2.0, -1.0], [0.0, 0.0], True),
        ([2.0, 1.0], [0.0, 0.0], False),
        ([0.0], [1.0], False),
    ],
)
def test_dimensions_conflict_when_their_signs_are_likely_to_differ(
    mu: list[float], var: list[float], conflict: bool
) -> None:
    names = ["safe", "right"][: len(mu)]
    assert label_prospects(names, mu, var, None).conflict is conflict
