"""What one head believes about the rewards of one pool, and how a chosen pair shrinks it.

The rewards are N(r, C) with C = R Rᵀ + τ² I and R = B L, where B are the head's basis rows and L Lᵀ
its covariance. τ is what features cannot tell: two responses with one vector may still differ. The
policy's draws leave it out, for they stand for what all prompts share. Choosing a pair (i, j)
shrinks C as if its label had arrived,

    C ← C - k c cᵀ,   c = C (e_i - e_j),   k = ω̄ / (1 + ω̄ v),

which takes k (c_a - c_b)² off the variance v of any pair (a, b), and, with u = C A c and
w = 2k u - k² (cᵀ A c) c, takes (c_a - c_b)(w_a - w_b) off its form (e_a - e_b)ᵀ C A C (e_a - e_b).
C is kept as its first value less TᵀT, where T has one row √k c for each chosen pair, so that a
choice costs O(m²) whatever d is.

Shapes: m responses, d features, q basis columns, s draws, p chosen pairs, e pairs.

Source: ALGORITHM.md, sections 2 and 3.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from winnow.ids import content_id
from winnow.reward.posterior import Head
from winnow.select.packing import packed_differences

if TYPE_CHECKING:
    from winnow.select.rules import Rules

FloatArray = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class Belief:
    """Rewards of a pool in one dimension.

    Attributes:
        mean_m: Expected rewards r, logits.
        root_mq: R, a root of the covariance before any choice.
        noise_sq: Standard normal draws, the same for every pool of a shard.
        cov_mm: C before any choice.
        taught_pm: T, what the choices took off C.
    """

    mean_m: FloatArray
    root_mq: FloatArray
    noise_sq: FloatArray
    cov_mm: FloatArray
    taught_pm: FloatArray

    @property
    def draws_sm(self) -> FloatArray:
        """Joint draws of the rewards before any choice."""
        return self.mean_m + self.noise_sq @ self.root_mq.T

    def shrink(
        self,
        pair: tuple[int, int],
        fisher: float,
        var_e: FloatArray,
        impact_e: FloatArray | None,
        policy_mm: FloatArray | None,
    ) -> None:
        """Take off C, and in place off `var_e` and `impact_e`, what a label of `pair` would.

        Args:
            pair: Positions of the two responses.
            fisher: ω̄ of the label.
            var_e: Variance of every pair of the pool, squared logits.
            impact_e: The form C A C of every pair, where the policy matters.
            policy_mm: A, where the policy matters.
        """
        i, j = pair
        c_m = self.cov_mm[i] - self.cov_mm[j]
        if len(self.taught_pm):
            c_m -= (self.taught_pm[:, i] - self.taught_pm[:, j]) @ self.taught_pm
        share = fisher / (1.0 + fisher * max(float(c_m[i] - c_m[j]), 0.0))
        c_e = packed_differences(c_m)
        if impact_e is not None and policy_mm is not None:
            fall_e = packed_differences(self._impact_fall(c_m, share, policy_mm))
            fall_e *= c_e
            impact_e -= fall_e
        c_e *= c_e
        c_e *= share
        var_e -= c_e
        self.taught_pm = np.concatenate([self.taught_pm, np.sqrt(share) * c_m[None]])

    def _impact_fall(self, c_m: FloatArray, share: float, policy_mm: FloatArray) -> FloatArray:
        """W of the module's formula."""
        curved_m = policy_mm @ c_m
        w_m: FloatArray = self.cov_mm @ curved_m
        if len(self.taught_pm):
            w_m -= (self.taught_pm @ curved_m) @ self.taught_pm
        w_m *= 2.0 * share
        w_m -= (share**2 * float(c_m @ curved_m)) * c_m
        return w_m


def believe(head: Head, dimension: str, features_md: FloatArray, rules: Rules) -> Belief:
    """What `head` believes about responses with centred features `features_md`."""
    # A head never changes, so that it is its own key; all pools of a shard share the root.
    root_qq, noise_sq = _root_and_noise(cast(Hashable, head), dimension, rules.n_draws, rules.seed)
    root_mq = head.basis(features_md) @ root_qq
    nothing_pm = np.empty((0, len(features_md)))
    cov_mm = root_mq @ root_mq.T
    cov_mm.ravel()[:: len(cov_mm) + 1] += rules.residual_sd**2
    return Belief(head.mean(features_md), root_mq, noise_sq, cov_mm, nothing_pm)


def policy_covariance(draws_sm: FloatArray, kappa: float) -> FloatArray:
    """A (m, m) = mean_s [diag π_s - π_s π_sᵀ] of the policies π_s = softmax(κ r_s)."""
    policy_sm = kappa * (draws_sm - draws_sm.max(axis=1, keepdims=True, initial=-np.inf))
    np.exp(policy_sm, out=policy_sm)
    policy_sm /= policy_sm.sum(axis=1, keepdims=True)
    cov_mm: FloatArray = policy_sm.T @ policy_sm
    cov_mm *= -1.0 / len(policy_sm)
    cov_mm.ravel()[:: len(cov_mm) + 1] += policy_sm.mean(axis=0)
    return cov_mm


@lru_cache(maxsize=16)
def _root_and_noise(
    key: Hashable, dimension: str, n_draws: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """A root L (q, q) of the basis covariance, and standard normal draws (s, q)."""
    cov_qq = cast(Head, key).cov_qq
    try:
        root_qq: FloatArray = np.linalg.cholesky(cov_qq).astype(np.float64)
    except np.linalg.LinAlgError:  # Some direction of the basis is known for certain.
        value_q, vector_qq = np.linalg.eigh(cov_qq)
        root_qq = vector_qq * np.sqrt(np.maximum(value_q, 0.0))
    rng = np.random.default_rng(int(content_id("draws", seed, dimension), 16))
    return root_qq, rng.standard_normal((n_draws, len(cov_qq)))
