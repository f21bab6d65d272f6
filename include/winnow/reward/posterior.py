"""What is known about rewards: a Gaussian over weights, answering for a whole pool at once.

The reward of a response is wᵀφ with w ~ N(ŵ, Σ). Answers are joint over a pool, never an error bar
per response: responses to one prompt share most of their uncertainty, and only the uncertainty of
a *difference* says what a comparison would teach.

Always holds: a posterior never changes (an update gives a new one), variance never rises by
`observe_pairs`, and equal contents have an equal `version` on any machine.

Shapes: n responses, d features, s draws, e pairs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Weights of the reward, with the effects of side and length kept apart from it.

    Attributes:
        prior_precision: λ of the prior N(0, I/λ) behind it.
        n_labels: Labels that it has seen.
        side: Fitted advantage of the response shown first, in logits; no part of the reward.
        length: Fitted advantage per unit of length difference, in logits; no part of the reward.
    """

    mean_d: FloatArray
    cov_dd: FloatArray
    prior_precision: float
    n_labels: int = 0
    side: float = 0.0
    length: float = 0.0

    def mean(self, features_nd: FloatArray) -> FloatArray:
        """Expected rewards (n,)."""
        return features_nd @ self.mean_d

    def cov(self, features_nd: FloatArray) -> FloatArray:
        """Joint covariance of the rewards (n, n)."""
        return features_nd @ self.cov_dd @ features_nd.T

    def sample(self, features_nd: FloatArray, n_draws: int, rng: np.random.Generator) -> FloatArray:
        """Joint draws of the rewards (s, n)."""
        noise_sd = rng.standard_normal((n_draws, len(self.mean_d)))
        weights_sd = self.mean_d + noise_sd @ np.linalg.cholesky(self.cov_dd).T
        return weights_sd @ features_nd.T

    @property
    def version(self) -> str:
        """SHA-256 of the contents, 64 hexadecimal digits."""
        scalars = [self.prior_precision, self.n_labels, self.side, self.length]
        return content_digest(self.mean_d, self.cov_dd, np.array(scalars))


def prior(d: int, prior_precision: float) -> Posterior:
    """What is known before any label: weights around 0 with variance 1/λ each."""
    return Posterior(np.zeros(d), np.eye(d) / prior_precision, prior_precision)


def observe_pairs(posterior: Posterior, z_ed: FloatArray, fisher_e: FloatArray) -> Posterior:
    """The posterior expected after labels for pairs that are chosen but not labelled yet.

    The mean stays, since an unknown label moves it either way; the covariance shrinks by each
    pair's expected Fisher information ω̄ = E[σ'(μ + su)].
    """
    cov_dd = posterior.cov_dd
    for z_d, fisher in zip(z_ed, fisher_e, strict=True):
        projected_d = cov_dd @ z_d
        cov_dd = shrink(cov_dd, projected_d, float(z_d @ projected_d), float(fisher))
    return replace(posterior, cov_dd=cov_dd)


def shrink(cov: FloatArray, projected: FloatArray, variance: float, fisher: float) -> FloatArray:
    """One rank-one update, C - ω̄ c cᵀ / (1 + ω̄ v), with c = C z and v = zᵀ c.

    It serves weights (z a difference of features) and rewards of a pool (z = e_i - e_j) alike.
    """
    return cov - np.outer(projected, (fisher / (1.0 + fisher * variance)) * projected)


def content_digest(*arrays: FloatArray) -> str:
    """SHA-256 over the shapes and the little-endian float64 bytes of `arrays`."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(repr(array.shape).encode())
        state.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return state.hexdigest()
