"""What makes one pair better than another: functions from a view of a pool to a score per pair.

A strategy is any function `(PoolView) -> score_nn`, symmetric, higher is better, and is asked again
after each pick, because the view's covariance has shrunk by then. A new one is a few lines here and
a name in `STRATEGIES`.

Shapes: n responses, d features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from winnow.errors import Fatal
from winnow.select.gains import expected_fisher, info_gain, pair_moments

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PoolView:
    """What a strategy may look at: one pool, given the pairs chosen from it so far.

    Attributes:
        mean_n: Expected rewards.
        cov_nn: Joint covariance of the rewards, shrunk by the pairs chosen so far.
        mu_nn: Mean of each reward difference r_i - r_j.
        sd_nn: Standard deviation of each reward difference.
        features_nd: Centred features.
        chosen: Pairs (i, j), i < j, in the order chosen.
        rng: Randomness of this pool.
    """

    mean_n: FloatArray
    cov_nn: FloatArray
    mu_nn: FloatArray
    sd_nn: FloatArray
    features_nd: FloatArray
    chosen: tuple[tuple[int, int], ...]
    rng: np.random.Generator


Strategy = Callable[[PoolView], FloatArray]


def view_pool(
    mean_n: FloatArray,
    cov_nn: FloatArray,
    features_nd: FloatArray,
    chosen: tuple[tuple[int, int], ...],
    rng: np.random.Generator,
) -> PoolView:
    """A view with its pair moments computed."""
    mu_nn, var_nn = pair_moments(mean_n, cov_nn)
    return PoolView(mean_n, cov_nn, mu_nn, np.sqrt(var_nn), features_nd, chosen, rng)


def score_info_gain(view: PoolView) -> FloatArray:
    """Expected KL divergence from prior to posterior, in nats."""
    return info_gain(view.mu_nn, view.sd_nn)


def score_diversity(view: PoolView) -> FloatArray:
    """D-optimal gain log(1 + ω̄ v): the drop in log det Σ that one label is expected to bring."""
    fisher_nn = expected_fisher(view.mu_nn, view.sd_nn)
    return np.log1p(fisher_nn * view.sd_nn**2)


def score_uncertainty(view: PoolView) -> FloatArray:
    """-|μ|: pairs whose preference is closest to a coin flip."""
    return -np.abs(view.mu_nn)


def score_random(view: PoolView) -> FloatArray:
    """Uniform noise: every open pair is equally likely."""
    return view.rng.random(view.mu_nn.shape)


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "diversity": score_diversity,
        "info_gain": score_info_gain,
        "random": score_random,
        "uncertainty": score_uncertainty,
    }
)


def strategy_named(name: str) -> Strategy:
    """The strategy that a campaign names.

    Raises:
        Fatal: No strategy has this name.
    """
    if name not in STRATEGIES:
        raise Fatal(f"Strategy {name!r} is unknown: choose one of {', '.join(STRATEGIES)}.")
    return STRATEGIES[name]
