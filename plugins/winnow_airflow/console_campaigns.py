"""The campaigns that there are to show: those of the folder, and those that only the lake has."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field

from winnow.campaign import Campaign
from winnow.campaign.folder import files_in, state_of, teams_folder
from winnow.campaign.teams import TEAMS_FILE, read_teams
from winnow.console.memory import Memory
from winnow.console.scope import names_in, settings_left
from winnow.errors import WinnowError
from winnow.lake import Lake
from winnow_airflow.campaigns import place, settled
from winnow_airflow.context import the_lake
from winnow_airflow.plain_log import plain_logger

log = plain_logger(__name__)

MEMORY = Memory()
"""What all pages of this process have read."""


@dataclass(slots=True)
class _Folder:
    """The campaigns of the folder; a file is read again when it changed.

    `read` has each with the files that it was read from, as they were.
    """

    seen: object = None
    read: dict[str, tuple[object, Campaign | None]] = field(default_factory=dict)

    def campaigns(self) -> dict[str, Campaign | None]:
        """By name; None for one whose file is broken and was never good here."""
        here = place()
        state = state_of(here)
        if (here, state) != self.seen:
            self.read = {
                # A campaign's team stands in the teams' file, or the campaign is broken.
                name: self._read(
                    name, (here, state[TEAMS_FILE], *(state.get(p.name) for p in paths))
                )
                for name, paths in files_in(here).items()
            }
            self.seen = here, state
        # A single file may have another name than its campaign.
        return {own.name if own else name: own for name, (_, own) in self.read.items()}

    def _read(self, name: str, state: object) -> tuple[object, Campaign | None]:
        known = self.read.get(name)
        return known if known is not None and known[0] == state else (state, settled(name))


_folder = _Folder()


def known_campaigns() -> Collection[str]:
    """Names of the campaigns of the folder, and of those that have batches in the lake."""
    names: set[str] = set()
    # What is away says so on the page, to who may read one.
    with suppress(WinnowError):
        names |= set(_folder.campaigns())
    with suppress(WinnowError):
        names |= set(names_in(the_lake(), MEMORY))
    return sorted(names)


def settings_of(lake: Lake, names: Collection[str]) -> tuple[dict[str, Campaign], set[str]]:
    """The settings of campaigns, and the names of those whose file is gone.

    Raises:
        Fatal: The folder cannot be read.
    """
    here = _folder.campaigns()
    found = {name: here.get(name) or settings_left(lake, name, MEMORY) for name in names}
    return found, {name for name in names if name not in here}


def team_budgets(lake: Lake, readable: Collection[str]) -> dict[str, int | None]:
    """The month's budgets, micro-dollars, of teams of whose campaigns all are readable.

    Of another team what its other campaigns spent would be told, also those whose file is gone. A
    broken `teams.yaml` has none.
    """
    found = _folder.campaigns()
    if any(own is None and name not in readable for name, own in found.items()):
        return {}  # whose team it is cannot be told
    campaigns = [own for own in found.values() if own is not None]
    gone = {*names_in(lake, MEMORY)} - {*found, *readable}
    hidden = {own.team for own in campaigns if own.name not in readable}
    hidden |= {settings_left(lake, name, MEMORY).team for name in gone}
    wanted = {own.team for own in campaigns if own.team and own.team not in hidden}
    try:
        teams = read_teams(teams_folder(place())) if wanted else {}
    except WinnowError:
        return {}
    return {name: teams[name].budget_month for name in sorted(wanted) if name in teams}
