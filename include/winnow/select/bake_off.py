"""The bake-off: what each strategy's picks would have taught, told from exploration votes alone.

Exploration pairs stand in for pairs that a strategy would have picked, weighted by the chance that
it picks them over the chance that they were drawn. Measured are, in nats,

    information   the KL divergence of the pair's reward difference, from before its vote to after;
    taught        how much that one vote makes the log-loss of the *other* exploration votes fall.

Always holds: a vote is never judged by a vote on its own prompt; the order of votes does not
matter; `random` is a uniform draw.

Shapes: m distinct responses, e packed pairs, v votes, s strategies, q basis columns.

Source: docs/choosing_pairs.md, "The bake-off".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import log_expit

from winnow.arrays import BoolArray, FloatArray, gaussian_nodes
from winnow.reward.calibration import label_losses
from winnow.reward.posterior import Head
from winnow.select.gains import preference_by_mixture
from winnow.select.packing import packed_place
from winnow.select.pool import Pool
from winnow.select.rules import Rules
from winnow.select.state import EVERY, PoolState
from winnow.select.strategies import STRATEGIES

BEST_SHARE = 0.1
"""Share of a pool's pairs that a strategy picks from: few enough to be its choice, and enough that
a tenth of the exploration votes speak of it."""

UNIFORM = "random"
"""The strategy that all others are held against."""

COMPARED = tuple(sorted(set(STRATEGIES) - {"traditional"}))
"""Strategies of the bake-off. `traditional` draws uniformly too, so it is `random` here."""

_NODES, _WEIGHTS = gaussian_nodes(121)

_MOST_AT_ONCE = 2_000_000
"""Pairs of votes whose losses are held at one time."""


@dataclass(frozen=True, slots=True, eq=False)
class Explored:
    """A vote on a pair that the exploration arm drew, with what was believed before it.

    Attributes:
        head: Name of the head that the vote speaks to.
        mu: Mean of the reward difference, logits.
        var: Its variance, what features cannot tell included, squared logits.
        basis_q: Difference of the two responses' basis rows, by which votes inform each other.
        weight_s: π_s / p of the pair, for each of `COMPARED`.
        preferred: 1 when the first response was preferred, 0 the second, 1/2 for a tie.
    """

    prompt_id: str
    head: str
    mu: float
    var: float
    basis_q: FloatArray
    weight_s: FloatArray
    preferred: float = 0.5

    def voted(self, preferred: float, n_votes: int = 1) -> Explored:
        """The pair with one of its `n_votes` votes, which share its weight."""
        return replace(self, preferred=preferred, weight_s=self.weight_s / n_votes)


@dataclass(frozen=True, slots=True, eq=False)
class Worth:
    """What each vote was worth, in nats.

    Attributes:
        information_v: KL divergence.
        taught_v: Fall of the log-loss of the other votes, a vote.
        judged_vs: What each vote adds as a judge of the others: part of Σ w Y of `taught` that is
            owed to it and not to chance alone; sums to 0 over votes.
    """

    information_v: FloatArray
    taught_v: FloatArray
    judged_vs: FloatArray


def picks(state: PoolState, open_e: BoolArray) -> FloatArray:
    """π (s, e): the chance that each of `COMPARED` picks a pair, at random among its best tenth.

    Pairs of equal score share their places, so that no order decides. Rows sum to 1 where a pair
    is open.
    """
    open_pairs = np.flatnonzero(open_e)
    chance_se = np.zeros((len(COMPARED), len(open_e)))
    if not len(open_pairs):
        return chance_se
    n_best = max(1, round(BEST_SHARE * len(open_pairs)))
    for s, name in enumerate(COMPARED):
        if name == UNIFORM:
            chance_se[s, open_pairs] = 1.0 / len(open_pairs)
            continue
        score_o = np.asarray(STRATEGIES[name].score(state, EVERY))[open_pairs]
        last = np.partition(score_o, -n_best)[-n_best]
        above_o, level_o = score_o > last, score_o == last
        share_o = above_o + level_o * ((n_best - above_o.sum()) / level_o.sum())
        chance_se[s, open_pairs] = share_o / n_best
    return chance_se


def explored_pairs(
    pool: Pool,
    heads: Mapping[str, Head],
    rules: Rules,
    drawn: Mapping[tuple[str, str], float],
) -> dict[tuple[str, str], Explored]:
    """What was believed of the pairs drawn from a pool, and what each strategy thought of them.

    A pair that is not open in the pool as it is given is left out: it was not drawn from it.

    Args:
        pool: As it was chosen from.
        heads: The one head that its labels teach, by dimension.
        rules: Those of the night; the strategy does not matter.
        drawn: Propensity of each drawn pair, above 0, by its response ids, the smaller one first.
    """
    ((name, head),) = heads.items()
    state = PoolState(pool, heads, rules, with_policy=True)
    open_e = pool.open_pairs(state.order_m)
    chance_se = picks(state, open_e)
    m = len(state.order_m)
    place = {pool.response_ids[row]: k for k, row in enumerate(state.order_m.tolist())}
    basis_mq = head.basis(state.features_md)
    explored = {}
    for (first, second), propensity in drawn.items():
        i, j = place.get(first, m), place.get(second, m)
        packed = packed_place(i, j, m)
        if not i < j < m or not open_e[packed]:
            continue
        explored[first, second] = Explored(
            prompt_id=pool.prompt_id,
            head=name,
            mu=float(state.mu_ke[0, packed]),
            var=float(state.var_ke[0, packed]),
            basis_q=basis_mq[i] - basis_mq[j],
            weight_s=chance_se[:, packed] / propensity,
        )
    return explored


def worth(votes: Sequence[Explored], heads: Mapping[str, Head]) -> Worth:
    """What each vote taught, held against the other votes of the same head."""
    n = len(votes)
    every = Worth(np.zeros(n), np.zeros(n), np.zeros((n, len(COMPARED))))
    for name in sorted({vote.head for vote in votes}):
        own = np.array([k for k, vote in enumerate(votes) if vote.head == name], dtype=np.intp)
        part = _worth_of_head([votes[k] for k in own.tolist()], heads[name].cov_qq)
        every.information_v[own] = part.information_v
        every.taught_v[own] = part.taught_v
        every.judged_vs[own] = part.judged_vs
    return every


def after_vote(
    mu_v: FloatArray, var_v: FloatArray, preferred_v: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean and variance of x ~ N(μ, v) after a vote, and the KL divergence from before it, nats.

    The vote's likelihood is σ(x)^y σ(-x)^(1 - y): a tie is half a vote for either side.
    """
    sd_v = np.sqrt(np.maximum(var_v, 0.0))
    x_vu = mu_v[:, None] + sd_v[:, None] * _NODES
    y_vu = preferred_v[:, None]
    log_vu = y_vu * log_expit(x_vu) + (1.0 - y_vu) * log_expit(-x_vu)
    top_v = log_vu.max(axis=1)
    mass_vu = np.exp(log_vu - top_v[:, None]) * _WEIGHTS
    total_v = mass_vu.sum(axis=1)
    mass_vu /= total_v[:, None]
    mean_v = (mass_vu * x_vu).sum(axis=1)
    after_v = (mass_vu * (x_vu - mean_v[:, None]) ** 2).sum(axis=1)
    kl_v = (mass_vu * log_vu).sum(axis=1) - (np.log(total_v) + top_v)
    return mean_v, after_v, np.maximum(kl_v, 0.0)


def _worth_of_head(votes: Sequence[Explored], cov_qq: FloatArray) -> Worth:
    n, uniform = len(votes), COMPARED.index(UNIFORM)
    mu_v, var_v = np.array([vote.mu for vote in votes]), np.array([vote.var for vote in votes])
    y_v = np.array([vote.preferred for vote in votes])
    weight_vs = np.stack([vote.weight_s for vote in votes])
    prompt_v = np.unique([vote.prompt_id for vote in votes], return_inverse=True)[1]
    basis_vq = np.stack([vote.basis_q for vote in votes])
    scaled_vq = basis_vq @ cov_qq
    mean_v, after_v, information_v = after_vote(mu_v, var_v, y_v)
    before_v = _losses(mu_v, var_v, y_v)
    judge_v = weight_vs[:, uniform]
    others_v = judge_v.sum() - np.bincount(prompt_v, weights=judge_v)[prompt_v]
    taught_v, judged_vs = np.zeros(n), np.zeros((n, weight_vs.shape[1]))
    for rows in np.array_split(np.arange(n), max(1, n * n // _MOST_AT_ONCE + 1)):
        slope_rv = scaled_vq[rows] @ basis_vq.T
        slope_rv /= np.maximum(var_v[rows], np.finfo(np.float64).tiny)[:, None]
        mu_rv = mu_v + slope_rv * (mean_v - mu_v)[rows, None]
        var_rv = var_v + slope_rv**2 * (after_v - var_v)[rows, None]
        fall_rv = before_v - _losses(mu_rv, var_rv, y_v)
        fall_rv *= np.where(prompt_v[rows, None] == prompt_v, 0.0, judge_v)
        fall_rv /= np.where(others_v[rows] > 0.0, others_v[rows], 1.0)[:, None]
        taught_v[rows] = fall_rv.sum(axis=1)
        judged_vs += fall_rv.T @ weight_vs[rows]
    share_v = judge_v / judge_v.sum()
    judged_vs -= share_v[:, None] * (weight_vs.T @ taught_v)
    return Worth(information_v, taught_v, judged_vs)


def _losses(mu: FloatArray, var: FloatArray, preferred: FloatArray) -> FloatArray:
    p = preference_by_mixture(mu, np.sqrt(np.maximum(var, 0.0)))
    return label_losses(p, np.broadcast_to(preferred, p.shape))
