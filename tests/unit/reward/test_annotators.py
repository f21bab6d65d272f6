"""Whom to trust: planted spammers are found, careful annotators are not condemned."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from winnow.errors import Corrupt, Fatal
from winnow.reward import Posterior, fit, fit_with_annotators


class Votes(NamedTuple):
    """The arguments of `fit_with_annotators`, by column."""

    z: np.ndarray
    preferred: np.ndarray
    weight: np.ndarray
    side: np.ndarray
    length: np.ndarray
    annotator: list[str]

    def fit(self, **known: float) -> tuple[Posterior, dict[str, float]]:
        return fit_with_annotators(*self, known_epsilon=known)

    def take(self, rows: object) -> Votes:
        names = [str(name) for name in np.array(self.annotator)[rows]]
        return Votes(*(column[rows] for column in self[:5]), names)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def crew(
    votes_of: dict[str, int],
    epsilon: dict[str, float],
    seed: int = 0,
    d: int = 8,
    side_effect: float = 0.5,
) -> tuple[Votes, np.ndarray]:
    """Votes of annotators with the given ε (0 when not named), and the weights behind them."""
    rng = np.random.default_rng(seed)
    names = [name for name, n in votes_of.items() for _ in range(n)]
    e = len(names)
    w, z = rng.normal(size=d), rng.normal(size=(e, d))
    side, length = rng.choice([-1.0, 1.0], e), rng.normal(size=e)
    error = np.array([epsilon.get(name, 0.0) for name in names])
    p = (1 - 2 * error) * sigmoid(z @ w + side_effect * side - 0.4 * length) + error
    preferred = (rng.random(e) < p).astype(float)
    return Votes(z, preferred, np.ones(e), side, length, names), w


def assert_same_belief(one: Posterior, other: Posterior) -> None:
    np.testing.assert_allclose(one.mean_d, other.mean_d, atol=1e-6)
    np.testing.assert_allclose(one.cov_dd, other.cov_dd, atol=1e-6)
    assert (one.side, one.length) == pytest.approx((other.side, other.length), abs=1e-6)
    assert one.n_labels == other.n_labels


GOOD = {f"good-{k}": 40 for k in range(15)}


@pytest.mark.parametrize("seed", range(4))
def test_spammers_of_forty_votes_are_found_and_nobody_else_is(seed: int) -> None:
    spammers = {"spam-0": 0.5, "spam-1": 0.5}
    votes, _ = crew({**GOOD, "spam-0": 40, "spam-1": 40}, spammers, seed)
    epsilon = votes.fit()[1]
    assert min(epsilon[name] for name in spammers) > 0.2
    assert max(epsilon[name] for name in GOOD) < 0.15
    assert np.mean([epsilon[name] for name in GOOD]) < 0.04


def test_with_spammers_the_reward_is_nearer_the_truth_than_when_all_are_trusted() -> None:
    errors = []
    for seed in range(4):
        votes, w = crew(
            {**GOOD, "spam-0": 150, "spam-1": 150}, {"spam-0": 0.5, "spam-1": 0.5}, seed
        )
        weighed, trusting = votes.fit()[0], fit(*votes[:5])
        errors.append([np.linalg.norm(p.mean_d - w) for p in (weighed, trusting)])
    weighed_error, trusting_error = np.mean(errors, axis=0)
    assert weighed_error < 0.7 * trusting_error


@pytest.mark.parametrize("seed", [2, 3])
def test_a_reward_that_can_fit_every_vote_does_not_clear_a_spammer(seed: int) -> None:
    votes, _ = crew({**GOOD, "spam": 100}, {"spam": 0.5}, seed, d=200)
    epsilon = votes._replace(z=0.3 * votes.z).fit()[1]
    assert epsilon["spam"] > 0.3
    assert max(epsilon[name] for name in GOOD) < 0.1


def test_votes_for_the_side_that_everybody_favours_are_no_errors() -> None:
    votes, _ = crew(GOOD, {}, d=2, side_effect=4.0)
    votes = votes._replace(z=0.05 * votes.z)
    coin = [*range(0, 600, 15)]
    names = ["coin" if k in coin else name for k, name in enumerate(votes.annotator)]
    votes.preferred[coin] = np.random.default_rng(1).choice([0.0, 1.0], len(coin))
    epsilon = votes._replace(annotator=names).fit()[1]
    assert epsilon["coin"] > 0.25
    assert max(epsilon[name] for name in GOOD) < 0.15


def test_a_careful_annotator_with_few_votes_is_not_condemned() -> None:
    votes, w = crew({**GOOD, "careful": 5}, {})
    votes.preferred[-5:] = (votes.z[-5:] @ w > 0).astype(float)
    assert votes.fit()[1]["careful"] < 0.08


def test_side_and_length_effects_are_recovered_among_spammers() -> None:
    votes, _ = crew({**dict.fromkeys(GOOD, 200), "spam": 400}, {"spam": 0.5})
    posterior = votes.fit()[0]
    assert posterior.side == pytest.approx(0.5, abs=0.12)
    assert posterior.length == pytest.approx(-0.4, abs=0.12)


def test_an_annotator_who_is_known_to_guess_changes_nothing() -> None:
    votes, _ = crew({**GOOD, "coin": 60}, {"coin": 0.5})
    with_coin, epsilon = votes.fit(coin=0.5)
    without = votes.take(slice(0, len(votes.z) - 60)).fit()[0]
    assert_same_belief(with_coin, without)
    assert epsilon["coin"] == 0.5


def test_annotators_who_are_known_never_to_err_give_the_plain_fit() -> None:
    votes, _ = crew(GOOD, {})
    posterior, epsilon = votes.fit(**dict.fromkeys(GOOD, 0.0))
    plain = fit(*votes[:5])
    assert_same_belief(posterior, plain)
    assert set(epsilon.values()) == {0.0}


def test_the_order_and_the_orientation_of_votes_do_not_matter() -> None:
    votes, _ = crew({**GOOD, "spam": 40}, {"spam": 0.5})
    posterior, epsilon = votes.fit()
    rng = np.random.default_rng(1)
    flip = rng.choice([-1.0, 1.0], len(votes.z))
    turned = votes._replace(
        z=votes.z * flip[:, None],
        preferred=np.where(flip < 0, 1 - votes.preferred, votes.preferred),
        side=votes.side * flip,
        length=votes.length * flip,
    )
    other, other_epsilon = turned.take(rng.permutation(len(votes.z))).fit()
    assert_same_belief(other, posterior)
    assert other_epsilon == pytest.approx(epsilon, rel=1e-6)
    assert list(epsilon) == sorted(epsilon)


def test_a_tie_is_a_vote_of_half_weight_for_either_side() -> None:
    votes, _ = crew(GOOD, {})
    votes.preferred[:100] = 0.5
    rows = [*range(600), *range(100)]
    halves = votes.take(rows)
    halves.preferred[:100], halves.preferred[600:] = 0.0, 1.0
    halves.weight[:100] = halves.weight[600:] = 0.5
    known = dict.fromkeys(GOOD, 0.2)
    tied, split = votes.fit(**known)[0], halves.fit(**known)[0]
    np.testing.assert_allclose(tied.mean_d, split.mean_d, atol=0.02)


def test_votes_of_weight_zero_change_nothing() -> None:
    votes, _ = crew({**GOOD, "extra": 30}, {})
    votes.weight[-30:] = 0.0
    posterior, epsilon = votes.fit()
    fewer, fewer_epsilon = votes.take(slice(0, 600)).fit()
    assert_same_belief(posterior, fewer)
    assert epsilon.pop("extra") == pytest.approx(0.05, abs=0.005)
    assert epsilon == pytest.approx(fewer_epsilon, rel=1e-6)


@pytest.mark.parametrize("preferred", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("prior_precision", [1e-6, 1e-2, None])
def test_a_single_vote_leaves_its_annotator_where_the_prior_is(
    prior_precision: float | None, preferred: float
) -> None:
    z, one, length = np.full((1, 1), 5.0), np.ones(1), np.full(1, -3.0)
    posterior, epsilon = fit_with_annotators(
        z, preferred * one, one, one, length, ["new"], prior_precision
    )
    assert np.isfinite(posterior.mean_d).all()
    assert epsilon["new"] == pytest.approx(0.05, abs=0.01)


def test_no_votes_give_the_prior_and_nobody() -> None:
    nothing = crew({}, {})[0]
    posterior, epsilon = nothing.fit()
    assert (posterior.n_labels, epsilon) == (0, {})


def test_settings_and_columns_that_make_no_sense_are_refused() -> None:
    votes, _ = crew(GOOD, {})
    with pytest.raises(Fatal, match=r"within \[0, 1/2\].*0.7"):
        votes.fit(anyone=0.7)
    with pytest.raises(Corrupt, match="599 annotators for 600 votes"):
        votes._replace(annotator=votes.annotator[:-1]).fit()
    votes.preferred[3] = np.nan
    with pytest.raises(Corrupt, match="600 labels"):
        votes.fit()
