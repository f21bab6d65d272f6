"""Named strategies: each scores as its definition says, and a wrong name is told at once."""

from __future__ import annotations

import numpy as np
import pytest

from winnow.errors import Fatal
from winnow.select import STRATEGIES, PoolView
from winnow.select.gains import exact_expected_fisher, exact_info_gain
from winnow.select.strategies import strategy_named, view_pool


@pytest.fixture
def view() -> PoolView:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(5, 3))
    return view_pool(rng.normal(size=5), features @ features.T, features, (), rng)


def test_every_strategy_gives_each_pair_one_finite_score(view: PoolView) -> None:
    for strategy in STRATEGIES.values():
        score = strategy(view)
        assert score.shape == (5, 5)
        assert np.isfinite(score).all()


def test_scores_follow_their_definitions_pair_by_pair(view: PoolView) -> None:
    for i in range(5):
        for j in range(5):
            mu = view.mean_n[i] - view.mean_n[j]
            var = view.cov_nn[i, i] + view.cov_nn[j, j] - 2 * view.cov_nn[i, j]
            expected = {
                "info_gain": exact_info_gain(mu, np.sqrt(var)),
                "diversity": np.log(1 + exact_expected_fisher(mu, np.sqrt(var)) * var),
                "uncertainty": -abs(mu),
            }
            for name, value in expected.items():
                assert STRATEGIES[name](view)[i, j] == pytest.approx(float(value), abs=1e-3)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(Fatal, match=r"'infogain' is unknown.*diversity, info_gain, random"):
        strategy_named("infogain")
