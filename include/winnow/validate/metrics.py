"""Figures of a batch's annotations, computed by DuckDB in memory.

A figure that cannot be measured (no pair has two votes, say) is None, never a number that looks
measured.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import pyarrow as pa


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Shares lie in [0, 1]; `n_agreement` is the number of pairs of votes that `agreement` was measured on."""

    n_annotations: int
    n_annotators: int
    completion: float | None
    agreement: float | None
    n_agreement: int
    tie_rate: float | None
    side_bias: float | None
    largest_annotator_share: float | None

    def as_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


_QUERY = """
WITH decided AS (
    SELECT * FROM annotations WHERE status NOT IN ('rejected', 'retracted') AND preferred IS NOT NULL
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
    (SELECT avg(agrees::INT) FROM voted) AS agreement,
    (SELECT count(*) FROM voted) AS n_agreement,
    (SELECT avg((preferred IN ('tie', 'both_bad'))::INT) FROM decided) AS tie_rate,
    (SELECT abs(avg((choice = 'a')::INT) - 0.5) FROM decided WHERE choice IN ('a', 'b'))
        AS side_bias,
    (SELECT max(share) FROM shares) AS largest_annotator_share
"""


def label_figures(annotations: pa.Table, n_tasks: int) -> LabelFigures:
    """Figures of the annotations (schema `ANNOTATIONS`) that `n_tasks` tasks brought.

    `agreement` is how often two annotators who both named a side of one pair named the same side;
    `side_bias` is |share of decided votes for side a - 1/2|.
    """
    with duckdb.connect() as connection:
        connection.register("annotations", annotations)
        figures = connection.sql(_QUERY, params={"n_tasks": n_tasks}).to_arrow_table().to_pylist()
    return LabelFigures(**figures[0])
