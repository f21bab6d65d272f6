"""The page *Datasets*: every version, one version with its files, two versions compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil
from shlex import quote

from winnow.campaign import Campaign
from winnow.console import parts
from winnow.console.datasets import diff as datasets_diff
from winnow.console.datasets import version as datasets_version
from winnow.console.datasets.figures import (
    Summary,
    dataset_asked,
    dataset_of,
    newest_number,
    open_version,
    summaries,
    version_name,
)
from winnow.console.datasets.words import note, published, verdict
from winnow.console.shell import Page, Site, to
from winnow.console.stages import keys_of, published_of
from winnow.lake import Lake
from winnow.pages.pieces import paragraphs, section
from winnow.pages.words import count, dollars
from winnow.publish.views import VIEWS

VERSIONS = 25
"""Versions on one page: the manifest of each is read at the first look, and may be megabytes."""


def page(lake: Lake, campaign: Campaign, query: Mapping[str, str], site: Site) -> Page:
    """The list of versions; one version where the query names it; a comparison of two.

    Raises:
        NotFound: The query names a dataset or version that does not exist.
        Corrupt: The manifest of a version that is asked for is not the published one.
    """
    dataset = dataset_asked(query, campaign.publish.dataset)
    newest = newest_number(lake, dataset, site.memory)
    if query.get("before") and query.get("after"):
        return datasets_diff.page(lake, campaign, dataset, query, newest, site)
    if query.get("version"):
        version = open_version(lake, dataset, query["version"])
        return datasets_version.page(lake, campaign, version, newest, query, site)
    return _list_page(lake, campaign, dataset, newest, query, site)


def _list_page(
    lake: Lake, campaign: Campaign, dataset: str, newest: int, query: Mapping[str, str], site: Site
) -> Page:
    others = _others(lake, campaign, dataset, site)
    if not newest:
        told = f"Dataset {dataset} has no version yet: the first batch that passes makes it."
        return Page("Datasets", paragraphs([told], "lead") + others)
    n_pages = ceil(newest / VERSIONS)
    at = min(parts.page_number(query), n_pages)
    last = newest - (at - 1) * VERSIONS
    numbers = range(last, max(last - VERSIONS, 0), -1)
    found = summaries(lake, dataset, numbers, site.memory)
    views = [v for v in VIEWS if any(s.rows.get(v) for s in found.values())]
    heads = ["Version", "Published", "Batches", *views, "Gate", "Labels cost"]
    rows = [_row(dataset, n, found.get(n), views, site) for n in numbers]
    lead = f"Dataset {dataset} has {newest:,} versions, each holding all labels so far."
    body = (
        paragraphs([lead], "lead")
        + parts.command(f"winnow pull {dataset}@latest --out data --lake {quote(lake.uri)}")
        + section("Versions", parts.table("Versions", heads, rows, ["Published", "Gate"]))
        + parts.pages(lambda n: to("datasets", dataset=dataset, page=n), at, n_pages, "Versions")
        + section("Compare two versions", _compare(campaign, dataset, newest, query))
        + others
    )
    return Page("Datasets", body)


def _compare(campaign: Campaign, dataset: str, newest: int, query: Mapping[str, str]) -> str:
    form = datasets_diff.chooser(dataset, campaign.publish.dataset, newest, query)
    return form or paragraphs(["There is one version; the next one can be compared with it."])


def _others(lake: Lake, campaign: Campaign, dataset: str, site: Site) -> str:
    """Further datasets that batches of this campaign were published in."""
    names = site.memory.lately(
        lake,
        ("datasets", campaign.name),
        lambda: _datasets(lake, campaign, site),
        60.0,
    )
    links = [
        f"<li>{parts.link(name, to('datasets', dataset=name))}</li>"
        for name in names
        if name != dataset
    ]
    return section("Other datasets of this campaign", f"<ul>{''.join(links)}</ul>") if links else ""


def _datasets(lake: Lake, campaign: Campaign, site: Site) -> tuple[str, ...]:
    keys = keys_of(lake, campaign.name, site.memory)
    found = {campaign.publish.dataset}
    for done in published_of(lake, campaign.name, keys, site.memory).values():
        name = dataset_of(done.figures.get("folder"))
        if name:
            found.add(name)
    return tuple(sorted(found))


def _row(
    dataset: str, number: int, told: Summary | None, views: Sequence[str], site: Site
) -> tuple[str, ...]:
    name = version_name(number)
    link = parts.link(name, to("datasets", dataset=dataset, version=name))
    if told is None:
        missing = parts.chip("manifest missing", "bad")
        return (link, "", "", *("" for _ in views), missing, "")
    return (
        f"{link}<small><code>{escape(told.digest[:12])}</code></small>",
        f"{published(told, site)}<small>{note(told)}</small>",
        count(told.n_batches),
        *(count(told.rows.get(view, 0)) for view in views),
        verdict(told),
        dollars(told.cost),
    )
