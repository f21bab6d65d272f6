"""What differs between two versions: rows by their ids, figures, batches.

Shards are named by their content, so one that both versions hold cannot differ: only the others are
read, by DuckDB, and rows meet by the id of their view. Memory holds an id, a label and a hash a row
of the shards that differ.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from winnow.batch import Artifact
from winnow.lake import Lake
from winnow.publish.fetch import fetch
from winnow.publish.versions import Version
from winnow.sql import literal_path

KEYS = ("annotation_id", "pair_id", "response_id", "prompt_id")
"""What names a row of a view: the first of these columns that the view has."""

LABELS = ("chosen_id", "label", "preferred")
"""What a row says: the first of these columns that the view has."""


@dataclass(frozen=True, slots=True)
class Relabelled:
    """A row whose label is another one now."""

    row: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ViewDiff:
    """Rows of a view: counts are exact, ids are listed as far as was asked.

    `n_after - n_before == n_added - n_removed`. `n_rewritten` rows kept their label, but some other
    value of theirs differs, such as the margin after another vote.
    """

    n_before: int
    n_after: int
    n_added: int = 0
    n_removed: int = 0
    n_relabelled: int = 0
    n_rewritten: int = 0
    added: Sequence[str] = ()
    removed: Sequence[str] = ()
    relabelled: Sequence[Relabelled] = ()


@dataclass(frozen=True, slots=True)
class Moved:
    """A figure of the versions' newest batches that differs; None where one has no such figure."""

    figure: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Diff:
    """What `after` has that `before` has not, and the other way round."""

    dataset: str
    before: str
    after: str
    views: Mapping[str, ViewDiff]
    figures: Sequence[Moved]
    batches_added: Sequence[str]
    batches_removed: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """The difference as JSON-like values."""
        return asdict(self)


def diff_versions(lake: Lake, before: Version, after: Version, listed: int) -> Diff:
    """Compare two versions of a dataset; at most `listed` ids are named of each kind of change.

    Raises:
        Corrupt: A shard is missing or does not match its digest.
    """
    names = sorted({_view(name) for v in (before, after) for name in v.files} - {None}, key=str)
    return Diff(
        dataset=after.dataset,
        before=before.name,
        after=after.name,
        views={name: _view_diff(lake, before, after, name, listed) for name in names if name},
        figures=list(moved_figures(before.figures, after.figures)),
        batches_added=[b for b in after.batches if b not in before.batches],
        batches_removed=[b for b in before.batches if b not in after.batches],
    )


def _view(name: str) -> str | None:
    parts = name.split("/")
    return parts[1] if parts[0] == "data" and len(parts) > 2 else None


def _view_diff(lake: Lake, before: Version, after: Version, view: str, listed: int) -> ViewDiff:
    held = [
        {shard.sha256: shard for name, shard in version.files.items() if _view(name) == view}
        for version in (before, after)
    ]
    only = [[a for sha, a in held[i].items() if sha not in held[1 - i]] for i in (0, 1)]
    n_rows = before.n_rows(view), after.n_rows(view)
    if not any(only):
        return ViewDiff(*n_rows)
    with tempfile.TemporaryDirectory(prefix="winnow-diff-") as folder:
        sides = [_fetch(lake, only[i], Path(folder) / str(i)) for i in (0, 1)]
        with _connection(Path(folder)) as connection:
            _load(connection, *sides)
            return _counted(connection, n_rows, listed)


def _fetch(lake: Lake, shards: Sequence[Artifact], folder: Path) -> list[str]:
    """The shards as checked files; their paths."""
    folder.mkdir()
    paths = [folder / f"{shard.sha256}.parquet" for shard in shards]
    for path, shard in zip(paths, shards, strict=True):
        fetch(lake, shard, path)
    return [str(path) for path in paths]


def _connection(folder: Path) -> duckdb.DuckDBPyConnection:
    settings = {"temp_directory": str(folder / "spill"), "preserve_insertion_order": "false"}
    return duckdb.connect(config={**settings, "memory_limit": "1GB"})


def _load(connection: duckdb.DuckDBPyConnection, before: list[str], after: list[str]) -> None:
    """Table `met`: a row an id, with both sides' label, hash of the content and number of rows.

    Both sides are read as one, so that a column which only newer shards have is null in the others
    and not another content.
    """
    files = [literal_path(Path(file)) for file in (*before, *after)]
    rows = connection.read_parquet(files, union_by_name=True, hive_partitioning=False)
    columns = rows.columns
    key = next(name for name in (*KEYS, *columns) if name in columns)
    label = next((f'"{name}"' for name in LABELS if name in columns), "NULL")
    content = ", ".join(f'"{name}"' for name in columns)
    connection.execute(
        f"""
        CREATE TABLE sided AS
        SELECT
            "{key}"::VARCHAR AS id,
            filename IN (SELECT unnest($before)) AS was,
            string_agg(said, ', ' ORDER BY said) AS label,
            sum(hash({content})::HUGEINT) AS content,
            count(*) AS n
        FROM (
            SELECT *, coalesce({label}::VARCHAR, 'none') AS said
            FROM read_parquet(
                $files, union_by_name = true, filename = true, hive_partitioning = false
            )
        )
        GROUP BY ALL
        """,
        {"before": before, "files": files},
    )
    connection.execute(
        """
        CREATE TABLE met AS
        SELECT
            id, coalesce(b.n, 0) AS n_before, coalesce(a.n, 0) AS n_after,
            b.label AS label_before, a.label AS label_after,
            b.id IS NOT NULL AND a.id IS NOT NULL AS in_both,
            in_both AND b.label <> a.label AS relabelled,
            in_both AND b.label = a.label AND b.content <> a.content AS rewritten
        FROM (FROM sided WHERE was) AS b FULL JOIN (FROM sided WHERE NOT was) AS a USING (id)
        """
    )


def _counted(
    connection: duckdb.DuckDBPyConnection, n_rows: tuple[int, int], listed: int
) -> ViewDiff:
    def ids(where: str) -> list[str]:
        found = connection.execute(f"SELECT id FROM met WHERE {where} ORDER BY id LIMIT {listed}")
        return [row[0] for row in found.fetchall()]

    n_added, n_removed, n_relabelled, n_rewritten = connection.execute(
        "SELECT sum(greatest(n_after - n_before, 0)), sum(greatest(n_before - n_after, 0)), "
        "count_if(relabelled), count_if(rewritten) FROM met"
    ).fetchall()[0]
    changed = connection.execute(
        f"SELECT id, label_before, label_after FROM met WHERE relabelled ORDER BY id LIMIT {listed}"
    ).fetchall()
    return ViewDiff(
        n_before=n_rows[0],
        n_after=n_rows[1],
        n_added=int(n_added),
        n_removed=int(n_removed),
        n_relabelled=int(n_relabelled),
        n_rewritten=int(n_rewritten),
        added=ids("n_before = 0"),
        removed=ids("n_after = 0"),
        relabelled=[Relabelled(*row) for row in changed],
    )


def moved_figures(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Moved]:
    """Figures that differ, by name; those within another one are named `outer.inner`."""
    flat_before, flat_after = dict(_flat(before)), dict(_flat(after))
    for name in sorted({**flat_before, **flat_after}):
        if flat_before.get(name) != flat_after.get(name):
            yield Moved(name, flat_before.get(name), flat_after.get(name))


def _flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
