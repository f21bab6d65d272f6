"""The page *Datasets*: every version, one version with its files, two versions compared."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote

from winnow.campaign import Campaign
from winnow.console.datasets import diff as datasets_diff
from winnow.console.datasets import version as datasets_version
from winnow.console.datasets.figures import (
    dataset_asked,
    dataset_of,
    newest_number,
    open_version,
    summaries,
    version_name,
)
from winnow.console.parts import paging
from winnow.console.shell import Page, Site, page_of
from winnow.console.stages import keys_of, published_of
from winnow.lake import Lake
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
    pages, part = paging(
        "Versions", query, newest, lambda n: site.to("datasets", dataset=dataset, page=n), VERSIONS
    )
    numbers = range(newest, 0, -1)[part]
    known = summaries(lake, dataset, numbers, site.memory)
    return page_of(
        "Datasets",
        "datasets.html",
        site,
        dataset=dataset,
        n_versions=newest,
        pull=f"winnow pull {dataset}@latest --out data --lake {quote(lake.uri)}",
        versions=[(version_name(n), known.get(n)) for n in numbers],
        views=[v for v in VIEWS if any(each.rows.get(v) for each in known.values())],
        paging=pages,
        chooser=datasets_diff.chooser(dataset, campaign.publish.dataset, newest),
        query=query,
        others=[name for name in _datasets(lake, campaign, site) if name != dataset],
    )


def _datasets(lake: Lake, campaign: Campaign, site: Site) -> tuple[str, ...]:
    """Datasets that batches of this campaign were published in, and the one it names now."""

    def read() -> tuple[str, ...]:
        keys = keys_of(lake, campaign.name, site.memory)
        published = published_of(lake, campaign.name, keys, site.memory).values()
        names = {dataset_of(done.figures.get("folder")) for done in published}
        return tuple(sorted({campaign.publish.dataset, *filter(None, names)}))

    return site.memory.lately(lake, ("datasets", campaign.name), read, 60.0)
