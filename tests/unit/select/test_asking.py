"""Pairs and teachers chosen together, beside a slow reference and for what must always hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.reward import Posterior
from winnow.reward.judges import Joint, Judge
from winnow.select.asking import PEOPLE, Prices, ask
from winnow.select.belief import policy_covariance
from winnow.select.gains import expected_fisher
from winnow.select.rules import Rules

D, N = 4, 6
RULES = Rules(0, "decision_gain", 0.0)


def world(seed: int, kappa: float = 1.0) -> tuple[np.ndarray, Posterior, Joint]:
    """Features, people's posterior, and one judge with a taste of its own."""
    rng = np.random.default_rng(seed)
    m = D + 2
    root = rng.normal(size=(D + m, D + m))
    cov = root @ root.T / (D + m) + 0.1 * np.eye(D + m)
    people = Posterior(rng.normal(size=D), cov[:D, :D], np.ones(D), 10)
    judge = Judge("j", 9, 9.0, 1.0, kappa, np.ones(D), 0.7, 0.5, 0.3)
    return rng.normal(size=(N, D)), people, Joint(people, (judge,), cov)


def asked(seed: int, budget: int, share: float, price: int = 5, kappa: float = 1.0) -> list:
    features, people, joint = world(seed, kappa)
    noise = np.random.default_rng(seed).normal(size=(64, D))
    open_nn = ~np.eye(N, dtype=bool)
    prices = Prices(100, {"j": price})
    return ask(features, np.zeros(N), open_nn, people, joint, RULES, prices, budget, share, noise)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 99),
    budget=st.integers(0, 900),
    share=st.floats(0.0, 1.0),
    price=st.integers(1, 120),
)
def test_no_more_is_spent_than_is_there_and_nobody_is_asked_twice(
    seed: int, budget: int, share: float, price: int
) -> None:
    chosen = asked(seed, budget, share, price)
    assert sum(each.price for each in chosen) <= budget
    assert sum(each.price for each in chosen if each.teacher == "j") <= share * budget
    pairs = [(each.teacher, min(each.i, each.j), max(each.i, each.j)) for each in chosen]
    assert len(set(pairs)) == len(pairs)
    assert all(each.gain > 0 for each in chosen)


def test_the_first_judged_pair_is_the_one_that_lowers_what_matters_most() -> None:
    features, people, joint = world(3)
    noise = np.random.default_rng(3).normal(size=(64, D))
    [judge] = joint.judges
    own = np.zeros((N, len(joint.cov)))
    own[:, :D] = features
    draws = people.mean(features) + noise @ (features @ np.linalg.cholesky(people.cov_dd)).T
    policy = policy_covariance(draws, RULES.kappa)
    rows = joint.basis(judge, features, np.zeros(N))

    def left(cov: np.ndarray) -> float:
        return float(np.trace(policy @ own @ cov @ own.T))

    def after(i: int, j: int) -> float:
        # What it errs on a response is a weight of its own, which is integrated out here.
        a = rows[i] - rows[j]
        noise_of_pair = judge.own_sd**2 + 2.0 * judge.response_sd**2
        shrunk = joint.cov - np.outer(joint.cov @ a, joint.cov @ a) / (
            noise_of_pair + a @ joint.cov @ a
        )
        return left(joint.cov) - left(shrunk)

    gains = {(i, j): after(i, j) for i in range(N) for j in range(i + 1, N)}
    chosen = asked(3, 50, 1.0)
    first = next(each for each in chosen if each.teacher == "j")
    assert (first.i, first.j) == max(gains, key=lambda pair: gains[pair])
    assert np.isclose(first.gain, gains[first.i, first.j])


def test_a_judge_that_tells_nothing_of_people_gets_no_money() -> None:
    features, people, joint = world(5)
    [judge] = joint.judges
    m = D + 2
    cov = np.zeros((D + m, D + m))
    cov[:D, :D], cov[D:, D:] = people.cov_dd, np.eye(m)
    deaf = Joint(people, (Judge(**{**_fields(judge), "kappa": 0.0}),), cov)
    noise = np.random.default_rng(5).normal(size=(64, D))
    open_nn, prices = ~np.eye(N, dtype=bool), Prices(100, {"j": 1})
    chosen = ask(features, np.zeros(N), open_nn, people, deaf, RULES, prices, 300, 0.5, noise)
    assert {each.teacher for each in chosen} == {PEOPLE}


def test_people_are_asked_as_if_no_judge_had_spoken() -> None:
    with_judge = [each for each in asked(7, 420, 0.25) if each.teacher == PEOPLE]
    without = asked(7, 315, 0.0)
    assert with_judge == without
    assert len(without) == 3


def test_people_first_choose_by_the_decision_gain() -> None:
    features, people, _ = world(9)
    noise = np.random.default_rng(9).normal(size=(64, D))
    cov = features @ people.cov_dd @ features.T
    draws = people.mean(features) + noise @ (features @ np.linalg.cholesky(people.cov_dd)).T
    impact = cov @ policy_covariance(draws, RULES.kappa) @ cov
    best = asked(9, 100, 0.0)[0]
    gains = {}
    for i in range(N):
        for j in range(i + 1, N):
            x = np.eye(N)[i] - np.eye(N)[j]
            mu, v = x @ people.mean(features), x @ cov @ x
            fisher = float(expected_fisher(mu, np.sqrt(v)))
            gains[i, j] = fisher * (x @ impact @ x) / (1.0 + fisher * v)
    assert (best.i, best.j) == max(gains, key=lambda pair: gains[pair])


def _fields(judge: Judge) -> dict:
    return {name: getattr(judge, name) for name in judge.__slots__}
