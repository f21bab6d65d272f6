"""A batch whose labels are collected, as views and the report read it: a database of its tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb

from winnow.batch import Artifact
from winnow.label.database import opened
from winnow.sql import Source, statements

TABLES = {
    "prompts": "ingest",
    "comparisons": "select",
    "annotations": "label",
    "preferences": "label",
}
"""Its tables, and the stage that each is of; beside them `responses`, those that were compared, and
`profile` (`winnow.records.PROFILE`), which tells of their pools."""


LISTS = "lists"
"""A table beside them, where rankings were bought."""

_SQL = statements(__file__)


def pool_tables(
    expanded: Mapping[str, Artifact], selected: Mapping[str, Artifact]
) -> dict[str, Artifact]:
    """`responses` as far as labels speak of them, and the `profile` of their pools.

    They are among the outputs of two stages. Of pools that were gathered before 0.5 they are all
    responses, which tell the profile too.
    """
    if "profile" not in expanded:
        return {"responses": expanded["responses"]}
    return {"responses": selected["compared"], "profile": expanded["profile"]}


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A batch's key and its database: the tables, and the views of `winnow.label.database`.

    `has_lists` says that rankings were bought: there is the table `lists` (`winnow.records.LISTS`).
    """

    batch: str
    database: duckdb.DuckDBPyConnection
    has_lists: bool = False

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """What a query finds, where that is little."""
        relation = self.database.sql(query, params=parameters or None)
        return list(relation.to_arrow_table().to_pylist())

    def columns(self, query: str) -> dict[str, Any]:
        """What a query finds, as NumPy arrays by name."""
        return dict(self.database.sql(query).fetchnumpy())


@contextmanager
def labelled(batch: str, tables: Mapping[str, Source]) -> Iterator[Labelled]:
    """The batch of these tables, each an Arrow table or a Parquet file.

    Without a `profile`, `responses` are whole pools, of which it is made.
    """
    with opened(tables) as database:
        if "profile" not in tables:
            database.execute(_SQL["profile"])
        yield Labelled(batch, database, LISTS in tables)
