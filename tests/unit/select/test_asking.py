"""What judges are asked beside people, by a slow reference and for what must always hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.ids import PEOPLE
from winnow.reward import Posterior
from winnow.reward.judges import Joint, Judge
from winnow.select.asking import Asked, ask_judges
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


def asked(seed: int, budget: int, price: int = 5, known: list[Asked] | None = None) -> list[Asked]:
    features, _, joint = world(seed)
    noise = np.random.default_rng(seed).normal(size=(64, D))
    open_nn = ~np.eye(N, dtype=bool)
    given = features, np.zeros(N), open_nn, joint, RULES, {"j": price}, budget, noise
    return ask_judges(*given, known or [])


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 99), budget=st.integers(0, 300), price=st.integers(1, 120))
def test_no_more_is_spent_than_is_there_and_nobody_is_asked_twice(
    seed: int, budget: int, price: int
) -> None:
    known = [Asked(PEOPLE, 0, 1, 0.0, 0), Asked("j", 2, 3, 0.0, 0)]
    chosen = asked(seed, budget, price, known)
    assert sum(each.price for each in chosen) <= budget
    assert {each.teacher for each in chosen} <= {"j"}
    pairs = [(each.i, each.j) for each in chosen]
    assert len({(2, 3), *pairs}) == len(pairs) + 1
    assert all(each.gain > 0 for each in chosen)


@pytest.mark.parametrize("known", [[], [Asked(PEOPLE, 1, 4, 0.0, 0)]])
def test_the_first_pair_is_the_one_that_lowers_what_matters_most(known: list[Asked]) -> None:
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

    def told(cov: np.ndarray, a: np.ndarray, variance: float) -> np.ndarray:
        return cov - np.outer(cov @ a, cov @ a) / (variance + a @ cov @ a)

    before = joint.cov
    for each in known:
        z = own[each.i] - own[each.j]
        mu, sd = z[:D] @ people.mean_d, np.sqrt(z @ before @ z)
        before = told(before, z, 1.0 / float(expected_fisher(mu, sd)))
    # What it errs on a response is a weight of its own, which is integrated out here.
    noise_of_pair = judge.own_sd**2 + 2.0 * judge.response_sd**2
    gains = {
        (i, j): left(before) - left(told(before, rows[i] - rows[j], noise_of_pair))
        for i in range(N)
        for j in range(i + 1, N)
    }
    first = asked(3, 50, known=known)[0]
    assert (first.i, first.j) == max(gains, key=lambda pair: gains[pair])
    assert np.isclose(first.gain, gains[first.i, first.j])


def test_a_judge_that_tells_nothing_of_people_gets_no_money() -> None:
    features, people, joint = world(5)
    [judge] = joint.judges
    m = D + 2
    cov = np.zeros((D + m, D + m))
    cov[:D, :D], cov[D:, D:] = people.cov_dd, np.eye(m)
    told = {name: getattr(judge, name) for name in judge.__slots__}
    deaf = Joint(people, (Judge(**{**told, "kappa": 0.0}),), cov)
    noise = np.random.default_rng(5).normal(size=(64, D))
    open_nn = ~np.eye(N, dtype=bool)
    given = features, np.zeros(N), open_nn, deaf, RULES, {"j": 1}, 300, noise, []
    assert ask_judges(*given) == []
