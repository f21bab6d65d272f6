"""The selectors of several campaigns: what the gate says, and what chooses tonight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from winnow.campaign import Campaign
from winnow.console.across.rows import page_of_rows
from winnow.console.parts import Field
from winnow.console.scope import Scope
from winnow.console.selector.figures import Night, night_of
from winnow.console.shell import Page, Site
from winnow.console.stages import keys_of, published_of, stages_of
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole

_AT_A_TIME = 5
_MOST = 30
"""Batches, the newest, among which the last published one is looked for."""


@dataclass(frozen=True, slots=True)
class Row:
    """A campaign with its last published batch; `why` says why that cannot be shown."""

    campaign: Campaign
    last: Night | None = None
    why: str = ""


def page(
    lake: Lake, scope: Scope, fields: Sequence[Field], query: Mapping[str, str], site: Site
) -> Page:
    """A row a campaign, a part of them by `page`."""

    def look(name: str) -> Row:
        campaign = scope.campaigns[name]
        last = whole(lambda: _last(lake, name, site))
        return Row(campaign, why=last.cause) if isinstance(last, Damage) else Row(campaign, last)

    return page_of_rows("Selector", scope, fields, query, site, look)


def _last(lake: Lake, name: str, site: Site) -> Night | None:
    """The last published batch of the newest; a few are read at a time."""
    keys = keys_of(lake, name, site.memory)[:_MOST]
    for at in range(0, len(keys), _AT_A_TIME):
        found = published_of(lake, name, keys[at : at + _AT_A_TIME], site.memory)
        if found:
            key = max(found, key=lambda key: (found[key].committed_at, key))
            stages = stages_of(lake, name, [key], site.memory)
            return night_of(key, found[key], stages.get(key))
    return None
