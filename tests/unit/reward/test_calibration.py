"""Temperature and calibration error: planted faults are found, honest models are left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Corrupt, Fatal
from winnow.reward import (
    expected_calibration_error,
    log_loss,
    preference_by_quadrature,
    temperature,
)
from winnow.reward.calibration import MIN_LABELS


def answers(p: np.ndarray, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(p)) < p).astype(float)


def logits(n: int, seed: int = 0, spread: float = 1.5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=n) * spread


def slow_ece(p: np.ndarray, y: np.ndarray, n_bins: int) -> float:
    """The definition, for probabilities that all differ."""
    order = np.argsort(p)
    error = 0.0
    for rows in np.array_split(order, n_bins):
        stated = sum(p[row] for row in rows) / len(rows)
        observed = sum(y[row] for row in rows) / len(rows)
        error += len(rows) / len(p) * abs(stated - observed)
    return error


@pytest.mark.parametrize("planted", [0.5, 1.0, 2.0, 4.0])
def test_a_planted_temperature_is_recovered(planted: float) -> None:
    mu = logits(8000, spread=1.5 * planted)
    y = answers(preference_by_quadrature(mu / planted, np.zeros(8000)), seed=1)
    assert temperature(mu, np.zeros(8000), y, np.ones(8000)) == pytest.approx(planted, rel=0.08)


def test_a_planted_temperature_is_recovered_from_uncertain_logits() -> None:
    mu, sd = logits(8000, spread=3.0), np.abs(logits(8000, seed=2)) + 0.5
    y = answers(preference_by_quadrature(mu / 2.0, sd / 2.0), seed=1)
    found = temperature(mu, sd, y, np.ones(8000))
    assert found == pytest.approx(2.0, rel=0.1)
    assert temperature(mu, np.zeros(8000), y, np.ones(8000)) > found + 0.2


def test_a_temperature_below_the_least_number_of_labels_is_exactly_one() -> None:
    mu, y = logits(MIN_LABELS, spread=4.0), answers(np.full(MIN_LABELS, 0.5), seed=1)
    weight = np.ones(MIN_LABELS)
    assert temperature(mu, 0 * mu, y, weight) > 1.5
    weight[0] = 0.0
    assert temperature(mu, 0 * mu, y, weight) == 1.0


def test_few_labels_are_shrunk_towards_one() -> None:
    mu = logits(6400, seed=7, spread=6.0)
    y = answers(preference_by_quadrature(mu / 4.0, np.zeros(6400)), seed=3)
    few, many = (temperature(mu[:n], np.zeros(n), y[:n], np.ones(n)) for n in (200, 6400))
    heavy = temperature(mu[:200], np.zeros(200), y[:200], np.full(200, 100.0))
    assert few < heavy
    assert many == pytest.approx(4.0, rel=0.1)


def test_labels_that_say_nothing_give_a_high_but_finite_temperature() -> None:
    found = temperature(logits(2000), np.zeros(2000), answers(np.full(2000, 0.5), 5), np.ones(2000))
    assert 3.0 < found <= 20.0


def test_the_order_of_labels_does_not_change_the_temperature() -> None:
    mu, y = logits(400), answers(np.full(400, 0.6), 1)
    order = np.random.default_rng(2).permutation(400)
    one, other = (temperature(mu[o], 0 * mu, y[o], np.ones(400)) for o in (slice(None), order))
    assert one == pytest.approx(other, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), n_bins=st.integers(1, 12))
def test_the_calibration_error_follows_its_definition(seed: int, n: int, n_bins: int) -> None:
    rng = np.random.default_rng(seed)
    p, y = rng.random(n), rng.choice([0.0, 0.5, 1.0], n)
    found = expected_calibration_error(p, y, n_bins, n_resamples=2)
    assert found.ece == pytest.approx(slow_ece(p, y, min(n_bins, n)))
    assert sum(b.n for b in found.bins) == n


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_calibration_error_ignores_the_order_of_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p, y = rng.choice([0.2, 0.4, 0.7], 40), rng.choice([0.0, 1.0], 40)
    order = rng.permutation(40)
    assert expected_calibration_error(p, y, n_resamples=20) == expected_calibration_error(
        p[order], y[order], n_resamples=20
    )


def test_equal_probabilities_share_a_bin() -> None:
    found = expected_calibration_error([0.3] * 6 + [0.8] * 4, [1, 0, 0, 0, 0, 1] + [1] * 4)
    assert [(b.n, b.stated, b.observed) for b in found.bins] == [
        (6, pytest.approx(0.3), pytest.approx(1 / 3)),
        (4, pytest.approx(0.8), 1.0),
    ]
    assert found.ece == pytest.approx(0.6 * (1 / 3 - 0.3) + 0.4 * 0.2)


def test_an_honest_model_has_a_small_error_and_a_boaster_a_large_one() -> None:
    mu = logits(6000)
    y = answers(preference_by_quadrature(mu, 0 * mu), seed=4)
    honest = expected_calibration_error(preference_by_quadrature(mu, 0 * mu), y, n_resamples=100)
    boaster = expected_calibration_error(
        preference_by_quadrature(3 * mu, 0 * mu), y, n_resamples=100
    )
    assert honest.high < 0.04
    assert boaster.low > 0.1
    assert boaster.low < boaster.ece < boaster.high


def test_the_interval_narrows_with_labels_and_follows_the_seed() -> None:
    def interval(n: int, seed: int = 0) -> tuple[float, float]:
        mu = logits(n)
        y = answers(preference_by_quadrature(mu, 0 * mu), seed=4)
        found = expected_calibration_error(
            preference_by_quadrature(2 * mu, 0 * mu), y, n_resamples=200, seed=seed
        )
        return found.low, found.high

    assert np.ptp(interval(4000)) < 0.5 * np.ptp(interval(200))
    assert interval(200) == interval(200)
    assert interval(200) != interval(200, seed=1)


def test_log_loss_follows_its_definition_and_stays_finite() -> None:
    p, y = np.array([0.9, 0.2, 0.5]), np.array([1.0, 0.0, 0.5])
    assert log_loss(p, y) == pytest.approx(-np.log([0.9, 0.8, 0.5]).mean())
    assert np.isfinite(log_loss([0.0, 1.0], [1.0, 0.0]))


@pytest.mark.parametrize("p", [1.2, -0.1, np.nan])
def test_an_impossible_probability_is_corrupt(p: float) -> None:
    with pytest.raises(Corrupt, match="1 of 2 probabilities"):
        log_loss([0.5, p], [1.0, 0.0])


def test_scoring_nothing_is_refused() -> None:
    for score in (log_loss, expected_calibration_error):
        with pytest.raises(Fatal, match="No labels"):
            score([], [])
    with pytest.raises(Fatal, match="0 bins"):
        expected_calibration_error([0.5], [1.0], n_bins=0)
