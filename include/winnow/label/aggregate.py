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
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from winnow.errors import Corrupt, Fatal
from winnow.label.annotator_skill import P_LIMIT, judge_batch
from winnow.label.dawid_skene import dawid_skene
from winnow.label.votes import (
    FIRST,
    N_CHOICES,
    NO_DIFFERENCE,
    SECOND,
    IntArray,
    Votes,
    read_votes,
)
from winnow.records import PREFERENCES

PRIOR_AGREEMENT = 0.72
"""Agreement expected before any pair was judged twice: what crowds show on model responses."""
PRIOR_PAIRS = 10.0
"""How many pairs judged twice that expectation is worth."""
MIN_ERROR_RATE = 0.01

_SAME = 1e-6
"""Two truths whose probabilities are nearer than this are equally likely."""
_NAMES = ("first", "second", "tie")

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """The pairs with a vote: the model's P(first), their votes, and the database of all answers."""

    p_prior_n: FloatArray
    votes: Votes
    counts_nk: FloatArray
    connection: duckdb.DuckDBPyConnection


def aggregate(connection: duckdb.DuckDBPyConnection, method: str = "majority") -> pa.Table:
    """Preferences of all comparisons that have a vote, in their order: a table `PREFERENCES`.

    `preferred` is the side that the votes speak for, else `tie`; `p_preferred` the probability that
    the first response is preferred; `agreement` the largest share of votes for one of first,
    second, tie, null for a single vote; `cost` what the pair's annotations cost, repeats aside.

    Args:
        connection: A batch in a database of `winnow.label.database`.
        method: One of `METHODS`; only `bradley_terry` learns from gold tasks.

    Raises:
        Corrupt: An annotation's pair is none of the comparisons.
        Fatal: The method is unknown.
    """
    if method not in METHODS:
        raise Fatal(f"No aggregation is named {method!r}; known are {', '.join(sorted(METHODS))}.")
    _check_pairs_known(connection)
    pairs = connection.sql(_PAIRS).to_arrow_table()
    p_prior_n = pairs["p_first"].to_numpy().astype(np.float64)
    votes = read_votes(connection)
    counts_nk = votes.counts()
    choice_n, p_n = METHODS[method](_Batch(p_prior_n, votes, counts_nk, connection))
    n_votes_n = counts_nk.sum(axis=1)
    agreement_n = counts_nk.max(axis=1, initial=0.0) / np.maximum(n_votes_n, 1.0)
    names = pa.DictionaryArray.from_arrays(pa.array(choice_n, pa.int8()), pa.array(_NAMES))
    columns = {
        **{name: pairs[name] for name in ("pair_id", "prompt_id", "first_id", "second_id")},
        "preferred": names.cast(pa.string()),
        "p_preferred": p_n,
        "votes": n_votes_n,
        "agreement": pa.array(agreement_n, mask=n_votes_n < 2),
        "cost": pairs["cost"],
    }
    return pa.table(columns).cast(PREFERENCES)


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


def probability_first(p_prior_n: ArrayLike, counts_nk: ArrayLike, error_rate: float) -> FloatArray:
    """P(first response preferred) of each pair after its votes for first, second, no difference.

    `p_prior_n` is the model's, before them.

    >>> probability_first([0.5, 0.9], [[1, 0, 0], [0, 0, 1]], 0.2).round(3).tolist()
    [0.8, 0.5]
    """
    p_n = np.clip(np.asarray(p_prior_n, dtype=np.float64), P_LIMIT, 1.0 - P_LIMIT)
    first_n, second_n, none_n = np.asarray(counts_nk, dtype=np.float64).reshape(-1, N_CHOICES).T
    per_vote = math.log((1.0 - error_rate) / error_rate)
    log_odds_n = np.log(p_n / (1.0 - p_n)) + (first_n - second_n) * per_vote
    decisive_n = (first_n + second_n) / np.maximum(1.0, first_n + second_n + none_n)
    return np.asarray(0.5 + decisive_n * 0.5 * np.tanh(log_odds_n / 2.0))


def _by_majority(batch: _Batch) -> tuple[IntArray, FloatArray]:
    decisive_nk = batch.counts_nk[:, [FIRST, SECOND]]
    decisive_n = decisive_nk.sum(axis=1)
    n_pairs = (decisive_n * (decisive_n - 1.0) / 2.0).sum()
    n_agreed = (decisive_nk * (decisive_nk - 1.0) / 2.0).sum()
    rate = estimate_error_rate(round(n_agreed), round(n_pairs))
    has_most_nk = 2.0 * decisive_nk > batch.counts_nk.sum(axis=1, keepdims=True)
    most_n = np.where(has_most_nk.any(axis=1), has_most_nk.argmax(axis=1), NO_DIFFERENCE)
    return most_n, probability_first(batch.p_prior_n, batch.counts_nk, rate)


def _by_dawid_skene(batch: _Batch) -> tuple[IntArray, FloatArray]:
    votes = batch.votes
    sizes = (votes.n_pairs, len(votes.annotators), N_CHOICES)
    p_nk = dawid_skene(votes.pair_v, votes.annotator_v, votes.choice_v, sizes).p_nk
    return _likeliest(p_nk), _chance_first(p_nk)


def _by_bradley_terry(batch: _Batch) -> tuple[IntArray, FloatArray]:
    judged = judge_batch(batch.connection).judged
    n = batch.votes.n_pairs
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


_PAIRS = """
WITH paid AS (
    SELECT pair_id, sum(price)::BIGINT AS cost FROM latest WHERE kind = 'comparison'
    GROUP BY pair_id
)
SELECT pair_id, prompt_id, first_id, second_id, p_first, cost
FROM judged_pairs JOIN paid USING (pair_id) ORDER BY n
"""
_UNKNOWN = """
SELECT count(DISTINCT pair_id), min(pair_id) FROM latest
WHERE kind <> 'gold' AND pair_id NOT IN (SELECT pair_id FROM comparisons)
"""


def _check_pairs_known(connection: duckdb.DuckDBPyConnection) -> None:
    n_unknown, one = connection.sql(_UNKNOWN).fetchall()[0]
    if n_unknown:
        raise Corrupt(
            f"{n_unknown} annotated pairs are none of the batch's comparisons, {one} being one; "
            "collect the batch again."
        )
