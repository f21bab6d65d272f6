"""Which annotations are votes, and the votes of a batch as arrays.

What always holds: of each annotation only its latest revision counts, and not at all when it was
rejected or retracted; a skip is no vote. Ties and "both bad" are one class: no difference to see.
Nothing depends on the order in which annotations come.

Shapes: v votes, n pairs, a annotators.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.label.annotation import NOT_COUNTED

Row = Mapping[str, Any]
IntArray = NDArray[np.intp]

COMPARISON, GOLD, REPEAT = "comparison", "gold", "repeat"
"""Kinds of annotation; only a comparison's is a vote on what is published."""

FIRST, SECOND, NO_DIFFERENCE = 0, 1, 2
N_CHOICES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """Votes on `n_pairs` pairs, of the annotators named in `annotators`.

    Attributes:
        pair_v: Row of each vote's pair.
        annotator_v: Position of its annotator in `annotators`.
        choice_v: `FIRST`, `SECOND` or `NO_DIFFERENCE`, of the pair's own order.
        swapped_v: Whether the second response was shown first.
        strength_v: 0 to 3 as the annotator said, -1 where nothing was said.
        n_pairs: Number of pairs.
        annotators: Hashes, sorted.
    """

    pair_v: IntArray
    annotator_v: IntArray
    choice_v: IntArray
    swapped_v: NDArray[np.bool_]
    strength_v: IntArray
    n_pairs: int
    annotators: list[str]

    @property
    def shown_v(self) -> IntArray:
        """The choice of each vote as shown: 0 for the side shown first, 1 for the other, 2 none."""
        decided_v = self.choice_v != NO_DIFFERENCE
        return np.where(decided_v & self.swapped_v, 1 - self.choice_v, self.choice_v)

    def counts(self) -> NDArray[np.float64]:
        """Votes for each class of each pair, (n_pairs, 3)."""
        cell_v = self.pair_v * N_CHOICES + self.choice_v
        counts = np.bincount(cell_v, minlength=self.n_pairs * N_CHOICES)
        return counts.reshape(self.n_pairs, N_CHOICES).astype(np.float64)


def latest_revisions(annotations: Iterable[Row]) -> list[Row]:
    """The highest revision of each annotation, sorted by annotation id."""
    latest: dict[str, Row] = {}
    for row in annotations:
        held = latest.get(row["annotation_id"])
        if held is None or held["revision"] < row["revision"]:
            latest[row["annotation_id"]] = row
    return [latest[name] for name in sorted(latest)]


def by_pair(annotations: Iterable[Row]) -> dict[str, list[Row]]:
    """Annotations grouped by their pair, in their order."""
    grouped: defaultdict[str, list[Row]] = defaultdict(list)
    for row in annotations:
        grouped[row["pair_id"]].append(row)
    return dict(grouped)


def votes_of(annotations: Iterable[Row]) -> list[Row]:
    """The votes among annotations of every revision, sorted by annotation id.

    Gold tasks and repeats tell of the annotator, and are no votes; a row without a kind is of a
    time when all were comparisons.
    """
    return [
        row
        for row in latest_revisions(annotations)
        if (row.get("kind") or COMPARISON) == COMPARISON
        and row["status"] not in NOT_COUNTED
        and row["preferred"] is not None
    ]


def votes_in(annotations: pa.Table) -> list[Row]:
    """The votes in a table of annotations: which pair, and what was preferred.

    Those of people; a model's where no person voted.
    """
    names = [name for name in _TELLING if name in annotations.column_names]
    votes = votes_of(annotations.select(names).to_pylist())
    return [vote for vote in votes if vote.get("model") is None] or votes


_TELLING = ("annotation_id", "revision", "kind", "status", "pair_id", "preferred", "model")


def to_votes(connection: duckdb.DuckDBPyConnection, answers: str, n_pairs: int) -> Votes:
    """What a query finds, by annotation id.

    `answers` selects annotation_id, pair (a number), annotator, preferred, swapped and strength.
    """
    names = connection.sql(f"SELECT DISTINCT annotator FROM ({answers}) ORDER BY 1").fetchall()
    columns = connection.sql(_VOTES.format(answers=answers)).fetchnumpy()
    return Votes(
        pair_v=columns["pair"].astype(np.intp),
        annotator_v=columns["annotator"].astype(np.intp),
        choice_v=columns["choice"].astype(np.intp),
        swapped_v=columns["swapped"].astype(np.bool_),
        strength_v=columns["strength"].astype(np.intp),
        n_pairs=n_pairs,
        annotators=[name for (name,) in names],
    )


_VOTES = """
SELECT pair, dense_rank() OVER (ORDER BY annotator) - 1 AS annotator,
    class_of(preferred) AS choice, coalesce(swapped, false) AS swapped,
    coalesce(strength, -1) AS strength
FROM ({answers}) ORDER BY annotation_id
"""
