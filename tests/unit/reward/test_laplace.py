"""Fitting labels: planted truths come back, symmetries hold, and few or odd labels do no harm."""

from __future__ import annotations

from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Corrupt
from winnow.reward import Block, Posterior, fit


class Labels(NamedTuple):
    """The arguments of `fit`, by column."""

    z: np.ndarray
    preferred: np.ndarray
    weight: np.ndarray
    side: np.ndarray
    length: np.ndarray

    def fit(self, prior_precision: float | None = None) -> Posterior:
        """Posterior after these labels."""
        return fit(*self, prior_precision=prior_precision)

    def take(self, rows: object) -> Labels:
        """A copy with only these rows, in this order."""
        return Labels(*(column[rows] for column in self))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def planted(
    n: int, d: int = 4, seed: int = 0, size: float = 1.0, nuisance: tuple[float, float] = (0.0, 0.0)
) -> tuple[Labels, np.ndarray]:
    """Labels drawn from a known reward with effects of (side, length), and its weights."""
    rng = np.random.default_rng(seed)
    w = rng.normal(size=d) * size
    z, side, length = rng.normal(size=(n, d)), rng.choice([-1.0, 1.0], n), rng.normal(size=n)
    p = sigmoid(z @ w + np.column_stack([side, length]) @ nuisance)
    preferred = (rng.random(n) < p).astype(float)
    return Labels(z, preferred, np.ones(n), side, length), w


def log_loss(posterior: Posterior, z: np.ndarray, w: np.ndarray) -> float:
    """Expected loss of the plug-in probability under the true one."""
    truth, logit = sigmoid(z @ w), z @ posterior.mean_d
    return float(np.mean(np.logaddexp(0.0, logit) - truth * logit))


def assert_same_fit(one: Posterior, other: Posterior) -> None:
    np.testing.assert_allclose(one.mean_d, other.mean_d, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(one.cov_dd, other.cov_dd, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(one.precision_d, other.precision_d, rtol=1e-4)
    assert (one.side, one.length) == pytest.approx((other.side, other.length), abs=1e-6)


def test_planted_weights_lie_within_the_posterior() -> None:
    labels, w = planted(3000)
    posterior = labels.fit()
    error = posterior.mean_d - w
    assert error @ np.linalg.solve(posterior.cov_dd, error) < 18.5  # chi-square, 4 d, p = 0.001
    assert posterior.n_labels == 3000


def test_the_fit_is_the_most_probable_point_with_the_inverse_hessian_there() -> None:
    labels, _ = planted(40, d=3, nuisance=(0.5, 0.0))
    posterior = labels.fit(prior_precision=2.0)
    effects = np.column_stack([labels.z, labels.side, labels.length])
    theta = np.append(posterior.mean_d, [posterior.side, posterior.length])
    precision = np.array([2.0, 2.0, 2.0, 1.0, 1.0])
    gradient, hessian = precision * theta, np.diag(precision)
    for x, y in zip(effects, labels.preferred, strict=True):
        p = float(sigmoid(x @ theta))
        gradient = gradient + (p - y) * x
        hessian = hessian + p * (1 - p) * np.outer(x, x)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-4)
    np.testing.assert_allclose(posterior.cov_dd, np.linalg.inv(hessian)[:3, :3], rtol=1e-6)


def test_side_bias_and_length_are_recovered_and_left_out_of_the_reward() -> None:
    biased, w = planted(4000, nuisance=(0.6, -0.8))
    posterior = biased.fit()
    assert posterior.side == pytest.approx(0.6, abs=0.12)
    assert posterior.length == pytest.approx(-0.8, abs=0.15)
    np.testing.assert_allclose(posterior.mean_d, w, atol=0.2)
    ignored = biased._replace(side=np.zeros(4000), length=np.zeros(4000)).fit()
    assert np.abs(posterior.mean_d - w).max() < np.abs(ignored.mean_d - w).max()


def slow_mode(labels: Labels, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Most probable effects and the Hessian there, by damped steps in all dimensions."""
    effects = np.column_stack([labels.z, labels.side, labels.length])
    theta = np.zeros(len(precision))
    for _ in range(200):
        p = sigmoid(effects @ theta)
        gradient = precision * theta + effects.T @ (labels.weight * (p - labels.preferred))
        hessian = np.diag(precision) + (effects.T * (labels.weight * p * (1 - p))) @ effects
        theta = theta - 0.5 * np.linalg.solve(hessian, gradient)
    return theta, hessian


def slow_evidence(labels: Labels, sizes: list[int], log_precision: np.ndarray) -> float:
    """Laplace evidence with the log-normal prior of each block's λ."""
    effects = np.column_stack([labels.z, labels.side, labels.length])
    precision = np.append(np.repeat(np.exp(log_precision), sizes), [1.0, 1.0])
    theta, hessian = slow_mode(labels, precision)
    logit = effects @ theta
    loss = labels.weight @ (np.logaddexp(0.0, logit) - labels.preferred * logit)
    evidence = 0.5 * (np.log(precision).sum() - precision @ theta**2) - loss
    evidence -= 0.5 * np.linalg.slogdet(hessian)[1]
    ends = np.cumsum([0, *sizes])
    units = [(labels.z[:, a:b] ** 2).sum(axis=1).mean() for a, b in pairwise(ends)]
    away = (log_precision - np.log(units) - np.log(len(sizes))) / np.log(10.0)
    return float(evidence - 0.5 * away @ away)


@pytest.mark.parametrize(
    ("n", "sizes"), [(5, [12]), (60, [12]), (300, [4]), (40, [3, 5]), (300, [6, 2]), (900, [8, 4])]
)
def test_no_precisions_on_a_grid_have_much_more_evidence(n: int, sizes: list[int]) -> None:
    labels, _ = planted(n, d=sum(sizes), seed=n, size=0.7, nuisance=(0.3, 0.2))
    blocks = tuple(Block(f"b{k}", size) for k, size in enumerate(sizes))
    posterior = fit(*labels, blocks=blocks)
    starts = np.cumsum([0, *sizes[:-1]])
    chosen = np.log(posterior.precision_d[starts])
    steps = [np.array(step) for step in product(np.linspace(-4, 4, 9), repeat=len(sizes))]
    best = max(slow_evidence(labels, sizes, chosen + step) for step in steps)
    # The search leaves out that λ moves the labels' Fisher information too.
    assert slow_evidence(labels, sizes, chosen) > best - 0.35
    precision = np.append(posterior.precision_d, [1.0, 1.0])
    theta, hessian = slow_mode(labels, precision)
    np.testing.assert_allclose(posterior.mean_d, theta[:-2], atol=1e-5)
    np.testing.assert_allclose(
        posterior.cov_dd, np.linalg.inv(hessian)[:-2, :-2], rtol=0, atol=1e-5
    )


def two_blocks(n: int, seed: int) -> tuple[Labels, np.ndarray]:
    """Labels of which 20 features tell nothing and 2 much."""
    labels, _ = planted(n, d=22, seed=seed)
    w = np.append(np.zeros(20), [1.2, -0.9])
    p = sigmoid(labels.z @ w)
    return labels._replace(preferred=(np.random.default_rng(seed).random(n) < p) * 1.0), w


def test_a_block_that_says_nothing_does_not_silence_one_that_does() -> None:
    losses = []
    for seed in range(8):
        labels, w = two_blocks(120, seed)
        unseen = np.random.default_rng(900 + seed).normal(size=(500, 22))
        apart = fit(*labels, blocks=(Block("noise", 20), Block("signal", 2)))
        assert apart.precision_d[0] > 5 * apart.precision_d[-1]
        losses.append([log_loss(apart, unseen, w), log_loss(labels.fit(), unseen, w)])
    apart_loss, together_loss = np.mean(losses, axis=0)
    assert apart_loss < together_loss - 0.01


def test_a_score_counts_before_any_label_and_loses_its_weight_if_it_is_wrong() -> None:
    blocks = (Block("style", 3), Block("score:rm", 1))
    nothing, w = planted(0, d=4)[0], np.array([0.5, 0.0, 0.0, 1.1])
    assert fit(*nothing, blocks=blocks).mean_d.tolist() == [0.0, 0.0, 0.0, 1.0]
    labels, _ = planted(300, d=4, seed=3)
    rng = np.random.default_rng(4)
    for sign in (1.0, 0.0, -1.0):
        truth = w * np.array([1.0, 1.0, 1.0, sign])
        preferred = (rng.random(300) < sigmoid(labels.z @ truth)) * 1.0
        posterior = fit(*labels._replace(preferred=preferred), blocks=blocks)
        assert posterior.mean_d[-1] == pytest.approx(truth[-1], abs=0.35)


@pytest.mark.parametrize("ratio", [1e-3, 1e3])
def test_precision_by_evidence_beats_a_badly_fixed_one(ratio: float) -> None:
    losses = []
    for seed in range(6):
        labels, w = planted(60, d=20, seed=seed, size=0.4)
        unseen = np.random.default_rng(100 + seed).normal(size=(500, 20))
        chosen, fixed = labels.fit(), labels.fit(prior_precision=20 * ratio)
        losses.append([log_loss(chosen, unseen, w), log_loss(fixed, unseen, w)])
    by_evidence, badly_fixed = np.mean(losses, axis=0)
    assert by_evidence < badly_fixed - 0.01


def test_evidence_finds_the_scale_of_the_weights() -> None:
    small = planted(800, d=20, size=0.1)[0].fit().precision_d[0]
    large = planted(800, d=20, size=1.0)[0].fit().precision_d[0]
    assert 30 < small < 300  # 1 / 0.1²
    assert 0.3 < large < 3


def test_evidence_follows_the_unit_of_the_features() -> None:
    labels, _ = planted(200)
    scaled = labels._replace(z=labels.z * 10.0)
    assert scaled.fit().precision_d[0] == pytest.approx(100 * labels.fit().precision_d[0])


def test_labels_that_say_nothing_leave_rewards_near_zero() -> None:
    labels, _ = planted(400, d=20)
    shuffled = labels._replace(
        preferred=np.random.default_rng(5).choice([0.0, 1.0], len(labels.preferred))
    )
    assert np.abs(labels.z @ shuffled.fit().mean_d).mean() < 0.25


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_labels_does_not_matter(seed: int) -> None:
    labels, _ = planted(30, seed=seed, nuisance=(0.4, 0.0))
    order = np.random.default_rng(seed).permutation(30)
    assert_same_fit(labels.fit(), labels.take(order).fit())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_naming_a_pair_the_other_way_round_does_not_matter(seed: int) -> None:
    labels, _ = planted(30, seed=seed, nuisance=(0.4, 0.0))
    flip = np.random.default_rng(seed).choice([-1.0, 1.0], 30)
    preferred = np.where(flip < 0, 1.0 - labels.preferred, labels.preferred)
    flipped = Labels(
        labels.z * flip[:, None], preferred, labels.weight, labels.side * flip, labels.length * flip
    )
    assert_same_fit(labels.fit(), flipped.fit())


def test_a_tie_is_two_half_weight_labels() -> None:
    labels, _ = planted(20)
    tie = labels._replace(preferred=np.append(labels.preferred[:-1], 0.5))
    rows = [*range(20), 19]
    halves = tie.take(rows)
    halves.preferred[-2:] = [0.0, 1.0]
    halves.weight[-2:] = 0.5
    assert_same_fit(tie.fit(prior_precision=1.0), halves.fit(prior_precision=1.0))


def test_a_weight_counts_votes() -> None:
    labels, _ = planted(20)
    twice = labels.take([*range(20), 3])
    heavy = labels._replace(weight=np.where(np.arange(20) == 3, 2.0, 1.0))
    assert_same_fit(twice.fit(prior_precision=1.0), heavy.fit(prior_precision=1.0))


def test_labels_of_weight_zero_change_nothing() -> None:
    labels, _ = planted(50)
    trusted = labels._replace(weight=(np.arange(50) < 30).astype(float))
    assert trusted.fit().version == labels.take(slice(30)).fit().version


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 30))
def test_variance_never_exceeds_the_prior_variance(seed: int, n: int) -> None:
    posterior = planted(n, seed=seed)[0].fit(prior_precision=3.0)
    assert np.linalg.eigvalsh(np.eye(4) / 3.0 - posterior.cov_dd).min() > -1e-9


def test_no_labels_give_the_prior() -> None:
    nothing = planted(0, d=6)[0]
    assert nothing.fit().n_labels == 0
    np.testing.assert_array_equal(nothing.fit(prior_precision=5.0).cov_dd, np.eye(6) / 5.0)


def test_one_label_moves_the_reward_its_way_and_keeps_most_doubt() -> None:
    one = Labels(np.array([[1.0, 0.0]]), np.ones(1), np.ones(1), np.ones(1), np.zeros(1))
    posterior = one.fit()
    assert posterior.mean_d[0] > 0
    assert posterior.mean_d[1] == 0
    assert 0.1 < posterior.precision_d[0] < 10


def test_separable_labels_give_finite_weights() -> None:
    z = np.linspace(-5.0, 5.0, 200)[:, None]
    separable = Labels(z, (z[:, 0] > 0) * 1.0, np.ones(200), np.ones(200), np.zeros(200))
    posterior = separable.fit()
    assert posterior.mean_d[0] > 1
    assert np.isfinite(posterior.cov_dd).all()


def test_newton_converges_where_undamped_steps_cycle_for_ever() -> None:
    z = np.array([[3.0, -5.0], [-14.0, 7.0], [-59.0, 82.0]])
    preferred = np.array([0.0, 0.0, 1.0])
    hard = Labels(z, preferred, np.ones(3), np.ones(3), np.zeros(3))
    posterior = hard.fit(prior_precision=0.01)
    p = sigmoid(z @ posterior.mean_d + posterior.side)
    slope = z.T @ (p - preferred) + 0.01 * posterior.mean_d
    np.testing.assert_allclose(slope, 0.0, atol=1e-4)


def test_identical_responses_alone_teach_nothing_about_weights() -> None:
    same = Labels(np.zeros((5, 3)), np.ones(5), np.ones(5), np.ones(5), np.zeros(5))
    np.testing.assert_allclose(same.fit().mean_d, 0.0)


@pytest.mark.parametrize(
    ("column", "value"),
    [("preferred", 1.5), ("preferred", -1.0), ("weight", -0.1), ("side", np.nan), ("z", np.inf)],
)
def test_an_impossible_label_is_corrupt(column: str, value: float) -> None:
    labels, _ = planted(5)
    getattr(labels, column)[2] = value
    with pytest.raises(Corrupt, match="5 labels"):
        labels.fit()
