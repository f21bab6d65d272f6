"""Labels that a team brought, as training rows, read a few at a time however many they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from winnow.batch import Artifact, table_file
from winnow.lake import Lake
from winnow.pieces import read_pieces
from winnow.records import RANKED_TRAINING
from winnow.reward.brought import Brought
from winnow.stages.expand.brought_labels import Listed, listed_in
from winnow.stages.select.training import AT_ONCE

_DIGITS = 8
"""Of a pair's id, which is a hash: where it lies among all of them."""


@dataclass(frozen=True, slots=True, eq=False)
class BroughtRows:
    """The labels that an expand stage names."""

    lake: Lake
    listed: Listed

    @property
    def n_rows(self) -> int:
        """How many votes they are."""
        return sum(artifact.n_rows for artifact in self.listed.training)

    def all(self) -> Iterator[pa.Table]:
        """All of them in order, `AT_ONCE` at most at once."""
        for artifact in self.listed.training:
            with table_file(self.lake, artifact) as path:
                yield from (_table(rows) for rows in read_pieces(path, AT_ONCE))

    def some(self, most: int) -> pa.Table:
        """About `most` of them, a fair draw that depends on nothing but their pairs; all if fewer.

        All votes on a pair are in it or none.
        """
        tables = [RANKED_TRAINING.empty_table()]
        bound = int(16**_DIGITS * min(most / max(self.n_rows, 1), 1.0))
        for rows in self.all():
            places = [int(pair[:_DIGITS], 16) < bound for pair in rows["pair_id"].to_pylist()]
            tables.append(rows.filter(pa.array(places, pa.bool_())))
        return pa.concat_tables(tables)


def brought_rows(lake: Lake, expanded: Mapping[str, Artifact], version: str) -> BroughtRows | None:
    """The labels among the outputs of an expand stage; None where it has none in these columns."""
    listed = listed_in(lake, expanded)
    rows = None if listed is None else BroughtRows(lake, listed)
    is_theirs = listed is not None and listed.version == version
    return rows if rows is not None and is_theirs and rows.n_rows else None


def told(brought: Mapping[str, Brought], rows: BroughtRows | None) -> dict[str, object]:
    """What labels that were brought did for a model, for a manifest; empty where there are none.

    `weight` is what each counts for by head, in votes, and `counts_for` what all of them do.
    """
    if rows is None:
        return {}
    return {
        "votes": rows.n_rows,
        "files": rows.listed.files,
        "license": rows.listed.license,
        "weight": {name: each.weight for name, each in sorted(brought.items())},
        "counts_for": {
            name: each.votes.n_labels if each.votes else 0 for name, each in sorted(brought.items())
        },
    }


def _table(rows: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([rows])
