"""The folder of campaigns: each file `NAME.yaml` is one campaign, and stands or falls alone.

    files_in      name -> file; what lies below the folder is not read
    read          one campaign as its file is now
    read_all      every one, or why it cannot be read
    keep, kept    the last settings that were good, for whoever goes on with them

`teams.yaml` is no campaign. A place may also be a single file, whose name is as it likes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident

from winnow.campaign.reading import load_campaign, parse_campaign
from winnow.campaign.sections import Campaign
from winnow.campaign.settings import NAME
from winnow.campaign.teams import TEAMS_FILE, limits_of, read_teams
from winnow.errors import Fatal, WinnowError

SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a file of the folder is no campaign; `name` is the file's, without its suffix."""

    name: str
    reason: str


def files_in(place: Path) -> dict[str, tuple[Path, ...]]:
    """The files that say they are a campaign, by name; several of one name are a fault.

    Raises:
        Fatal: The folder cannot be listed.
    """
    if place.is_file():
        return {place.stem: (place,)}
    try:
        entries = sorted(
            (entry for entry in place.iterdir() if entry.suffix in SUFFIXES),
            key=lambda entry: (entry.stem, entry.suffix),
        )
    except OSError as error:
        raise Fatal(
            f"The campaigns in {place} cannot be listed: {error.strerror}. Point WINNOW_CAMPAIGNS "
            "at a folder of YAML files, one a campaign."
        ) from error
    files: dict[str, tuple[Path, ...]] = {}
    for entry in entries:
        if entry.name != TEAMS_FILE and not entry.name.startswith("."):
            # A name may be any bytes, which no message and no file could hold.
            name = os.fsencode(entry.stem).decode("utf-8", "backslashreplace")
            files[name] = (*files.get(name, ()), entry)
    return files


def teams_folder(place: Path) -> Path:
    """The folder of a place, in which `teams.yaml` lies: itself, or that of the single file."""
    return place.parent if place.is_file() else place


def is_name(name: str) -> bool:
    """Whether a file of the folder may be called so; `teams.yml` is no campaign either."""
    return NAME.fullmatch(name) is not None and name != Path(TEAMS_FILE).stem


def read(place: Path, name: str) -> Campaign:
    """The campaign of a name.

    Raises:
        Fatal: There is no such file, or two; a setting is wrong; it names itself otherwise; or its
            team is not in `teams.yaml`.
    """
    if place.is_file():
        campaign = load_campaign(place)
        if name not in (place.stem, campaign.name):
            raise Fatal(f"There is no campaign {name}: {place} is of {campaign.name}.")
        return campaign
    found = files_in(place).get(name, ())
    if not found:
        raise Fatal(
            f"There is no campaign {name} in {place}; there are "
            f"{', '.join(files_in(place)) or 'none'}."
        )
    if len(found) > 1:
        both = " and ".join(path.name for path in found)
        raise Fatal(f"Campaign {name} stands twice in {place}: {both}. Take one away.")
    if not is_name(name):
        raise Fatal(
            f"{place}/{name}{found[0].suffix} cannot name a campaign: small letters, digits, - and "
            f"_, at most 63. (Teams are in {TEAMS_FILE}.)"
        )
    campaign = load_campaign(found[0])
    if campaign.name != name:
        raise Fatal(
            f"Campaign {found[0]} has wrong settings: name: is {campaign.name}, the file's is "
            f"{name}. Another name is another campaign, which takes every prompt file anew; rename "
            "the file, or the setting."
        )
    if campaign.team is not None and teams_fault(place) is None:
        limits_of(campaign, place)
    return campaign


def teams_fault(place: Path) -> Unreadable | None:
    """What is wrong with the folder's `teams.yaml`, which is said once and not of each campaign."""
    try:
        read_teams(teams_folder(place))
    except WinnowError as error:
        return Unreadable(Path(TEAMS_FILE).stem, str(error))
    return None


def read_all(place: Path) -> tuple[list[Campaign], list[Unreadable]]:
    """The campaigns of the folder by name, and the files that are none with the reason.

    Raises:
        Fatal: The folder cannot be listed.
    """
    campaigns: list[Campaign] = []
    faults = [fault for fault in [teams_fault(place)] if fault is not None]
    for name in files_in(place):
        try:
            campaigns.append(read(place, name))
        except WinnowError as error:
            faults.append(Unreadable(name, str(error)))
    return campaigns, faults


def keep(folder: Path, campaign: Campaign) -> None:
    """Keep a campaign's settings as the last that were good; a folder that is full keeps none."""
    text = settings_text(campaign)
    path = folder / f"{campaign.name}.json"
    try:
        if path.exists() and path.read_text() == text:
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError:
        return


def kept(folder: Path, name: str) -> Campaign | None:
    """The last good settings of a campaign that were kept; None where there are none."""
    path = folder / f"{name}.json"
    try:
        return parse_campaign(json.loads(path.read_text()), where=str(path))
    except (OSError, ValueError, WinnowError):
        return None


def settings_text(campaign: Campaign) -> str:
    """A campaign's settings as JSON, equal for equal settings."""
    return json.dumps(campaign.model_dump(mode="json"), sort_keys=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that whoever reads it meanwhile has the old one or the new one whole."""
    temporary = path.with_name(f".{path.name[:64]}.{os.getpid()}.{get_ident()}")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)


def state_of(place: Path) -> Mapping[str, str]:
    """What tells whether a file of the folder changed, by file name: its size and time.

    Raises:
        Fatal: The folder cannot be listed.
    """
    beside = teams_folder(place) / TEAMS_FILE
    files = [path for paths in files_in(place).values() for path in paths]
    return {path.name: _stat_of(path) for path in [*files, beside]}


def _stat_of(path: Path) -> str:
    """Size and time of a file; of a link to nothing, and of one just taken away, that it is none.

    One such file is that campaign's fault, and no other's.
    """
    try:
        stat = path.stat()
    except OSError as error:
        return str(error.strerror)
    return f"{stat.st_size} {stat.st_mtime_ns}"
