"""What is believed about all pairs of one pool, kept up to date as pairs are chosen.

Per dimension k, a pair e = (i, j), i < j, has a mean μ_e, a variance v_e and, where a strategy asks
for it, an impact g_e: how much of the policy's variance tr(AC) its label can take away. With
several dimensions each joint draw is one reward Σ_k θ_k r_k, θ uniform on the simplex and weighted
where the rules say so, with the square of the weight on the dimension's A.

Always holds: μ, A and the draws never change; v never rises, and is at least 0 up to rounding.

Shapes: m distinct responses, k dimensions, e = m (m - 1) / 2 pairs in order of (i, j), s draws.

Source: docs/choosing_pairs.md, "The mathematics".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache

import numpy as np

from winnow.arrays import FloatArray, IndexArray
from winnow.errors import Fatal
from winnow.ids import content_id
from winnow.reward.posterior import Head
from winnow.reward.projection import centre
from winnow.select.belief import believe, policy_covariance
from winnow.select.contest import (
    NO_PAIRS,
    Ceilings,
    Moments,
    Weights,
    best_pair,
    inverse_fisher_floor,
)
from winnow.select.gains import (
    expected_fisher_of_variance,
    info_gain_of_variance,
    info_gain_table,
)
from winnow.select.labels import Prospects, label_prospects
from winnow.select.packing import add_shares, packed_differences, packed_forms, packed_pairs
from winnow.select.pool import Pool
from winnow.select.rules import Rules

Rows = IndexArray | slice
"""Which packed pairs a question is about."""

EVERY = slice(None)

_NOTHING = np.empty((0, 0))

_NEVER = -1e300
"""Reward of a blocked response in every draw: no policy plays it."""


class PoolState:
    """Means, variances and gains of every pair of one pool.

    Attributes:
        order_m: Index in the pool of each distinct response, in order of ids.
        features_md: Their centred features.
        dimensions: Names of the heads, in their order.
        first_e: Position of each pair's first response; `second_e` the later one of its second.
        mu_ke: Mean of each reward difference, logits.
        picked: Packed positions of the pairs chosen so far.
        n_labels: Labels that the heads have seen together.
    """

    def __init__(
        self, pool: Pool, heads: Mapping[str, Head], rules: Rules, with_policy: bool
    ) -> None:
        self.pool, self.rules = pool, rules
        self.order_m = pool.distinct()
        self.features_md = centre(pool.features_nd[self.order_m].astype(np.float64, copy=False))
        self.dimensions = tuple(heads)
        self._n_labels_k = [head.n_labels for head in heads.values()]
        self.n_labels = sum(self._n_labels_k)
        self.first_e, self.second_e = packed_pairs(len(self.order_m))
        self.picked: list[int] = []
        self._unlearnt: list[tuple[int, Sequence[float]]] = []
        self._n_likened = 0
        self._var_ke: FloatArray | None = None
        self._impact_ke: FloatArray | None = None
        self._beliefs = [
            believe(head, name, self.features_md, rules) for name, head in heads.items()
        ]
        self.mu_ke = _stacked([packed_differences(belief.mean_m) for belief in self._beliefs])
        self._with_policy = with_policy
        if with_policy:
            policy_mm = policy_covariance(self.draws_sm, rules.kappa)
            for belief, weight in zip(self._beliefs, self._weight_k, strict=True):
                belief.weigh(policy_mm if weight == 1.0 else weight**2 * policy_mm)

    @property
    def var_ke(self) -> FloatArray:
        """Variance v of each reward difference, squared logits."""
        self._learn()
        if self._var_ke is None:
            self._var_ke = _stacked([belief.var_e for belief in self._beliefs])
        return self._var_ke

    @property
    def impact_ke(self) -> FloatArray:
        """How much of tr(AC) each pair can take away: g, logits to the fourth power.

        Raises:
            Fatal: The state was made without the policy.
        """
        self._learn()
        if self._impact_ke is None:
            impacts = [b.impact_e for b in self._beliefs if b.impact_e is not None]
            if not impacts:
                raise Fatal("A strategy that reads the decision gain must be declared with_policy.")
            self._impact_ke = _stacked(impacts)
        return self._impact_ke

    def fisher(self, rows: Rows = EVERY) -> FloatArray:
        """ω̄ (k, rows)."""
        return expected_fisher_of_variance(self.mu_ke[:, rows], self.var_ke[:, rows])

    def info_gain(self, rows: Rows = EVERY) -> FloatArray:
        """Expected information (rows,), nats."""
        return _summed(info_gain_of_variance(self.mu_ke[:, rows], self.var_ke[:, rows]))

    def decision_gain(self, rows: Rows = EVERY) -> FloatArray:
        """Expected fall of tr(AC) (rows,), squared logits."""
        mu_ke, var_ke = self.mu_ke[:, rows], self.var_ke[:, rows]
        fisher_ke = expected_fisher_of_variance(mu_ke, var_ke)
        return _summed(fisher_ke * self.impact_ke[:, rows] / (1.0 + fisher_ke * var_ke))

    def decision_bound(self) -> FloatArray:
        """At least the decision gain of every pair (e,), at a fraction of its price."""
        bound_e = np.zeros(len(self.first_e))
        for part_e in zip(self.impact_ke, self.var_ke, *self._inverse_fisher_floor, strict=True):
            add_shares(bound_e, 1.0, *part_e)
        return bound_e

    @cached_property
    def _inverse_fisher_floor(self) -> tuple[FloatArray, FloatArray]:
        return inverse_fisher_floor(self.mu_ke, self.var_ke)

    @cached_property
    def info_ceiling_e(self) -> FloatArray:
        """At least the information gain (e,): as it was when first asked, or scored since."""
        return self.info_gain()

    @cached_property
    def info_ceiling(self) -> float:
        """The largest information gain when first asked."""
        return float(self.info_ceiling_e.max(initial=0.0))

    @cached_property
    def decision_ceiling(self) -> float:
        """The largest decision gain when first asked."""
        bound_e = self.decision_bound()
        near_largest = np.flatnonzero(bound_e >= bound_e.max(initial=0.0) * (1.0 - 1e-4))
        return float(self.decision_gain(near_largest).max(initial=0.0))

    @cached_property
    def _weight_k(self) -> list[float]:
        """What each dimension counts for; alike where none of them counts for anything."""
        weights = dict(self.rules.dimension_weights)
        weight_k = [weights.get(name, 1.0) for name in self.dimensions]
        return weight_k if any(weight_k) else [1.0] * len(weight_k)

    @cached_property
    def draws_sm(self) -> FloatArray:
        """Joint draws of the reward before any choice, one random mix of the dimensions each."""
        draws = [belief.draws_sm for belief in self._beliefs]
        mixed_sm = draws[0]
        if len(draws) > 1:
            mix_sk = _dimension_mix(tuple(self._weight_k), self.rules.n_draws, self.rules.seed)
            mixed_sm = np.einsum("sk,ksm->sm", mix_sk, np.stack(draws))
        if self.pool.blocked is not None:
            mixed_sm[:, np.asarray(self.pool.blocked)[self.order_m]] = _NEVER
        return mixed_sm

    @cached_property
    def rng(self) -> np.random.Generator:
        """Randomness of this pool alone."""
        seed = content_id("choose", self.rules.seed, self.pool.prompt_id)
        return np.random.default_rng(int(seed, 16))

    @cached_property
    def noise_e(self) -> FloatArray:
        """Uniform noise, one number per pair, for strategies that draw."""
        return self.rng.random(len(self.first_e))

    @cached_property
    def few_m(self) -> IndexArray:
        """Positions of the few responses, drawn at random, that `traditional` compares."""
        usable_m = np.arange(len(self.order_m))
        if self.pool.blocked is not None:
            usable_m = np.flatnonzero(~np.asarray(self.pool.blocked)[self.order_m])
        k = self.rules.traditional_k or max(2, self.rules.budget)
        return self.rng.permutation(usable_m)[:k]

    def likeness(self) -> FloatArray:
        """Largest |cosine| (e,) between each pair's feature difference and the chosen pairs'."""
        for pair in self.picked[self._n_likened :]:
            z_d = self.features_md[self.first_e[pair]] - self.features_md[self.second_e[pair]]
            cosine_e = np.abs(packed_differences(self.features_md @ z_d))
            cosine_e *= self._inverse_length_e
            cosine_e *= self._inverse_length_e[pair]
            np.maximum(self._likeness_e, cosine_e, out=self._likeness_e)
        self._n_likened = len(self.picked)
        return self._likeness_e

    @cached_property
    def _likeness_e(self) -> FloatArray:
        return np.zeros(len(self.first_e))

    @cached_property
    def _inverse_length_e(self) -> FloatArray:
        squares_e = packed_forms(self.features_md @ self.features_md.T)
        return np.asarray(1.0 / np.sqrt(np.maximum(squares_e, 1e-300)))

    @cached_property
    def cost_e(self) -> FloatArray:
        """Cost of each pair: a base, and the tokens to read.

        Raises:
            Fatal: Tokens have a cost, and the pool does not know its tokens.
        """
        per_token, n_tokens = self.rules.cost_per_token, self.pool.n_tokens
        base_e = np.full(len(self.first_e), self.rules.cost_base)
        if not per_token:
            return base_e
        if n_tokens is None:
            raise Fatal(
                f"Tokens cost {per_token} each and prompt {self.pool.prompt_id} has no n_tokens: "
                "give the pools their token counts, or set cost_per_token to 0."
            )
        tokens_m = np.asarray(n_tokens, dtype=np.float64)[self.order_m]
        return base_e + per_token * (tokens_m[self.first_e] + tokens_m[self.second_e])

    def prospects(self, pair: int) -> Prospects:
        """What the label of one pair is expected to say."""
        self._learn()
        i, j = self.ends(pair)
        moments = [belief.moments(pair, i, j) for belief in self._beliefs]
        mu_k, var_k, impact_k = zip(*moments, strict=True)
        return label_prospects(
            self.dimensions,
            mu_k,
            var_k,
            impact_k if self._with_policy else None,
            self.pool.asked,
            self._n_labels_k,
        )

    def best_pair(self, weights: Weights, penalty_e: FloatArray) -> tuple[int, float]:
        """The pair of the highest score, and the score; `penalty_e` as in `contest.best_pair`."""
        slope_ke = base_ke = impact_ke = _NOTHING
        if weights.decision:
            (slope_ke, base_ke), impact_ke = self._inverse_fisher_floor, self.impact_ke
        info_e = self.info_ceiling_e if weights.info else NO_PAIRS
        moments = Moments(self.mu_ke, self.var_ke, impact_ke)
        ceilings = Ceilings(slope_ke, base_ke, info_e)
        return best_pair(moments, ceilings, weights, penalty_e, info_gain_table())

    def take(self, pair: int, fishers: Sequence[float]) -> None:
        """Shrink every covariance as if labels of weight ω̄ had arrived for `pair`."""
        self.picked.append(pair)
        self._unlearnt.append((pair, fishers))

    def _learn(self) -> None:
        """Apply what was taken; put off until asked for, which after the last pick is never."""
        if not self._unlearnt:
            return
        for pair, fishers in self._unlearnt:
            i, j = self.ends(pair)
            for belief, fisher in zip(self._beliefs, fishers, strict=True):
                belief.shrink(i, j, fisher)
        self._unlearnt.clear()
        self._var_ke = self._impact_ke = None

    def ends(self, pair: int) -> tuple[int, int]:
        """Positions of a pair's two responses."""
        return self.first_e.item(pair), self.second_e.item(pair)


def _stacked(values: Sequence[FloatArray]) -> FloatArray:
    """Values (k, e) of every dimension; those of one alone need no copy."""
    return values[0][None] if len(values) == 1 else np.stack(values)


@lru_cache(maxsize=16)
def _dimension_mix(weight_k: tuple[float, ...], n_draws: int, seed: int) -> FloatArray:
    """Weights θ (s, k) of the dimensions in each draw: uniform on the simplex, times `weight_k`."""
    rng = np.random.default_rng(int(content_id("mix", seed), 16))
    mix_sk = rng.dirichlet(np.ones(len(weight_k)), n_draws)
    if set(weight_k) != {1.0}:
        mix_sk *= np.array(weight_k)
        mix_sk /= mix_sk.sum(axis=1, keepdims=True)
    return mix_sk


def _summed(value_ke: Sequence[FloatArray] | FloatArray) -> FloatArray:
    """Sum over dimensions (rows,); one alone needs no sum."""
    return np.asarray(value_ke[0] if len(value_ke) == 1 else np.sum(value_ke, axis=0))
