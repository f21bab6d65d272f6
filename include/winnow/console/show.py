"""A page by its name: that of one campaign where one is meant, else the one over several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module

from winnow.console.nav import NAV, UNDER
from winnow.console.parts import Field
from winnow.console.scope import Scope, asked_for, fields_of, having, of_dataset, options
from winnow.console.shell import Page, Site
from winnow.lake import Lake

ONE = {name: import_module(f"winnow.console.{name}") for name in (*NAV, *UNDER)}
SEVERAL = {name: import_module(f"winnow.console.across.{name}") for name in (*NAV, *UNDER)}


@dataclass(frozen=True, slots=True)
class Shown:
    """A page, what stands around it, and what it is about in a few words."""

    page: Page
    site: Site
    about: str


def show(name: str, lake: Lake, scope: Scope, query: Mapping[str, str], site: Site) -> Shown:
    """The page of one campaign where one is meant, else the page over all that are.

    Raises:
        NotFound: The query names what is not there, or what the viewer may not read.
    """
    campaigns = asked_for(scope, query)
    if name == "datasets":
        campaigns = of_dataset(lake, scope, campaigns, query, site.memory)
    if name == "batch" and len(campaigns) > 1:
        campaigns = having(query.get("key", ""), lake, scope, campaigns, site.memory)
    if len(campaigns) == 1:
        (campaign,) = campaigns.values()
        own = replace(site.of(campaign.name, scope.airflow), choose=_choose(scope))
        page = ONE[name].page(lake, campaign, query, own)
        return Shown(page, own, f"Campaign {campaign.name}")
    team = query.get("team", "")
    around = replace(site, asked={"team": team} if team else {})
    own_scope = replace(scope, campaigns=campaigns)
    page = SEVERAL[name].page(lake, own_scope, fields_of(scope, query), query, around)
    return Shown(page, around, f"{len(campaigns)} campaigns")


def _choose(scope: Scope) -> list[Field]:
    several = len(scope.campaigns) > 1
    return [Field("campaign", "Campaign", options(scope.campaigns))] if several else []
