"""Judges with planted scales, tastes and faults: what is learnt of them, what they teach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from winnow.arrays import FloatArray
from winnow.errors import Corrupt
from winnow.reward import Block, Posterior, fit
from winnow.reward.judges import Verdicts, listen
from winnow.reward.logistic import sigmoid

D = 12
BLOCKS = (Block("embedding", 8), Block("style", 4))


class Planted:
    """A reward of people and pools of responses, of which anybody can be asked."""

    def __init__(self, seed: int, n_pools: int = 60) -> None:
        self.rng = np.random.default_rng(seed)
        self.w_d = self.rng.normal(0.0, 1.0, D)
        self.features = self.rng.normal(0.0, 1.0, (n_pools, 8, D))
        self.n_pools = n_pools

    def pairs(self, n: int) -> tuple[FloatArray, FloatArray, FloatArray]:
        pool_e = self.rng.integers(self.n_pools, size=n)
        first_e = self.rng.integers(8, size=n)
        second_e = (first_e + self.rng.integers(1, 8, size=n)) % 8
        return pool_e, first_e, second_e

    def z(self, pool_e: FloatArray, first_e: FloatArray, second_e: FloatArray) -> FloatArray:
        return np.asarray(self.features[pool_e, first_e] - self.features[pool_e, second_e])

    def people(self, n: int) -> Posterior:
        """A fit of so many votes of people."""
        return self.fitted(n)

    def fitted(self, n: int, heard: object = None) -> Posterior:
        rng = np.random.default_rng(5)
        self.rng = rng
        z_ed = self.z(*self.pairs(n))
        votes_e = (rng.random(n) < sigmoid(z_ed @ self.w_d)).astype(np.float64)
        older = heard.condensed() if heard is not None else None  # type: ignore[attr-defined]
        nothing = np.zeros(n)
        return fit(z_ed, votes_e, np.ones(n), nothing, nothing, blocks=BLOCKS, older=older)

    def verdicts(
        self, n: int, kappa: float, taste: float, noise: float, choices: bool = False
    ) -> Verdicts:
        """What a judge says that has a taste of its own, of so many pairs."""
        rng = np.random.default_rng(7)
        taste_d = taste * rng.normal(0.0, 1.0, D)
        self.rng = rng
        pool_e, first_e, second_e = self.pairs(n)
        z_ed = self.z(pool_e, first_e, second_e)
        error = rng.normal(0.0, noise, (self.n_pools, 8))
        odds_e = z_ed @ (kappa * self.w_d + taste_d)
        odds_e = odds_e + error[pool_e, first_e] - error[pool_e, second_e]
        odds_e = odds_e + rng.normal(0.0, noise, n)
        nothing = np.zeros(n)
        numbers = 8 * pool_e + first_e, 8 * pool_e + second_e, pool_e
        said_e = np.sign(odds_e) if choices else odds_e
        return Verdicts.of(z_ed, said_e, nothing, nothing, *numbers, are_choices=choices)

    def accuracy(self, posterior: Posterior) -> float:
        z_ed = np.random.default_rng(9).normal(0.0, 1.0, (2000, D))
        return float(((z_ed @ posterior.mean_d > 0) == (z_ed @ self.w_d > 0)).mean())


@pytest.mark.parametrize("kappa", [1.5, -1.0])
def test_a_planted_scale_is_found_and_the_judge_teaches(kappa: float) -> None:
    world = Planted(1)
    alone = world.people(80)
    heard = listen({"j": world.verdicts(300, kappa, 0.2, 0.5)}, alone, BLOCKS)
    assert heard is not None
    [judge] = heard.judges
    assert abs(judge.kappa * judge.scale) == pytest.approx(abs(kappa), rel=0.35)
    assert np.sign(judge.kappa) == np.sign(kappa)
    assert world.accuracy(world.fitted(80, heard)) > world.accuracy(alone) + 0.04


@pytest.mark.parametrize("choices", [False, True])
def test_a_judge_that_shuffles_is_not_heard(choices: bool) -> None:
    world = Planted(2)
    said = world.verdicts(400, 1.0, 0.0, 0.5, choices)
    order = np.random.default_rng(1).permutation(400)
    shuffled = replace(said, log_odds_e=said.log_odds_e[order])
    heard = listen({"j": shuffled}, world.people(150), BLOCKS)
    assert heard is not None
    assert not heard.judges
    assert [judge.name for judge in heard.unheard] == ["j"]


def test_what_is_not_heard_teaches_nothing() -> None:
    world = Planted(3)
    alone = world.people(100)
    left = np.random.default_rng(1).choice([-1.0, 1.0], 300)
    said = replace(world.verdicts(300, 1.0, 0.0, 0.5, choices=True), log_odds_e=left, side_e=left)
    heard = listen({"j": said}, alone, BLOCKS)
    assert heard is not None
    assert not heard.judges
    np.testing.assert_allclose(world.fitted(100, heard).mean_d, alone.mean_d, atol=1e-6)


def test_a_taste_of_its_own_misleads_less_than_pooling_it_with_people() -> None:
    world = Planted(4)
    said = world.verdicts(1500, 1.0, 1.0, 0.5)
    alone = world.people(150)
    heard = listen({"j": said}, alone, BLOCKS)
    rng = np.random.default_rng(5)
    world.rng = rng
    z_ed = world.z(*world.pairs(150))
    votes_e = (rng.random(150) < sigmoid(z_ed @ world.w_d)).astype(np.float64)
    pooled_ed = np.vstack([z_ed, said.z_ed])
    pooled_e = np.concatenate([votes_e, 0.5 + 0.5 * np.sign(said.log_odds_e)])
    nothing = np.zeros(len(pooled_e))
    pooled = fit(pooled_ed, pooled_e, np.ones(len(pooled_e)), nothing, nothing, blocks=BLOCKS)
    assert world.accuracy(world.fitted(150, heard)) > world.accuracy(pooled)
    assert world.accuracy(world.fitted(150, heard)) >= world.accuracy(alone) - 0.005


def test_turned_and_reordered_verdicts_teach_alike() -> None:
    world = Planted(5)
    alone, said = world.people(80), world.verdicts(200, 1.0, 0.3, 0.5)
    order = np.random.default_rng(1).permutation(200)
    turned = Verdicts.of(
        -said.z_ed[order],
        -said.log_odds_e[order],
        -said.side_e[order],
        -said.length_e[order],
        said.second_e[order],
        said.first_e[order],
        said.pool_e[order],
    )
    one, other = (listen({"j": each}, alone, BLOCKS) for each in (said, turned))
    assert one is not None
    assert other is not None
    assert one.judges[0].kappa == pytest.approx(other.judges[0].kappa, rel=1e-3)
    linear = one.condensed().loss.linear_k
    np.testing.assert_allclose(other.condensed().loss.linear_k, linear, rtol=0.02, atol=0.05)


def test_the_joint_covariance_is_that_of_one_regression_of_all() -> None:
    world = Planted(6)
    alone, said = world.people(80), world.verdicts(200, 1.0, 0.3, 0.5)
    heard = listen({"a": said, "b": world.verdicts(150, 0.7, 0.5, 0.4)}, alone, BLOCKS)
    assert heard is not None
    assert len(heard.judges) == 2
    people = world.fitted(80, heard)
    cov = heard.joint(people).cov
    assert np.linalg.eigvalsh(cov).min() > 0.0
    about_ww = np.linalg.inv(cov)[:D, :D]
    cross = np.linalg.solve(heard.hessian_tt, heard.hessian_wt.T)
    np.testing.assert_allclose(
        about_ww - heard.hessian_wt @ cross, np.linalg.inv(people.cov_dd), rtol=1e-5, atol=1e-5
    )


def test_without_votes_of_people_nobody_is_heard() -> None:
    world = Planted(7)
    nothing = np.zeros(0)
    empty = fit(np.zeros((0, D)), nothing, nothing, nothing, nothing, blocks=BLOCKS)
    assert listen({"j": world.verdicts(100, 1.0, 0.0, 0.1)}, empty, BLOCKS) is None


def test_log_odds_next_to_nothing_say_nothing() -> None:
    world = Planted(1)
    alone, said = world.people(80), world.verdicts(30, 1.5, 0.2, 0.5)
    assert listen({"j": replace(said, log_odds_e=1e-300 * said.log_odds_e)}, alone, BLOCKS) is None


def test_a_verdict_that_is_no_number_is_refused() -> None:
    world = Planted(8)
    said = world.verdicts(3, 1.0, 0.0, 0.1)
    with pytest.raises(Corrupt, match="not finite"):
        Verdicts.of(
            said.z_ed, [np.nan, 0, 0], *[np.zeros(3)] * 2, said.first_e, said.second_e, said.pool_e
        )
