"""The campaigns that there are to show: those of the folder, and those that only the lake has."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field

from winnow.campaign import Campaign
from winnow.campaign.folder import files_in, state_of
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
    """The campaigns of the folder; a file is read again when it changed."""

    read: dict[str, tuple[object, Campaign | None]] = field(default_factory=dict)

    def campaigns(self) -> dict[str, Campaign | None]:
        """By name; None for one whose file is broken and was never good here."""
        here = place()
        files, state = files_in(here), state_of(here)
        found = {}
        for name, paths in files.items():
            stamp = tuple((str(path), state.get(path.name)) for path in paths)
            kept = self.read.get(name)
            if kept is None or kept[0] != stamp:
                kept = (stamp, settled(name))
            found[name] = kept
        self.read = found
        # A single file may have another name than its campaign.
        return {own.name if own else name: own for name, (_, own) in found.items()}


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
