"""What is known about rewards: a Gaussian belief that answers for a whole pool at once.

Every head answers through one interface, `Head`: the rewards of n responses are N(m, B V Bᵀ), where
the rows of the basis B (n, q) belong to the responses and V (q, q) is what labels shrink. For
`Posterior`, whose reward is wᵀφ with w ~ N(ŵ, Σ), B holds the features and V = Σ. Answers are joint
over a pool, never an error bar per response.

Always holds: a head never changes (an update gives a new one), variance never rises by
`observe_pairs`, and equal contents have an equal `version` on any machine.

Shapes: n responses, d features, q basis columns, s draws, e pairs.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

import numpy as np

from winnow.arrays import FloatArray
from winnow.errors import Fatal
from winnow.reward.blocks import Blocks, prior_mean, prior_precision


class Head(ABC):
    """A Gaussian belief over the rewards of one dimension, linear in a basis.

    Attributes:
        kind: Name of the class in a stored model.
        n_labels: Labels that it has seen.
        temperature: What its logits have been divided by since the fit.
        cov_qq: Covariance of the basis weights, in squared logits; positive definite.
    """

    __slots__ = ()

    kind: ClassVar[str]

    if TYPE_CHECKING:  # Fields of the two heads: as properties here they would be defaults there.

        @property
        def n_labels(self) -> int: ...
        @property
        def temperature(self) -> float: ...
        @property
        def cov_qq(self) -> FloatArray: ...

    @abstractmethod
    def mean(self, features_nd: FloatArray) -> FloatArray:
        """Expected rewards (n,), in logits."""

    @abstractmethod
    def basis(self, features_nd: FloatArray) -> FloatArray:
        """Rows B (n, q) with B V Bᵀ = `cov`; a difference of two rows serves their pair."""

    @abstractmethod
    def with_cov(self, cov_qq: FloatArray) -> Self:
        """The same belief with another covariance of its basis weights."""

    @abstractmethod
    def arrays(self) -> dict[str, FloatArray]:
        """The contents by name: what is stored and what `version` covers."""

    @abstractmethod
    def _divided(self, temperature: float) -> dict[str, Any]:
        """The fields that differ where every logit is divided by `temperature`."""

    def cov(self, features_nd: FloatArray) -> FloatArray:
        """Joint covariance of the rewards (n, n)."""
        basis_nq = self.basis(features_nd)
        return basis_nq @ self.cov_qq @ basis_nq.T

    def sample(self, features_nd: FloatArray, n_draws: int, rng: np.random.Generator) -> FloatArray:
        """Joint draws of the rewards (s, n), by drawing the basis weights."""
        noise_sq = rng.standard_normal((n_draws, len(self.cov_qq)))
        weights_sq = noise_sq @ np.linalg.cholesky(self.cov_qq).T
        return self.mean(features_nd) + weights_sq @ self.basis(features_nd).T

    def at_temperature(self, temperature: float) -> Self:
        """The belief with every logit divided by `temperature`.

        Raises:
            Fatal: The temperature is not above 0 and finite.
        """
        if not 0.0 < temperature < np.inf:
            raise Fatal(
                f"Temperature {temperature}: it must be above 0 and finite; 1 changes nothing."
            )
        divided = self._divided(temperature)
        head: Self = replace(cast(Any, self), **divided, temperature=self.temperature * temperature)
        return head

    @property
    def version(self) -> str:
        """SHA-256 of the contents, 64 hexadecimal digits."""
        return content_digest(*(array for _, array in sorted(self.arrays().items())))


H = TypeVar("H", bound=Head)


@dataclass(frozen=True, slots=True, eq=False)
class Posterior(Head):
    """Weights of the reward, with the effects of side and length kept apart from it.

    Attributes:
        precision_d: λ of each weight in the prior behind it; one number stands for all.
        side: Fitted advantage of the response shown first, in logits; no part of the reward.
        length: Fitted advantage per unit of length difference, in logits; no part of the reward.
    """

    kind: ClassVar[str] = "posterior"

    mean_d: FloatArray
    cov_dd: FloatArray
    precision_d: FloatArray
    n_labels: int = 0
    side: float = 0.0
    length: float = 0.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        precision_d = np.broadcast_to(np.asarray(self.precision_d, np.float64), self.mean_d.shape)
        object.__setattr__(self, "precision_d", precision_d)

    @property
    def cov_qq(self) -> FloatArray:
        """Σ: the basis weights are the weights of the features."""
        return self.cov_dd

    def mean(self, features_nd: FloatArray) -> FloatArray:
        return features_nd @ self.mean_d

    def basis(self, features_nd: FloatArray) -> FloatArray:
        return features_nd

    def with_cov(self, cov_qq: FloatArray) -> Posterior:
        return replace(self, cov_dd=cov_qq)

    def _divided(self, temperature: float) -> dict[str, Any]:
        return {
            "mean_d": self.mean_d / temperature,
            "cov_dd": self.cov_dd / temperature**2,
            "precision_d": self.precision_d * temperature**2,
            "side": self.side / temperature,
            "length": self.length / temperature,
        }

    def arrays(self) -> dict[str, FloatArray]:
        scalars = np.array([self.n_labels, self.side, self.length, self.temperature])
        arrays = {"cov": self.cov_dd, "mean": self.mean_d, "scalars": scalars}
        return {**arrays, "precision": self.precision_d}

    @classmethod
    def from_arrays(cls, stored: Mapping[str, FloatArray]) -> Posterior:
        """Read what `arrays` gave.

        Raises:
            KeyError, ValueError: An array is missing or not what it should be.
        """
        *first, n_labels, side, length, temperature = stored["scalars"].tolist()
        # Until 0.3 one λ for all features was stored, before the other numbers.
        precision_d = np.full(len(stored["mean"]), first[0]) if first else stored["precision"]
        beside = int(n_labels), side, length, temperature
        return cls(stored["mean"], stored["cov"], precision_d, *beside)


def prior(d: int, prior_precision: float) -> Posterior:
    """What is known before any label: weights around 0 with variance 1/λ each."""
    return Posterior(np.zeros(d), np.eye(d) / prior_precision, np.full(d, prior_precision))


def prior_of(blocks: Blocks, precision: float | None = None) -> Posterior:
    """What is known of standardised features before any label, with λ of each weight if given."""
    mean_d = prior_mean(blocks)
    precision_d = prior_precision(blocks) if precision is None else np.full(len(mean_d), precision)
    return Posterior(mean_d, np.diag(1.0 / precision_d), precision_d)


def observe_pairs(head: H, basis_eq: FloatArray, fisher_e: FloatArray) -> H:
    """The head expected after labels for pairs that are chosen but not labelled yet.

    The mean stays, since an unknown label moves it either way; the covariance V shrinks by each
    pair's expected Fisher information ω̄ (`fisher_e`), as if by one rank-one update a pair with the
    difference z of its two basis rows (`basis_eq`):

        V' = (V⁻¹ + Σ_e ω̄_e z_e z_eᵀ)⁻¹ = L (I + (ZL)ᵀ diag(ω̄) ZL)⁻¹ Lᵀ,   V = L Lᵀ.

    The right side is a square, so V' stays symmetric and positive definite however many follow.
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


def content_digest(*arrays: FloatArray) -> str:
    """SHA-256 over the shapes and the little-endian float64 bytes of `arrays`."""
    state = hashlib.sha256()
    for array in arrays:
        state.update(repr(array.shape).encode())
        state.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return state.hexdigest()


def with_prefix(arrays: Mapping[str, FloatArray], prefix: str) -> dict[str, FloatArray]:
    """Arrays whose name starts with `prefix`, by the rest of it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
