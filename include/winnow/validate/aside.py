"""Rows that break a rule, set aside with all that depends on them, so that the rest goes on.

A pair goes whole: its comparison, its tasks, its annotations and its preference, so that what stays
adds up as before. A faulty prompt or response takes its pairs along.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.pieces import read_pieces
from winnow.records import QUARANTINE
from winnow.sql import Source, statements
from winnow.validate.tables import n_rows_of, opened, schema_of
from winnow.validate.verdict import NO_TABLE, STAGE, Check, Verdict, worst_of

CHECK = "rows_set_aside"
"""The check that says of a batch that some of its rows were."""

_KEYS = {
    "prompts": ("prompt_id", "prompts"),
    "responses": ("response_id", "responses"),
    **dict.fromkeys(("comparisons", "tasks", "annotations", "preferences"), ("pair_id", "pairs")),
}
"""By which column a row of each table is set aside, and among what."""

_NO_ROWS = ("columns",)
"""Checks of whole tables, which no row can be set aside for."""


_SQL = statements(__file__)


@dataclass(frozen=True, slots=True)
class Aside:
    """What a batch is published without.

    Attributes:
        pairs: Ids of pairs; so with `prompts` and `responses`.
        n_rows: Rows that each table loses.
        checks: Rows that break each check.
    """

    pairs: frozenset[str] = frozenset()
    prompts: frozenset[str] = frozenset()
    responses: frozenset[str] = frozenset()
    n_rows: Mapping[str, int] = field(default_factory=dict)
    checks: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.checks)

    def leaves(self, pair: str | None) -> bool:
        """Whether the rows of a pair stay; a row of no pair goes where any does."""
        return not self or (pair is not None and pair not in self.pairs)

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {k: sorted(v) if isinstance(v, frozenset) else v for k, v in asdict(self).items()}

    @classmethod
    def of(cls, verdict: Verdict) -> Aside:
        """What a verdict says is set aside; nothing in verdicts before 0.3."""
        content = verdict.set_aside or {}
        ids = {name: frozenset(content.get(name, ())) for name in ("pairs", "prompts", "responses")}
        return cls(**ids, n_rows=content.get("n_rows", {}), checks=content.get("checks", {}))


def find_aside(
    tables: Mapping[str, Source], verdict: Verdict, broken: pa.Table
) -> tuple[Aside, pa.Table]:
    """What has to go for the rows that block a batch, and what depends on them.

    `broken` are the rows behind a verdict, a table `records.QUARANTINE`; the second table, of the
    same schema, are the annotations and preferences that go with them.
    """
    blocking = [c.name for c in verdict.checks if (c.severity, c.outcome) == ("block", "fail")]
    names = [name for name in blocking if name not in _NO_ROWS]
    with opened(tables) as connection:
        connection.register("given_broken", broken)
        connection.execute(_SQL["broken"], {"names": names, "no_table": NO_TABLE})
        connection.execute(_SQL["pairs"])
        counts = dict(connection.sql('SELECT "check", count(*) FROM broken GROUP BY 1').fetchall())
        aside = Aside(
            _ids(connection, "SELECT pair_id FROM aside"),
            _ids(connection, "SELECT row_id FROM broken WHERE place = 'prompts'"),
            _ids(connection, "SELECT row_id FROM broken WHERE place = 'responses'"),
            checks=counts,
        )
        rows = connection.sql(_SQL["go_along"], params={"stage": STAGE}).to_arrow_table()
    if not aside:
        return aside, QUARANTINE.empty_table()
    with without(tables, aside) as left:
        n_rows = {name: n_rows_of(tables[name]) - n_rows_of(left[name]) for name in left}
    return replace(aside, n_rows=n_rows), rows.cast(QUARANTINE)


@contextmanager
def without(tables: Mapping[str, Source], aside: Aside) -> Iterator[dict[str, Source]]:
    """The tables as files without the rows that are set aside, and without those of no id."""
    if not aside:
        yield dict(tables)
        return
    with tempfile.TemporaryDirectory(prefix="winnow-aside-") as folder:
        yield {
            name: _left(source, Path(folder) / f"{name}.parquet", *_of(name, aside))
            if name in _KEYS
            else source
            for name, source in tables.items()
        }


def noted(verdict: Verdict, aside: Aside, before: Verdict) -> Verdict:
    """The verdict on what is left, which says as well what was set aside and why.

    `before` is the verdict on all of it.
    """
    n = sum(aside.checks.values())
    checks = [*verdict.checks, Check(CHECK, "warn", "fail", n, "no row")]
    named = [row for row in before.bad_rows if row.check in aside.checks]
    return replace(
        verdict,
        verdict=worst_of(checks),
        checks=checks,
        bad_rows=[*verdict.bad_rows, *named],
        set_aside=aside.as_dict(),
    )


def _ids(connection: duckdb.DuckDBPyConnection, query: str) -> frozenset[str]:
    return frozenset(str(row) for (row,) in connection.sql(query).fetchall())


def _of(name: str, aside: Aside) -> tuple[str, frozenset[str]]:
    column, kind = _KEYS[name]
    return column, getattr(aside, kind)


def _left(source: Source, target: Path, column: str, gone: frozenset[str]) -> Source:
    """The rows of a table whose `column` is there and none of `gone`, written to `target`."""
    schema = schema_of(source)
    if column not in schema.names:
        return source
    ids = pa.array(sorted(gone), pa.string())
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for piece in read_pieces(source):
            held = piece[column].cast(pa.string())
            stays = pc.and_(pc.is_valid(held), pc.invert(pc.is_in(held, value_set=ids)))
            writer.write_batch(piece.filter(stays))
    return target
