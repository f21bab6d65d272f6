"""What all answers of a batch tell of its annotators and pairs: comparisons, gold and repeats.

Each gold task is a pair of its own whose truth is known. A repeat is judged by its pair, which its
annotator has helped to judge, so it tells about the annotator and is no second vote.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np

from winnow.label.aggregation.noisy_votes import Judged, judge
from winnow.label.aggregation.votes import to_votes

P_LIMIT = 0.02
"""The model's probability is cut to [P_LIMIT, 1 - P_LIMIT]: it is no surer than that unasked."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedBatch:
    """`judged` has the pairs with a vote in front, in their order; `annotators` are its `a`."""

    judged: Judged
    annotators: list[str]


def judge_batch(connection: duckdb.DuckDBPyConnection) -> JudgedBatch:
    """Fit the noisy Bradley-Terry model to a batch in a database of `winnow.label.database`.

    Gold tasks whose answer is not `expected`, and repeats of pairs without a vote, are left out.
    """
    connection.execute(_USED)
    p_first = connection.sql("SELECT p_first FROM judged_pairs ORDER BY n").fetchnumpy()["p_first"]
    p_first = np.clip(p_first.astype(np.float64), P_LIMIT, 1.0 - P_LIMIT)
    known_n = np.full(len(p_first), -1)
    gold = connection.sql("SELECT known FROM gold_items ORDER BY item").fetchnumpy()["known"]
    log_odds_n = np.concatenate([np.log(p_first) - np.log1p(-p_first), np.zeros(len(gold))])
    votes = to_votes(connection, "FROM used", len(log_odds_n))
    counts = connection.sql("SELECT counts FROM used ORDER BY annotation_id").fetchnumpy()
    judged = judge(
        votes,
        log_odds_n,
        counts_v=counts["counts"].astype(np.bool_),
        known_n=np.concatenate([known_n, gold.astype(np.intp)]),
    )
    return JudgedBatch(judged, votes.annotators)


_USED = """
CREATE OR REPLACE TEMP TABLE gold_items AS
SELECT task_id, row_number() OVER (ORDER BY task_id) - 1 AS item, class_of(expected) AS known
FROM (SELECT DISTINCT task_id, expected FROM judged JOIN tasks USING (task_id)
      WHERE judged.kind = 'gold' AND expected IS NOT NULL);
CREATE OR REPLACE TEMP TABLE used AS
SELECT annotation_id, n AS pair, annotator, preferred, swapped, strength,
    kind = 'comparison' AS counts
FROM judged JOIN judged_pairs USING (pair_id) WHERE kind IN ('comparison', 'repeat')
UNION ALL
SELECT annotation_id, item + (SELECT count(*) FROM judged_pairs), annotator, preferred, swapped,
    strength, false
FROM judged JOIN gold_items USING (task_id) WHERE kind = 'gold';
"""
