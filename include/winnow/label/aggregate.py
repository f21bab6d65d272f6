"""Makes one preference of a pair's votes, by one of three models that a campaign names.

    majority        one error rate for everyone: with probability e a vote names the wrong side
    dawid_skene     a table of confusion per annotator, blind to sides and to the posterior
    bradley_terry   the posterior's probability first, then each annotator's share of guesses and
                    bias to a side (see `winnow.label.noisy_votes`)

`majority`: a vote moves the log-odds that the first response is preferred by ln((1 - e) / e), from
where the posterior had them when the pair was chosen. Two annotators agree on a decisive pair with
probability (1 - e)^2 + e^2, which is how e is estimated from pairs judged twice. A tie or "both
bad" says that there is no difference to see: its share of the votes pulls the probability to one
half. `preferred` is the side of more than half of the votes. In the other two models no difference
is a truth of its own, worth one half, and `preferred` is the likeliest truth by the votes alone.

What always holds: comparisons in = preferences out + comparisons without a vote; of each
annotation only the latest revision counts, and none that was retracted or rejected; gold tasks and
repeats are no votes; exchanging first and second throughout mirrors the result; the posterior alone
never decides `preferred`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from winnow.errors import Corrupt, Fatal
from winnow.label.annotator_skill import P_LIMIT, judge_batch
from winnow.label.dawid_skene import dawid_skene
from winnow.label.votes import (
    COMPARISON,
    FIRST,
    GOLD,
    N_CHOICES,
    NO_DIFFERENCE,
    SECOND,
    IntArray,
    Row,
    Votes,
    by_pair,
    kind_of,
    latest_revisions,
    standing,
    to_votes,
)

PRIOR_AGREEMENT = 0.72
"""Agreement expected before any pair was judged twice: what crowds show on model responses."""
PRIOR_PAIRS = 10.0
"""How many pairs judged twice that expectation is worth."""
MIN_ERROR_RATE = 0.01

_SAME = 1e-6
"""Two truths whose probabilities are nearer than this are equally likely."""
_NAMES = ("first", "second", "tie")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Preference:
    """A row of `records.PREFERENCES`.

    `preferred` is the side that the votes speak for, else `tie`; `p_preferred` the probability that
    the first response is preferred; `agreement` the largest share of votes for one of first,
    second, tie, null for a single vote; `cost` what its annotations cost.
    """

    pair_id: str
    prompt_id: str
    first_id: str
    second_id: str
    preferred: str
    p_preferred: float
    votes: int
    agreement: float | None
    cost: int


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """A batch's comparisons with a vote, their votes, and all that annotators answered."""

    comparisons: Sequence[Row]
    votes: Votes
    answers: Sequence[Row]
    expected: Mapping[str, str]


def aggregate(
    annotations: Iterable[Row],
    comparisons: Sequence[Row],
    method: str = "majority",
    expected: Mapping[str, str] | None = None,
) -> list[Preference]:
    """Preferences of all `comparisons` that have a vote, in their order.

    Args:
        annotations: Rows of `records.ANNOTATIONS`, every revision and kind.
        comparisons: Rows of `records.COMPARISONS`.
        method: One of `METHODS`.
        expected: The known answer ("first", "second" or "tie") to a gold task, by task id; only
            `bradley_terry` learns from it.

    Raises:
        Corrupt: An annotation's pair is none of the comparisons.
        Fatal: The method is unknown.
    """
    if method not in METHODS:
        raise Fatal(f"No aggregation is named {method!r}; known are {', '.join(sorted(METHODS))}.")
    latest = latest_revisions(annotations)
    _check_pairs_known(latest, comparisons)
    asked = [row for row in latest if kind_of(row) == COMPARISON]
    rows = standing(asked)
    voted = {row["pair_id"] for row in rows}
    judged = [each for each in comparisons if each["pair_id"] in voted]
    position = {each["pair_id"]: n for n, each in enumerate(judged)}
    votes = to_votes(rows, position, sorted({row["annotator"] for row in rows}))
    cost = {pair: sum(row["price"] for row in paid) for pair, paid in by_pair(asked).items()}
    choice_n, p_n = METHODS[method](_Batch(judged, votes, standing(latest), expected or {}))
    counts_nk = votes.counts()
    return [
        _preference(comparison, _NAMES[choice_n[n]], float(p_n[n]), counts_nk[n], cost)
        for n, comparison in enumerate(judged)
    ]


def estimate_error_rate(n_agreed: int, n_pairs: int) -> float:
    """An annotator's chance to name the wrong side, from how many of `n_pairs` two agreed on.

    The agreement a is shrunk to `PRIOR_AGREEMENT` by a Beta prior worth `PRIOR_PAIRS`; then
    a = (1 - e)^2 + e^2 is solved for e <= 1/2. At or below one half, votes carry nothing: e = 1/2.

    >>> round(estimate_error_rate(0, 0), 3), round(estimate_error_rate(82, 100), 3)
    (0.168, 0.106)
    """
    agreement = (n_agreed + PRIOR_AGREEMENT * PRIOR_PAIRS) / (n_pairs + PRIOR_PAIRS)
    error_rate = (1.0 - math.sqrt(max(0.0, 2.0 * agreement - 1.0))) / 2.0
    return max(MIN_ERROR_RATE, error_rate)


def probability_first(
    p_prior: float, n_first: int, n_second: int, n_no_difference: int, error_rate: float
) -> float:
    """P(first response preferred) after the votes; `p_prior` is the model's, before them.

    >>> round(probability_first(0.5, 1, 0, 0, 0.2), 3), probability_first(0.9, 0, 0, 1, 0.2)
    (0.8, 0.5)
    """
    p = min(max(p_prior, P_LIMIT), 1.0 - P_LIMIT)
    per_vote = math.log((1.0 - error_rate) / error_rate)
    log_odds = math.log(p / (1.0 - p)) + (n_first - n_second) * per_vote
    decisive = (n_first + n_second) / max(1, n_first + n_second + n_no_difference)
    return 0.5 + decisive * 0.5 * math.tanh(log_odds / 2.0)


def _by_majority(batch: _Batch) -> tuple[IntArray, FloatArray]:
    counts_nk = batch.votes.counts()
    decisive_nk = counts_nk[:, [FIRST, SECOND]]
    decisive_n = decisive_nk.sum(axis=1)
    n_pairs = (decisive_n * (decisive_n - 1.0) / 2.0).sum()
    n_agreed = (decisive_nk * (decisive_nk - 1.0) / 2.0).sum()
    rate = estimate_error_rate(round(n_agreed), round(n_pairs))
    p_n = [
        probability_first(comparison["p_first"], int(first), int(second), int(none), rate)
        for comparison, (first, second, none) in zip(batch.comparisons, counts_nk, strict=True)
    ]
    has_most_nk = 2.0 * decisive_nk > counts_nk.sum(axis=1, keepdims=True)
    most_n = np.where(has_most_nk.any(axis=1), has_most_nk.argmax(axis=1), NO_DIFFERENCE)
    return most_n, np.array(p_n, dtype=np.float64)


def _by_dawid_skene(batch: _Batch) -> tuple[IntArray, FloatArray]:
    votes = batch.votes
    sizes = (votes.n_pairs, len(votes.annotators), N_CHOICES)
    p_nk = dawid_skene(votes.pair_v, votes.annotator_v, votes.choice_v, sizes).p_nk
    return _likeliest(p_nk), _chance_first(p_nk)


def _by_bradley_terry(batch: _Batch) -> tuple[IntArray, FloatArray]:
    judged = judge_batch(batch.answers, batch.comparisons, batch.expected).judged
    n = len(batch.comparisons)
    return _likeliest(judged.by_votes_nk[:n]), _chance_first(judged.p_nk[:n])


METHODS = {
    "bradley_terry": _by_bradley_terry,
    "dawid_skene": _by_dawid_skene,
    "majority": _by_majority,
}
"""Choice and P(first preferred) of each pair, by the names of `campaign.Label.aggregation`."""


def _likeliest(p_nk: FloatArray) -> IntArray:
    """The likeliest truth of each pair; no difference where two are equally likely."""
    second_n, most_n = np.sort(p_nk, axis=1)[:, -2:].T
    return np.where(most_n - second_n < _SAME, NO_DIFFERENCE, p_nk.argmax(axis=1))


def _chance_first(p_nk: FloatArray) -> FloatArray:
    return np.asarray(p_nk[:, FIRST] + 0.5 * p_nk[:, NO_DIFFERENCE])


def _check_pairs_known(annotations: Iterable[Row], comparisons: Iterable[Row]) -> None:
    asked = {row["pair_id"] for row in annotations if kind_of(row) != GOLD}
    unknown = asked - {c["pair_id"] for c in comparisons}
    if unknown:
        raise Corrupt(
            f"{len(unknown)} annotated pairs are none of the batch's comparisons, {min(unknown)} "
            "being one; collect the batch again."
        )


def _preference(
    comparison: Row, preferred: str, p_first: float, counts_k: FloatArray, cost: Mapping[str, int]
) -> Preference:
    n_votes = int(counts_k.sum())
    return Preference(
        pair_id=comparison["pair_id"],
        prompt_id=comparison["prompt_id"],
        first_id=comparison["first_id"],
        second_id=comparison["second_id"],
        preferred=preferred,
        p_preferred=p_first,
        votes=n_votes,
        agreement=float(counts_k.max()) / n_votes if n_votes > 1 else None,
        cost=cost[comparison["pair_id"]],
    )
