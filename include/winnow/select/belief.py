"""What one head believes about the rewards of one pool, and how a chosen pair shrinks it.

The rewards are N(r, C) with C = R Rᵀ + τ² I and R = B L, where B are the head's basis rows and L Lᵀ
its covariance. τ is what features cannot tell; the policy's draws leave it out, for they stand for
what all prompts share. Of C and of G = C A C, where A says what matters to the policy, only the
forms of differences are kept, v_ab and g_ab of e_a - e_b. Choosing a pair (i, j) shrinks C as if
its label had arrived, C ← C - k c cᵀ with c = C (e_i - e_j) and k = ω̄ / (1 + ω̄ v_ij). With h = G
(e_i - e_j) and w = 2k h - k² g_ij c this means

    v_ab ← v_ab - k (c_a - c_b)²,   g_ab ← g_ab - (c_a - c_b)(w_a - w_b).

Constants added to c or h change nothing, so that the forms themselves hold both:
c = (v_j - v_i) / 2 and h = (g_j - g_i) / 2, by columns. A choice costs O(m²) whatever d is.

Shapes: m responses, d features, q basis columns, s draws.

Source: docs/choosing_pairs.md, "decision_gain" and "A batch".
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np

from winnow.arrays import FloatArray
from winnow.ids import content_id
from winnow.reward.posterior import Head
from winnow.select.blas import times_lower
from winnow.select.packing import packed_forms, shrink_pairs
from winnow.select.rules import Rules

_NOTHING = np.empty(0)


@dataclass(slots=True, eq=False)
class Belief:
    """Rewards of a pool in one dimension.

    Attributes:
        mean_m: Expected rewards r, logits.
        root_mq: R, a root of the covariance before any choice.
        noise_sq: Standard normal draws, the same for every pool of a shard.
        cov_mm: C before any choice.
        var_e: v, squared logits, after the choices so far.
        impact_e: g, logits to the fourth power, after the choices so far; None: never asked for.
    """

    mean_m: FloatArray
    root_mq: FloatArray
    noise_sq: FloatArray
    cov_mm: FloatArray
    var_e: FloatArray
    impact_e: FloatArray | None = None

    @property
    def draws_sm(self) -> FloatArray:
        """Joint draws of the rewards before any choice."""
        draws_sm = self.noise_sq @ self.root_mq.T
        draws_sm += self.mean_m
        return draws_sm

    def weigh(self, policy_mm: FloatArray) -> None:
        """Work out g for the A of a policy, before any choice."""
        self.impact_e = packed_forms(self.cov_mm @ policy_mm @ self.cov_mm)

    def moments(self, pair: int, i: int, j: int) -> tuple[float, float, float]:
        """μ, v and g of the pair of i and j; g is 0 where it was never asked for."""
        mu = self.mean_m.item(i) - self.mean_m.item(j)
        impact = 0.0 if self.impact_e is None else self.impact_e.item(pair)
        return mu, self.var_e.item(pair), impact

    def shrink(self, i: int, j: int, fisher: float) -> None:
        """Take off v and g what a label of weight ω̄ for the responses at i and j would."""
        impact_e = _NOTHING if self.impact_e is None else self.impact_e
        shrink_pairs(self.var_e, impact_e, len(self.mean_m), i, j, fisher)


def believe(head: Head, dimension: str, features_md: FloatArray, rules: Rules) -> Belief:
    """What `head` believes about responses with centred features `features_md`."""
    # A head never changes, so that it is its own key; all pools of a shard share the root.
    root_qq, noise_sq = _root_and_noise(cast(Hashable, head), dimension, rules.n_draws, rules.seed)
    root_mq = times_lower(head.basis(features_md), root_qq)
    cov_mm = root_mq @ root_mq.T
    if rules.residual_sd:
        cov_mm.ravel()[:: len(cov_mm) + 1] += rules.residual_sd**2
    return Belief(head.mean(features_md), root_mq, noise_sq, cov_mm, packed_forms(cov_mm))


def policy_covariance(draws_sm: FloatArray, kappa: float) -> FloatArray:
    """A (m, m) = mean_s [diag π_s - π_s π_sᵀ] of the policies π_s = softmax(κ r_s)."""
    policy_sm = draws_sm - draws_sm.max(axis=1, keepdims=True, initial=-np.inf)
    policy_sm *= kappa
    np.exp(policy_sm, out=policy_sm)
    policy_sm /= policy_sm.sum(axis=1, keepdims=True)
    cov_mm: FloatArray = policy_sm.T @ policy_sm
    cov_mm *= -1.0 / len(policy_sm)
    cov_mm.ravel()[:: len(cov_mm) + 1] += policy_sm.mean(axis=0)
    return cov_mm


@lru_cache(maxsize=64)
def _root_and_noise(
    key: Hashable, dimension: str, n_draws: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Lower triangular root L (q, q) of the basis covariance, and standard normal draws (s, q)."""
    cov_qq = cast(Head, key).cov_qq
    try:
        root_qq: FloatArray = np.linalg.cholesky(cov_qq).astype(np.float64)
    except np.linalg.LinAlgError:  # Some direction of the basis is known for certain.
        value_q, vector_qq = np.linalg.eigh(cov_qq)
        scaled_qq = vector_qq * np.sqrt(np.maximum(value_q, 0.0))
        root_qq = np.linalg.qr(scaled_qq.T)[1].T
    rng = np.random.default_rng(int(content_id("draws", seed, dimension), 16))
    return root_qq, rng.standard_normal((n_draws, len(cov_qq)))
