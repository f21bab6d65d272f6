"""A log-linear policy trained on preferences, and what it does at a given distance from uniform.

The policy draws response i of a pool with chance π(i|x) ∝ exp(θᵀφ_i); its reference is uniform. A
loss sees the scores s = βθᵀφ of what was labelled. For DPO they are all there is: the partition and
the uniform reference cancel in β log(π(i)/π(j)), so β only sets how far the policy goes, and
policies are compared at one mean KL to uniform, whatever β was. The two other losses are read
likewise: KTO where β is large (its partition and its KL term vanish against βθᵀφ), the listwise one
over the labelled responses of a prompt, where the partition cancels too.

Each loss is a sum over what was labelled plus ½λ‖θ‖², λ by cross-validation over prompts: without
it DPO's θ grows without bound on pairs that can be told apart.

Sources: Rafailov et al. (2023), "Direct preference optimization", arXiv 2305.18290; Ethayarajh et
al. (2024), "KTO: model alignment as prospect theoretic optimization", arXiv 2402.01306; Cao et al.
(2007), "Learning to rank: from pairwise approach to listwise approach" (ListNet's top-one loss).

Shapes: m labelled responses of all prompts, e pairs, d features; p pools padded to n responses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import xlogy

from winnow.arrays import BoolArray, FloatArray, IndexArray
from winnow.reward.logistic import sigmoid
from winnow_bench.world import JudgedPool

RIDGES = tuple(float(10.0**power) for power in np.arange(3.5, -0.75, -0.25))
"""λ that cross-validation may choose, the largest first."""

N_FOLDS = 5
MANY_PAIRS = 50_000
"""From here on two folds are enough, and five would take most of the bench's time."""

LABEL_LOG_ODDS = float(np.log(4.0))
"""What one label says of its pair to the listwise loss: 0.8 sure, as the product has it before
agreement was measured."""

_MAX_STEPS = 500
_FARTHEST = 1e6
"""Largest scale of the scores, in their standard deviations, at which a KL is looked for."""


@dataclass(frozen=True, slots=True, eq=False)
class Preferences:
    """Published pairs: rows of `features_md`, and the prompt of each row."""

    features_md: FloatArray
    prompt_m: IndexArray
    winner_e: IndexArray
    loser_e: IndexArray

    @property
    def n_prompts(self) -> int:
        """Prompts that have a pair; `prompt_m` counts them from 0."""
        return int(self.prompt_m[-1]) + 1 if len(self.prompt_m) else 0

    def of(self, chosen_p: BoolArray) -> Preferences:
        """Those of the chosen prompts."""
        kept_m, kept_e = chosen_p[self.prompt_m], chosen_p[self.prompt_m[self.winner_e]]
        row_m = np.cumsum(kept_m) - 1
        return Preferences(
            self.features_md[kept_m],
            np.unique(self.prompt_m[kept_m], return_inverse=True)[1],
            row_m[self.winner_e[kept_e]],
            row_m[self.loser_e[kept_e]],
        )

    def in_units(self, unit_d: FloatArray) -> Preferences:
        """With each feature in units of its own: a large one is held down less by the ridge."""
        return replace(self, features_md=self.features_md * unit_d)

    def count(self, rows_e: IndexArray, value_e: FloatArray | None = None) -> FloatArray:
        """Sums (m,) of a value a pair over the responses that it names."""
        return np.bincount(rows_e, value_e, len(self.prompt_m)).astype(np.float64)


def preferences(pools: Sequence[tuple[JudgedPool, IndexArray, IndexArray]]) -> Preferences:
    """Of each pool with the indices of its pairs' winners and losers."""
    features: list[FloatArray] = []
    prompts: list[IndexArray] = []
    winners, losers, start = [], [], 0
    for pool, winner_e, loser_e in pools:
        if not len(winner_e):
            continue
        seen_m, place = np.unique(np.concatenate([winner_e, loser_e]), return_inverse=True)
        features.append(pool.features_nd[seen_m] - pool.features_nd.mean(axis=0))
        prompts.append(np.full(len(seen_m), len(prompts)))
        winners.append(start + place[: len(winner_e)])
        losers.append(start + place[len(winner_e) :])
        start += len(seen_m)
    if not features:
        width = pools[0][0].features_nd.shape[1] if pools else 0
        none = np.empty(0, dtype=np.intp)
        return Preferences(np.empty((0, width)), none, none, none)
    return Preferences(
        np.vstack(features),
        np.concatenate(prompts),
        np.concatenate(winners),
        np.concatenate(losers),
    )


Loss = Callable[[FloatArray], tuple[float, FloatArray]]
"""Value and gradient (m,) at scores (m,)."""


def dpo(data: Preferences) -> Loss:
    """−ln σ(s_chosen − s_rejected), a pair."""

    def loss(score_m: FloatArray) -> tuple[float, FloatArray]:
        margin_e = score_m[data.winner_e] - score_m[data.loser_e]
        slope_e = -sigmoid(-margin_e)
        gradient_m = data.count(data.winner_e, slope_e) - data.count(data.loser_e, slope_e)
        return float(np.logaddexp(0.0, -margin_e).sum()), gradient_m

    return loss


def kto(data: Preferences) -> Loss:
    """1 − σ(s) of a response that won more pairs than it lost, 1 − σ(−s) of one that lost more.

    As the view `kto` has it: each response once, those that won as often as they lost left out.
    """
    sign_m = np.sign(data.count(data.winner_e) - data.count(data.loser_e))

    def loss(score_m: FloatArray) -> tuple[float, FloatArray]:
        wrong_m = sigmoid(-sign_m * score_m)
        counts_m = sign_m != 0
        return float(wrong_m[counts_m].sum()), -sign_m * wrong_m * (1.0 - wrong_m)

    return loss


def listwise(data: Preferences) -> Loss:
    """Cross-entropy of a prompt's softmax of the labels' mean log-odds and that of the scores."""
    lead_m = data.count(data.winner_e) - data.count(data.loser_e)
    pairs_m = data.count(data.winner_e) + data.count(data.loser_e)
    target_m = _softmax_by(data.prompt_m, LABEL_LOG_ODDS * lead_m / np.maximum(pairs_m, 1.0))

    def loss(score_m: FloatArray) -> tuple[float, FloatArray]:
        chance_m = _softmax_by(data.prompt_m, score_m)
        value = -float(xlogy(target_m, np.maximum(chance_m, 1e-300)).sum())
        return value, chance_m - target_m

    return loss


LOSSES: Mapping[str, Callable[[Preferences], Loss]] = {
    "dpo": dpo,
    "kto": kto,
    "listwise": listwise,
}


def train(
    data: Preferences, make_loss: Callable[[Preferences], Loss], rng: np.random.Generator
) -> FloatArray:
    """θ (d,) with the ridge that predicts prompts which were left out best; 0 without a pair."""
    if not len(data.winner_e):
        return np.zeros(data.features_md.shape[1])
    n_folds = min(N_FOLDS if len(data.winner_e) < MANY_PAIRS else 2, data.n_prompts)
    fold_p = rng.permutation(data.n_prompts) % n_folds
    left_out = np.zeros(len(RIDGES))
    for fold in range(n_folds if n_folds > 1 else 0):
        held = data.of(fold_p == fold)
        held_loss = make_loss(held)
        for k, theta_d in enumerate(_path(data.of(fold_p != fold), make_loss, RIDGES)):
            left_out[k] += held_loss(held.features_md @ theta_d)[0]
    return _path(data, make_loss, [RIDGES[int(left_out.argmin())]])[0]


def _path(
    data: Preferences, make_loss: Callable[[Preferences], Loss], ridges: Sequence[float]
) -> list[FloatArray]:
    """θ at each ridge, each searched from the one before.

    L-BFGS in coordinates where the loss has about the same curvature in all directions.
    """
    loss, features_md = make_loss(data), data.features_md
    square_d, axes_dd = np.linalg.eigh(features_md.T @ features_md)
    turned_md = features_md @ axes_dd
    turned_d, found = np.zeros(len(square_d)), []
    per_row = len(data.winner_e) / max(len(features_md), 1)
    for ridge in ridges:
        unit_d = 1.0 / np.sqrt(0.25 * per_row * np.maximum(square_d, 0.0) + ridge)

        def objective(x_d: FloatArray, unit_d: FloatArray, ridge: float) -> tuple[float, Any]:
            theta_d = unit_d * x_d
            value, gradient_m = loss(turned_md @ theta_d)
            gradient_d = turned_md.T @ gradient_m + ridge * theta_d
            return value + 0.5 * ridge * float(theta_d @ theta_d), unit_d * gradient_d

        solved = minimize(
            objective,
            turned_d / unit_d,
            args=(unit_d, ridge),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_STEPS, "ftol": 1e-10, "gtol": 1e-6},
        )
        turned_d = unit_d * solved.x
        found.append(axes_dd @ turned_d)
    return found


def _softmax_by(group_m: IndexArray, x_m: FloatArray) -> FloatArray:
    """Softmax within each group; groups are numbered from 0, each in one stretch."""
    starts = np.flatnonzero(np.diff(group_m, prepend=-1))
    weight_m = np.exp(x_m - np.maximum.reduceat(x_m, starts)[group_m])
    return np.asarray(weight_m / np.add.reduceat(weight_m, starts)[group_m])


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """Pools on which policies are judged, without ignored responses, padded to one size."""

    features_pnd: FloatArray
    p_win_pn: FloatArray
    quality_pn: FloatArray
    length_pn: FloatArray
    there_pn: BoolArray

    @classmethod
    def of(cls, pools: Sequence[JudgedPool]) -> Field:
        """The responses that count of each pool."""
        n = max(int((~pool.ignored_n).sum()) for pool in pools)

        def padded(values: Sequence[FloatArray]) -> FloatArray:
            out = np.zeros((len(values), n, *values[0].shape[1:]))
            for row, value in zip(out, values, strict=True):
                row[: len(value)] = value
            return out

        opened = [(pool, ~pool.ignored_n) for pool in pools]
        return cls(
            padded([pool.features_nd[is_open] for pool, is_open in opened]),
            padded([pool.p_win_n[is_open] for pool, is_open in opened]),
            padded([pool.quality_n[is_open] for pool, is_open in opened]),
            padded([pool.length_n[is_open] for pool, is_open in opened]),
            np.arange(n) < np.array([[int(is_open.sum())] for _, is_open in opened]),
        )

    def at_kl(self, score_pn: FloatArray, kl: float) -> FloatArray | None:
        """The policy (p, n) ∝ exp(t·score) whose mean KL to uniform is `kl` nats, t > 0.

        None where no t reaches it: all scores of too many pools are alike.
        """
        spread = float(score_pn[self.there_pn].std())
        if not spread > 0.0:
            return None
        low, high = np.log(1e-6 / spread), np.log(_FARTHEST / spread)

        def beyond(log_t: float) -> float:
            return self.kl_to_uniform(self.policy(np.exp(log_t) * score_pn)) - kl

        if beyond(high) < 0.0:
            return None
        return self.policy(np.exp(brentq(beyond, low, high, xtol=1e-9)) * score_pn)

    def policy(self, score_pn: FloatArray) -> FloatArray:
        """Softmax of each pool's scores."""
        masked_pn = np.where(self.there_pn, score_pn, -np.inf)
        weight_pn = np.exp(masked_pn - masked_pn.max(axis=1, keepdims=True))
        return np.asarray(weight_pn / weight_pn.sum(axis=1, keepdims=True))

    def kl_to_uniform(self, chance_pn: FloatArray) -> float:
        """Mean over pools of KL(π ‖ uniform), in nats."""
        entropy_p = -xlogy(chance_pn, chance_pn).sum(axis=1)
        return float((np.log(self.there_pn.sum(axis=1)) - entropy_p).mean())
