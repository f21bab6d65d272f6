"""Which campaigns a command is about: all of the folder, one by its name, or one file.

the_campaign     --campaign of a command about one; none named: the only one, or the shipped one
campaigns        --campaign of a command about any number; none named: all
with_batch       the one campaign that has a batch of a key
each             a command's answer over several, one of which may be broken
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.batch import last_settings
from winnow.campaign import Campaign, load_campaign
from winnow.campaign.folder import files_in, read, teams_folder
from winnow.campaigns import SHIPPED, campaigns_place, place_setting
from winnow.errors import Corrupt, Fatal, WinnowError
from winnow.ids import digest
from winnow.ingest.ledger import read_ledger
from winnow.lake import Lake
from winnow.operate.campaigns import Known, campaigns_of, of_file, open_work
from winnow.text import plain_line

SHIPPED_ONE = "nightly"
"""The campaign of a command about one where none is named and only shipped ones are there."""

_FOLDERS: dict[str, Path] = {}

Answer = tuple[list[dict[str, Any]], list[str]]
"""Rows for programs, lines for people."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something to say of a campaign as a whole."""

    level: str
    cause: str
    mend: str

    @property
    def lines(self) -> list[str]:
        """For people."""
        return [f"  {self.level:<8} {self.cause}", f"  {'':<8} Do: {self.mend}"]


def place_here() -> Path:
    """The folder of campaigns, or the one file; what lies in a bucket is brought to the cache."""
    setting = place_setting()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return campaigns_place(setting, cache / "winnow" / "campaigns" / digest(setting.encode())[:16])


def the_campaign(named: str) -> Campaign:
    """The campaign that `--campaign` says; if it says nothing, the only one there is.

    Raises:
        Fatal: It must be named, there is none of the name, or its file is broken.
    """
    if is_file(named):
        campaign = load_campaign(Path(named))
        _FOLDERS[campaign.name] = Path(named).resolve().parent
        return campaign
    place = place_here()
    names = list(files_in(place))
    if not named and len(names) > 1 and place == SHIPPED and SHIPPED_ONE in names:
        names = [SHIPPED_ONE]
    if not named and len(names) != 1:
        there = ", ".join(names) or "none"
        raise Fatal(f"Say which campaign, --campaign NAME: in {place} there are {there}.")
    campaign = read(place, named or names[0])
    _FOLDERS[campaign.name] = teams_folder(place)
    return campaign


def folder_of(campaign: Campaign) -> Path:
    """The folder in which `the_campaign` found its file; `teams.yaml` lies there."""
    return _FOLDERS[campaign.name]


def campaigns(lake: Lake, named: str) -> list[Known]:
    """The campaign that `--campaign` says, one without a file too; if it says nothing, all.

    Raises:
        Fatal: There is none of the name, in the folder or in the lake; or the file is none.
    """
    if is_file(named):
        campaign = load_campaign(Path(named))
        return [Known(campaign.name, campaign)]
    place = place_here()
    if not named:
        return campaigns_of(lake, place)
    file = place.stem if place.is_file() else named
    if file in files_in(place):
        known = of_file(lake, place, file)
        if named in (file, known.name):
            return [known if known.settings is not None else Known(named, read(place, named))]
    gone = last_settings(lake, named)
    return [Known(named, gone or read(place, named), "gone")]


def with_batch(lake: Lake, named: str, key: str, *, one: bool = True) -> Campaign:
    """The campaign that `--campaign` says; if it says nothing, the one that has the batch.

    Raises:
        Fatal: None has it, or several have and `one` is wanted.
    """
    known = [each.settings for each in campaigns(lake, named) if each.settings is not None]
    if known and (named or len(known) == 1):
        if not one and not read_ledger(lake, known[0].name).knows(key):
            raise Fatal(f"Campaign {known[0].name} has no batch {key} in {lake.uri}.")
        return known[0]
    having = [each for each in known if _has(lake, each.name, key)]
    names = ", ".join(each.name for each in having or known)
    if not having:
        raise Fatal(f"No campaign has a batch {key} in {lake.uri}; there are {names or 'none'}.")
    if len(having) > 1 and one:
        raise Fatal(f"Say which campaign's batch {key}, --campaign NAME: {names} have one.")
    return having[0]


def _has(lake: Lake, campaign: str, key: str) -> bool:
    """Whether a campaign has a batch; one whose ledger is lost takes no other with it."""
    try:
        return read_ledger(lake, campaign).knows(key)
    except Corrupt:
        return False


def of_each(
    lake: Lake,
    named: str,
    look: Callable[[Campaign], Answer],
    note_row: Callable[[Note], dict[str, Any]],
    *,
    with_gone: bool = False,
    empty: str = "",
) -> tuple[list[dict[str, Any]], list[str], int]:
    """What `look` says of each campaign, under a heading where there are several; the exit code.

    A campaign whose file is broken is shown by the settings of its batches, and fails the command;
    nothing that is wrong with one campaign takes another one away. One without a file is shown
    where it is named, or `with_gone` while something of it is open. `empty` is the line of a
    campaign of which there is nothing to say; without it that one is left out.

    Raises:
        WinnowError: There is one campaign only, and `look` raised it.
    """
    known_ones = campaigns(lake, named)
    answers = [
        _answer(lake, known, look, bool(named), with_gone, len(known_ones) == 1)
        for known in known_ones
    ]
    shown = [each for each in answers if each and (empty or each[1] or each[2][1])]
    rows: list[dict[str, Any]] = []
    lines: list[str] = []
    for name, notes, (own_rows, own_lines) in shown:
        rows += [{"campaign": name, **row} for row in (*map(note_row, notes), *own_rows)]
        section = [*(line for note in notes for line in note.lines), *own_lines]
        if len(shown) > 1 or notes:
            section = [f"Campaign {name}", *(section or [empty])]
        lines += section
    failed = any(note.level != "removed" for _, notes, _ in shown for note in notes)
    return rows, lines, int(failed)


def _answer(
    lake: Lake,
    known: Known,
    look: Callable[[Campaign], Answer],
    is_named: bool,
    with_gone: bool,
    is_only: bool,
) -> tuple[str, list[Note], Answer] | None:
    """A campaign, the notes on it as a whole, and the answer; None: it is passed over."""
    notes: list[Note] = []
    answer: Answer = ([], [])
    try:
        if known.file == "broken":
            mend = "mend the file; batches that have begun go on with their own settings"
            notes.append(Note("broken", plain_line(known.fault), mend))
        if known.file == "gone":
            work = open_work(lake, known.settings) if with_gone and known.settings else None
            if not is_named and not (work and work.keys):
                return None
            if work and work.keys and place_here().is_dir():
                cause = f"It has no file in {place_here()}: removed, or renamed. {work}."
                notes.append(Note("removed", cause, f"winnow migrate {known.name}"))
        if known.settings is not None:
            answer = look(known.settings)
    except WinnowError as error:
        if is_only:
            raise
        notes.append(Note("failed", plain_line(str(error)), "mend what the message says"))
    return known.name, notes, answer


def is_file(named: str) -> bool:
    """Whether it is a path: no campaign's name has a dot or a slash in it."""
    return "/" in named or "." in named
