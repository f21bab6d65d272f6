"""The rules by which others choose a pair, for rows of the label bench.

They run on Winnow's posterior, features, exploration share and cold start, so that only the rule
differs, and are written from the papers' descriptions. A paper's rule picks one pair of a prompt,
once. What is ours in them:
    - they pick again and again, never a pair twice, fresh responses first as the campaign's rules
      ask (over 6 seeds that raised the win rate of all ten on the mixed pool, and of half of them
      on the other); after a pick the posterior shrinks as if the label had come, as it does for
      our own rules, and chance is drawn anew;
    - where a paper has an error bar for each response, r ± βσ is the posterior's mean and the
      diagonal of its joint covariance, of rewards centred within the pool (β = 1, the default of
      ActiveUltraFeedback's code);
    - where a rule names a first response and then a second, the second is the best whose pair with
      the first is still open; a first response without such a pair makes way for the next best;
    - a pair is never a response with itself: chance that names one response twice is drawn again,
      and after `REDRAWS` times the second best is taken; ties go by response ids.

Papers:
    ActiveUltraFeedback  Melikidze et al. (2026), arXiv:2603.09692
    maxminlcb            Pásztor, Kassraie and Krause (2024), arXiv:2406.16745
    rucb                 Zoghi, Whiteson, Munos and de Rijke (2013), arXiv:1312.3393
    SEA                  Liu, Chen, Du, Lee and Lin (2024), arXiv:2411.01493 (the library is OAT)
    VACDB                Di et al. (2023), arXiv:2310.00968

Shapes: m distinct responses in order of their ids, e packed pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np

from winnow.arrays import BoolArray, FloatArray
from winnow.ids import seed_from
from winnow.reward.logistic import sigmoid
from winnow.select import PoolState, Strategy
from winnow.select.state import Rows

BETA = 1.0
"""Standard deviations from a mean to its bounds."""

REDRAWS = 30
_JITTER = 1e-9


@dataclass(frozen=True, eq=False)
class View:
    """What a rule sees of a pool after the picks so far.

    Attributes:
        mean_m: Expected rewards, centred, logits.
        cov_mm: Their joint covariance, squared logits.
        var_mm: Variance of each reward difference.
        playing_m: Responses that may still be paired: neither blocked nor in their most pairs,
            nor in any where fresh ones come first.
        rng: Chance of this pick alone.
    """

    mean_m: FloatArray
    cov_mm: FloatArray
    var_mm: FloatArray
    playing_m: BoolArray
    rng: np.random.Generator

    @property
    def reach_m(self) -> FloatArray:
        """βσ of each response."""
        return np.asarray(BETA * np.sqrt(np.maximum(self.cov_mm.diagonal(), 0.0)))

    def gap_mm(self) -> FloatArray:
        """How far apart the bounds of the chance P(i ≻ j) lie: σ(uᵢ − lⱼ) − σ(lᵢ − uⱼ)."""
        mu_mm = np.subtract.outer(self.mean_m, self.mean_m)
        reach_mm = np.add.outer(self.reach_m, self.reach_m)
        return np.asarray(sigmoid(mu_mm + reach_mm) - sigmoid(mu_mm - reach_mm))

    def uniform_draw(self) -> FloatArray:
        """ActiveUltraFeedback's draw: r + βzσ, z uniform in [−1, 1] for each response alone."""
        return self.mean_m + self.rng.uniform(-1.0, 1.0, len(self.mean_m)) * self.reach_m

    def joint_draw(self) -> FloatArray:
        """A draw of all rewards together."""
        noise_m = self.rng.standard_normal(len(self.mean_m))
        return np.asarray(self.mean_m + self._root_mm @ noise_m)

    @cached_property
    def _root_mm(self) -> FloatArray:
        # Centred rewards add up to 0, so that their covariance is singular.
        jitter = _JITTER * max(float(np.trace(self.cov_mm)), _JITTER)
        return np.asarray(
            np.linalg.cholesky(self.cov_mm + jitter * np.eye(len(self.cov_mm))), np.float64
        )

    def best(self, value_m: FloatArray) -> int:
        """The response in play of the highest value."""
        return int(np.where(self.playing_m, value_m, -np.inf).argmax())

    def two_draws(
        self, one: Callable[[], FloatArray], other: Callable[[], FloatArray]
    ) -> tuple[FloatArray, FloatArray]:
        """A draw of each, the second made again while both have the same best response."""
        first_m, second_m = one(), other()
        for _ in range(REDRAWS):
            if self.best(second_m) != self.best(first_m):
                break
            second_m = other()
        return first_m, second_m


def view_of(state: PoolState) -> View:
    """The view of a pool with one reward.

    Rewards centred within the pool have C = −½ J V J, with V the variances of differences and
    J = I − 11ᵀ/m.
    """
    m, picked = len(state.order_m), state.picked
    mu_mm, var_mm = np.zeros((2, m, m))
    mu_mm[state.first_e, state.second_e] = state.mu_ke[0]
    mu_mm -= mu_mm.T
    var_mm[state.first_e, state.second_e] = np.maximum(state.var_ke[0], 0.0)
    var_mm += var_mm.T
    mean_var_m = var_mm.mean(axis=1)
    cov_mm = 0.5 * (np.add.outer(mean_var_m, mean_var_m) - var_mm - mean_var_m.mean())
    ends = np.concatenate([state.first_e[picked], state.second_e[picked]])
    uses_m = np.bincount(ends, minlength=m)
    if state.pool.blocked is not None:
        uses_m[np.asarray(state.pool.blocked)[state.order_m]] = 2 * m
    cap = state.rules.max_pairs_per_response or m
    if state.rules.fresh_first and np.count_nonzero(uses_m == 0) > 1:
        cap = 1
    seed = seed_from("peer", state.rules.seed, state.pool.prompt_id, len(picked))
    return View(mu_mm.mean(axis=1), cov_mm, var_mm, uses_m < cap, np.random.default_rng(seed))


def infomax(view: View) -> FloatArray:
    """Argmax σ(uᵢ − lⱼ) − σ(lᵢ − uⱼ): the chance whose bounds lie farthest apart."""
    return view.gap_mm()


def infogain(view: View) -> FloatArray:
    """I = argmax r + βzσ, then j = argmax σ(uᵢ − lⱼ) − σ(lᵢ − uⱼ)."""
    return _first_then(view.uniform_draw(), view.gap_mm())


def dts(view: View) -> FloatArray:
    """I = argmax r + βzσ, j = argmax r + βz'σ: double Thompson sampling."""
    return _first_then(*view.two_draws(view.uniform_draw, view.uniform_draw))


def drts(view: View) -> FloatArray:
    """I = argmax r + βzσ, j = argmax −r + βz'σ: double reverse Thompson sampling."""
    return _first_then(*view.two_draws(view.uniform_draw, lambda: -view.uniform_draw()))


def deltaucb(view: View) -> FloatArray:
    """Argmax uᵢ − lⱼ: the largest difference that is plausible."""
    return np.add.outer(view.mean_m + view.reach_m, view.reach_m - view.mean_m)


def maxminlcb(view: View) -> FloatArray:
    """I = argmaxᵢ minⱼ Lᵢⱼ, j = argminⱼ Lᵢⱼ with Lᵢⱼ = rᵢ − rⱼ − β(σᵢ + σⱼ).

    j is among the responses that may be the best while one is left, which makes i one of them.
    """
    lower_mm = np.subtract.outer(view.mean_m - view.reach_m, view.mean_m + view.reach_m)
    beyond = 1.0 + float(np.ptp(lower_mm))
    may_win_m = _may_win(view)
    rival_mm = may_win_m & ~np.eye(len(may_win_m), dtype=np.bool_)
    worst_m = np.where(rival_mm, lower_mm, lower_mm.max()).min(axis=1)
    return _first_then(worst_m, -lower_mm - beyond * ~may_win_m)


def rucb(view: View) -> FloatArray:
    """I drawn uniformly from the responses that may be the best, j = argmax u."""
    luck_m = view.rng.random(len(view.mean_m))
    return _first_then(luck_m + _may_win(view), view.mean_m + view.reach_m)


def ee_ts(view: View) -> FloatArray:
    """I and j the best responses of two joint draws of the posterior."""
    return _first_then(*view.two_draws(view.joint_draw, view.joint_draw))


def bai_ts(view: View) -> FloatArray:
    """I the best response of a joint draw, j = argmax Var(rᵢ − rⱼ)."""
    return _first_then(view.joint_draw(), view.var_mm)


def ucb_duel(view: View) -> FloatArray:
    """Argmax rᵢ + rⱼ + β sd(rᵢ − rⱼ): two good responses whose order is open."""
    return np.asarray(np.add.outer(view.mean_m, view.mean_m) + BETA * np.sqrt(view.var_mm))


def _may_win(view: View) -> BoolArray:
    """Responses in play that no other in play beats for certain: uᵢ ≥ lⱼ for every j."""
    lower_m = np.where(view.playing_m, view.mean_m - view.reach_m, -np.inf)
    return np.asarray(view.playing_m & (view.mean_m + view.reach_m >= lower_m.max()))


def _first_then(first_m: FloatArray, second: FloatArray) -> FloatArray:
    """Scores (m, m) that order pairs by their first response, and then by their second.

    `second` is (m,), or (m, m) where it depends on the first.
    """
    place_m = np.empty(len(first_m))
    place_m[np.argsort(-first_m, kind="stable")] = np.arange(len(first_m))[::-1]
    span = float(np.ptp(second)) or 1.0
    return np.asarray(place_m[:, None] + 0.5 * (second - second.min()) / span)


def _strategy(rule: Callable[[View], FloatArray]) -> Strategy:
    """A rule as `winnow.select` runs it: the better order of each pair."""

    def score(state: PoolState, rows: Rows) -> FloatArray:
        if len(state.order_m) < 2:
            return np.zeros(len(state.first_e))
        score_mm = rule(view_of(state))
        both_mm = np.maximum(score_mm, score_mm.T)
        return np.asarray(both_mm[state.first_e[rows], state.second_e[rows]])

    return Strategy(score)


RULES: Mapping[str, Callable[[View], FloatArray]] = MappingProxyType(
    {
        **{
            f"{rule.__name__} (ActiveUltraFeedback)": rule
            for rule in (deltaucb, drts, dts, infogain, infomax, maxminlcb, rucb)
        },
        "bai-ts (SEA)": bai_ts,
        "ee-ts (SEA)": ee_ts,
        "ucb duel (VACDB)": ucb_duel,
    }
)

PEERS: Mapping[str, Strategy] = MappingProxyType(
    {name: _strategy(rule) for name, rule in RULES.items()}
)
"""No strategies of the product: no campaign can name them."""
