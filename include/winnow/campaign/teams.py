"""Teams and their budgets: `teams.yaml`, beside the campaigns.

safety:
  budget_month_usd: 3000      # all campaigns with `team: safety` together, in a month (UTC)
chat: {}                      # no budget of its own
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from winnow.campaign.reading import faults_of, read_yaml
from winnow.campaign.sections import Campaign
from winnow.campaign.settings import Dollars, Name, Settings, setting
from winnow.errors import Fatal
from winnow.money import MICROS

TEAMS_FILE = "teams.yaml"
"""The file of the campaigns folder that is no campaign."""


class Team(Settings):
    """What a team may spend."""

    budget_month_usd: Dollars | None = setting(
        None,
        "Most that the team's campaigns may buy for in a calendar month (UTC), dollars; null: any",
    )

    @property
    def budget_month(self) -> int | None:
        """Most of a month, micro-dollars; None: anything."""
        return _micros(self.budget_month_usd)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a campaign and its team may buy for in a calendar month, micro-dollars; None: anything.

    `teams_file` is where the team's budget is set, for people.
    """

    campaign_month: int | None = None
    team: str | None = None
    team_month: int | None = None
    teams_file: str = TEAMS_FILE


NO_LIMITS = Limits()

_TEAMS = TypeAdapter(dict[Name, Team])


def read_teams(folder: Path) -> dict[str, Team]:
    """The teams of a campaigns folder by name; none where it has no `teams.yaml`.

    Raises:
        Fatal: The file cannot be read, is not YAML, or a setting is wrong (all of them are named).
    """
    path = folder / TEAMS_FILE
    try:
        settings = read_yaml(path, "Teams file")
    except FileNotFoundError:
        return {}
    try:
        return _TEAMS.validate_python({} if settings is None else settings)
    except ValidationError as error:
        raise Fatal(f"{path} has wrong settings: {faults_of(error, 'teams')}.") from error


def limits_of(campaign: Campaign, folder: Path) -> Limits:
    """What a campaign of the folder may buy for in a month, as both files are now.

    Raises:
        Fatal: `teams.yaml` is wrong, or does not have the campaign's team.
    """
    own, team = _micros(campaign.label.budget_month_usd), campaign.team
    if team is None:
        return Limits(own)
    path, teams = folder / TEAMS_FILE, read_teams(folder)
    if team not in teams:
        raise Fatal(
            f"Campaign {campaign.name} has team: {team}, which is not in {path}. Correct the "
            f"campaign's `team`, or add the team there: `{team}: {{budget_month_usd: 1000}}`, or "
            f"`{team}: {{}}` for one without a budget of its own."
        )
    return Limits(own, team, teams[team].budget_month, str(path))


def _micros(dollars: float | None) -> int | None:
    return None if dollars is None else round(dollars * MICROS)
