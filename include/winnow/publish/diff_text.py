"""A difference of versions as plain text, its ids cut to those that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from winnow.publish.diff import Diff, ViewDiff
from winnow.text import plain_rows


def diff_text(diff: Diff) -> str:
    """Batches, then a block a view, then the figures that moved."""
    return plain_rows([*_head(diff), *_views(diff), *_figures(diff)])


def _head(diff: Diff) -> Iterator[str]:
    yield f"{diff.dataset} {diff.before} to {diff.after}"
    for word, batches in (("added", diff.batches_added), ("removed", diff.batches_removed)):
        if batches:
            yield f"batches {word}: {', '.join(batches)}"


def _views(diff: Diff) -> Iterator[str]:
    for name, view in diff.views.items():
        yield (
            f"{name:<12} {view.n_before} to {view.n_after} rows: {view.n_added} added, "
            f"{view.n_removed} removed, {view.n_relabelled} with another label, "
            f"{view.n_rewritten} with another value"
        )
        yield from _rows(view)


def _rows(view: ViewDiff) -> Iterator[str]:
    yield from _listed("+", view.added, view.n_added)
    yield from _listed("-", view.removed, view.n_removed)
    changed = [f"{row.row} {row.before} to {row.after}" for row in view.relabelled]
    yield from _listed("~", changed, view.n_relabelled)


def _listed(sign: str, rows: Sequence[str], n_all: int) -> Iterator[str]:
    for row in rows:
        yield f"  {sign} {row}"
    if rows and n_all > len(rows):
        yield f"  {sign} and {n_all - len(rows)} more"


def _figures(diff: Diff) -> Iterator[str]:
    if diff.figures:
        yield f"figures of the newest batch, {diff.before} and {diff.after}"
    for moved in diff.figures:
        yield f"  {moved.figure}: {_plain(moved.before)} to {_plain(moved.after)}"


def _plain(value: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
