"""Figures of the quality report, computed from a batch's tables.

An absent figure is None or an empty list, never a number that looks
measured. The order of rows does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.intervals import wilson
from winnow.publish.labelled import Labelled
from winnow.reward.calibration import Calibration, expected_calibration_error
from winnow.sql import statements

Row = Mapping[str, Any]

_SQL = statements(__file__)

_BIN_VOTES = 8
"""Votes that a bin of the calibration holds at least, so that its interval says something."""


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


def gain_by_rank(labelled: Labelled) -> list[RankGain]:
    """Expected information gain by rank in the prompt and kind, mean ± 1.96 standard errors."""
    columns = labelled.columns(
        "SELECT rank, kind, info_gain FROM comparisons "
        "WHERE info_gain IS NOT NULL AND rank IS NOT NULL ORDER BY rank, kind, info_gain"
    )
    return gains_by_rank(columns["rank"], columns["kind"], columns["info_gain"])


def gains_by_rank(
    ranks: Sequence[int], kinds: Sequence[str], info_gain: Sequence[float]
) -> list[RankGain]:
    """The same of equally long columns in the order of rank and kind, without missing values."""
    gains = np.asarray(info_gain, dtype=np.float64)
    gains_of = []
    for (rank, kind), places in groupby(range(len(gains)), lambda i: (int(ranks[i]), kinds[i])):
        values = gains[list(places)]
        mean, n = float(np.mean(values)), len(values)
        half = 1.96 * float(np.std(values, ddof=1)) / sqrt(n) if n > 1 else 0.0
        gains_of.append(RankGain(rank, kind, n, mean, mean - half, mean + half))
    return gains_of


def calibration(labelled: Labelled) -> Calibration | None:
    """What the model stated before the label against each vote, on uniformly drawn pairs only."""
    votes = labelled.columns(
        "SELECT c.p_first, CASE class_of(v.preferred) WHEN 0 THEN 1.0 WHEN 1 THEN 0.0 ELSE 0.5 END "
        "AS preferred FROM votes AS v JOIN comparisons AS c USING (pair_id) "
        "WHERE c.kind = 'exploration' AND c.p_first IS NOT NULL ORDER BY annotation_id"
    )
    n = len(votes["p_first"])
    if not n:
        return None
    bins = min(10, max(1, n // _BIN_VOTES))
    preferred = votes["preferred"].astype(np.float64)
    return expected_calibration_error(votes["p_first"], preferred, n_bins=bins)


def seconds_spent(labelled: Labelled) -> float | None:
    """Active time of all answers but gold's, seconds; None where the vendor does not tell it."""
    answers = labelled.columns(
        "SELECT active_seconds FROM annotations "
        "WHERE active_seconds IS NOT NULL AND kind IS DISTINCT FROM 'gold' ORDER BY active_seconds"
    )
    return float(np.sum(answers["active_seconds"])) if len(answers["active_seconds"]) else None


def lengths(labelled: Labelled) -> Lengths | None:
    """Deciles of characters over distinct responses; None where one of the groups is empty."""
    compared = "SELECT length(message) AS length, count(*) AS n FROM responses WHERE response_id IN"
    queries = [
        "SELECT value::BIGINT AS length, n FROM profile WHERE trait = 'length'",
        *(f"{compared} ({ids}) GROUP BY 1" for ids in (BOUGHT, CHOSEN)),
    ]
    groups = [labelled.columns(f"FROM ({query}) ORDER BY length") for query in queries]
    if not all(len(group["n"]) for group in groups):
        return None
    return Lengths(*(_deciles(group["length"], group["n"]) for group in groups))


def _deciles(length_v: NDArray[np.int64], n_v: NDArray[np.int64]) -> list[float]:
    """Deciles of values that rise, each of which there are `n_v`, between neighbours linearly."""
    last_v = np.cumsum(n_v) - 1
    place_k = last_v[-1] * np.arange(1, 10) / 10
    below_k, above_k = (
        length_v[np.searchsorted(last_v, edge(place_k))] for edge in (np.floor, np.ceil)
    )
    return [float(v) for v in below_k + (above_k - below_k) * (place_k % 1.0)]


def longer_wins(labelled: Labelled) -> LongerWins | None:
    """How often the longer response was chosen; None where no decided pair differs in length."""
    [counts] = labelled.rows(_SQL["longer"])
    return LongerWins(counts["n"], counts["hits"]) if counts["n"] else None


BOUGHT = "SELECT unnest([first_id, second_id]) FROM comparisons"
"""SQL: the responses of the compared pairs."""
CHOSEN = """SELECT CASE WHEN preferred = 'first' THEN first_id ELSE second_id END FROM preferences
WHERE preferred IN ('first', 'second')"""
"""SQL: the responses that a decided pair prefers."""


_SHOWN = [
    ("Most information expected", "preferred <> 'tie'", "coalesce(info_gain, 0.0)"),
    ("Annotators disagreed", "agreement < 1.0", "p.votes"),
    ("No difference seen", "preferred = 'tie'", "p.votes"),
    (
        "The model was most surprised",
        "preferred <> 'tie'",
        "coalesce(CASE WHEN preferred = 'first' THEN 1.0 - p_first ELSE p_first END, 0.0)",
    ),
]
"""Why a pair is shown, which are in question, and what makes one of them the clearest."""


def examples(labelled: Labelled) -> list[Example]:
    """Up to four pairs that differ in kind, each the clearest of its kind."""
    shown: dict[str, Example] = {}
    for why, among, worth in _SHOWN:
        clearest = labelled.rows(_SQL["clearest"].format(among=among, worth=worth, n=len(_SHOWN)))
        left = [row for row in clearest if row["pair_id"] not in shown]
        if left:
            shown[left[0]["pair_id"]] = _example(labelled, left[0], why)
    return list(shown.values())


def _example(labelled: Labelled, row: Row, why: str) -> Example:
    [texts] = labelled.rows(
        _SQL["example"], prompt=row["prompt_id"], first=row["first_id"], second=row["second_id"]
    )
    return Example(
        why=why,
        prompt=texts["prompt"] or "",
        turns=texts["turns"],
        first=texts["first"],
        second=texts["second"],
        preferred=row["preferred"],
        p_first=row["p_first"],
        p_after=row["p_preferred"],
        votes=row["votes"],
    )
