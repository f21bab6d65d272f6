"""What a batch tells of its annotators: counts, skill, and a row each for the report and the gate.

A figure that cannot be measured (no gold task, no pair that anybody else judged) is None, never a
number that looks measured. Shares lie in [0, 1]. Withdrawn answers and skips are left out. Counts
are of `winnow.label.database`; `agreed` compares votes of different people on one pair that both
name a side (no third votes), gold and repeats compare first, second and no difference.

For skill each gold task is a pair of its own whose truth is known. A repeat is judged by its pair,
which its annotator has helped to judge, so it tells about the annotator and is no second vote.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np

from winnow.intervals import wilson
from winnow.label.aggregation.noisy_votes import Judged, judge
from winnow.label.aggregation.votes import to_votes

P_LIMIT = 0.02
"""The model's probability is cut to [P_LIMIT, 1 - P_LIMIT]: it is no surer than that unasked."""


@dataclass(frozen=True, slots=True)
class AnnotatorFigures:
    """One annotator of a batch.

    Attributes:
        annotator: The salted hash.
        votes: Answers to comparisons.
        agreement: How often others who also named a side of a pair named the same side.
        n_agreement: Pairs of votes that it is counted on.
        gold_accuracy: Share of gold tasks answered as expected.
        gold_low: Its 95 % Wilson interval, lower end.
        gold_high: Upper end.
        n_gold: Gold tasks answered.
        side_share: Share of answers naming a side that name the one shown first.
        tie_share: Share of votes that see no difference.
        median_seconds: Median time of an answer, seconds.
        consistency: Share of repeats answered as the first time, of the pair's own order.
        n_repeats: Repeats whose first answer is known.
        skill: Estimated share of answers that were meant and not guessed.
        side_bias: How much likelier they name the side shown first than the other, where neither
            response is better; -1 to 1.
    """

    annotator: str
    votes: int
    agreement: float | None
    n_agreement: int
    gold_accuracy: float | None
    gold_low: float | None
    gold_high: float | None
    n_gold: int
    side_share: float | None
    tie_share: float | None
    median_seconds: float | None
    consistency: float | None
    n_repeats: int
    skill: float | None
    side_bias: float | None

    def as_dict(self) -> dict[str, Any]:
        """The figures by name, as JSON takes them."""
        return asdict(self)


def annotator_report(connection: duckdb.DuckDBPyConnection) -> list[AnnotatorFigures]:
    """A row per annotator with an answer, of a batch in a database of `winnow.label.database`."""
    judged, annotators = judge_batch(connection)
    skill_a = 1.0 - judged.guess_a
    bias_a = judged.guess_a * (judged.habit_ak[:, 0] - judged.habit_ak[:, 1])
    estimates = zip(annotators, skill_a.tolist(), bias_a.tolist(), strict=True)
    estimated = {name: (skill, bias) for name, skill, bias in estimates}
    report = []
    for row in connection.sql(_FIGURES).to_arrow_table().to_pylist():
        n_passed, n_gold = row.pop("n_passed"), row["n_gold"]
        low, high = wilson(n_passed, n_gold) if n_gold else (None, None)
        skill, bias = estimated.get(row["annotator"], (None, None))
        report.append(
            AnnotatorFigures(**row, gold_low=low, gold_high=high, skill=skill, side_bias=bias)
        )
    return report


_COUNTS = """
WITH agreed AS (
    SELECT annotator, count(*) AS n_pairs, count(*) FILTER (agreed) AS n_agreed
    FROM sided GROUP BY annotator
),
known AS (
    SELECT annotator, count(*) AS n_gold,
        count(*) FILTER (class_of(preferred) = class_of(expected)) AS n_passed
    FROM judged JOIN tasks USING (task_id)
    WHERE judged.kind = 'gold' AND expected IS NOT NULL GROUP BY annotator
),
repeated AS (
    SELECT annotator, count(*) AS n_repeats,
        count(*) FILTER (class_of(again.preferred) = class_of(before.preferred)) AS n_same
    FROM judged AS again JOIN votes AS before USING (pair_id, annotator)
    WHERE again.kind = 'repeat' GROUP BY annotator
),
chosen AS (
    SELECT annotator, max(n) AS n_top FROM
        (SELECT annotator, count(*) AS n FROM answers GROUP BY annotator, choice)
    GROUP BY annotator
),
said AS (
    SELECT annotator, count(*) AS n_answers,
        count(preferred) AS n_judged,
        count(*) FILTER (choice IN ('a', 'b')) AS n_sided,
        count(*) FILTER (choice = 'a') AS n_first,
        count(*) FILTER (kind = 'comparison' AND preferred IS NOT NULL) AS n_votes,
        count(*) FILTER (kind = 'comparison' AND preferred IN ('tie', 'both_bad')) AS n_ties,
        median(coalesce(active_seconds, epoch(finished_at) - epoch(started_at)))
            FILTER (preferred IS NOT NULL) AS median_seconds
    FROM answers GROUP BY annotator
)
SELECT said.*, n_top,
    coalesce(n_pairs, 0) AS n_pairs, coalesce(n_agreed, 0) AS n_agreed,
    coalesce(n_gold, 0) AS n_gold, coalesce(n_passed, 0) AS n_passed,
    coalesce(n_repeats, 0) AS n_repeats, coalesce(n_same, 0) AS n_same
FROM said JOIN chosen USING (annotator)
LEFT JOIN agreed USING (annotator) LEFT JOIN known USING (annotator)
LEFT JOIN repeated USING (annotator)
WHERE is_known(said.annotator) ORDER BY said.annotator
"""


_FIGURES = f"""
SELECT annotator, n_votes AS votes, n_agreed / nullif(n_pairs, 0) AS agreement,
    n_pairs AS n_agreement, n_passed, n_passed / nullif(n_gold, 0) AS gold_accuracy, n_gold,
    n_first / nullif(n_sided, 0) AS side_share, n_ties / nullif(n_votes, 0) AS tie_share,
    median_seconds, n_same / nullif(n_repeats, 0) AS consistency, n_repeats
FROM ({_COUNTS}) WHERE n_judged > 0 ORDER BY annotator
"""


def annotator_counts(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """A row per known annotator with an answer that stands, sorted by hash."""
    return list(connection.sql(_COUNTS).to_arrow_table().to_pylist())


def judge_batch(connection: duckdb.DuckDBPyConnection) -> tuple[Judged, list[str]]:
    """Fit the noisy Bradley-Terry model to a batch in a database of `winnow.label.database`.

    The pairs with a vote are in front, in their order; the names are those of the `a`s. Gold tasks
    whose answer is not `expected`, and repeats of pairs without a vote, are left out.
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
    return judged, votes.annotators


_USED = """
CREATE OR REPLACE TEMP TABLE gold_items AS
SELECT task_id, row_number() OVER (ORDER BY task_id) - 1 AS item, class_of(expected) AS known
FROM (SELECT DISTINCT task_id, expected FROM judged JOIN tasks USING (task_id)
      WHERE judged.kind = 'gold' AND expected IS NOT NULL);
CREATE OR REPLACE TEMP VIEW used AS
SELECT annotation_id, n AS pair, annotator, preferred, swapped, strength,
    kind = 'comparison' AS counts
FROM judged JOIN judged_pairs USING (pair_id) WHERE kind IN ('comparison', 'repeat')
UNION ALL
SELECT annotation_id, item + (SELECT count(*) FROM judged_pairs), annotator, preferred, swapped,
    strength, false
FROM judged JOIN gold_items USING (task_id) WHERE kind = 'gold';
"""
