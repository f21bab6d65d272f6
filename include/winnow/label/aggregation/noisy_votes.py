"""The noisy Bradley-Terry model of votes: what the pair says, what the annotator adds.

The truth of a pair is what a careful person sees: first, second, or no difference. Before any vote
the reward posterior's log-odds l give it, by Bradley and Terry's model with Davidson's ties:

    P(first) : P(second) : P(no difference) = exp(β l / 2) : exp(-β l / 2) : ν

An annotator a names the truth, or with chance g_a does not look and guesses: the side shown first,
the other, or no difference, with chances u_a. So u_a holds a bias to a side and a habit of ties;
g_a / 2 is about the chance to name the wrong one of two sides. How strong an answer was called
shifts the odds that it was a guess, by as much as strong and weak answers of the batch differ.

All are found by EM. g_a and u_a are shrunk to the pooled values, those to a first guess: with a few
votes each, everyone errs alike, as in a model of one error rate. β is within [0, 1]: votes may find
the posterior's odds overdone, never timid. Gold tasks have a known truth and repeats an annotator
who has answered before; both tell about annotators and are no votes on the pair.

What always holds: exchanging first and second mirrors the result; one more vote for a side never
makes the other likelier while annotators are held fixed; an annotator who only guesses changes no
pair.

Sources: Davidson (1970), "On extending the Bradley-Terry model to accommodate ties", JASA 65; Chen,
Bennett, Collins-Thompson and Horvitz (2013), "Pairwise ranking aggregation in a crowdsourced
setting", for guesses beside Bradley-Terry; Dawid and Skene (1979) for EM over annotators.

Shapes: v votes, n pairs, a annotators, k truths (first, second, no difference), s strengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from winnow.label.aggregation.noisy_vote_steps import Answers, Beliefs, Pairs, Prior
from winnow.label.aggregation.votes import N_CHOICES, Votes

FloatArray = NDArray[np.float64]

_MAX_ROUNDS = 300
_SETTLED = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """Pairs and annotators after the votes.

    Attributes:
        p_nk: Truth of each pair by posterior and votes.
        by_votes_nk: By the votes alone, the posterior left out.
        guess_a: Share of each annotator's answers that are guesses.
        habit_ak: How each annotator guesses, sides as shown.
        slope: β.
        tie: ν.
    """

    p_nk: FloatArray
    by_votes_nk: FloatArray
    guess_a: FloatArray
    habit_ak: FloatArray
    slope: float
    tie: float


def judge(
    votes: Votes,
    log_odds_n: ArrayLike,
    counts_v: ArrayLike | None = None,
    known_n: ArrayLike | None = None,
    beliefs: Beliefs | None = None,
) -> Judged:
    """Fit pairs and annotators together.

    Args:
        votes: All answers, of whatever kind.
        log_odds_n: Log-odds that the first is preferred, before the votes; 0 knows nothing.
        counts_v: False for an answer that tells about its annotator only; all count if absent.
        known_n: The truth of each pair where it is known, else -1.
        beliefs: Priors.
    """
    believed = beliefs or Beliefs()
    n = votes.n_pairs
    pairs = Pairs(
        np.asarray(log_odds_n, dtype=np.float64),
        np.full(n, -1) if known_n is None else np.asarray(known_n, dtype=np.intp),
    )
    counts = np.ones(len(votes.pair_v), bool) if counts_v is None else np.asarray(counts_v, bool)
    answers = Answers(votes, counts, believed)
    crew, prior, p_nk = answers.strangers(), pairs.start(believed), np.zeros((n, N_CHOICES))
    for _ in range(_MAX_ROUNDS):
        evidence_nk, meant_c = answers.evidence(crew)
        before_nk, p_nk = p_nk, pairs.truths(prior, evidence_nk)
        crew = answers.crew(meant_c, p_nk)
        prior = pairs.refined(prior, p_nk, believed)
        if np.abs(p_nk - before_nk).sum() < _SETTLED * n:
            break
    evidence_nk, _ = answers.evidence(crew)
    unasked = Prior(0.0, prior.tie)
    return Judged(
        p_nk=pairs.truths(prior, evidence_nk),
        by_votes_nk=pairs.truths(unasked, evidence_nk),
        guess_a=crew.guess_a,
        habit_ak=crew.habit_ak,
        slope=prior.slope,
        tie=prior.tie,
    )
