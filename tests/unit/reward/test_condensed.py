"""Votes in a few numbers say of the reward and of annotators what they said one by one."""

from __future__ import annotations

import numpy as np
import pytest

from winnow.reward import Block, Condensed, condense, fit_ensemble, fit_with_annotators
from winnow.reward.logistic import sigmoid

D = 5
BLOCKS = (Block("embedding", 3), Block("style", 2))
WANTED = np.array([1.5, -1.0, 0.5, 0.0, 0.8])


class Votes:
    """Votes of seven annotators, of which one guesses."""

    def __init__(self, n: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.first, self.second = rng.normal(size=(2, n, D))
        self.z = self.first - self.second
        self.side, self.length = rng.choice([-1.0, 1.0], n), rng.normal(size=n)
        p = sigmoid(self.z @ WANTED + 0.4 * self.side + 0.3 * self.length)
        self.annotator = [f"a{k}" for k in rng.integers(7, size=n)]
        guesses = np.array(self.annotator) == "a0"
        self.y = (rng.random(n) < np.where(guesses, 0.5, p)).astype(np.float64)

    def fit(self, part: slice, older: Condensed | None = None):  # type: ignore[no-untyped-def]
        z, y, side, length = (v[part] for v in (self.z, self.y, self.side, self.length))
        return fit_with_annotators(
            *(z, y, np.ones(len(y)), side, length, self.annotator[part]),
            blocks=BLOCKS,
            older=older,
        )

    def condensed(self, part: slice, at: slice) -> Condensed:
        """Votes as they look from a fit of others, or of the same."""
        posterior, epsilon = self.fit(at)
        names = {*self.annotator[part]}
        known = {name: epsilon.get(name, 0.05) for name in names}
        z, y, side, length = (v[part] for v in (self.z, self.y, self.side, self.length))
        return condense(posterior, known, z, y, side, length, self.annotator[part])


def test_a_fit_of_condensed_and_other_votes_is_that_of_all() -> None:
    votes = Votes(3000)
    older, newer, every = slice(0, 2000), slice(2000, 3000), slice(0, 3000)
    whole, all_epsilon = votes.fit(every)
    parts, epsilon = votes.fit(newer, votes.condensed(older, every))
    alone, _ = votes.fit(newer)
    assert parts.n_labels == whole.n_labels == 3000
    assert parts.mean_d == pytest.approx(whole.mean_d, abs=0.02)
    assert parts.cov_dd == pytest.approx(whole.cov_dd, rel=0.05, abs=1e-4)
    assert (parts.side, parts.length) == pytest.approx((whole.side, whole.length), abs=0.02)
    assert parts.precision_d == pytest.approx(whole.precision_d, rel=0.05)
    assert epsilon == pytest.approx(all_epsilon, abs=0.02)
    away = [np.abs(each.mean_d - whole.mean_d).max() for each in (parts, alone)]
    assert away[0] < 0.2 * away[1], "what was condensed counts"


def test_votes_condensed_in_parts_are_those_condensed_together() -> None:
    votes = Votes(900)
    every = slice(0, 900)
    together = votes.condensed(every, every)
    parts = votes.condensed(slice(0, 300), every).plus(votes.condensed(slice(300, 900), every))
    assert parts.n_labels == together.n_labels == 900
    assert parts.loss.hessian_kk == pytest.approx(together.loss.hessian_kk, rel=1e-9, abs=1e-9)
    assert parts.loss.linear_k == pytest.approx(together.loss.linear_k, rel=1e-9, abs=1e-9)
    assert parts.guesses.keys() == together.guesses.keys()
    for name, log_g in together.guesses.items():
        assert parts.guesses[name] == pytest.approx(log_g, rel=1e-9)


def test_condensed_votes_alone_still_say_what_they_said() -> None:
    votes = Votes(2000)
    every = slice(0, 2000)
    whole, all_epsilon = votes.fit(every)
    alone, epsilon = votes.fit(slice(0, 0), votes.condensed(every, every))
    assert alone.mean_d == pytest.approx(whole.mean_d, abs=0.02)
    assert epsilon == pytest.approx(all_epsilon, abs=0.02), "annotators who voted then count"
    assert epsilon["a0"] > 0.3


def test_what_is_stored_of_condensed_votes_is_what_they_are() -> None:
    votes = Votes(300)
    held = votes.condensed(slice(0, 300), slice(0, 300))
    again = Condensed.from_arrays(held.arrays(), sorted(held.guesses))
    assert again.n_labels == held.n_labels
    for name, array in held.arrays().items():
        assert np.array_equal(again.arrays()[name], array)


def test_an_ensemble_hears_condensed_votes_too() -> None:
    votes, unseen = Votes(1200), Votes(500, seed=1)
    older, newer = slice(0, 1150), slice(1150, 1200)
    held = votes.condensed(older, older)
    truth = unseen.z @ WANTED
    right, doubt = [], []
    for known in (None, held):
        first, second, y = votes.first[newer], votes.second[newer], votes.y[newer]
        side, length = votes.side[newer], votes.length[newer]
        head = fit_ensemble(
            *(first, second, y, np.ones(50), side, length), blocks=BLOCKS, older=known
        )
        said = head.mean(unseen.first) - head.mean(unseen.second)
        right.append(float(np.mean(said * truth > 0.0)))
        spread = head.basis(unseen.first) - head.basis(unseen.second)
        doubt.append(float((spread**2).mean()))
        assert head.n_labels == 50 + (1150 if known else 0)
    assert right[1] > right[0] + 0.02 and right[1] > 0.9
    assert doubt[1] < doubt[0], "and is surer"
