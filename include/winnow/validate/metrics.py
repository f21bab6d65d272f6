"""Figures of a batch's annotations, computed by DuckDB in memory.

A figure that cannot be measured (no pair has two votes, say) is None, never a number that looks
measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import duckdb
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Shares lie in [0, 1].

    `agreement` is how often two annotators who both named a side of one pair named the same side,
    counted on `n_agreement` pairs of votes, with its 95 % Wilson interval; `side_bias` is |share of
    decided votes for side a - 1/2|.
    """

    n_annotations: int
    n_annotators: int
    completion: float | None
    agreement: float | None
    agreement_low: float | None
    agreement_high: float | None
    n_agreed: int
    n_agreement: int
    tie_rate: float | None
    side_bias: float | None
    largest_annotator_share: float | None

    def as_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


_QUERY = """
WITH decided AS (
    SELECT * FROM annotations
    WHERE status NOT IN ('rejected', 'retracted') AND preferred IS NOT NULL
),
voted AS (
    SELECT one.preferred = other.preferred AS agrees
    FROM decided AS one JOIN decided AS other
        ON one.pair_id = other.pair_id AND one.annotator < other.annotator
    WHERE one.preferred IN ('first', 'second') AND other.preferred IN ('first', 'second')
),
shares AS (
    SELECT count(*) / (SELECT count(*) FROM decided) AS share FROM decided GROUP BY annotator
)
SELECT
    (SELECT count(*) FROM annotations) AS n_annotations,
    (SELECT count(DISTINCT annotator) FROM annotations) AS n_annotators,
    (SELECT count(DISTINCT task_id) FROM annotations WHERE status <> 'retracted')
        / nullif($n_tasks, 0) AS completion,
    (SELECT count(*) FROM voted WHERE agrees) AS n_agreed,
    (SELECT count(*) FROM voted) AS n_agreement,
    (SELECT avg((preferred IN ('tie', 'both_bad'))::INT) FROM decided) AS tie_rate,
    (SELECT abs(avg((choice = 'a')::INT) - 0.5) FROM decided WHERE choice IN ('a', 'b'))
        AS side_bias,
    (SELECT max(share) FROM shares) AS largest_annotator_share
"""


def label_figures(annotations: pa.Table, n_tasks: int) -> LabelFigures:
    """Figures of the annotations (schema `ANNOTATIONS`) that `n_tasks` tasks brought."""
    with duckdb.connect() as connection:
        connection.register("annotations", annotations)
        counted = (
            connection.sql(_QUERY, params={"n_tasks": n_tasks}).to_arrow_table().to_pylist()[0]
        )
    n, agreed = counted["n_agreement"], counted["n_agreed"]
    low, high = wilson(agreed, n) if n else (None, None)
    agreement = agreed / n if n else None
    return LabelFigures(agreement=agreement, agreement_low=low, agreement_high=high, **counted)


def wilson(n_hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Score interval of a share of `n` > 0 (Wilson, JASA 22, 1927); z = 1.96 gives 95 %.

    >>> [round(bound, 3) for bound in wilson(8, 10)]
    [0.49, 0.943]
    """
    share = n_hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
