"""How far each annotator can be trusted, learnt together with the reward from their votes.

    P(i preferred to j) = (1 - 2ε_a) σ(wᵀz + b·side + γ·length) + ε_a

With chance 2ε_a annotator a does not look and tosses a coin. Whether a vote was such a guess is
latent, so the fit alternates: a vote's weight is the chance that it was meant (E), the reward is
fitted to the weighted votes and ε_a is the mean of its posterior given the votes of a (M). A vote
is judged by the reward fitted *without* it: a flexible reward agrees with every vote that it has
seen.

Always holds: the order of votes does not matter, and votes with ε = 1/2 change nothing.

Shapes: e votes, d features, a annotators, g values of ε.

Source: docs/choosing_pairs.md, "Annotators".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import BoolArray, FloatArray, IndexArray
from winnow.errors import Corrupt, Fatal
from winnow.reward.blocks import Blocks
from winnow.reward.condensed import Condensed, condensed
from winnow.reward.laplace import fit
from winnow.reward.logistic import checked_labels, preference_by_quadrature, sigmoid
from winnow.reward.posterior import Posterior

_SHARES = ((np.arange(50) + 0.5) / 50) ** 5
"""Values of the guessing share 2ε over which its posterior is integrated.

Their spacing is the factor share^-0.8 of the prior Beta(0.2, 1.8); `_PRIOR` holds the other."""

_PRIOR = (1.0 - _SHARES) ** 0.8

_PRIOR_EPSILON = 0.05
_MAX_ROUNDS = 10
_SETTLED = 1e-3
"""Change of every ε below which another fit cannot matter."""

_ROUNDS_OF_ONE = 3
"""How often a vote's weight and its left-out chance are worked out in turn, at a fixed reward."""

_NEVER_CERTAIN = 1e-12
_MOST_LEVERAGE = 0.99
"""Share of what is known about a pair that can have come from one vote for it."""


def fit_with_annotators(
    z_ed: ArrayLike,
    preferred_e: ArrayLike,
    weight_e: ArrayLike,
    side_e: ArrayLike,
    length_e: ArrayLike,
    annotator_e: Sequence[str],
    prior_precision: float | None = None,
    known_epsilon: Mapping[str, float] | None = None,
    blocks: Blocks | None = None,
    older: Condensed | None = None,
) -> tuple[Posterior, dict[str, float]]:
    """Posterior and ε of every annotator, after votes on pairs, given as in `winnow.reward.fit`.

    Args:
        z_ed: Feature differences φ_i - φ_j.
        preferred_e: 1, 0 or 0.5 for a tie.
        weight_e: Trust in each vote before its annotator is known; 0 leaves it out.
        side_e: +1 or -1.
        length_e: Difference of length.
        annotator_e: Who gave each vote.
        prior_precision: λ of every feature; chosen by evidence at every round when absent.
        known_epsilon: ε within [0, 1/2] of annotators whose ε is not to be fitted.
        blocks: The features' blocks; all are one when absent.
        older: Votes beside these, condensed; their annotators have an ε too.

    Raises:
        Corrupt: As `fit`, or the annotators are not as many as the votes.
        Fatal: A known ε is outside [0, 1/2].
    """
    z, y, weight, side, length = (
        np.asarray(values, dtype=np.float64)
        for values in (z_ed, preferred_e, weight_e, side_e, length_e)
    )
    held = older.guesses if older else {}
    votes = _Votes(y, weight, *_crew(annotator_e, len(z), known_epsilon or {}, held))
    epsilon_a, chance_e = votes.start_a, np.full(len(z), 0.5)
    for _ in range(_MAX_ROUNDS):
        meant_e, trusted_e = votes.meant(epsilon_a, chance_e)
        posterior = fit(z, meant_e, trusted_e, side, length, prior_precision, blocks, older)
        logit_e = z @ posterior.mean_d + posterior.side * side + posterior.length * length
        variance_e = np.einsum("ed,ed->e", z @ posterior.cov_dd, z)
        chance_e = _left_out_chance(logit_e, variance_e, meant_e, trusted_e)
        before_a, epsilon_a = epsilon_a, votes.errors(chance_e)
        if np.abs(epsilon_a - before_a).max(initial=0.0) < _SETTLED:
            break
    if has_parts(weight):
        n_votes = _n_votes(weight) + (older.n_labels if older else 0)
        posterior = replace(posterior, n_labels=n_votes)
    return posterior, dict(zip(votes.names, epsilon_a.tolist(), strict=True))


def has_parts(weight_e: FloatArray) -> bool:
    """Whether some are parts of a vote, as the pairs of a ranking are."""
    return bool(np.any(weight_e % 1.0))


def _n_votes(weight_e: FloatArray) -> int:
    """Votes of these weights, rounded."""
    return round(float(weight_e.sum()))


def condense(
    posterior: Posterior,
    epsilon: Mapping[str, float],
    z_ed: FloatArray,
    preferred_e: FloatArray,
    side_e: FloatArray,
    length_e: FloatArray,
    annotator_e: Sequence[str],
    weight_e: FloatArray | None = None,
) -> Condensed:
    """Some votes of a fit in a few numbers, by what `fit_with_annotators` made of all of its votes.

    How far each was meant, and what it says of its annotator at each ε, stays as that fit had it.
    Without `weight_e` each is a whole vote.
    """
    weight_e = np.ones(len(z_ed)) if weight_e is None else weight_e
    votes = _Votes(preferred_e, weight_e, *_crew(annotator_e, len(z_ed), epsilon, {}))
    logit_e = z_ed @ posterior.mean_d + posterior.side * side_e + posterior.length * length_e
    variance_e = np.einsum("ed,ed->e", z_ed @ posterior.cov_dd, z_ed)
    chance_e = sigmoid(logit_e)
    for _ in range(_ROUNDS_OF_ONE):
        meant_e, trusted_e = votes.meant(votes.start_a, chance_e)
        chance_e = _left_out_chance(logit_e, variance_e, meant_e, trusted_e)
    meant_e, trusted_e = votes.meant(votes.start_a, chance_e)
    labels = checked_labels(z_ed, meant_e, trusted_e, side_e, length_e)
    theta_k = np.append(posterior.mean_d, [posterior.side, posterior.length])
    guesses = dict(zip(votes.names, votes.log_likelihood_ga(chance_e).T, strict=True))
    made = condensed(labels, theta_k, guesses)
    return replace(made, n_labels=_n_votes(weight_e)) if has_parts(weight_e) else made


@dataclass(frozen=True, slots=True, eq=False)
class _Votes:
    """What was voted by whom; `known_a` marks the annotators whose ε stays at `start_a`.

    `held_ga` is what votes beside these say of ε, as `log_likelihood_ga` of these.
    """

    preferred_e: FloatArray
    weight_e: FloatArray
    names: list[str]
    annotator_e: IndexArray
    known_a: BoolArray
    start_a: FloatArray
    held_ga: FloatArray | float

    def meant(self, epsilon_a: FloatArray, chance_e: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The E step: preference and weight of each vote as far as it was meant.

        A tie is half a vote for either side, and the less likely half is trusted less.
        """
        epsilon_e = epsilon_a[self.annotator_e]
        first_e = self.preferred_e * _meant_chance(epsilon_e, chance_e)
        second_e = (1.0 - self.preferred_e) * _meant_chance(epsilon_e, 1.0 - chance_e)
        total_e = first_e + second_e
        preferred_e = self.preferred_e.copy()
        np.divide(first_e, total_e, out=preferred_e, where=total_e > 0)
        return preferred_e, self.weight_e * total_e

    def errors(self, chance_e: FloatArray) -> FloatArray:
        """The M step of ε: the posterior mean for each annotator, given what to expect."""
        log_posterior_ga = self.log_likelihood_ga(chance_e) + self.held_ga
        log_posterior_ga += np.log(_PRIOR)[:, None]
        posterior_ga = np.exp(log_posterior_ga - log_posterior_ga.max(axis=0, initial=-np.inf))
        mean_a = 0.5 * (_SHARES @ posterior_ga) / posterior_ga.sum(axis=0)
        return np.where(self.known_a, self.start_a, mean_a)

    def log_likelihood_ga(self, chance_e: FloatArray) -> FloatArray:
        """Of all votes of each annotator, at each share of guesses."""
        return np.array([self._log_likelihood(share, chance_e) for share in _SHARES], np.float64)

    def _log_likelihood(self, share: float, chance_e: FloatArray) -> FloatArray:
        """Of all votes of each annotator, were its guessing share `share`."""
        first_e = (1.0 - share) * chance_e + 0.5 * share
        log_e = self.preferred_e * np.log(first_e) + (1.0 - self.preferred_e) * np.log1p(-first_e)
        log_e = self.weight_e * log_e
        sum_a = np.bincount(self.annotator_e, weights=log_e, minlength=len(self.names))
        # Without any vote NumPy counts in integers.
        return sum_a.astype(np.float64)


def _crew(
    annotator_e: Sequence[str],
    n_votes: int,
    known: Mapping[str, float],
    held: Mapping[str, FloatArray],
) -> tuple[list[str], IndexArray, BoolArray, FloatArray, FloatArray | float]:
    """Sorted names, the index of each vote's annotator, which ε are known, and where all start.

    At last what is `held` of each from other votes.
    """
    if len(annotator_e) != n_votes:
        raise Corrupt(f"{len(annotator_e)} annotators for {n_votes} votes: one each is needed.")
    outside = {name: value for name, value in known.items() if not 0.0 <= value <= 0.5}
    if outside:
        raise Fatal(f"Known ε must be within [0, 1/2], 1/2 being a coin: got {outside}.")
    names = sorted({*annotator_e, *held})
    position, nothing_g = {name: k for k, name in enumerate(names)}, np.zeros(len(_SHARES))
    return (
        names,
        np.array([position[name] for name in annotator_e], dtype=np.intp),
        np.array([name in known for name in names], dtype=np.bool_),
        np.array([known.get(name, _PRIOR_EPSILON) for name in names], dtype=np.float64),
        np.column_stack([held.get(name, nothing_g) for name in names]) if held else 0.0,
    )


def _meant_chance(epsilon_e: FloatArray, chance_e: FloatArray) -> FloatArray:
    """Chance that a vote of prior chance `chance_e` was meant and not a guess."""
    agreed_e = (1.0 - 2.0 * epsilon_e) * np.maximum(chance_e, _NEVER_CERTAIN)
    return np.asarray(agreed_e / (agreed_e + epsilon_e))


def _left_out_chance(
    logit_e: FloatArray, variance_e: FloatArray, preferred_e: FloatArray, weight_e: FloatArray
) -> FloatArray:
    """P(first preferred) by the posterior without the vote itself.

    The vote's own Gaussian factor (precision weight·p(1-p)) is divided out of the approximation.
    """
    p_e = sigmoid(logit_e)
    # The doubt about side and length is not in the variance, so this may exceed its bound of 1.
    leverage_e = np.minimum(weight_e * p_e * (1.0 - p_e) * variance_e, _MOST_LEVERAGE)
    others_e = variance_e / (1.0 - leverage_e)
    mu_e = logit_e - others_e * weight_e * (preferred_e - p_e)
    return preference_by_quadrature(mu_e, np.sqrt(others_e))
