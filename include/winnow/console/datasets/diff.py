"""What differs between two versions, bounded in time: counts always, rows where few shards differ.

Rows are compared by `winnow.publish.diff`, which reads the shards that only one version holds. From
`MOST_BYTES` or `MOST_SHARDS` on that is no work for a page: then the counts of the manifests are
shown, which cost nothing, and the command that compares the rows.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from winnow.campaign import Campaign
from winnow.console.datasets.figures import Opened, open_version, version_name, view_of
from winnow.console.parts import Field
from winnow.console.shell import Page, Site, page_of
from winnow.lake import Lake
from winnow.pages.words import NOT_MEASURED, number
from winnow.publish.diff import Diff, ViewDiff, diff_versions, moved_figures
from winnow.publish.versions import read_version

MOST_BYTES = 16_000_000
MOST_SHARDS = 60
LISTED = 20
"""Rows named of each kind of change."""

_KEPT_SECONDS = 3600.0
_MOST_FIGURES = 80


def page(
    lake: Lake,
    campaign: Campaign,
    dataset: str,
    query: Mapping[str, str],
    newest: int,
    site: Site,
) -> Page:
    """The difference of the versions `before` and `after` of a query.

    Raises:
        NotFound: One of them does not exist.
        Corrupt: A file of theirs is not the published one.
    """
    before, after = (open_version(lake, dataset, query[side]) for side in ("before", "after"))
    shards = _differing(before, after)
    diff = None
    if len(shards) <= MOST_SHARDS and sum(shards) <= MOST_BYTES:
        diff = site.memory.lately(
            lake,
            ("diff", dataset, before.number, after.number),
            lambda: _compare(lake, dataset, before.number, after.number),
            _KEPT_SECONDS,
        )
    was, now = before.summary.rows, after.summary.rows
    names = [f"{version.dataset}@{version.name}" for version in (before, after)]
    moved = list(moved_figures(before.figures, after.figures))
    return page_of(
        f"{dataset}: {before.name} to {after.name}",
        "diff.html",
        site,
        before=before,
        after=after,
        chooser=chooser(dataset, campaign.publish.dataset, newest),
        query={**query, "before": before.name, "after": after.name},
        added=[batch for batch in after.batches if batch not in set(before.batches)],
        removed=[batch for batch in before.batches if batch not in set(after.batches)],
        diff=diff,
        rows=[(view, was.get(view, 0), now.get(view, 0)) for view in sorted({*was, *now})],
        listed={name: _listed(view) for name, view in diff.views.items()} if diff else {},
        n_shards=len(shards),
        megabytes=sum(shards) / 1e6,
        command=shlex.join(["winnow", "diff", *names, "--lake", lake.uri, "--rows", "1000"]),
        moved=[(m.figure, _value(m.before), _value(m.after)) for m in moved[:_MOST_FIGURES]],
        n_moved=len(moved),
    )


def chooser(dataset: str, default: str, newest: int) -> list[Field]:
    """Two versions to choose; nothing while there is one to choose from.

    `default` is the dataset that is meant where a query names none.
    """
    if newest < 2:
        return []
    names = [version_name(n) for n in range(newest, 0, -1)]
    fields = [
        Field("before", "From version", [(n, n) for n in [*names[1:], names[0]]]),
        Field("after", "To version", [(n, n) for n in names]),
    ]
    if dataset != default:
        fields.append(Field("dataset", "Of dataset", [(dataset, dataset)]))
    return fields


def _compare(lake: Lake, dataset: str, before: int, after: int) -> Diff:
    was, now = read_version(lake, dataset, before), read_version(lake, dataset, after)
    return diff_versions(lake, was, now, LISTED)


def _differing(before: Opened, after: Opened) -> list[int]:
    """Bytes of each shard of a view that only one of the two holds."""
    held = [
        {each["sha256"]: each["n_bytes"] for name, each in version.files.items() if view_of(name)}
        for version in (before, after)
    ]
    return [size for i in (0, 1) for sha, size in held[i].items() if sha not in held[1 - i]]


def _listed(view: ViewDiff) -> list[tuple[str, int, Sequence[str]]]:
    """Some of the rows that differ, by what happened to them, and how many there are."""
    changed = [f"{row.row}: {row.before} to {row.after}" for row in view.relabelled]
    kinds = [
        ("added", view.n_added, view.added),
        ("removed", view.n_removed, view.removed),
        ("with another label", view.n_relabelled, changed),
    ]
    return [(kind, n, rows) for kind, n, rows in kinds if rows]


def _value(value: Any) -> str:
    if value is None:
        return NOT_MEASURED
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return number(value, 0 if isinstance(value, int) else 3)
