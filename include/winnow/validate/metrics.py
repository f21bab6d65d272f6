"""Figures of a batch's annotations, computed by DuckDB.

A figure that cannot be measured (no pair has two votes, say) is None, never a number that looks
measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import duckdb
import numpy as np

from winnow.intervals import wilson
from winnow.label.aggregation.agreement import batch_agreement, sided_agreement
from winnow.sql import statements


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """Shares lie in [0, 1]; of each annotation only the latest revision counts, while it stands.

    `n_annotators` is None where the vendor tells no people apart.

    `agreement` is how often two annotators who both named a side of one pair named the same side,
    counted on `n_agreement` pairs of votes, with its 95 % Wilson interval; third votes, which are
    asked where two differ, are left out of it and of `alpha`, which is Krippendorff's, over first,
    second and no difference, with a bootstrap interval; `side_bias` is |share of decided votes for
    side a - 1/2|; `gold_accuracy` the share of `n_gold` answers to gold tasks that name the known
    side; `repeat_consistency` how often an annotator judged one pair alike twice, counted on
    `n_repeats`.
    """

    n_annotations: int
    n_annotators: int | None
    completion: float | None
    agreement: float | None
    agreement_low: float | None
    agreement_high: float | None
    n_agreed: int
    n_agreement: int
    alpha: float | None
    alpha_low: float | None
    alpha_high: float | None
    tie_rate: float | None
    side_bias: float | None
    gold_accuracy: float | None
    gold_accuracy_high: float | None
    n_gold: int
    repeat_consistency: float | None
    n_repeats: int
    largest_annotator_share: float | None

    def as_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> LabelFigures:
        """Read back from a manifest, which may hold more, or less where it is an older one."""
        own: dict[str, Any] = {field.name: figures.get(field.name) for field in fields(cls)}
        return cls(**own)


def label_figures(connection: duckdb.DuckDBPyConnection, share: float = 1.0) -> LabelFigures:
    """Figures of a batch's annotations, in a database of `winnow.label.database`.

    A judged pair counts for a `share` of a vote in the agreement; where that is not all of one,
    pairs depend on each other, and alpha has no interval.
    """
    counted = connection.sql(statements(__file__)["query"]).to_arrow_table().to_pylist()[0]
    agreed, n = sided_agreement(connection, share)
    n_gold, passed = counted["n_gold"], counted.pop("n_gold_passed")
    low, high = wilson(agreed, n) if n else (None, None)
    alpha = batch_agreement(connection, np.random.default_rng(0))
    return LabelFigures(
        n_agreed=agreed,
        n_agreement=n,
        agreement=agreed / n if n else None,
        agreement_low=low,
        agreement_high=high,
        alpha=alpha.alpha,
        alpha_low=alpha.low if share == 1.0 else None,
        alpha_high=alpha.high if share == 1.0 else None,
        gold_accuracy=passed / n_gold if n_gold else None,
        gold_accuracy_high=wilson(passed, n_gold)[1] if n_gold else None,
        **counted,
    )
