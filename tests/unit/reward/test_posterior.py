"""The posterior answers jointly, shrinks by expected labels, and is identified by its contents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Fatal
from winnow.reward import Posterior, observe_pairs, prior
from winnow.reward.posterior import shrink


def posterior_of(d: int, seed: int = 0) -> Posterior:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    return Posterior(
        rng.normal(size=d), root @ root.T / d + 0.1 * np.eye(d), np.full(d, 2.0), 12, 0.3, -0.1
    )


def test_mean_and_covariance_of_one_difference_follow_the_definition() -> None:
    posterior, features = posterior_of(5), np.random.default_rng(1).normal(size=(4, 5))
    z = features[0] - features[3]
    cov = posterior.cov(features)
    mean = posterior.mean(features)
    assert mean[0] - mean[3] == pytest.approx(posterior.mean_d @ z)
    assert cov[0, 0] + cov[3, 3] - 2 * cov[0, 3] == pytest.approx(z @ posterior.cov_dd @ z)


def test_draws_have_the_joint_mean_and_covariance() -> None:
    posterior = Posterior(np.array([1.0, -2.0]), np.array([[4.0, 1.0], [1.0, 0.5]]), 1.0)
    features = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    draws = posterior.sample(features, 40_000, np.random.default_rng(2))
    assert draws.shape == (40_000, 3)
    np.testing.assert_allclose(draws.mean(axis=0), [1.0, -2.0, -1.0], atol=0.05)
    expected = [[4.0, 1.0, 5.0], [1.0, 0.5, 1.5], [5.0, 1.5, 6.5]]
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=0.15)


def test_the_prior_knows_nothing_but_its_precision() -> None:
    posterior = prior(3, 4.0)
    np.testing.assert_array_equal(posterior.mean_d, np.zeros(3))
    np.testing.assert_array_equal(posterior.cov_dd, np.eye(3) / 4.0)
    assert posterior.n_labels == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n_pairs=st.integers(0, 6))
def test_expected_labels_update_the_covariance_as_bayes_does(seed: int, n_pairs: int) -> None:
    rng = np.random.default_rng(seed)
    before = posterior_of(4, seed)
    z_ed, fisher_e = rng.normal(size=(n_pairs, 4)), rng.uniform(0.01, 0.25, n_pairs)
    after = observe_pairs(before, z_ed, fisher_e)
    precision = np.linalg.inv(before.cov_dd) + (z_ed.T * fisher_e) @ z_ed
    np.testing.assert_allclose(after.cov_dd, np.linalg.inv(precision), atol=1e-9)
    np.testing.assert_array_equal(after.mean_d, before.mean_d)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_expected_labels_never_raise_a_variance(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = posterior_of(4, seed)
    after = observe_pairs(before, rng.normal(size=(3, 4)), rng.uniform(0.0, 0.25, 3))
    assert np.linalg.eigvalsh(before.cov_dd - after.cov_dd).min() > -1e-10
    assert np.linalg.eigvalsh(after.cov_dd).min() > 0


@pytest.mark.parametrize("n_pairs", [3, 40, 300])
def test_all_expected_labels_at_once_equal_one_after_another(n_pairs: int) -> None:
    rng = np.random.default_rng(n_pairs)
    before, z_ed = posterior_of(12), rng.normal(size=(n_pairs, 12))
    fisher_e = rng.uniform(0.0, 0.25, n_pairs)
    cov = before.cov_dd
    for z, fisher in zip(z_ed, fisher_e, strict=True):
        cov = shrink(cov, cov @ z, float(z @ cov @ z), float(fisher))
    np.testing.assert_allclose(observe_pairs(before, z_ed, fisher_e).cov_dd, cov, atol=1e-12)


def test_the_covariance_stays_symmetric_and_positive_over_many_nights() -> None:
    rng, head = np.random.default_rng(3), prior(10, 0.01)
    for _ in range(200):
        head = observe_pairs(head, 30.0 * rng.normal(size=(50, 10)), np.full(50, 0.25))
    np.testing.assert_array_equal(head.cov_dd, head.cov_dd.T)
    assert np.linalg.eigvalsh(head.cov_dd).min() > 0


def test_no_expected_labels_leave_the_very_same_posterior() -> None:
    before = posterior_of(4)
    assert observe_pairs(before, np.zeros((0, 4)), np.zeros(0)).version == before.version


def test_the_basis_and_its_covariance_give_the_joint_covariance() -> None:
    posterior, features = posterior_of(5), np.random.default_rng(1).normal(size=(4, 5))
    basis = posterior.basis(features)
    np.testing.assert_allclose(basis @ posterior.cov_qq @ basis.T, posterior.cov(features))
    doubled = posterior.with_cov(2.0 * posterior.cov_qq)
    np.testing.assert_allclose(doubled.cov(features), 2.0 * posterior.cov(features))
    np.testing.assert_array_equal(doubled.mean(features), posterior.mean(features))


def test_a_temperature_divides_every_logit() -> None:
    posterior, features = posterior_of(5), np.random.default_rng(1).normal(size=(4, 5))
    cooled = posterior.at_temperature(2.0)
    np.testing.assert_allclose(cooled.mean(features), posterior.mean(features) / 2.0)
    np.testing.assert_allclose(cooled.cov(features), posterior.cov(features) / 4.0)
    assert (cooled.side, cooled.length) == (posterior.side / 2.0, posterior.length / 2.0)
    np.testing.assert_allclose(cooled.precision_d, 4.0 * posterior.precision_d)
    assert cooled.at_temperature(3.0).temperature == 6.0


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_a_temperature_that_no_logit_survives_is_refused(temperature: float) -> None:
    with pytest.raises(Fatal, match="above 0"):
        posterior_of(3).at_temperature(temperature)


def test_equal_contents_have_an_equal_version_in_any_memory_layout() -> None:
    posterior = posterior_of(4)
    copy = replace(posterior, cov_dd=np.asfortranarray(posterior.cov_dd.copy()))
    assert copy.version == posterior.version
    assert len(posterior.version) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"mean_d": np.ones(4)},
        {"cov_dd": np.eye(4)},
        {"precision_d": np.full(4, 2.5)},
        {"n_labels": 13},
        {"side": 0.31},
        {"length": 0.1},
        {"temperature": 1.5},
    ],
)
def test_any_change_of_contents_changes_the_version(change: dict[str, object]) -> None:
    posterior = posterior_of(4)
    assert replace(posterior, **change).version != posterior.version
