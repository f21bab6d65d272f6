"""The datasets of several campaigns: the newest version of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from winnow.campaign import Campaign
from winnow.console.across.rows import page_of_rows
from winnow.console.datasets.figures import Summary, newest_number, summaries
from winnow.console.parts import Field
from winnow.console.scope import Scope, is_own
from winnow.console.shell import Page, Site
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole


@dataclass(frozen=True, slots=True)
class Row:
    """A campaign's dataset: its newest version's number, 0 where it has none, and summary.

    `why` says why it cannot be shown.
    """

    campaign: Campaign
    number: int = 0
    newest: Summary | None = None
    why: str = ""


def page(
    lake: Lake, scope: Scope, fields: Sequence[Field], query: Mapping[str, str], site: Site
) -> Page:
    """A row a campaign, a part of them by `page`."""

    def look(name: str) -> Row:
        campaign = scope.campaigns[name]
        row = whole(lambda: _row(lake, campaign, site))
        return Row(campaign, why=row.cause) if isinstance(row, Damage) else row

    return page_of_rows("Datasets", scope, fields, query, site, look)


def _row(lake: Lake, campaign: Campaign, site: Site) -> Row:
    dataset = campaign.publish.dataset
    if not is_own(lake, campaign, dataset, site.memory):
        return Row(campaign, why="It is another campaign's dataset.")
    number = newest_number(lake, dataset, site.memory)
    known = summaries(lake, dataset, [number], site.memory) if number else {}
    return Row(campaign, number, known.get(number))
