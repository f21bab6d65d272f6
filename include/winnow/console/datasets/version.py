"""One version: its figures, its files, what is in it, and how to get it."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Any

from winnow.batch import Artifact
from winnow.campaign import Campaign
from winnow.console.datasets.diff import chooser
from winnow.console.datasets.figures import Opened, version_name, view_of
from winnow.console.parts import paging
from winnow.console.shell import Page, Site, page_of
from winnow.lake import Lake
from winnow.pages.words import NOT_MEASURED, number
from winnow.publish.versions import REPORT


def page(
    lake: Lake,
    campaign: Campaign,
    version: Opened,
    newest: int,
    query: Mapping[str, str],
    site: Site,
) -> Page:
    """The page of one version; `newest` is the number of the newest one."""
    rows = version.summary.rows
    view = query.get("view", "") if query.get("view") in rows else ""
    names = [n for n in sorted(version.files) if not view or view_of(n) == view]

    def address(view: str, page: int | None = None) -> str:
        place = {"dataset": version.dataset, "version": version.name}
        return site.to("datasets", **place, view=view, page=page)

    pages, part = paging("Files", query, len(names), lambda n: address(view, n))
    # What to compare it with: the version before it, or the newest one where there is none.
    before, after = version.name, version_name(newest)
    if version.parent is not None:
        before, after = version_name(version.parent), version.name
    return page_of(
        f"{version.dataset} {version.name}",
        "version.html",
        site,
        version=version,
        summary=version.summary,
        has_report=REPORT in version.files,
        pull=f"winnow pull {version.dataset}@{version.name} --out data --lake {quote(lake.uri)}",
        figures={name: _number(value) for name, value in version.figures.items()},
        words={name: _inline(value) for name, value in sorted(version.figures.items())},
        view=view,
        n_files=len(names),
        files=[(n, Artifact(**version.files[n]), view_of(n)) for n in names[part]],
        address=address,
        paging=pages,
        chooser=chooser(version.dataset, campaign.publish.dataset, newest),
        query={**query, "before": before, "after": after},
    )


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else None


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_inline(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_inline(each) for each in value)
    if isinstance(value, float):
        return number(value, 4)
    return NOT_MEASURED if value is None else str(value)
