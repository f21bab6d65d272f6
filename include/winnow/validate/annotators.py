"""Annotators who fail a limit of their own, and what the batch is without each of them.

Everybody with enough answers is looked at, so chance alone would find somebody: the Wilson interval
of each share is widened to hold for all m of them at once (Bonferroni, z of 1 - 0.025 / m), and the
end that favours the annotator is held against the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import duckdb

from winnow.campaign import Validate
from winnow.intervals import wilson
from winnow.label.aggregation.annotators import annotator_counts
from winnow.sql import statements
from winnow.validate.verdict import Suspect

_SQL = statements(__file__)
READING = _SQL["reading"]
"""Characters that an answer takes to read, by task; gold is not among a batch's responses."""

CHECKS = {
    "annotator_gold_accuracy": ("min_annotator_gold_accuracy", "n_passed", "n_gold"),
    "annotator_agreement": ("min_annotator_agreement", "n_agreed", "n_pairs"),
    "annotator_consistency": ("min_annotator_consistency", "n_same", "n_repeats"),
    "annotator_side_bias": ("max_annotator_side_bias", "n_first", "n_sided"),
    "annotator_same_choice": ("max_annotator_same_choice", "n_top", "n_answers"),
    "annotator_speeding": ("max_annotator_speeding", "n_fast", "n_timed"),
}
"""Of each check of an annotator its limit, a setting of `campaign.Validate`, and the counts whose
share it holds."""


@dataclass(frozen=True, slots=True)
class Held:
    """One annotator held against one limit; `bound` is the interval's end that favours them."""

    annotator: str
    check: str
    measured: float
    bound: float
    votes: int


def timed_counts(
    connection: duckdb.DuckDBPyConnection, limits: Validate, share: float = 1.0
) -> list[dict[str, Any]]:
    """`annotator_counts`, and how many answers came too fast; `READING` was executed.

    Where a judged pair is a `share` of a vote, so much of each count, rounded.
    """
    relation = connection.sql(_SQL["fast"], params={"speed": limits.max_chars_per_second})
    fast = {row["annotator"]: row for row in relation.to_arrow_table().to_pylist()}
    rows = [{**row, **fast[row["annotator"]]} for row in annotator_counts(connection)]
    if share == 1.0:
        return rows
    return [
        {n: round(share * v) if isinstance(v, int) else v for n, v in row.items()} for row in rows
    ]


def held_annotators(counts: Sequence[Mapping[str, Any]], limits: Validate) -> list[Held]:
    """Every annotator with enough answers, on each check that there is something to count for."""
    looked_at = [row for row in counts if row["n_answers"] >= limits.annotator_answers]
    if not looked_at:
        return []
    z = NormalDist().inv_cdf(1.0 - 0.025 / len(looked_at))
    return [
        _held(row, check, row[hits], row[n], z)
        for row in looked_at
        for check, (_, hits, n) in CHECKS.items()
        if row[n]
    ]


def suspects(
    held: Sequence[Held], counts: Sequence[Mapping[str, Any]], limits: Validate
) -> list[Suspect]:
    """Those whose bound is beyond the limit, with the batch's agreement and gold without them."""
    of = {row["annotator"]: row for row in counts}
    return [
        Suspect(
            each.annotator,
            each.check,
            each.measured,
            each.bound,
            limit_told(each.check, limits),
            each.votes,
            *_without(of[each.annotator], counts),
        )
        for each in held
        if fails(each, limits)
    ]


def fails(held: Held, limits: Validate) -> bool:
    """Whether the bound is beyond its limit."""
    limit = getattr(limits, CHECKS[held.check][0])
    if limit is None:
        return False
    return bool(held.bound < limit if _is_least(held.check) else held.bound > limit)


def limit_told(check: str, limits: Validate) -> str:
    """The limit of a check of annotators, in words."""
    return f"{'>=' if _is_least(check) else '<='} {getattr(limits, CHECKS[check][0])}"


def _is_least(check: str) -> bool:
    return CHECKS[check][0].startswith("min_")


def _held(row: Mapping[str, Any], check: str, n_hits: int, n: int, z: float) -> Held:
    low, high = wilson(n_hits, n, z)
    measured, bound = n_hits / n, high if _is_least(check) else low
    if check == "annotator_side_bias":
        measured = abs(measured - 0.5)
        bound = max(0.0, low - 0.5, 0.5 - high)
    return Held(row["annotator"], check, measured, bound, row["n_votes"])


def _without(
    row: Mapping[str, Any], counts: Sequence[Mapping[str, Any]]
) -> tuple[float | None, float | None]:
    """Agreement and gold accuracy of the batch when the annotator's answers are left out."""
    # Each pair of votes is counted for both who cast them.
    n_pairs = sum(each["n_pairs"] for each in counts) / 2 - row["n_pairs"]
    n_agreed = sum(each["n_agreed"] for each in counts) / 2 - row["n_agreed"]
    n_gold = sum(each["n_gold"] for each in counts) - row["n_gold"]
    n_passed = sum(each["n_passed"] for each in counts) - row["n_passed"]
    return _share(n_agreed, n_pairs), _share(n_passed, n_gold)


def _share(n_hits: float, n: float) -> float | None:
    return n_hits / n if n > 0 else None
