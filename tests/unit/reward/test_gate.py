"""The gate opens for a model that predicts, and for no other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from winnow.errors import Corrupt
from winnow.reward import GateVerdict, exploration_gate, fit, preference_by_quadrature
from winnow.reward.gate import MIN_LABELS, MIN_PROMPTS


class Arm(NamedTuple):
    """The arguments of `exploration_gate`, by column."""

    p: np.ndarray
    length: np.ndarray
    preferred: np.ndarray
    prompt: list[str]

    def verdict(self) -> GateVerdict:
        return exploration_gate(*self)

    def take(self, rows: object) -> Arm:
        return Arm(
            self.p[rows], self.length[rows], self.preferred[rows], [*np.array(self.prompt)[rows]]
        )


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def arm(n: int, seed: int = 0, length_effect: float = 0.0, per_prompt: int = 4) -> Arm:
    """Labels of a true reward and a length effect; the model states the true chance."""
    rng = np.random.default_rng(seed)
    length = rng.normal(size=n)
    p = sigmoid(1.5 * rng.normal(size=n) + length_effect * length)
    prompts = [f"prompt-{k // per_prompt}" for k in range(n)]
    return Arm(p, length, (rng.random(n) < p).astype(float), prompts)


def slow_length_losses(one: Arm) -> np.ndarray:
    """The best slope of a fine grid, to the labels themselves."""
    slopes = np.linspace(-4.0, 4.0, 8001)
    p = sigmoid(slopes[:, None] * one.length)
    losses = -(one.preferred * np.log(p) + (1 - one.preferred) * np.log(1 - p))
    return np.asarray(losses[losses.mean(axis=1).argmin()])


def slow_margin(gain: np.ndarray, prompts: list[str]) -> float:
    sums = [
        sum(g - gain.mean() for g, p in zip(gain, prompts, strict=True) if p == name)
        for name in sorted(set(prompts))
    ]
    variance = len(sums) / (len(sums) - 1) * sum(s**2 for s in sums) / len(gain) ** 2
    return float(gain.mean() - 2.0 * np.sqrt(variance))


def test_a_model_that_knows_the_reward_opens_the_gate() -> None:
    verdicts = [arm(400, seed).verdict() for seed in range(10)]
    assert [v.state for v in verdicts] == ["open"] * 10
    assert "beats both" in verdicts[0].reason


def test_shuffled_labels_close_the_gate() -> None:
    states = []
    for seed in range(20):
        one = arm(400, seed)
        shuffled = np.random.default_rng(seed).permutation(one.preferred)
        states.append(one._replace(preferred=shuffled).verdict().state)
    assert states == ["closed"] * 20


def test_a_posterior_fitted_to_shuffled_labels_closes_the_gate() -> None:
    rng = np.random.default_rng(1)
    w, z = rng.normal(size=8), rng.normal(size=(900, 8))
    y = (rng.random(900) < sigmoid(z @ w)).astype(float)
    states = {}
    for name, labels in (("true", y[:600]), ("shuffled", rng.permutation(y[:600]))):
        posterior = fit(z[:600], labels, np.ones(600), np.ones(600), np.zeros(600))
        variance = np.einsum("ed,df,ef->e", z[600:], posterior.cov_dd, z[600:])
        p = preference_by_quadrature(z[600:] @ posterior.mean_d, np.sqrt(variance))
        states[name] = exploration_gate(p, rng.normal(size=300), y[600:]).state
    assert states == {"true": "open", "shuffled": "closed"}


@pytest.mark.parametrize("stated", [1.0, 2.0, 3.0])
def test_a_model_that_knows_length_alone_never_opens_the_gate(stated: float) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        length = rng.normal(size=200)
        y = (rng.random(200) < sigmoid(2.0 * length)).astype(float)
        verdict = exploration_gate(sigmoid(stated * length), length, y)
        assert verdict.state == "closed"
        assert verdict.margin_ln2 is not None and verdict.margin_ln2 > 0
        assert "does not beat length by" in verdict.reason


def test_a_model_that_knows_more_than_length_opens_the_gate() -> None:
    assert arm(800, length_effect=2.0).verdict().state == "open"


def test_a_model_that_says_one_half_is_closed() -> None:
    one = arm(200)
    assert one._replace(p=np.full(200, 0.5)).verdict().state == "closed"


@pytest.mark.parametrize("per_prompt", [1, 4])
def test_figures_follow_their_definitions(per_prompt: int) -> None:
    one = arm(120, seed=5, length_effect=1.0, per_prompt=per_prompt)
    verdict = one.verdict()
    rival = slow_length_losses(one)
    own = -(one.preferred * np.log(one.p) + (1 - one.preferred) * np.log(1 - one.p))
    assert verdict.log_loss == pytest.approx(own.mean())
    assert verdict.length_log_loss == pytest.approx(rival.mean(), abs=1e-4)
    assert verdict.margin_ln2 == pytest.approx(slow_margin(np.log(2) - own, one.prompt))
    assert verdict.margin_length == pytest.approx(slow_margin(rival - own, one.prompt), abs=1e-4)


def test_copies_of_labels_within_prompts_do_not_pass_for_more_evidence() -> None:
    one = arm(100, per_prompt=1)
    copied = one.take(np.repeat(np.arange(100), 50)).verdict()
    alone = one.verdict()
    assert copied.margin_ln2 == pytest.approx(alone.margin_ln2)
    assert copied.n == 5000


def test_too_few_labels_or_prompts_are_undecided() -> None:
    verdict = arm(MIN_LABELS - 1).verdict()
    assert (verdict.state, verdict.n, verdict.log_loss) == ("undecided", MIN_LABELS - 1, None)
    assert str(MIN_LABELS) in verdict.reason
    assert arm(MIN_LABELS).verdict().state != "undecided"
    assert arm(900, per_prompt=100).verdict().state == "undecided"
    assert arm(100 * MIN_PROMPTS, per_prompt=100).verdict().state != "undecided"
    assert exploration_gate([], [], []).state == "undecided"


def test_without_prompts_each_label_is_its_own() -> None:
    one = arm(150, per_prompt=1)
    verdict = exploration_gate(one.p, one.length, one.preferred)
    assert verdict.margin_ln2 == pytest.approx(one.verdict().margin_ln2)
    assert verdict.margin_ln2 != pytest.approx(arm(150, per_prompt=5).verdict().margin_ln2)


def test_the_order_of_labels_does_not_matter() -> None:
    one = arm(200, length_effect=0.5)
    other = one.take(np.random.default_rng(4).permutation(200)).verdict()
    assert other.state == one.verdict().state
    assert other.margin_length == pytest.approx(one.verdict().margin_length)
    assert other.reason == one.verdict().reason


def test_a_length_that_is_not_finite_is_corrupt() -> None:
    one = arm(100)
    one.length[3] = np.inf
    with pytest.raises(Corrupt, match="100 length differences"):
        one.verdict()
