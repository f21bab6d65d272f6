"""A batch whose labels are collected, as views and the report read it: a database of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb

from winnow.label.database import opened
from winnow.sql import Source

TABLES = {
    "prompts": "ingest",
    "responses": "expand",
    "comparisons": "select",
    "annotations": "label",
    "preferences": "label",
}
"""Its tables, and the stage that each is of."""


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A batch's key and its database: `TABLES`, and the views of `winnow.label.database`."""

    batch: str
    database: duckdb.DuckDBPyConnection

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """What a query finds, where that is little."""
        relation = self.database.sql(query, params=parameters or None)
        return list(relation.to_arrow_table().to_pylist())

    def columns(self, query: str) -> dict[str, Any]:
        """What a query finds, as NumPy arrays by name."""
        return dict(self.database.sql(query).fetchnumpy())


@contextmanager
def labelled(batch: str, tables: Mapping[str, Source]) -> Iterator[Labelled]:
    """The batch of these `TABLES`, each an Arrow table or a Parquet file."""
    with opened(tables) as database:
        yield Labelled(batch, database)
