"""Figures of the quality report, computed from a batch's rows.

Rows are those of `records`; an absent figure is None or an empty list, never a number that looks
measured. The order of rows does not matter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from winnow.label.agreement import wilson
from winnow.label.votes import votes_of
from winnow.publish.views import Labelled
from winnow.reward.calibration import Calibration, expected_calibration_error

Row = Mapping[str, Any]

_BIN_VOTES = 8
"""Votes that a bin of the calibration holds at least, so that its interval says something."""

_PREFERRED = {"first": 1.0, "second": 0.0, "tie": 0.5, "both_bad": 0.5}


@dataclass(frozen=True, slots=True)
class RankGain:
    """Mean expected gain of the pairs bought at one rank by one arm, nats, with 95 % interval."""

    rank: int
    kind: str
    n: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Lengths:
    """The nine deciles of the lengths of responses, characters, in the pool and what came of it."""

    pool: Sequence[float]
    bought: Sequence[float]
    chosen: Sequence[float]


@dataclass(frozen=True, slots=True)
class LongerWins:
    """Of `n` decided pairs whose lengths differ, in how many the longer response was chosen."""

    n: int
    hits: int

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the share."""
        return wilson(self.hits, self.n)


@dataclass(frozen=True, slots=True)
class Example:
    """A pair to look at, with why it is shown."""

    why: str
    prompt: str
    turns: int
    first: str
    second: str
    preferred: str
    p_first: float | None
    p_after: float
    votes: int


def gain_by_rank(comparisons: Iterable[Row]) -> list[RankGain]:
    """Expected information gain by rank in the prompt and kind, mean ± 1.96 standard errors."""
    gains: defaultdict[tuple[int, str], list[float]] = defaultdict(list)
    for row in comparisons:
        if row.get("info_gain") is not None and row.get("rank") is not None:
            gains[row["rank"], row["kind"]].append(row["info_gain"])
    found = []
    for (rank, kind), unsorted in sorted(gains.items()):
        values = sorted(unsorted)
        mean = float(np.mean(values))
        half = 1.96 * float(np.std(values, ddof=1)) / sqrt(len(values)) if len(values) > 1 else 0.0
        found.append(RankGain(rank, kind, len(values), mean, mean - half, mean + half))
    return found


def calibration(comparisons: Mapping[str, Row], annotations: Iterable[Row]) -> Calibration | None:
    """What the model stated before the label against each vote, on uniformly drawn pairs only."""
    stated, preferred = [], []
    for vote in votes_of(annotations):
        pair = comparisons[vote["pair_id"]]
        if pair["kind"] == "exploration" and pair.get("p_first") is not None:
            stated.append(pair["p_first"])
            preferred.append(_PREFERRED[vote["preferred"]])
    if not stated:
        return None
    n_bins = min(10, max(1, len(stated) // _BIN_VOTES))
    return expected_calibration_error(stated, preferred, n_bins=n_bins)


def seconds_spent(annotations: Iterable[Row]) -> float | None:
    """Active time of all answers, seconds; None where the vendor does not tell it."""
    known = [r["active_seconds"] for r in annotations if r.get("active_seconds") is not None]
    return float(np.sum(np.sort(known))) if known else None


def lengths(labelled: Labelled) -> Lengths | None:
    """Deciles of characters over distinct responses; None where one of the groups is empty."""
    groups = (labelled.responses.keys(), bought_ids(labelled), chosen_ids(labelled))
    if not all(groups):
        return None
    return Lengths(*(_deciles(labelled, ids) for ids in groups))


def longer_wins(labelled: Labelled) -> LongerWins | None:
    """How often the longer response was chosen; None where no decided pair differs in length."""
    chosen_is_longer = [
        (a > b) == (row["preferred"] == "first")
        for row in decided(labelled)
        if (a := _length(labelled, row["first_id"])) != (b := _length(labelled, row["second_id"]))
    ]
    return LongerWins(len(chosen_is_longer), sum(chosen_is_longer)) if chosen_is_longer else None


def decided(labelled: Labelled) -> list[Row]:
    """Preferences that name a side."""
    return [row for row in labelled.preferences if row["preferred"] in ("first", "second")]


def bought_ids(labelled: Labelled) -> set[str]:
    """Responses of the compared pairs."""
    return {row[s] for row in labelled.comparisons.values() for s in ("first_id", "second_id")}


def chosen_ids(labelled: Labelled) -> set[str]:
    """Responses that a decided pair prefers."""
    return {row[f"{row['preferred']}_id"] for row in decided(labelled)}


def examples(labelled: Labelled) -> list[Example]:
    """Up to four pairs that differ in kind, each the clearest of its kind."""
    rows = sorted(labelled.preferences, key=lambda row: row["pair_id"])
    sides = [row for row in rows if row["preferred"] in ("first", "second")]
    pairs = labelled.comparisons
    asked = [
        ("Most information expected", sides, lambda r: pairs[r["pair_id"]].get("info_gain") or 0.0),
        ("Annotators disagreed", [r for r in rows if _split(r)], lambda r: r["votes"]),
        ("No difference seen", [r for r in rows if r["preferred"] == "tie"], lambda r: r["votes"]),
        ("The model was most surprised", sides, lambda r: _surprise(r, pairs[r["pair_id"]])),
    ]
    shown: dict[str, Example] = {}
    for why, among, worth in asked:
        left = [row for row in among if row["pair_id"] not in shown]
        if left:
            best = max(left, key=worth)
            shown[best["pair_id"]] = _example(labelled, best, why)
    return list(shown.values())


def _split(preference: Row) -> bool:
    return preference["agreement"] is not None and preference["agreement"] < 1.0


def _surprise(preference: Row, pair: Row) -> float:
    p = pair.get("p_first")
    if p is None:
        return 0.0
    return float(1.0 - p if preference["preferred"] == "first" else p)


def _example(labelled: Labelled, row: Row, why: str) -> Example:
    messages = labelled.prompts[row["prompt_id"]]["messages"]
    return Example(
        why=why,
        prompt=messages[-1]["content"] if messages else "",
        turns=len(messages),
        first=labelled.responses[row["first_id"]]["message"],
        second=labelled.responses[row["second_id"]]["message"],
        preferred=row["preferred"],
        p_first=labelled.comparisons[row["pair_id"]].get("p_first"),
        p_after=row["p_preferred"],
        votes=row["votes"],
    )


def _length(labelled: Labelled, response_id: str) -> int:
    return len(labelled.responses[response_id]["message"])


def _deciles(labelled: Labelled, ids: Iterable[str]) -> list[float]:
    values = [_length(labelled, each) for each in ids]
    return [float(v) for v in np.percentile(values, range(10, 100, 10))]
