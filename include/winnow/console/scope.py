"""Whose pages are shown: of the campaigns that a viewer may read, those that a query asks for.

What a viewer may not read is answered as what is not there, in the same words, and no page of
several campaigns counts it: nothing here is given a campaign that the viewer may not read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from winnow.batch import is_key, last_settings
from winnow.campaign import NAME, Campaign, bare_campaign
from winnow.console.datasets.figures import is_dataset, newest_number
from winnow.console.memory import Memory, at_once
from winnow.console.parts import Field
from winnow.console.shell import Airflow, NotFound
from winnow.console.stages import keys_of
from winnow.dataset_owner import owner_of
from winnow.errors import Corrupt
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole

NO_CAMPAIGN = "There is no such campaign, or you may not read it."
NO_TEAM = "There is no such team, or you may read none of its campaigns."
NO_DATASET = "There is no such dataset, or you may not read it."
NO_BATCH = "No campaign that you may read has such a batch."

_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Scope:
    """What a viewer may read.

    Attributes:
        campaigns: The campaigns by name, in order, none that the viewer may not read.
        gone: Those of them whose file is gone.
        airflow: What Airflow knows of their batches; None where there is no Airflow.
        team_budgets: What each team may buy for in a month, micro-dollars, None: anything; of the
            teams of whose campaigns the viewer may read all.
    """

    campaigns: Mapping[str, Campaign]
    gone: Collection[str] = ()
    airflow: Airflow | None = None
    team_budgets: Mapping[str, int | None] = field(default_factory=dict)


def asked_for(scope: Scope, query: Mapping[str, str]) -> Mapping[str, Campaign]:
    """The campaigns that `campaign`, or else `team`, of a query asks for; all where neither does.

    Raises:
        NotFound: There is none.
    """
    name, team = query.get("campaign", ""), query.get("team", "")
    if name:
        if name not in scope.campaigns:
            raise NotFound(NO_CAMPAIGN)
        return {name: scope.campaigns[name]}
    found = {n: c for n, c in scope.campaigns.items() if not team or c.team == team}
    if not found:
        raise NotFound(NO_TEAM)
    return found


def fields_of(scope: Scope, query: Mapping[str, str]) -> list[Field]:
    """The campaigns and the teams to choose from, where there are several."""
    teams = sorted({c.team for c in scope.campaigns.values() if c.team})
    fields = [Field("campaign", "Campaign", options(asked_for(scope, query)))]
    if teams:
        fields.append(Field("team", "Team", [("", "all"), *((each, each) for each in teams)]))
    return fields


def options(names: Collection[str]) -> list[tuple[str, str]]:
    """Campaigns to choose from."""
    return [("", f"all {len(names)}"), *((name, name) for name in names)]


def having(
    key: str, lake: Lake, scope: Scope, campaigns: Mapping[str, Campaign], memory: Memory
) -> dict[str, Campaign]:
    """The campaigns that have a batch of a key, or of which Airflow knows runs of it.

    Raises:
        NotFound: None has.
    """
    keys = at_once(lambda name: whole(lambda: keys_of(lake, name, memory)), campaigns)
    found = {name for name, own in keys.items() if not isinstance(own, Damage) and key in own}
    if not found and scope.airflow is not None and is_key(key):
        runs = scope.airflow.runs({name: [key] for name in campaigns})
        found = {name for name, own in runs.items() if own.get(key)}
    if not found:
        raise NotFound(NO_BATCH)
    return {name: campaign for name, campaign in campaigns.items() if name in found}


def of_dataset(
    lake: Lake,
    scope: Scope,
    campaigns: Mapping[str, Campaign],
    query: Mapping[str, str],
    memory: Memory,
) -> Mapping[str, Campaign]:
    """The campaign whose dataset a query names, or that one campaign publishes in.

    Where it names none, and several campaigns are meant, they are.

    Raises:
        NotFound: There is no such dataset, or it belongs to a campaign that is not in the scope.
        Corrupt: It is the dataset of one of the campaigns, and whose it is cannot be read.
    """
    dataset = query.get("dataset", "")
    if not dataset:
        if len(campaigns) > 1:
            return campaigns
        (own,) = campaigns.values()
        dataset = own.publish.dataset
    name = owner_among(lake, {**campaigns, **scope.campaigns}, dataset, memory)
    return {name: scope.campaigns[name]}


def owner_among(lake: Lake, campaigns: Mapping[str, Campaign], dataset: str, memory: Memory) -> str:
    """The one of the campaigns that a dataset belongs to, or is to be made by.

    Raises:
        NotFound: None of them.
        Corrupt: It is one's by its settings, and whose it is cannot be read.
    """
    named = [name for name, each in campaigns.items() if each.publish.dataset == dataset]
    if not is_dataset(dataset):
        raise NotFound(NO_DATASET)
    try:
        owner = _owner(lake, dataset, memory)
    except Corrupt:
        if named:
            raise
        owner = None
    if owner is None and named:
        return named[0]
    if owner not in campaigns or owner is None:
        raise NotFound(NO_DATASET)
    return owner


def is_own(lake: Lake, campaign: Campaign, dataset: str, memory: Memory) -> bool:
    """Whether a dataset may be shown as a campaign's."""
    try:
        owner_among(lake, {campaign.name: campaign}, dataset, memory)
    except NotFound:
        return False
    return True


def _owner(lake: Lake, dataset: str, memory: Memory) -> str | None:
    """The campaign that published a dataset; None where nobody did."""
    if not newest_number(lake, dataset, memory):
        return None
    return memory.lately(lake, ("owner", dataset), lambda: owner_of(lake, dataset), _SECONDS)


def names_in(lake: Lake, memory: Memory) -> Collection[str]:
    """The campaigns that have a batch in the lake."""

    def read() -> tuple[str, ...]:
        return tuple(name for name in lake.names("batches") if NAME.fullmatch(name))

    return memory.lately(lake, "campaigns", read, _SECONDS)


def settings_left(lake: Lake, name: str, memory: Memory) -> Campaign:
    """The settings of a campaign whose file is gone: those of its newest batch that has any."""

    def read() -> Campaign:
        return last_settings(lake, name) or bare_campaign(name)

    return memory.lately(lake, ("settings", name), read, _SECONDS)
