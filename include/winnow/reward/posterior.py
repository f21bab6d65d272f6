"""What is known about rewards: a Gaussian belief that answers for a whole pool at once.

Every head of the reward model answers through one interface, `Head`: the rewards of n responses
are N(m, B V Bᵀ), where the rows of the basis B (n, q) belong to the responses and the covariance
V (q, q) is what labels shrink. For `Posterior`, whose reward is wᵀφ with w ~ N(ŵ, Σ), B holds the
features and V = Σ. Answers are joint over a pool, never an error bar per response: responses to
one prompt share most of their uncertainty, and only the uncertainty of a *difference* says what a
comparison would teach.

Always holds: a head never changes (an update gives a new one), variance never rises by
`observe_pairs`, and equal contents have an equal `version` on any machine.

Shapes: n responses, d features, q basis columns, s draws, e pairs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from winnow.errors import Fatal

FloatArray = NDArray[np.float64]


class Head(Protocol):
    """A Gaussian belief over the rewards of one dimension, linear in a basis.

    Attributes:
        kind: Name of the class in a stored model.
    """

    kind: ClassVar[str]

    @property
    def n_labels(self) -> int:
        """Labels that it has seen."""

    @property
    def temperature(self) -> float:
        """What its logits have been divided by since the fit."""

    @property
    def cov_qq(self) -> FloatArray:
        """Covariance of the basis weights, in squared logits; positive definite."""

    @property
    def version(self) -> str:
        """SHA-256 of the contents, 64 hexadecimal digits."""

    def mean(self, features_nd: FloatArray) -> FloatArray:
        """Expected rewards (n,), in logits."""

    def basis(self, features_nd: FloatArray) -> FloatArray:
        """Rows B (n, q) with B V Bᵀ = `cov`; a difference of two rows serves their pair."""

    def cov(self, features_nd: FloatArray) -> FloatArray:
        """Joint covariance of the rewards (n, n)."""

    def sample(self, features_nd: FloatArray, n_draws: int, rng: np.random.Generator) -> FloatArray:
        """Joint draws of the rewards (s, n)."""

    def with_cov(self, cov_qq: FloatArray) -> Self:
        """The same belief with another covariance of its basis weights."""

    def at_temperature(self, temperature: float) -> Self:
        """The belief with every logit divided by `temperature`, above 0."""

    def arrays(self) -> dict[str, FloatArray]:
        """The contents by name: what is stored and what `version` covers."""


H = TypeVar("H", bound=Head)


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Weights of the reward, with the effects of side and length kept apart from it.

    Attributes:
        prior_precision: λ of the prior N(0, I/λ) behind it.
        n_labels: Labels that it has seen.
        side: Fitted advantage of the response shown first, in logits; no part of the reward.
        length: Fitted advantage per unit of length difference, in logits; no part of the reward.
        temperature: What the logits have been divided by since the fit.
    """

    kind: ClassVar[str] = "posterior"

    mean_d: FloatArray
    cov_dd: FloatArray
    prior_precision: float
    n_labels: int = 0
    side: float = 0.0
    length: float = 0.0
    temperature: float = 1.0

    @property
    def cov_qq(self) -> FloatArray:
        """Σ: the basis weights are the weights of the features."""
        return self.cov_dd

    def mean(self, features_nd: FloatArray) -> FloatArray:
        """Expected rewards (n,)."""
        return features_nd @ self.mean_d

    def basis(self, features_nd: FloatArray) -> FloatArray:
        """The features themselves (n, d)."""
        return features_nd

    def cov(self, features_nd: FloatArray) -> FloatArray:
        """Joint covariance of the rewards (n, n)."""
        return features_nd @ self.cov_dd @ features_nd.T

    def sample(self, features_nd: FloatArray, n_draws: int, rng: np.random.Generator) -> FloatArray:
        """Joint draws of the rewards (s, n)."""
        return sample_rewards(self, features_nd, n_draws, rng)

    def with_cov(self, cov_qq: FloatArray) -> Posterior:
        """The same mean with covariance `cov_qq` (d, d) of the weights."""
        return replace(self, cov_dd=cov_qq)

    def at_temperature(self, temperature: float) -> Posterior:
        """ŵ/T and Σ/T², with the effects of side and length and the prior to match.

        Raises:
            Fatal: The temperature is not above 0 and finite.
        """
        check_temperature(temperature)
        return replace(
            self,
            mean_d=self.mean_d / temperature,
            cov_dd=self.cov_dd / temperature**2,
            prior_precision=self.prior_precision * temperature**2,
            side=self.side / temperature,
            length=self.length / temperature,
            temperature=self.temperature * temperature,
        )

    def arrays(self) -> dict[str, FloatArray]:
        """The contents by name: what is stored and what `version` covers."""
        scalars = [self.prior_precision, self.n_labels, self.side, self.length, self.temperature]
        return {"cov": self.cov_dd, "mean": self.mean_d, "scalars": np.array(scalars)}

    @classmethod
    def from_arrays(cls, stored: Mapping[str, FloatArray]) -> Posterior:
        """Read what `arrays` gave.

        Raises:
            KeyError, ValueError: An array is missing or not what it should be.
        """
        prior_precision, n_labels, side, length, temperature = stored["scalars"].tolist()
        return cls(
            mean_d=stored["mean"],
            cov_dd=stored["cov"],
            prior_precision=prior_precision,
            n_labels=int(n_labels),
            side=side,
            length=length,
            temperature=temperature,
        )

    @property
    def version(self) -> str:
        """SHA-256 of the contents, 64 hexadecimal digits."""
        return contents_version(self)


def prior(d: int, prior_precision: float) -> Posterior:
    """What is known before any label: weights around 0 with variance 1/λ each."""
    return Posterior(np.zeros(d), np.eye(d) / prior_precision, prior_precision)


def sample_rewards(
    head: Head, features_nd: FloatArray, n_draws: int, rng: np.random.Generator
) -> FloatArray:
    """Joint draws (s, n) of any head's rewards, by drawing its basis weights."""
    noise_sq = rng.standard_normal((n_draws, len(head.cov_qq)))
    weights_sq = noise_sq @ np.linalg.cholesky(head.cov_qq).T
    return head.mean(features_nd) + weights_sq @ head.basis(features_nd).T


def observe_pairs(head: H, basis_eq: FloatArray, fisher_e: FloatArray) -> H:
    """The head expected after labels for pairs that are chosen but not labelled yet.

    The mean stays, since an unknown label moves it either way; the covariance V shrinks by each
    pair's expected Fisher information ω̄ = E[σ'(μ + su)], as if by one rank-one update a pair:

        V' = (V⁻¹ + Σ_e ω̄_e z_e z_eᵀ)⁻¹ = L (I + (ZL)ᵀ diag(ω̄) ZL)⁻¹ Lᵀ,   V = L Lᵀ.

    The right side is a square, so V' stays symmetric and positive definite however many follow.

    Args:
        head: What is believed before the labels.
        basis_eq: The difference of the two basis rows of each pair.
        fisher_e: ω̄ of each pair, at least 0.
    """
    if not len(fisher_e):
        return head
    root_qq = np.linalg.cholesky(head.cov_qq)
    scaled_eq = (basis_eq @ root_qq) * np.sqrt(fisher_e)[:, None]
    gain_qq = np.linalg.cholesky(np.eye(len(root_qq)) + scaled_eq.T @ scaled_eq)
    shrunk_qq = np.linalg.solve(gain_qq, root_qq.T)
    return head.with_cov(shrunk_qq.T @ shrunk_qq)


def shrink(cov: FloatArray, projected: FloatArray, variance: float, fisher: float) -> FloatArray:
    """One rank-one update, C - ω̄ c cᵀ / (1 + ω̄ v), with c = C z and v = zᵀ c.

    It serves basis weights (z a difference of basis rows) and rewards of a pool (z = e_i - e_j)
    alike.
    """
    return cov - np.outer(projected, (fisher / (1.0 + fisher * variance)) * projected)


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that no logit can be divided by.

    Raises:
        Fatal: It is not above 0 and finite.
    """
    if not 0.0 < temperature < np.inf:
        raise Fatal(f"Temperature {temperature}: it must be above 0 and finite; 1 changes nothing.")


def contents_version(head: Head) -> str:
    """SHA-256 of a head's arrays, 64 hexadecimal digits."""
    return content_digest(*(array for _, array in sorted(head.arrays().items())))


def content_digest(*arrays: FloatArray) -> str:
    """SHA-256 over the shapes and the little-endian float64 bytes of `arrays`."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(repr(array.shape).encode())
        state.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return state.hexdigest()
