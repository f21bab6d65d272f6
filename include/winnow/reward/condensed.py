"""Votes in a few numbers: what is kept of those that a fit no longer reads one by one.

The loss of votes is a sum over them, so that some of it can be replaced by the quadratic that
touches it at θ̂, the effects of a fit that still read these votes:

    -ln P(votes | θ) ≈ ½ θᵀHθ - hᵀθ + const,   H = Σ ω x xᵀ,   h = Hθ̂ - Σ m (p - y) x,

with x = [z, side, length] of a vote, m how far it was meant, p = σ(xᵀθ̂) and ω = m p(1 - p). No
prior is in it: λ is set anew by the evidence of all. Sums of condensed votes are condensed votes,
and a vote is either in the sum or among the labels of a fit, so that none counts twice or never.
What is lost is how the loss bends between θ̂ and later fits; with thousands of votes behind θ̂ they
lie close together.

The numbers belong to the features' own coordinates: whoever changes the projection has to condense
the votes anew.

Sources: Smola, Vishwanathan and Eskin (2003), "Laplace propagation"; Opper and Winther (1998), "A
Bayesian approach to on-line learning".

Shapes: e labels, d features, k = d + 2 effects, g values of ε (`winnow.reward.annotators`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from winnow.arrays import FloatArray
from winnow.reward.logistic import N_NUISANCE, NUISANCE_PRECISION, Labels, Quadratic


@dataclass(frozen=True, slots=True, eq=False)
class Condensed:
    """Votes as a fit remembers them.

    Attributes:
        loss: What they say of the effects.
        squares_d: Sum of the squared differences of each feature.
        n_labels: How many votes.
        guesses: What they say of each annotator's ε, log-likelihoods (g,).
    """

    loss: Quadratic
    squares_d: FloatArray
    n_labels: int
    guesses: Mapping[str, FloatArray]

    def plus(self, more: Condensed) -> Condensed:
        """These votes and more."""
        guesses = dict(self.guesses)
        for name, log_g in more.guesses.items():
            guesses[name] = guesses[name] + log_g if name in guesses else log_g
        return Condensed(
            Quadratic(
                self.loss.hessian_kk + more.loss.hessian_kk, self.loss.linear_k + more.loss.linear_k
            ),
            self.squares_d + more.squares_d,
            self.n_labels + more.n_labels,
            guesses,
        )

    def weights(self, precision_d: FloatArray, mean_d: FloatArray) -> FloatArray:
        """The most probable weights (d,) by these votes alone, under a prior of the weights."""
        hessian_dd, linear_d = self.of_weights()
        total_dd = hessian_dd + np.diag(precision_d)
        return np.asarray(np.linalg.solve(total_dd, linear_d + precision_d * mean_d))

    def of_weights(self) -> tuple[FloatArray, FloatArray]:
        """H (d, d) and h (d,) of the weights, whatever side and length may be."""
        hessian_kk, linear_k, d = self.loss.hessian_kk, self.loss.linear_k, len(self.squares_d)
        beside_nn = hessian_kk[d:, d:] + NUISANCE_PRECISION * np.eye(N_NUISANCE)
        explained_dn = np.linalg.solve(beside_nn, hessian_kk[d:, :d]).T
        hessian_dd = hessian_kk[:d, :d] - explained_dn @ hessian_kk[d:, :d]
        return 0.5 * (hessian_dd + hessian_dd.T), linear_k[:d] - explained_dn @ linear_k[d:]

    def arrays(self) -> dict[str, FloatArray]:
        """The numbers by name; `guesses` are rows in the order of their sorted names."""
        rows = [self.guesses[name] for name in sorted(self.guesses)]
        return {
            "hessian": self.loss.hessian_kk,
            "linear": self.loss.linear_k,
            "squares": self.squares_d,
            "n_labels": np.array([self.n_labels], np.float64),
            "guesses": np.array(rows) if rows else np.zeros((0, 0)),
        }

    @classmethod
    def from_arrays(cls, stored: Mapping[str, FloatArray], names: list[str]) -> Condensed:
        """Read what `arrays` gave, with the sorted names of the annotators."""
        return cls(
            Quadratic(stored["hessian"], stored["linear"]),
            stored["squares"],
            int(stored["n_labels"][0]),
            dict(zip(names, stored["guesses"], strict=True)),
        )


def condensed(labels: Labels, theta_k: FloatArray, guesses: Mapping[str, FloatArray]) -> Condensed:
    """Labels as they look from the effects `theta_k` of a fit that read them."""
    gradient_k, hessian_kk = labels.slopes(labels.effects_ek @ theta_k)
    return Condensed(
        Quadratic(hessian_kk, hessian_kk @ theta_k - gradient_k),
        (labels.effects_ek[:, :-N_NUISANCE] ** 2).sum(axis=0),
        len(labels.weight_e),
        guesses,
    )
