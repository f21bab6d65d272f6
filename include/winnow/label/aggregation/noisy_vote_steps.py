"""The steps of EM for the noisy Bradley-Terry model: truths of pairs, and what annotators do.

`noisy_votes` states the model. Shapes: v votes, n pairs, a annotators, k truths, c
cells of votes, s strengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from winnow.label.aggregation.dawid_skene import normalised
from winnow.label.aggregation.votes import N_CHOICES, Votes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_N_STRENGTHS = 5
"""Not said, and 0 to 3."""

_LEAST, _MOST = 1e-4, 1.0 - 1e-4


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What is believed before any vote, and how many votes or pairs that is worth.

    Attributes:
        guess: Share of guesses; 0.336 is an error rate of 0.168, what crowds show on responses.
        guess_votes: Votes that it is worth for the pooled share.
        guess_own: Votes that the pooled share is worth for an annotator's.
        habit: Chances of the side shown first, the other and no difference among guesses.
        habit_votes: Guesses that it is worth for the pooled habit.
        habit_own: Guesses that the pooled habit is worth for an annotator's.
        strength_votes: Votes of one strength that the pooled share of guesses is worth.
        tie_share: Share of pairs without a difference, where the posterior is undecided.
        tie_pairs: Pairs that it is worth.
        slope_sd: Standard deviation of β around 1.
    """

    guess: float = 0.336
    guess_votes: float = 20.0
    guess_own: float = 10.0
    habit: tuple[float, float, float] = (0.375, 0.375, 0.25)
    habit_votes: float = 20.0
    habit_own: float = 6.0
    strength_votes: float = 50.0
    tie_share: float = 0.2
    tie_pairs: float = 4.0
    slope_sd: float = 0.5


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of all pairs: β and ν."""

    slope: float
    tie: float


@dataclass(frozen=True, slots=True, eq=False)
class Crew:
    """Shares of guesses and habits; `shift_s` is what a strength adds to the log-odds of one."""

    guess_a: FloatArray
    habit_ak: FloatArray
    shift_s: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """What is known of pairs without their votes."""

    log_odds_n: FloatArray
    known_n: IntArray

    def start(self, believed: Beliefs) -> Prior:
        share = believed.tie_share
        return Prior(1.0, 2.0 * share / (1.0 - share))

    def scores(self, prior: Prior) -> FloatArray:
        """Log-chances of each truth before the votes, up to a constant of the pair."""
        half_n = 0.5 * prior.slope * self.log_odds_n
        ties_n = np.full(len(half_n), np.log(prior.tie))
        return np.stack([half_n, -half_n, ties_n]).T

    def truths(self, prior: Prior, evidence_nk: FloatArray) -> FloatArray:
        """The E step of pairs."""
        p_nk = normalised(self.scores(prior) + evidence_nk)
        known = np.flatnonzero(self.known_n >= 0)
        p_nk[known] = np.eye(N_CHOICES)[self.known_n[known]]
        return p_nk

    def refined(self, prior: Prior, p_nk: FloatArray, believed: Beliefs) -> Prior:
        """The M step of β and ν, over pairs of unknown truth: a step towards their best values."""
        asked_n, l_n = self.known_n < 0, self.log_odds_n
        first_n, second_n, ties_n = p_nk.T * asked_n
        before_first_n, before_second_n, before_ties_n = normalised(self.scores(prior)).T * asked_n
        leads_n = before_first_n - before_second_n
        slope_gain = 0.5 * (l_n * (first_n - second_n - leads_n)).sum()
        slope_gain += (1.0 - prior.slope) / believed.slope_sd**2
        spread_n = before_first_n + before_second_n - leads_n**2
        curvature = 0.25 * (l_n**2 * spread_n).sum() + 1.0 / believed.slope_sd**2
        slope = min(1.0, max(0.0, prior.slope + float(slope_gain / curvature)))
        undecided = prior.tie / (2.0 + prior.tie)
        found = ties_n.sum() + believed.tie_pairs * believed.tie_share
        expected = before_ties_n.sum() + believed.tie_pairs * undecided
        return Prior(slope, float(prior.tie * found / expected))


class Answers:
    """The votes by cell c: all that one annotator said in one way (side shown and strength).

    What the model says of a vote depends on its cell only, so a step is a few products with the
    numbers of votes by truth named and cell.
    """

    def __init__(self, votes: Votes, counts_v: NDArray[np.bool_], believed: Beliefs) -> None:
        self._believed, self._n_annotators = believed, len(votes.annotators)
        code_v = (votes.annotator_v * N_CHOICES + votes.shown_v) * _N_STRENGTHS
        code_c, cell_v = np.unique(code_v + votes.strength_v + 1, return_inverse=True)
        habit_c, self._strength_c = np.divmod(code_c, _N_STRENGTHS)
        self._habit_c, self._annotator_c = habit_c, habit_c // N_CHOICES
        self._n_c = np.bincount(cell_v, minlength=len(code_c)).astype(np.float64)
        self._n_a = np.bincount(self._annotator_c, self._n_c, self._n_annotators)
        self._n_s = np.bincount(self._strength_c, self._n_c, _N_STRENGTHS)
        truth_v, shape = (
            votes.choice_v * votes.n_pairs + votes.pair_v,
            (
                votes.n_pairs * N_CHOICES,
                len(code_c),
            ),
        )
        every_v = np.ones(len(cell_v))
        self._named = csr_array((every_v, (cell_v, truth_v)), shape=shape[::-1])
        self._counting = csr_array((every_v * counts_v, (truth_v, cell_v)), shape=shape)

    def strangers(self) -> Crew:
        """Everyone as believed before any vote."""
        habit_ak = np.tile(np.array(self._believed.habit), (self._n_annotators, 1))
        guess_a = np.full(self._n_annotators, self._believed.guess)
        return Crew(guess_a, habit_ak, np.zeros(_N_STRENGTHS))

    def evidence(self, crew: Crew) -> tuple[FloatArray, FloatArray]:
        """Log-likelihood that votes give each truth, up to a constant of the pair.

        Also the chance that an answer of each cell was meant, should it name the truth. A guess has
        the same chance whatever the truth, so an answer only speaks for the truth that it names.
        """
        log_odds_c = _log_odds(crew.guess_a)[self._annotator_c] + crew.shift_s[self._strength_c]
        guess_c = 0.5 * (1.0 + np.tanh(0.5 * log_odds_c))
        guessed_c = guess_c * crew.habit_ak.ravel()[self._habit_c]
        meant_c = 1.0 - guess_c
        evidence = self._counting @ np.log1p(meant_c / guessed_c)
        return evidence.reshape(N_CHOICES, -1).T, meant_c / (meant_c + guessed_c)

    def crew(self, meant_c: FloatArray, p_nk: FloatArray) -> Crew:
        """The M step of annotators, each vote being a guess unless it was meant."""
        believed = self._believed
        guessed_c = self._n_c - meant_c * (self._named @ p_nk.T.ravel())
        total = guessed_c.sum() + believed.guess * believed.guess_votes
        pooled = float(total / (self._n_c.sum() + believed.guess_votes))
        guessed = np.bincount(self._habit_c, guessed_c, self._n_annotators * N_CHOICES)
        guessed_ak = guessed.astype(np.float64).reshape(-1, N_CHOICES)
        habit_k = guessed_ak.sum(axis=0) + np.array(believed.habit) * believed.habit_votes
        habit_ak = guessed_ak + believed.habit_own * habit_k / habit_k.sum()
        guess_a = guessed_ak.sum(axis=1) + believed.guess_own * pooled
        return Crew(
            np.clip(guess_a / (self._n_a + believed.guess_own), _LEAST, _MOST),
            np.maximum(habit_ak / habit_ak.sum(axis=1, keepdims=True), _LEAST),
            self._shifts(guessed_c, pooled),
        )

    def _shifts(self, guessed_c: FloatArray, pooled: float) -> FloatArray:
        """Log-odds of a guess by strength, less those of any answer; 0 where all have one."""
        worth = self._believed.strength_votes
        guessed_s = np.bincount(self._strength_c, guessed_c, _N_STRENGTHS) + worth * pooled
        if np.count_nonzero(self._n_s) < 2:
            return np.zeros(_N_STRENGTHS)
        return _log_odds(guessed_s / (self._n_s + worth)) - _log_odds(np.array(pooled))


def _log_odds(p: FloatArray) -> FloatArray:
    p = np.clip(p, _LEAST, _MOST)
    return np.asarray(np.log(p) - np.log1p(-p))
