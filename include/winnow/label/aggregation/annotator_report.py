"""What a batch tells of each annotator, a row each: how much, how well, how fast, how even-handed.

A figure that cannot be measured (no gold task, no pair that anybody else judged) is None, never a
number that looks measured. Shares lie in [0, 1]. Withdrawn answers and skips are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import duckdb

from winnow.intervals import wilson
from winnow.label.aggregation.annotator_counts import annotator_counts
from winnow.label.aggregation.annotator_skill import JudgedBatch, judge_batch


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
    estimated = _estimates(judge_batch(connection))
    return [
        _figures(row, *estimated.get(row["annotator"], (None, None)))
        for row in annotator_counts(connection)
        if row["n_judged"]
    ]


def _figures(
    row: Mapping[str, Any], skill: float | None, side_bias: float | None
) -> AnnotatorFigures:
    n_gold = row["n_gold"]
    low, high = wilson(row["n_passed"], n_gold) if n_gold else (None, None)
    return AnnotatorFigures(
        annotator=row["annotator"],
        votes=row["n_votes"],
        agreement=_share(row["n_agreed"], row["n_pairs"]),
        n_agreement=row["n_pairs"],
        gold_accuracy=_share(row["n_passed"], n_gold),
        gold_low=low,
        gold_high=high,
        n_gold=n_gold,
        side_share=_share(row["n_first"], row["n_sided"]),
        tie_share=_share(row["n_ties"], row["n_votes"]),
        median_seconds=row["median_seconds"],
        consistency=_share(row["n_same"], row["n_repeats"]),
        n_repeats=row["n_repeats"],
        skill=skill,
        side_bias=side_bias,
    )


def _share(n_hits: int, n: int) -> float | None:
    return n_hits / n if n else None


def _estimates(batch: JudgedBatch) -> dict[str, tuple[float, float]]:
    guess_a, habit_ak = batch.judged.guess_a, batch.judged.habit_ak
    bias_a = guess_a * (habit_ak[:, 0] - habit_ak[:, 1])
    return {
        name: (float(1.0 - guess_a[a]), float(bias_a[a])) for a, name in enumerate(batch.annotators)
    }
