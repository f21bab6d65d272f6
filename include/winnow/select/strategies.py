"""What makes one pair better than another: functions from what is believed to a score per pair.

A strategy's `score` takes the state of a pool and which of its packed pairs are meant, and gives
each a number, higher is better; -inf: never. It is asked again after each pick, because the
variances have shrunk by then; but where scores can only fall, or are a weighted sum of the two
gains (`weights`), only the pairs that could win are scored again. A new strategy is a few lines
here and a name in `STRATEGIES`.

With several dimensions, gains are sums over them, and uncertainty and delta speak of the mean of
the rewards.

Shapes: e packed pairs, k dimensions, s draws, m responses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from winnow.arrays import FloatArray
from winnow.errors import Fatal
from winnow.select.contest import Weights
from winnow.select.state import PoolState, Rows

HYBRID_ALPHA = 0.1
"""Weight of the information gain once there are labels; without any it is 1."""


@dataclass(frozen=True, slots=True)
class Strategy:
    """How to score pairs.

    Attributes:
        score: Score of the asked pairs.
        falls: Whether scores only fall as variances shrink, so that an old one is a bound.
        with_policy: Whether `score` reads the decision gain.
        weights: How the score is made of the two gains; None: of something else.
    """

    score: Callable[[PoolState, Rows], FloatArray]
    falls: bool = False
    with_policy: bool = False
    weights: Callable[[PoolState], Weights] | None = None


def score_info_gain(state: PoolState, rows: Rows) -> FloatArray:
    """Expected KL divergence from prior to posterior, in nats: the information of one vote."""
    return state.info_gain(rows)


def score_decision_gain(state: PoolState, rows: Rows) -> FloatArray:
    """Expected fall of the variance that matters to the policy."""
    return state.decision_gain(rows)


def score_hybrid(state: PoolState, rows: Rows) -> FloatArray:
    """Both gains, each over its largest in the pool, 0.9 to 0.1; without labels info_gain's alone.

    [(1 - α) PV / max PV + α EIG / max EIG] (1 - likeness) / cost
    """
    weights = weigh_hybrid(state)
    score_e = weights.decision * state.decision_gain(rows)
    score_e += weights.info * state.info_gain(rows)
    score_e *= weights.factor_e[rows]
    return score_e


def weigh_hybrid(state: PoolState) -> Weights:
    """(1 - α) / max PV, α / max EIG and (1 - likeness) / cost."""
    alpha = state.rules.alpha
    if alpha is None:
        alpha = HYBRID_ALPHA if state.n_labels else 1.0
    factor_e = 1.0 / state.cost_e
    if state.rules.spread and state.picked:
        # A cosine may be rounded to more than 1, and a factor below 0 would bound nothing.
        factor_e *= np.maximum(1.0 - state.likeness(), 0.0)
    return Weights(
        (1.0 - alpha) / (state.decision_ceiling or 1.0),
        alpha / (state.info_ceiling or 1.0),
        factor_e,
    )


def score_diversity(state: PoolState, rows: Rows) -> FloatArray:
    """D-optimal gain log(1 + ω̄ v): the drop in log det Σ that one label is expected to bring."""
    return np.asarray(np.log1p(state.fisher(rows) * state.var_ke[:, rows]).sum(axis=0))


def score_uncertainty(state: PoolState, rows: Rows) -> FloatArray:
    """-|μ|: pairs whose preference is closest to a coin flip."""
    return np.asarray(-np.abs(state.mu_ke[:, rows].mean(axis=0)))


def score_delta(state: PoolState, rows: Rows) -> FloatArray:
    """|μ| + s: the best response with optimism against the worst with pessimism.

    The largest difference still plausible; its spread is the pair's own, not two error bars.
    """
    var_e = np.maximum(state.var_ke[:, rows], 0.0).sum(axis=0)
    spread_e = np.sqrt(var_e) / len(state.mu_ke)
    return np.asarray(np.abs(state.mu_ke[:, rows].mean(axis=0)) + spread_e)


def score_dts(state: PoolState, rows: Rows) -> FloatArray:
    """Double Thompson sampling: the best responses of two joint draws (Wu and Liu, 2016).

    Among all pairs r_i + r'_j is largest for the best response of draw r with that of draw r';
    where these are one response, the second draw is made again.
    """
    draws_sm, n_draws = state.draws_sm, len(state.draws_sm)
    best_s = draws_sm.argmax(axis=1)
    one = 2 * len(state.picked) % n_draws
    others = (one + 1 + np.arange(n_draws - 1)) % n_draws
    differing = others[best_s[others] != best_s[one]]
    other = differing[0] if len(differing) else others[0]
    first_e, second_e = state.first_e[rows], state.second_e[rows]
    r_m, other_m = draws_sm[one], draws_sm[other]
    return np.asarray(
        np.maximum(r_m[first_e] + other_m[second_e], r_m[second_e] + other_m[first_e])
    )


def score_random(state: PoolState, rows: Rows) -> FloatArray:
    """Uniform noise: every open pair is equally likely."""
    return state.noise_e[rows]


def score_traditional(state: PoolState, rows: Rows) -> FloatArray:
    """Uniform noise for the pairs among a few responses drawn at random; no other pair."""
    drawn_m = np.zeros(len(state.order_m), dtype=np.bool_)
    drawn_m[state.few_m] = True
    drawn_e = drawn_m[state.first_e[rows]] & drawn_m[state.second_e[rows]]
    return np.where(drawn_e, state.noise_e[rows], -np.inf)


STRATEGIES: Mapping[str, Strategy] = MappingProxyType(
    {
        "decision_gain": Strategy(
            score_decision_gain,
            with_policy=True,
            weights=lambda _: Weights(decision=1.0, info=0.0),
        ),
        "delta": Strategy(score_delta, falls=True),
        "diversity": Strategy(score_diversity, falls=True),
        "dts": Strategy(score_dts),
        "hybrid": Strategy(score_hybrid, with_policy=True, weights=weigh_hybrid),
        "info_gain": Strategy(
            score_info_gain,
            weights=lambda _: Weights(decision=0.0, info=1.0),
        ),
        "random": Strategy(score_random, falls=True),
        "traditional": Strategy(score_traditional, falls=True),
        "uncertainty": Strategy(score_uncertainty, falls=True),
    }
)


def strategy_named(name: str, strategies: Mapping[str, Strategy] = STRATEGIES) -> Strategy:
    """The strategy that a campaign, or whoever brings strategies of their own, names.

    Raises:
        Fatal: No strategy has this name.
    """
    if name not in strategies:
        raise Fatal(f"Strategy {name!r} is unknown: choose one of {', '.join(strategies)}.")
    return strategies[name]
