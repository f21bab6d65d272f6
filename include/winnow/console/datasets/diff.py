"""What differs between two versions, bounded in time: counts always, rows where few shards differ.

Rows are compared by `winnow.publish.diff`, which reads the shards that only one version holds. From
`MOST_BYTES` or `MOST_SHARDS` on that is no work for a page: then the counts of the manifests are
shown, which cost nothing, and the command that compares the rows.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from winnow.campaign import Campaign
from winnow.console import parts
from winnow.console.datasets.figures import Opened, open_version, version_name, view_of
from winnow.console.datasets.words import batches_line
from winnow.console.shell import Page, Site
from winnow.lake import Lake
from winnow.pages.pieces import folded, paragraphs, said, section
from winnow.pages.words import NOT_MEASURED, count, number
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
    form = chooser(
        dataset,
        campaign.publish.dataset,
        newest,
        {**query, "before": before.name, "after": after.name},
    )
    differing = _differing(before, after)
    if _is_small(differing):
        found = site.memory.lately(
            lake,
            ("diff", dataset, before.number, after.number),
            lambda: _compare(lake, dataset, before.number, after.number),
            _KEPT_SECONDS,
        )
        rows = _rows_compared(found)
    else:
        rows = _rows_counted(lake, before, after, differing)
    body = form + _batches(before, after) + rows + _figures(before, after)
    return Page(f"{dataset}: {before.name} to {after.name}", body)


def _compare(lake: Lake, dataset: str, before: int, after: int) -> Diff:
    was, now = read_version(lake, dataset, before), read_version(lake, dataset, after)
    return diff_versions(lake, was, now, LISTED)


def chooser(dataset: str, default: str, newest: int, query: Mapping[str, str]) -> str:
    """Two selects and a button; nothing while there is one version to choose from.

    `default` is the dataset that is meant where a query names none.
    """
    if newest < 2:
        return ""
    names = [version_name(n) for n in range(newest, 0, -1)]
    fields = [
        parts.Choice("before", "From version", [(n, n) for n in [*names[1:], names[0]]]),
        parts.Choice("after", "To version", [(n, n) for n in names]),
    ]
    if dataset != default:
        fields.append(parts.Choice("dataset", "Of dataset", [(dataset, dataset)]))
    return parts.filters("datasets", fields, query)


def _differing(before: Opened, after: Opened) -> list[int]:
    """Bytes of each shard of a view that only one of the two holds."""
    held = [
        {each["sha256"]: each["n_bytes"] for name, each in version.files.items() if view_of(name)}
        for version in (before, after)
    ]
    return [size for i in (0, 1) for sha, size in held[i].items() if sha not in held[1 - i]]


def _is_small(shards: Sequence[int]) -> bool:
    return len(shards) <= MOST_SHARDS and sum(shards) <= MOST_BYTES


def _rows_compared(diff: Diff) -> str:
    heads = ["View", diff.before, diff.after, "Added", "Removed", "Other label", "Other value"]
    rows = [
        (
            f"<code>{said(name)}</code>",
            count(view.n_before),
            count(view.n_after),
            count(view.n_added),
            count(view.n_removed),
            count(view.n_relabelled),
            count(view.n_rewritten),
        )
        for name, view in diff.views.items()
    ]
    told = (
        "Rows meet by their ids. Other label: the same row says another side now; other value: "
        "its label stands and something else of it changed, such as its margin."
    )
    listed = "".join(_listed(name, view) for name, view in diff.views.items())
    return section(
        "Rows", paragraphs([told], "soft") + parts.table("Rows by view", heads, rows) + listed
    )


def _listed(name: str, view: ViewDiff) -> str:
    """Some of the rows that differ, closed until asked for."""
    changed = [f"{row.row}: {row.before} to {row.after}" for row in view.relabelled]
    kinds = [
        ("added", view.added, view.n_added),
        ("removed", view.removed, view.n_removed),
        ("with another label", changed, view.n_relabelled),
    ]
    blocks = "".join(
        f"<h3>{escape(f'{n:,} {kind}')}</h3><ul>"
        + "".join(f"<li><code>{said(row, 160)}</code></li>" for row in rows)
        + (f"<li>and {n - len(rows):,} more</li>" if n > len(rows) else "")
        + "</ul>"
        for kind, rows, n in kinds
        if rows
    )
    return folded(f"Rows of {name} that differ", blocks) if blocks else ""


def _rows_counted(lake: Lake, before: Opened, after: Opened, shards: Sequence[int]) -> str:
    was, now = before.summary.rows, after.summary.rows
    rows = [
        (
            f"<code>{said(view)}</code>",
            count(was.get(view, 0)),
            count(now.get(view, 0)),
            _signed(now.get(view, 0) - was.get(view, 0)),
        )
        for view in sorted({*was, *now})
    ]
    megabytes = sum(shards) / 1e6
    told = (
        f"{len(shards):,} files of {megabytes:,.1f} MB differ, too much to compare row by row "
        "while a page waits. This names the rows:"
    )
    names = [f"{version.dataset}@{version.name}" for version in (before, after)]
    asked = shlex.join(["winnow", "diff", *names, "--lake", lake.uri, "--rows", "1000"])
    return section(
        "Rows",
        parts.table("Rows by view", ["View", before.name, after.name, "Change"], rows)
        + parts.notice(paragraphs([told]) + parts.command(asked), "soft"),
    )


def _batches(before: Opened, after: Opened) -> str:
    held, kept = set(before.batches), set(after.batches)
    lines = [
        ("Added", [b for b in after.batches if b not in held]),
        ("Removed", [b for b in before.batches if b not in kept]),
    ]
    told = "".join(batches_line(word, keys) for word, keys in lines if keys)
    return section("Batches", told or paragraphs(["Both versions hold the same batches."]))


def _figures(before: Opened, after: Opened) -> str:
    moved = list(moved_figures(before.figures, after.figures))
    if not moved:
        return section("Figures", paragraphs(["No figure of the newest batches differs."]))
    rows = [
        (said(each.figure.replace("_", " ")), _value(each.before), _value(each.after))
        for each in moved[:_MOST_FIGURES]
    ]
    left = len(moved) - len(rows)
    more = paragraphs([f"{left:,} more figures differ."], "soft") if left > 0 else ""
    told = (
        f"Of the newest batch of each: {_newest(before)} in {before.name}, {_newest(after)} in "
        f"{after.name}."
    )
    return section(
        "Figures",
        paragraphs([told], "soft")
        + parts.table("Figures that differ", ["Figure", before.name, after.name], rows)
        + more,
    )


def _newest(version: Opened) -> str:
    return version.batches[-1] if version.batches else "none"


def _value(value: Any) -> str:
    if value is None:
        return NOT_MEASURED
    if isinstance(value, bool) or not isinstance(value, int | float):
        return said(str(value), 120)
    return number(value, 0 if isinstance(value, int) else 3)


def _signed(n: int) -> str:
    return f"+{n:,}" if n > 0 else number(n, 0)
