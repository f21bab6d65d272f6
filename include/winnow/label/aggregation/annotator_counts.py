"""What each annotator of a batch answered, counted in SQL: for the batch's report and the gate.

Counts are of `winnow.label.database`; `agreed` compares votes of different people on one pair that
both name a side (no third votes), gold and repeats compare first, second and no difference.
"""

from __future__ import annotations

from typing import Any

import duckdb

_COUNTS = """
WITH agreed AS (
    SELECT one.annotator, count(*) AS n_pairs,
        count(*) FILTER (one.preferred = other.preferred) AS n_agreed
    FROM first_votes AS one JOIN first_votes AS other
        ON one.pair_id = other.pair_id AND one.annotator <> other.annotator
    WHERE one.preferred IN ('first', 'second') AND other.preferred IN ('first', 'second')
    GROUP BY one.annotator
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


def annotator_counts(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """A row per known annotator with an answer that stands, sorted by hash."""
    return list(connection.sql(_COUNTS).to_arrow_table().to_pylist())
