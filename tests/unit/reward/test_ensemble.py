"""The ensemble is a head like any other, and it sees what a linear reward cannot."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from winnow.errors import Corrupt, Fatal
from winnow.reward import Block, Ensemble, fit, fit_ensemble, observe_pairs


class Labels(NamedTuple):
    """The arguments of `fit_ensemble`, by column."""

    first: np.ndarray
    second: np.ndarray
    preferred: np.ndarray
    weight: np.ndarray
    side: np.ndarray
    length: np.ndarray

    def fit(self, n_members: int = 8, seed: int = 0) -> Ensemble:
        return fit_ensemble(*self, n_members=n_members, n_hidden=8, seed=seed)

    def take(self, rows: object) -> Labels:
        return Labels(*(column[rows] for column in self))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def linear_reward(features: np.ndarray) -> np.ndarray:
    return features @ np.array([1.0, -0.5, 0.8])


def peaked_reward(features: np.ndarray) -> np.ndarray:
    """Best in the middle of the first feature: no linear reward can say so."""
    return -2.0 * features[:, 0] ** 2


def planted(n: int, reward=linear_reward, seed: int = 0) -> Labels:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, n, 3))
    side, length = rng.choice([-1.0, 1.0], n), rng.normal(size=n)
    p = sigmoid(reward(first) - reward(second) + 0.6 * side - 0.5 * length)
    preferred = (rng.random(n) < p).astype(float)
    return Labels(first, second, preferred, np.ones(n), side, length)


def pool(n: int = 40, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3))


def pair_accuracy(rewards: np.ndarray, truth: np.ndarray) -> float:
    rows, columns = np.triu_indices(len(truth), 1)
    return float(np.mean((rewards[rows] > rewards[columns]) == (truth[rows] > truth[columns])))


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return planted(150).fit(n_members=12)


def test_a_planted_reward_is_learnt_with_side_and_length_left_out() -> None:
    learnt = planted(800).fit()
    assert pair_accuracy(learnt.mean(pool()), linear_reward(pool())) > 0.93
    assert learnt.side == pytest.approx(0.6, abs=0.25)
    assert learnt.length == pytest.approx(-0.5, abs=0.25)
    assert learnt.n_labels == 800


def test_a_reward_that_is_not_linear_is_learnt_where_a_linear_one_is_lost() -> None:
    labels, truth = planted(800, peaked_reward), peaked_reward(pool())
    linear = fit(labels.first - labels.second, *labels[2:])
    assert pair_accuracy(labels.fit().mean(pool()), truth) > 0.85
    assert pair_accuracy(linear.mean(pool()), truth) < 0.7


def test_the_covariance_is_that_of_the_members(ensemble: Ensemble) -> None:
    rewards = ensemble.member_rewards(pool(6))
    np.testing.assert_allclose(ensemble.mean(pool(6)), rewards.mean(axis=0))
    np.testing.assert_allclose(ensemble.cov(pool(6)), np.cov(rewards.T))
    assert np.linalg.eigvalsh(ensemble.cov(pool(30))).min() > -1e-10


def test_basis_rows_and_their_covariance_give_the_joint_covariance(ensemble: Ensemble) -> None:
    basis = ensemble.basis(pool(6))
    assert basis.shape == (6, 12)
    np.testing.assert_allclose(basis @ ensemble.cov_qq @ basis.T, ensemble.cov(pool(6)))


def test_draws_have_the_joint_mean_and_covariance(ensemble: Ensemble) -> None:
    shrunk = observe_pairs(ensemble, ensemble.basis(pool(4))[:2], np.array([0.2, 0.1]))
    draws = shrunk.sample(pool(4), 40_000, np.random.default_rng(2))
    np.testing.assert_allclose(draws.mean(axis=0), shrunk.mean(pool(4)), atol=0.03)
    np.testing.assert_allclose(np.cov(draws.T), shrunk.cov(pool(4)), atol=0.03)


def test_expected_labels_shrink_pair_variances_as_bayes_does(ensemble: Ensemble) -> None:
    basis = ensemble.basis(pool(6))
    z, fisher = basis[:3] - basis[3:], np.array([0.25, 0.1, 0.2])
    after = observe_pairs(ensemble, z, fisher)
    before_pairs = z @ ensemble.cov_qq @ z.T
    expected = np.linalg.inv(np.linalg.inv(before_pairs) + np.diag(fisher))
    np.testing.assert_allclose(z @ after.cov_qq @ z.T, expected, atol=1e-10)
    np.testing.assert_array_equal(after.mean(pool(6)), ensemble.mean(pool(6)))


def test_labels_lower_the_variance_of_pairs_on_average() -> None:
    def mean_pair_variance(n: int) -> float:
        cov = planted(n).fit(n_members=12).cov(pool())
        return float((np.add.outer(cov.diagonal(), cov.diagonal()) - 2 * cov).mean())

    few, some, many = (mean_pair_variance(n) for n in (20, 150, 1000))
    assert many < 0.75 * some
    assert some < 0.75 * few


def test_the_doubt_of_linear_data_is_near_that_of_the_linear_posterior() -> None:
    labels = planted(300)
    ours = labels.fit(n_members=20).cov(pool())
    linear = fit(labels.first - labels.second, *labels[2:]).cov(pool())
    ratio = np.trace(ours - ours.mean()) / np.trace(linear - linear.mean())
    assert 0.7 < ratio < 4.0


def test_the_unit_of_the_features_does_not_matter() -> None:
    labels = planted(40)
    scaled = labels._replace(first=100.0 * labels.first, second=100.0 * labels.second)
    one, other = labels.fit(3).member_rewards(pool(5)), scaled.fit(3).member_rewards(100 * pool(5))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_the_evidence_decides_how_large_rewards_are() -> None:
    labels = planted(400)
    preferred = np.random.default_rng(5).choice([0.0, 1.0], 400)
    silent = labels._replace(preferred=preferred).fit()
    spoken = labels.fit()
    assert np.ptp(silent.mean(pool())) < 0.2 * np.ptp(spoken.mean(pool()))
    assert np.trace(silent.cov(pool())) < 0.2 * np.trace(spoken.cov(pool()))


def test_the_order_and_orientation_of_labels_give_the_very_same_members() -> None:
    labels = planted(30)
    rng = np.random.default_rng(1)
    turn = rng.random(30) < 0.5
    turned = Labels(
        np.where(turn[:, None], labels.second, labels.first),
        np.where(turn[:, None], labels.first, labels.second),
        np.where(turn, 1 - labels.preferred, labels.preferred),
        labels.weight,
        np.where(turn, -labels.side, labels.side),
        np.where(turn, -labels.length, labels.length),
    ).take(rng.permutation(30))
    features, one, other = pool(5), labels.fit(3), turned.fit(3)
    np.testing.assert_allclose(
        one.member_rewards(features), other.member_rewards(features), rtol=1e-6
    )


def test_the_seed_decides_the_members() -> None:
    labels = planted(20)
    assert labels.fit(3).version == labels.fit(3).version
    assert labels.fit(3, seed=1).version != labels.fit(3).version


def test_labels_of_weight_zero_change_nothing() -> None:
    labels = planted(30)
    labels.weight[20:] = 0.0
    assert labels.fit(3).version == labels.take(slice(20)).fit(3).version


def test_identical_responses_teach_nothing_about_each_other() -> None:
    labels = planted(10)
    same = labels._replace(second=labels.first).fit(3)
    assert np.isfinite(same.cov(pool(5))).all()
    assert same.n_labels == 10


def test_a_temperature_divides_rewards_and_effects(ensemble: Ensemble) -> None:
    cooled = ensemble.at_temperature(2.0)
    np.testing.assert_allclose(cooled.mean(pool(5)), ensemble.mean(pool(5)) / 2.0)
    np.testing.assert_allclose(cooled.cov(pool(5)), ensemble.cov(pool(5)) / 4.0)
    assert (cooled.side, cooled.length) == (ensemble.side / 2.0, ensemble.length / 2.0)
    assert cooled.version != ensemble.version
    with pytest.raises(Fatal, match="above 0"):
        ensemble.at_temperature(0.0)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(Fatal, match="1 members"):
        planted(5).fit(n_members=1)
    with pytest.raises(Fatal, match="0 labels"):
        planted(0).fit()
    labels = planted(5)
    labels.first[2, 1] = np.nan
    with pytest.raises(Corrupt, match="5 labels"):
        labels.fit()


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["right", "contradicted"])
def test_a_score_among_many_features_is_heard_from_few_labels(sign: float) -> None:
    rng = np.random.default_rng(5)
    blocks = (Block("embedding", 40), Block("score:judge", 1))
    first, second, left, right = rng.normal(size=(4, 40, 41))
    p = sigmoid(1.2 * sign * (first - second)[:, -1])
    preferred, none = (rng.random(40) < p).astype(float), np.zeros(40)
    told = fit_ensemble(first, second, preferred, none + 1.0, none, none, blocks=blocks)
    differs = told.mean(left) - told.mean(right)
    assert np.mean(differs * sign * (left - right)[:, -1] > 0.0) > 0.75
