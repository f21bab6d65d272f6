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
from winnow.publish.pull import fetch
from winnow.publish.versions import Version
from winnow.sql import database, literal_path, statements
from winnow.text import plain_rows

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
    with (
        tempfile.TemporaryDirectory(prefix="winnow-diff-") as folder,
        database({}, "1GB") as connection,
    ):
        old, new = (_fetch(lake, only[i], Path(folder) / str(i)) for i in (0, 1))
        return _counted(connection, old, new, n_rows, listed)


def _fetch(lake: Lake, shards: Sequence[Artifact], folder: Path) -> list[str]:
    """The shards as checked files; their paths."""
    folder.mkdir()
    paths = [folder / f"{shard.sha256}.parquet" for shard in shards]
    for path, shard in zip(paths, shards, strict=True):
        fetch(lake, shard, path)
    return [str(path) for path in paths]


def _counted(
    connection: duckdb.DuckDBPyConnection,
    before: list[str],
    after: list[str],
    n_rows: tuple[int, int],
    listed: int,
) -> ViewDiff:
    sql = statements(__file__)
    files = [literal_path(Path(file)) for file in (*before, *after)]
    columns = connection.read_parquet(files, union_by_name=True, hive_partitioning=False).columns
    sided = sql["sided"].format(
        key=next(name for name in (*KEYS, *columns) if name in columns),
        label=next((f'"{name}"' for name in LABELS if name in columns), "NULL"),
        content=", ".join(f'"{name}"' for name in columns),
    )
    connection.execute(sided, {"before": before, "files": files})
    connection.execute(sql["met"])
    [counts] = connection.execute(sql["counted"]).fetchall()
    n_added, n_removed, n_relabelled, n_rewritten = map(int, counts)

    def some(columns: str, where: str) -> list[tuple[str, ...]]:
        query = f"SELECT {columns} FROM met WHERE {where} ORDER BY id LIMIT {listed}"
        return connection.execute(query).fetchall()

    changed = some("id, label_before, label_after", "relabelled")
    return ViewDiff(
        *n_rows,
        n_added,
        n_removed,
        n_relabelled,
        n_rewritten,
        added=[row for (row,) in some("id", "n_before = 0")],
        removed=[row for (row,) in some("id", "n_after = 0")],
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


def diff_text(diff: Diff) -> str:
    """As plain text: batches, then a block a view, then the figures that moved."""
    lines = [f"{diff.dataset} {diff.before} to {diff.after}"]
    for word, batches in (("added", diff.batches_added), ("removed", diff.batches_removed)):
        lines += [f"batches {word}: {', '.join(batches)}"] if batches else []
    for name, view in diff.views.items():
        lines.append(
            f"{name:<12} {view.n_before} to {view.n_after} rows: {view.n_added} added, "
            f"{view.n_removed} removed, {view.n_relabelled} with another label, "
            f"{view.n_rewritten} with another value"
        )
        changed = [f"{row.row} {row.before} to {row.after}" for row in view.relabelled]
        listed = {"+": (view.added, view.n_added), "-": (view.removed, view.n_removed)}
        for sign, (rows, n_all) in {**listed, "~": (changed, view.n_relabelled)}.items():
            lines += [f"  {sign} {row}" for row in rows]
            lines += [f"  {sign} and {n_all - len(rows)} more"] if 0 < len(rows) < n_all else []
    if diff.figures:
        lines.append(f"figures of the newest batch, {diff.before} and {diff.after}")
    lines += [f"  {m.figure}: {_plain(m.before)} to {_plain(m.after)}" for m in diff.figures]
    return plain_rows(lines)


def _plain(value: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
