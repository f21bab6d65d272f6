"""The campaigns that there are to show: those of the folder, and those that only the lake has."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from winnow.campaign import Campaign
from winnow.campaign.folder import files_in
from winnow.campaign.teams import TEAMS_FILE, read_teams
from winnow.console.memory import Memory
from winnow.console.scope import names_in, settings_left
from winnow.errors import Fatal, WinnowError
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
        state = _state(here)
        if state != self.seen:
            self.read = {
                # A campaign's team stands in the teams' file, or the campaign is broken.
                name: self._read(name, (state.get(TEAMS_FILE), *(state.get(p.name) for p in paths)))
                for name, paths in files_in(here).items()
            }
            self.seen = state
        # A single file may have another name than its campaign.
        return {own.name if own else name: own for name, (_, own) in self.read.items()}

    def _read(self, name: str, state: object) -> tuple[object, Campaign | None]:
        known = self.read.get(name)
        return known if known is not None and known[0] == state else (state, settled(name))


def _state(place: Path) -> dict[str, tuple[str, int, int]]:
    """What tells whether a file changed, by its name, with no more than one look at each.

    Editors lock files by links to nothing, and a file may be taken away just now: neither counts.

    Raises:
        Fatal: The folder cannot be listed.
    """
    parent = place.parent if place.is_file() else place
    try:
        with os.scandir(parent) as entries:
            stats = []
            for entry in entries:
                with suppress(FileNotFoundError):
                    stats.append((entry.name, entry.stat()))
    except OSError as error:
        raise Fatal(f"The campaigns in {place} cannot be listed: {error.strerror}.") from error
    return {name: (str(parent), stat.st_size, stat.st_mtime_ns) for name, stat in stats}


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
    here, found = place(), _folder.campaigns()
    if any(own is None and name not in readable for name, own in found.items()):
        return {}  # whose team it is cannot be told
    campaigns = [own for own in found.values() if own is not None]
    gone = {*names_in(lake, MEMORY)} - {*found, *readable}
    hidden = {own.team for own in campaigns if own.name not in readable}
    hidden |= {settings_left(lake, name, MEMORY).team for name in gone}
    wanted = {own.team for own in campaigns if own.team and own.team not in hidden}
    try:
        teams = read_teams(here.parent if here.is_file() else here) if wanted else {}
    except WinnowError:
        return {}
    return {name: teams[name].budget_month for name in sorted(wanted) if name in teams}
