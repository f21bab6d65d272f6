"""How far annotators agree beyond chance.

Krippendorff's alpha for nominal classes, any number of votes per pair:

    α = 1 - (N - 1) Σ_u d_u / (N² - Σ_k N_k²),    d_u = (m_u² - Σ_k n_uk²) / (m_u - 1)

over pairs u with m_u ≥ 2 votes, n_uk of them for class k; N and N_k are their sums. 1 is perfect
agreement, 0 what chance alone gives. The interval resamples pairs: those with the same counts are
one kind of pair, and a resample is a multinomial draw of kinds, so it costs next to nothing.

What always holds: pairs with one vote change nothing; nor does the order of votes.

Source: Krippendorff (2011), "Computing Krippendorff's alpha-reliability".

Shapes: v votes, u pairs, k classes, p kinds of pair, b resamples.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import duckdb
import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Agreement:
    """Alpha of `n_votes` votes on the `n_pairs` pairs that have two or more, and its 95 % interval.

    All three figures are None where no two votes are on one pair, or all votes are for one class:
    then there is nothing to agree beyond.
    """

    alpha: float | None
    low: float | None
    high: float | None
    n_pairs: int
    n_votes: int

    def as_dict(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)


def batch_agreement(connection: duckdb.DuckDBPyConnection, rng: np.random.Generator) -> Agreement:
    """Agreement of a batch's comparisons on first, second or no difference.

    The batch is in a database of `winnow.label.database`; gold and repeats are left out.
    """
    votes = connection.sql(
        "SELECT dense_rank() OVER (ORDER BY pair_id) AS pair, class_of(preferred) AS choice "
        "FROM first_votes"
    ).fetchnumpy()
    return agreement(votes["pair"], votes["choice"], rng)


def sided_agreement(connection: duckdb.DuckDBPyConnection, share: float = 1.0) -> tuple[int, int]:
    """How many pairs of votes named one side, and of how many in which both named a side.

    Two votes on one pair, by two people, in a database of `winnow.label.database`; a third vote,
    which is asked because two differ, is left out. Where a judged pair is no vote of its own but a
    `share` of one, so much is counted of it, rounded.
    """
    counted = "SELECT count(*) FILTER (agreed), count(*) FROM sided WHERE annotator < other"
    n_agreed, n_pairs = connection.sql(counted).fetchall()[0]
    return round(share * n_agreed), round(share * n_pairs)


def agreement(pair_v: ArrayLike, label_v: ArrayLike, rng: np.random.Generator) -> Agreement:
    """Alpha with its interval; `pair_v` and `label_v` (any values) say what was voted on what."""
    counts_uk = _counted(pair_v, label_v)
    kinds_pk, times_p = np.unique(counts_uk, axis=0, return_counts=True)
    point = _alpha(kinds_pk, times_p[None, :].astype(np.float64))[0]
    n_pairs, n_votes = len(counts_uk), int(counts_uk.sum())
    if np.isnan(point):
        return Agreement(None, None, None, n_pairs, n_votes)
    drawn_bp = rng.multinomial(n_pairs, times_p / n_pairs, size=_RESAMPLES)
    resampled = _alpha(kinds_pk, drawn_bp.astype(np.float64))
    # Of few pairs a resample may hold one class only: such a draw says nothing.
    low, high = np.nanquantile(resampled, [0.025, 0.975]).tolist()
    return Agreement(float(point), low, high, n_pairs, n_votes)


def alpha(pair_v: ArrayLike, label_v: ArrayLike) -> float | None:
    """Krippendorff's alpha alone; None where there is nothing to agree beyond.

    >>> alpha([0, 0, 1, 1], ["x", "x", "y", "y"]), alpha([0, 0], ["x", "x"]), alpha([], [])
    (1.0, None, None)
    """
    counts_uk = _counted(pair_v, label_v)
    point = _alpha(counts_uk, np.ones((1, len(counts_uk))))[0]
    return None if np.isnan(point) else float(point)


def _counted(pair_v: ArrayLike, label_v: ArrayLike) -> FloatArray:
    """Votes per pair and class, of the pairs with two or more."""
    pairs, pair_v = np.unique(np.asarray(pair_v), return_inverse=True)
    labels, label_v = np.unique(np.asarray(label_v), return_inverse=True)
    n_classes = max(1, len(labels))
    counts = np.bincount(pair_v * n_classes + label_v, minlength=len(pairs) * n_classes)
    counts_uk = counts.reshape(len(pairs), n_classes).astype(np.float64)
    return np.asarray(counts_uk[counts_uk.sum(axis=1) >= 2])


def _alpha(counts_uk: FloatArray, weight_bu: FloatArray) -> FloatArray:
    """Alpha when each row of counts is there `weight_bu` times; NaN where it is undefined."""
    m_u = counts_uk.sum(axis=1)
    differ_u = (m_u**2 - (counts_uk**2).sum(axis=1)) / (m_u - 1.0)
    n_b, n_bk = weight_bu @ m_u, weight_bu @ counts_uk
    by_chance_b = n_b**2 - (n_bk**2).sum(axis=1)
    observed_b = (n_b - 1.0) * (weight_bu @ differ_u)
    ratio_b = np.full(len(weight_bu), np.nan)
    np.divide(observed_b, by_chance_b, out=ratio_b, where=by_chance_b > 0)
    return np.asarray(1.0 - ratio_b)
