"""How far labels that a team brought count beside the votes of its own campaign.

They are people's preferences of other responses, perhaps by other people, so that they teach as
votes of a weight a, one for all of them: their likelihood to the power a is part of the prior of
the campaign's own votes (a power prior). a is the one under which these votes were the likeliest,

    a = argmax  ln P(own votes | labels brought, a) + ½ ln a,

tried at `SHARES` of the most that they may count for: each once, and together as `MOST_VOTES`
votes. The last term makes each step down something that own votes have to show; before there is
one, the labels count for the most. Side and length are effects on those who gave them, and
integrate out.

Always holds: labels that own votes contradict lose their weight and teach nothing at last; however
many there are, they count for `MOST_VOTES` at most.

Source: Ibrahim and Chen (2000), "Power prior distributions for regression models"; Gravestock and
Held (2017), "Adaptive power priors with empirical Bayes for clinical trials", for a by evidence.

Shapes: e own votes, d features, k = d + 2 effects (with side and length).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from winnow.arrays import FloatArray
from winnow.reward.blocks import Blocks, prior_mean
from winnow.reward.condensed import Condensed
from winnow.reward.evidence import fit_by_evidence
from winnow.reward.logistic import N_NUISANCE, Quadratic, checked_labels, with_nuisance

MOST_VOTES = 500
"""Votes that all labels together count for, at most. Of 4,000 simulated labels of other prompts and
pools of two (6 seeds, 140 real prompts, no own vote) 300, 1,000 and 4,000 foresaw 79 %, 73 % and
68 % of the pairs of whole pools: what is learnt of such pools holds less well than it says."""

SHARES = (1.0, 1 / 4, 1 / 16, 1 / 64, 0.0)
"""Of that weight, what is tried."""

_KEPT_FOR = 0.5
"""What stands before ln a. At 1 labels that say the contrary of people were given up twice as late,
at 0 right ones were given up by chance."""

_LOG_OF_NONE = float(np.log(SHARES[-2] / 4))
"""What stands for ln a of no weight at all: one step below the least."""


@dataclass(frozen=True, slots=True, eq=False)
class Brought:
    """Labels that count beside own votes.

    Attributes:
        weight: a, what each counts for, in votes.
        votes: What they say at that weight, for a fit; None where they count for nothing.
    """

    weight: float
    votes: Condensed | None


def weighed(
    brought: Condensed,
    z_ed: ArrayLike,
    preferred_e: ArrayLike,
    weight_e: ArrayLike,
    side_e: ArrayLike,
    length_e: ArrayLike,
    blocks: Blocks,
    older: Condensed | None = None,
) -> Brought:
    """Labels brought, as far as own votes (given as in `winnow.reward.fit`) bear them out.

    Args:
        brought: The labels, each a whole vote, condensed in the features' coordinates.
        z_ed: Differences of features of the own votes.
        preferred_e: 1, 0 or 0.5.
        weight_e: Trust in each own vote.
        side_e: +1 or -1.
        length_e: Difference of length.
        blocks: The features' blocks.
        older: Own votes beside these, condensed.
    """
    if not brought.n_labels:
        return Brought(0.0, None)
    most = min(1.0, MOST_VOTES / brought.n_labels)
    labels = checked_labels(z_ed, preferred_e, weight_e, side_e, length_e)
    shares = SHARES if len(labels.weight_e) or older is not None else SHARES[:1]
    found, highest = Brought(0.0, None), -np.inf
    for share in shares:
        votes = at_weight(brought, share * most) if share else None
        beside = votes if older is None else older if votes is None else older.plus(votes)
        told = _KEPT_FOR * (np.log(share) if share else _LOG_OF_NONE)
        if len(shares) > 1:
            precision_d, mode = fit_by_evidence(labels, blocks, beside)
            mean_k = np.append(prior_mean(blocks), [0.0] * N_NUISANCE)
            precision_k = with_nuisance(precision_d)
            off_k = mode.theta_k - mean_k
            told -= mode.loss + 0.5 * float(precision_k @ off_k**2)
            told -= 0.0 if beside is None else beside.loss.of(mode.theta_k)
            told -= 0.5 * float(np.linalg.slogdet(mode.hessian_kk)[1])
            told -= _log_prior(votes, mean_k, precision_k)
        if told > highest:
            found, highest = Brought(share * most, votes), told
    return found


def at_weight(brought: Condensed, weight: float) -> Condensed:
    """What labels say of the weights of the features, each counting for `weight` of a vote.

    Nothing of side, length or annotators is in it, which are of others than those who vote here.
    """
    hessian_dd, linear_d = brought.of_weights()
    d = len(linear_d)
    hessian_kk, linear_k = np.zeros((d + N_NUISANCE,) * 2), np.zeros(d + N_NUISANCE)
    hessian_kk[:d, :d], linear_k[:d] = weight * hessian_dd, weight * linear_d
    n_labels = round(weight * brought.n_labels)
    return Condensed(
        Quadratic(hessian_kk, linear_k), weight * brought.squares_d, n_labels, guesses={}
    )


def _log_prior(votes: Condensed | None, mean_k: FloatArray, precision_k: FloatArray) -> float:
    """Logarithm of ∫ exp(-loss of the labels brought) N(θ; mean, 1 / Λ) dθ, less ln |Λ| / 2.

    The joint evidence leaves the same term out.
    """
    if votes is None:
        return -0.5 * float(np.log(precision_k).sum())
    own = votes.loss.around(mean_k)
    whole_kk = own.hessian_kk + np.diag(precision_k)
    away_k = np.linalg.solve(whole_kk, own.linear_k)
    highest = 0.5 * float(own.linear_k @ away_k) - votes.loss.of(mean_k)
    return highest - 0.5 * float(np.linalg.slogdet(whole_kk)[1])
