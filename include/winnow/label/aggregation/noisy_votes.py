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

Shapes: v votes, n pairs, a annotators, k truths (first, second, no difference), c cells of
votes, s strengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import expit, logit

from winnow.label.aggregation.dawid_skene import normalised
from winnow.label.aggregation.votes import N_CHOICES, Votes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_MAX_ROUNDS = 300
_SETTLED = 1e-5
_LEAST, _MOST = 1e-4, 1.0 - 1e-4
_N_STRENGTHS = 5
"""Not said, and 0 to 3."""

# What is believed before any vote, and how many votes or pairs that is worth.
_GUESS, _GUESS_VOTES, _GUESS_OWN = 0.336, 20.0, 10.0
"""Share of guesses: an error rate of 0.168, what crowds show on responses; the votes that it is
worth for the pooled share, and the pooled share for an annotator's."""
_HABIT, _HABIT_VOTES, _HABIT_OWN = np.array([0.375, 0.375, 0.25]), 20.0, 6.0
"""Chances of the side shown first, the other and no difference among guesses; the guesses that they
are worth for the pooled habit, and the pooled habit for an annotator's."""
_STRENGTH_VOTES = 50.0
"""Votes of one strength that the pooled share of guesses is worth."""
_TIE_SHARE, _TIE_PAIRS = 0.2, 4.0
"""Share of pairs without a difference, where the posterior is undecided; pairs that it is worth."""
_SLOPE_SD = 0.5
"""Standard deviation of β around 1."""


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
) -> Judged:
    """Fit pairs and annotators together.

    Args:
        votes: All answers, of whatever kind.
        log_odds_n: Log-odds that the first is preferred, before the votes; 0 knows nothing.
        counts_v: False for an answer that tells about its annotator only; all count if absent.
        known_n: The truth of each pair where it is known, else -1.
    """
    n, n_votes = votes.n_pairs, len(votes.pair_v)
    pairs = _Pairs(
        np.asarray(log_odds_n, dtype=np.float64),
        np.full(n, -1) if known_n is None else np.asarray(known_n, dtype=np.intp),
    )
    answers = _Answers(
        votes, np.ones(n_votes, bool) if counts_v is None else np.asarray(counts_v, bool)
    )
    crew, slope, p_nk = answers.strangers(), 1.0, np.zeros((n, N_CHOICES))
    tie = 2.0 * _TIE_SHARE / (1.0 - _TIE_SHARE)
    for _ in range(_MAX_ROUNDS):
        evidence_nk, meant_c = answers.evidence(crew)
        before_nk, p_nk = p_nk, pairs.truths(slope, tie, evidence_nk)
        crew = answers.crew(meant_c, p_nk)
        slope, tie = pairs.refined(slope, tie, p_nk)
        if np.abs(p_nk - before_nk).sum() < _SETTLED * n:
            break
    evidence_nk, _ = answers.evidence(crew)
    return Judged(
        p_nk=pairs.truths(slope, tie, evidence_nk),
        by_votes_nk=pairs.truths(0.0, tie, evidence_nk),
        guess_a=crew.guess_a,
        habit_ak=crew.habit_ak,
        slope=slope,
        tie=tie,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Crew:
    """Shares of guesses and habits; `shift_s` is what a strength adds to the log-odds of one."""

    guess_a: FloatArray
    habit_ak: FloatArray
    shift_s: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """What is known of pairs without their votes."""

    log_odds_n: FloatArray
    known_n: IntArray

    def scores(self, slope: float, tie: float) -> FloatArray:
        """Log-chances of each truth before the votes, up to a constant of the pair."""
        half_n = 0.5 * slope * self.log_odds_n
        ties_n = np.full(len(half_n), np.log(tie))
        return np.stack([half_n, -half_n, ties_n]).T

    def truths(self, slope: float, tie: float, evidence_nk: FloatArray) -> FloatArray:
        """The E step of pairs."""
        p_nk = normalised(self.scores(slope, tie) + evidence_nk)
        known = np.flatnonzero(self.known_n >= 0)
        p_nk[known] = np.eye(N_CHOICES)[self.known_n[known]]
        return p_nk

    def refined(self, slope: float, tie: float, p_nk: FloatArray) -> tuple[float, float]:
        """The M step of β and ν, over pairs of unknown truth: a step towards their best values."""
        asked_n, l_n = self.known_n < 0, self.log_odds_n
        first_n, second_n, ties_n = p_nk.T * asked_n
        before_first_n, before_second_n, before_ties_n = (
            normalised(self.scores(slope, tie)).T * asked_n
        )
        leads_n = before_first_n - before_second_n
        slope_gain = 0.5 * (l_n * (first_n - second_n - leads_n)).sum()
        slope_gain += (1.0 - slope) / _SLOPE_SD**2
        spread_n = before_first_n + before_second_n - leads_n**2
        curvature = 0.25 * (l_n**2 * spread_n).sum() + 1.0 / _SLOPE_SD**2
        better = min(1.0, max(0.0, slope + float(slope_gain / curvature)))
        undecided = tie / (2.0 + tie)
        seen = ties_n.sum() + _TIE_PAIRS * _TIE_SHARE
        expected = before_ties_n.sum() + _TIE_PAIRS * undecided
        return better, float(tie * seen / expected)


class _Answers:
    """The votes by cell c: all that one annotator said in one way (side shown and strength).

    What the model says of a vote depends on its cell only, so a step is a few products with the
    numbers of votes by truth named and cell.
    """

    def __init__(self, votes: Votes, counts_v: NDArray[np.bool_]) -> None:
        self._n_annotators = len(votes.annotators)
        code_v = (votes.annotator_v * N_CHOICES + votes.shown_v) * _N_STRENGTHS
        code_c, cell_v = np.unique(code_v + votes.strength_v + 1, return_inverse=True)
        habit_c, self._strength_c = np.divmod(code_c, _N_STRENGTHS)
        self._habit_c, self._annotator_c = habit_c, habit_c // N_CHOICES
        self._n_c = np.bincount(cell_v, minlength=len(code_c)).astype(np.float64)
        self._n_a = np.bincount(self._annotator_c, self._n_c, self._n_annotators)
        self._n_s = np.bincount(self._strength_c, self._n_c, _N_STRENGTHS)
        truth_v = votes.choice_v * votes.n_pairs + votes.pair_v
        shape = (votes.n_pairs * N_CHOICES, len(code_c))
        every_v = np.ones(len(cell_v))
        self._named = csr_array((every_v, (cell_v, truth_v)), shape=shape[::-1])
        self._counting = csr_array((every_v * counts_v, (truth_v, cell_v)), shape=shape)

    def strangers(self) -> _Crew:
        """Everyone as believed before any vote."""
        habit_ak = np.tile(_HABIT, (self._n_annotators, 1))
        guess_a = np.full(self._n_annotators, _GUESS)
        return _Crew(guess_a, habit_ak, np.zeros(_N_STRENGTHS))

    def evidence(self, crew: _Crew) -> tuple[FloatArray, FloatArray]:
        """Log-likelihood that votes give each truth, up to a constant of the pair.

        Also the chance that an answer of each cell was meant, should it name the truth. A guess has
        the same chance whatever the truth, so an answer only speaks for the truth that it names.
        """
        log_odds_c = _log_odds(crew.guess_a)[self._annotator_c] + crew.shift_s[self._strength_c]
        guess_c = expit(log_odds_c)
        guessed_c = guess_c * crew.habit_ak.ravel()[self._habit_c]
        meant_c = 1.0 - guess_c
        evidence = self._counting @ np.log1p(meant_c / guessed_c)
        return evidence.reshape(N_CHOICES, -1).T, meant_c / (meant_c + guessed_c)

    def crew(self, meant_c: FloatArray, p_nk: FloatArray) -> _Crew:
        """The M step of annotators, each vote being a guess unless it was meant."""
        guessed_c = self._n_c - meant_c * (self._named @ p_nk.T.ravel())
        total = guessed_c.sum() + _GUESS * _GUESS_VOTES
        pooled = float(total / (self._n_c.sum() + _GUESS_VOTES))
        guessed = np.bincount(self._habit_c, guessed_c, self._n_annotators * N_CHOICES)
        guessed_ak = guessed.astype(np.float64).reshape(-1, N_CHOICES)
        habit_k = guessed_ak.sum(axis=0) + _HABIT * _HABIT_VOTES
        habit_ak = guessed_ak + _HABIT_OWN * habit_k / habit_k.sum()
        guess_a = guessed_ak.sum(axis=1) + _GUESS_OWN * pooled
        return _Crew(
            np.clip(guess_a / (self._n_a + _GUESS_OWN), _LEAST, _MOST),
            np.maximum(habit_ak / habit_ak.sum(axis=1, keepdims=True), _LEAST),
            self._shifts(guessed_c, pooled),
        )

    def _shifts(self, guessed_c: FloatArray, pooled: float) -> FloatArray:
        """Log-odds of a guess by strength, less those of any answer; 0 where all have one."""
        guessed_s = (
            np.bincount(self._strength_c, guessed_c, _N_STRENGTHS) + _STRENGTH_VOTES * pooled
        )
        if np.count_nonzero(self._n_s) < 2:
            return np.zeros(_N_STRENGTHS)
        return _log_odds(guessed_s / (self._n_s + _STRENGTH_VOTES)) - _log_odds(np.array(pooled))


def _log_odds(p: FloatArray) -> FloatArray:
    return np.asarray(logit(np.clip(p, _LEAST, _MOST)))
