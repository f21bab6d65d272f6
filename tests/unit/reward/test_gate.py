"""The gate opens for a model that predicts, closes on one that misleads, and says which it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from math import exp, log
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Corrupt
from winnow.reward import (
    ExplorationNight,
    Gate,
    GateVerdict,
    exploration_gate,
    fit,
    preference_by_quadrature,
)
from winnow.reward.gate import CLOSING_RISK, OPENING_RISK, RECENT_NIGHTS

PER_NIGHT = 30


class Arm(NamedTuple):
    """Exploration labels in the order of their nights, by column."""

    p: np.ndarray
    length: np.ndarray
    preferred: np.ndarray
    prompt: list[str]

    def nights(self, per_night: int = PER_NIGHT) -> Iterator[ExplorationNight]:
        for start in range(0, len(self.p), per_night):
            yield ExplorationNight(*(column[start : start + per_night] for column in self))

    def verdict(self, per_night: int = PER_NIGHT) -> GateVerdict:
        return exploration_gate(self.nights(per_night))

    def take(self, rows: object) -> Arm:
        columns = (self.p, self.length, self.preferred, np.array(self.prompt))
        p, length, preferred, prompt = (column[rows] for column in columns)
        return Arm(p, length, preferred, prompt.tolist())

    def then(self, other: Arm) -> Arm:
        return Arm(*(np.concatenate(pair).tolist() for pair in zip(self, other, strict=True)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def arm(
    n: int, seed: int = 0, length_effect: float = 0.0, per_prompt: int = 1, spread: float = 1.0
) -> Arm:
    """Labels of a true reward and a length effect; the model states the true chance."""
    rng = np.random.default_rng(seed)
    length = rng.normal(size=n)
    p = sigmoid(spread * rng.normal(size=n) + length_effect * length)
    prompts = [f"prompt-{k // per_prompt}" for k in range(n)]
    return Arm(p, length, (rng.random(n) < p).astype(float), prompts)


def shuffled(one: Arm, seed: int = 0) -> Arm:
    """A model as sure as that one, which knows nothing."""
    return one._replace(p=np.random.default_rng(seed).permutation(one.p))


def states(one: Arm, per_night: int = PER_NIGHT) -> list[str]:
    """The state after each night."""
    gate = Gate()
    return [gate.add(night) for night in one.nights(per_night)]


# What it finds, and what it does not.


def test_a_model_that_knows_the_reward_opens_the_gate_and_never_closes_it() -> None:
    for seed in range(20):
        history = states(arm(3000, seed))
        assert history[-1] == "open"
        assert "closed" not in history
    assert "predict better than both" in arm(3000).verdict().reason


def test_a_model_that_knows_more_than_length_opens_the_gate() -> None:
    assert arm(1500, length_effect=2.0).verdict().state == "open"


@pytest.mark.parametrize("mislead", [shuffled, lambda one: one._replace(p=1.0 - one.p)])
def test_a_model_that_boasts_or_is_inverted_closes_the_gate(
    mislead: Callable[[Arm], Arm],
) -> None:
    for seed in range(20):
        history = states(mislead(arm(600, seed)))
        assert history[-1] == "closed"
        assert "open" not in history
    assert "look at agreement and gold" in mislead(arm(600)).verdict().reason


@pytest.mark.parametrize("stated", [0.5, 1.0, 2.0])
def test_a_model_that_knows_length_alone_never_opens_the_gate(stated: float) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        length = rng.normal(size=1500)
        y = (rng.random(1500) < sigmoid(length)).astype(float)
        one = Arm(sigmoid(stated * length), length, y, [f"{k}" for k in range(1500)])
        assert "open" not in states(one)
        assert one.verdict().log_help < log(1.0 / OPENING_RISK)


def test_a_model_worse_than_length_closes_the_gate_though_it_beats_a_coin() -> None:
    one = arm(3000, length_effect=1.5, spread=0.5)
    verdict = one._replace(p=np.where(one.p > 0.5, 0.55, 0.45)).verdict()
    assert verdict.log_loss is not None and verdict.length_log_loss is not None
    assert verdict.length_log_loss < verdict.log_loss < log(2.0)
    assert verdict.state == "closed"


def test_a_model_that_says_one_half_harms_nobody() -> None:
    one = arm(3000)
    verdict = one._replace(p=np.full(3000, 0.5)).verdict()
    assert verdict.state == "undecided"
    assert "the model chooses, and more pairs are drawn uniformly" in verdict.reason


def test_a_posterior_fitted_to_shuffled_labels_closes_the_gate() -> None:
    rng = np.random.default_rng(1)
    w, z = rng.normal(size=8), rng.normal(size=(900, 8))
    y = (rng.random(900) < sigmoid(z @ w)).astype(float)
    states = {}
    for name, labels in (("true", y[:600]), ("shuffled", rng.permutation(y[:600]))):
        posterior = fit(z[:600], labels, np.ones(600), np.ones(600), np.zeros(600))
        variance = np.einsum("ed,df,ef->e", z[600:], posterior.cov_dd, z[600:])
        p = preference_by_quadrature(z[600:] @ posterior.mean_d, np.sqrt(variance))
        one = Arm(p, rng.normal(size=300), y[600:], [f"{k}" for k in range(300)])
        states[name] = one.verdict().state
    assert states == {"true": "open", "shuffled": "closed"}


def test_a_model_that_turns_bad_late_closes_the_gate() -> None:
    for seed in range(10):
        good, bad = arm(900, seed), shuffled(arm(1500, seed + 100))
        history = states(good.then(bad))
        assert history[29] == "open"
        assert history[-1] == "closed"


def test_a_closed_gate_opens_again_when_later_models_are_good_and_closes_again() -> None:
    for seed in range(10):
        bad, good = shuffled(arm(2400, seed)), arm(1200, seed + 100)
        history = states(bad.then(good).then(shuffled(arm(1200, seed + 200))))
        moves = [after for before, after in pairwise(["undecided", *history]) if before != after]
        assert moves == ["closed", "open", "closed"]


def test_good_nights_before_it_closed_do_not_open_it_again() -> None:
    history = states(arm(3000).then(shuffled(arm(1500, 1))))
    assert history[99] == "open" and history[-1] == "closed"
    assert set(history[history.index("closed") :]) == {"closed"}
    one = arm(600).then(shuffled(arm(1500, 1))).then(arm(30, 2))
    assert one.verdict().log_help < 0.0


# That it may be looked at every night.


def no_better(rng: np.random.Generator, n: int) -> Arm:
    """A model whose expected loss is a coin's exactly: it knows something, and boasts as much."""
    p = np.where(rng.random(n) < 0.5, 0.7, 0.3)
    win, lose = log(2 * 0.7), log(2 * 0.3)
    right = rng.random(n) < -lose / (win - lose)
    y = np.where(right, p > 0.5, p < 0.5).astype(float)
    return Arm(p, np.zeros(n), y, [f"{k}" for k in range(n)])


def test_evidence_of_what_is_not_there_seldom_gets_large_whenever_one_looks() -> None:
    n_campaigns, n_nights, per_night = 250, 40, 10
    peaks = np.empty((n_campaigns, 2))
    for campaign in range(n_campaigns):
        gate, highest = Gate(), np.full(2, -np.inf)
        rng = np.random.default_rng(campaign)
        for night in no_better(rng, n_nights * per_night).nights(per_night):
            gate.add(night)
            verdict = gate.verdict()
            highest = np.maximum(highest, (verdict.log_help, verdict.log_harm))
        peaks[campaign] = highest
    for level in (2.0, 4.0, 10.0, 20.0):
        shares = (peaks >= log(level)).mean(axis=0)
        assert (shares <= 1 / level + 2.6 * np.sqrt(1 / level / n_campaigns)).all(), (level, shares)
    assert (peaks >= log(2.0)).mean() > 0.05, "evidence that never moves shows nothing"


def test_the_risks_are_what_the_thresholds_say() -> None:
    weak = arm(6000, spread=0.4)
    for threshold, name in ((1 / OPENING_RISK, "log_help"), (1 / CLOSING_RISK, "log_harm")):
        one = weak if name == "log_help" else shuffled(weak)
        gate, before = Gate(), -np.inf
        for night in one.nights(10):
            before = getattr(gate.verdict(), name)
            if gate.add(night) != "undecided":
                break
        assert gate.state == ("open" if name == "log_help" else "closed")
        assert before < log(threshold) <= getattr(gate.verdict(), name)


# What its figures are.


def slow_evidence(one: Arm, per_night: int, sign: float) -> list[float]:
    """Capital against a coin and against length: a bet for each stake and each first night."""
    columns = [np.array(column) for column in one]
    slope, precision = 0.0, 1.0
    bets: list[tuple[int, float, float]] = []
    bounds = {1.0: (log(5.0), log(9.0)), -1.0: (log(1.8), log(9.0))}[sign]
    n_nights = len(one.p) // per_night
    for rival in (0, 1):
        for fraction in (0.95, 0.5, 0.25, 0.125, 0.0625):
            bets += [(rival, fraction / bounds[rival], 0.5)]
            bets += [(rival, fraction / bounds[rival], 0.005)] * n_nights
    begins = [0, *range(1, n_nights + 1)] * 10
    capital = np.array([share / 5.0 for _, _, share in bets])
    for k in range(n_nights):
        p, x, y, prompt = (column[k * per_night : (k + 1) * per_night] for column in columns)
        p, q = np.clip(p, 0.1, 0.9), np.clip(sigmoid(slope * x), 0.1, 0.9)
        own, by_length = (-np.where(y == 1, np.log(r), np.log(1 - r)) for r in (p, q))
        gains = [sign * (log(2.0) - own), sign * (by_length - own)]
        for b, (rival, stake, _) in enumerate(bets):
            if begins[b] <= k:
                for name in set(prompt):
                    capital[b] *= 1.0 + stake * gains[rival][prompt == name].mean()
        grid = slope + np.linspace(-2.0, 2.0, 40001)
        loss = np.logaddexp(0.0, grid * x[:, None]).sum(0) - grid * (x @ y)
        slope_was, slope = slope, float(grid[(loss + precision * (grid - slope) ** 2 / 2).argmin()])
        assert slope_was - 2.0 < slope < slope_was + 2.0
        s = sigmoid(slope * x)
        precision += float(x**2 @ (s * (1 - s)))
    return [float(capital[[r == rival for r, _, _ in bets]].sum()) for rival in (0, 1)]


@pytest.mark.parametrize("per_prompt", [1, 4])
def test_figures_follow_their_definitions(per_prompt: int) -> None:
    one = arm(80, seed=5, length_effect=1.0, per_prompt=per_prompt, spread=0.3)
    verdict = one.verdict(20)
    own = -(one.preferred * np.log(one.p) + (1 - one.preferred) * np.log(1 - one.p))
    assert verdict.log_loss == pytest.approx(own.mean())
    assert exp(verdict.log_help) == pytest.approx(min(slow_evidence(one, 20, 1.0)), rel=1e-3)
    assert exp(verdict.log_harm) == pytest.approx(np.mean(slow_evidence(one, 20, -1.0)), rel=1e-3)


def test_the_length_rival_knows_earlier_nights_alone() -> None:
    one = arm(300, length_effect=2.0, spread=0.0)
    first = one.take(slice(0, 100)).verdict(100)
    assert first.length_log_loss == pytest.approx(log(2.0))
    taught = [ExplorationNight(None, *one.take(slice(0, 200))[1:])]
    later = exploration_gate([*taught, *one.take(slice(200, 300)).nights(100)])
    assert later.n == 100
    assert later.length_log_loss is not None and later.length_log_loss < 0.55


def test_the_log_loss_is_of_the_last_nights_and_the_evidence_of_all() -> None:
    recent = arm(RECENT_NIGHTS * PER_NIGHT, seed=1)
    verdict = arm(600).then(recent).verdict()
    assert verdict.n == RECENT_NIGHTS * PER_NIGHT
    assert verdict.log_loss == pytest.approx(recent.verdict().log_loss)
    assert verdict.log_help > recent.verdict().log_help + 2.0


def test_copies_of_labels_within_prompts_do_not_pass_for_more_evidence() -> None:
    one = arm(100)
    copied = one.take(np.repeat(np.arange(100), 50)).verdict(100 * 50)
    alone = one.verdict(100)
    assert copied.log_help == pytest.approx(alone.log_help)
    assert copied.n == 5000


def test_without_prompts_each_label_is_its_own() -> None:
    one = arm(150)
    bare = [ExplorationNight(n.p_e, n.length_e, n.preferred_e) for n in one.nights()]
    assert exploration_gate(bare).log_help == pytest.approx(one.verdict().log_help)
    assert one.verdict().log_help != pytest.approx(arm(150, per_prompt=5).verdict().log_help)


def test_before_any_label_it_is_undecided_and_says_so() -> None:
    taught = ExplorationNight(None, [0.3], [1.0])
    for nights in ([], [ExplorationNight([], [], [])], [taught]):
        verdict = exploration_gate(nights)
        assert (verdict.state, verdict.n, verdict.log_loss) == ("undecided", 0, None)
        assert "no exploration label has judged a model yet" in verdict.reason


# For any labels at all.

label = st.tuples(
    st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0.0, 1.0)),
    st.floats(-5.0, 5.0),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from("abcdef"),
)
some_nights = st.lists(st.lists(label, max_size=12), min_size=1, max_size=8)


def judged(nights: list[list[tuple[float, float, float, str]]]) -> GateVerdict:
    columns = [list(zip(*night, strict=True)) or [[]] * 4 for night in nights]
    return exploration_gate(ExplorationNight(p, x, y, prompt) for p, x, y, prompt in columns)


@settings(max_examples=60, deadline=None)
@given(nights=some_nights, data=st.data())
def test_the_order_of_labels_within_a_night_does_not_matter(
    nights: list[list[tuple[float, float, float, str]]], data: st.DataObject
) -> None:
    mixed = [data.draw(st.permutations(night)) for night in nights]
    assert judged(mixed) == judged(nights)


@settings(max_examples=60, deadline=None)
@given(nights=some_nights)
def test_which_response_stands_first_does_not_matter_and_figures_are_finite(
    nights: list[list[tuple[float, float, float, str]]],
) -> None:
    verdict = judged(nights)
    turned = judged([[(1 - p, -x, 1 - y, name) for p, x, y, name in night] for night in nights])
    assert turned.state == verdict.state
    assert (turned.log_help, turned.log_harm) == pytest.approx((verdict.log_help, verdict.log_harm))
    assert np.isfinite([verdict.log_help, verdict.log_harm]).all()
    assert verdict.log_help <= 0.0 or verdict.log_harm <= log(1.0 / CLOSING_RISK)


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("length", np.inf, "100 length differences"),
        ("p", 1.5, "are not within"),
        ("p", np.nan, "are not within"),
        ("preferred", 2.0, "are not within"),
    ],
)
def test_what_cannot_be_is_corrupt(column: str, value: float, problem: str) -> None:
    one = arm(100)
    getattr(one, column)[3] = value
    with pytest.raises(Corrupt, match=problem):
        one.verdict(100)
