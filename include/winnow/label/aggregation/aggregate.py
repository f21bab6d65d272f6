"""Makes one preference of a pair's votes, by one of three models that a campaign names.

    majority        one error rate for everyone: with probability e a vote names the wrong side
    dawid_skene     a table of confusion per annotator
    bradley_terry   each annotator's share of guesses and bias to a side (see
                    `winnow.label.aggregation.noisy_votes`)

`p_preferred` is by the votes alone, and on average no surer than the measured agreement of the
batch allows, whatever the model (see `certainty`). The reward posterior helps `bradley_terry` to
know its annotators and says nothing of a pair: a label's certainty comes from people.

`majority`: a tie or "both bad" says that there is no difference to see: its share of the votes
pulls the probability to one half. `preferred` is the side of more than half of the votes. In the
other two models no difference is a truth of its own, worth one half, and `preferred` is the
likeliest truth. Votes are those of people: where nobody voted, a language model's verdict stands by
itself (see `judges`).

What always holds: comparisons in = preferences out + comparisons without a vote; of each
annotation only the latest revision counts, and none that was retracted or rejected; gold tasks and
repeats are no votes; exchanging first and second throughout mirrors the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.errors import Corrupt, Fatal
from winnow.label.aggregation.agreement import sided_agreement
from winnow.label.aggregation.annotators import judge_batch
from winnow.label.aggregation.certainty import error_rates, no_surer_than, probability_first
from winnow.label.aggregation.dawid_skene import dawid_skene
from winnow.label.aggregation.judges import judged_alone
from winnow.label.aggregation.votes import (
    FIRST,
    N_CHOICES,
    NO_DIFFERENCE,
    SECOND,
    IntArray,
    Votes,
    to_votes,
)
from winnow.records import PREFERENCES

_SAME = 1e-6
"""Two truths whose probabilities are nearer than this are equally likely."""
_NAMES = ("first", "second", "tie")

FloatArray = NDArray[np.float64]


def aggregate(
    connection: duckdb.DuckDBPyConnection, method: str = "majority", share: float = 1.0
) -> pa.Table:
    """Preferences of all comparisons that have a vote, in their order: a table `PREFERENCES`.

    `preferred` is the side that the votes speak for, else `tie`; `p_preferred` the probability that
    the first response is preferred; `agreement` the largest share of votes for one of first,
    second, tie, null for a single vote; `cost` what the pair's annotations cost, repeats aside.
    `votes` and `agreement` are of people: 0 and null where a model alone judged.

    Args:
        connection: A batch in a database of `winnow.label.database`.
        method: One of `METHODS`; only `bradley_terry` learns from gold tasks.
        share: Of a vote that a judged pair counts for in the agreement of the batch.

    Raises:
        Corrupt: An annotation's pair is none of the comparisons.
        Fatal: The method is unknown.
    """
    if method not in METHODS:
        raise Fatal(f"No aggregation is named {method!r}; known are {', '.join(sorted(METHODS))}.")
    _check_pairs_known(connection)
    pairs = connection.sql(_PAIRS).to_arrow_table()
    voted = "SELECT *, n AS pair FROM votes JOIN judged_pairs USING (pair_id)"
    votes = to_votes(connection, voted, len(pairs))
    counts_nk = votes.counts()
    counted_n = probability_first(counts_nk, error_rates(*sided_agreement(connection, share)))
    choice_n, p_n = METHODS[method](votes, counted_n, connection)
    n_votes_n = counts_nk.sum(axis=1)
    agreement_n = counts_nk.max(axis=1, initial=0.0) / np.maximum(n_votes_n, 1.0)
    names = pa.DictionaryArray.from_arrays(pa.array(choice_n, pa.int8()), pa.array(_NAMES))
    columns = {
        **{n: pairs[n] for n in ("row_n", "pair_id", "prompt_id", "first_id", "second_id")},
        "preferred": names.cast(pa.string()),
        "p_preferred": no_surer_than(p_n, counted_n),
        "votes": n_votes_n,
        "agreement": pa.array(agreement_n, mask=n_votes_n < 2),
        "cost": pairs["cost"],
    }
    alone = judged_alone(connection)
    preferences = pa.concat_tables([pa.table(columns).cast(alone.schema), alone])
    return preferences.sort_by("row_n").select(PREFERENCES.names).cast(PREFERENCES)


_Method = Callable[[Votes, FloatArray, duckdb.DuckDBPyConnection], tuple[IntArray, FloatArray]]
"""Choice and P(first preferred) of pairs, by their votes, P(first) by counting them, the batch."""


def _by_majority(
    votes: Votes, counted_n: FloatArray, _: duckdb.DuckDBPyConnection
) -> tuple[IntArray, FloatArray]:
    counts_nk = votes.counts()
    has_most_nk = 2.0 * counts_nk[:, [FIRST, SECOND]] > counts_nk.sum(axis=1, keepdims=True)
    most_n = np.where(has_most_nk.any(axis=1), has_most_nk.argmax(axis=1), NO_DIFFERENCE)
    return most_n, counted_n


def _by_truths(p_nk: FloatArray) -> tuple[IntArray, FloatArray]:
    """The likeliest truth of each pair; no difference where two are equally likely."""
    second_n, most_n = np.sort(p_nk, axis=1)[:, -2:].T
    choice_n = np.where(most_n - second_n < _SAME, NO_DIFFERENCE, p_nk.argmax(axis=1))
    return choice_n, np.asarray(p_nk[:, FIRST] + 0.5 * p_nk[:, NO_DIFFERENCE])


def _by_dawid_skene(
    votes: Votes, counted_n: FloatArray, _: duckdb.DuckDBPyConnection
) -> tuple[IntArray, FloatArray]:
    sizes = (votes.n_pairs, len(votes.annotators), N_CHOICES)
    return _by_truths(dawid_skene(votes.pair_v, votes.annotator_v, votes.choice_v, sizes).p_nk)


def _by_bradley_terry(
    votes: Votes, counted_n: FloatArray, connection: duckdb.DuckDBPyConnection
) -> tuple[IntArray, FloatArray]:
    judged, _ = judge_batch(connection)
    return _by_truths(judged.by_votes_nk[: votes.n_pairs])


METHODS: Mapping[str, _Method] = {
    "bradley_terry": _by_bradley_terry,
    "dawid_skene": _by_dawid_skene,
    "majority": _by_majority,
}
"""By the names of `campaign.Label.aggregation`."""

_PAIRS = """
SELECT row_n, pair_id, prompt_id, first_id, second_id, cost
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
