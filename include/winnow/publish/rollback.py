"""Rollback: an older version published again, as a new one.

History stays as it is, without gaps: the new version follows the newest, its data files are the
older one's, and its manifest, card and report say of which and why. The next batch builds on it.
Batches that came in between are noted as withdrawn, so that a task of theirs that runs again brings
nothing back.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from winnow.batch import Artifact, read_artifact
from winnow.errors import Fatal
from winnow.lake import Lake
from winnow.pages.render import with_remark
from winnow.publish.card import inert
from winnow.publish.versions import (
    CARD,
    REPORT,
    Rollback,
    Version,
    commit,
    finish,
    newest,
    read_version,
    shelf,
)


def roll_back(lake: Lake, target: Version, reason: str, by: str, now: datetime) -> Version:
    """Publish the files of `target` as the next version; `by` is who wants it.

    Where the newest version is already a rollback to `target`, it is finished and returned, so that
    a rollback that was killed may be run again.

    Raises:
        Fatal: `target` is the newest version, or no reason is given.
    """
    if not reason.strip():
        raise Fatal("A rollback needs a reason, for those who read the version's manifest later.")
    while True:
        last = newest(lake, target.dataset)
        if last is None or last.number <= target.number:
            raise Fatal(f"{target.dataset} {target.name} is the newest version; nothing to do.")
        if last.rollback is not None and last.rollback.to == target.name:
            finish(lake, last)
            return last
        published = dict.fromkeys([*last.withdrawn, *last.batches])
        version = replace(
            target,
            number=last.number + 1,
            parent=last.number,
            published_at=now.isoformat(timespec="seconds"),
            withdrawn=tuple(batch for batch in published if batch not in target.batches),
            rollback=Rollback(target.name, reason.strip(), by),
        )
        version = replace(version, files={**target.files, **_pages(lake, target, version)})
        if commit(lake, version):
            finish(lake, version)
            return version


def _pages(lake: Lake, target: Version, version: Version) -> dict[str, Artifact]:
    """The target's card and report, saying that they are of `version` now."""
    parent = read_version(lake, target.dataset, version.number - 1)
    objects = shelf(lake, target.dataset, parent)
    pages = {}
    if CARD in target.files:
        # Its own name stands in the title, the head and the commands; the notice follows the title.
        card = read_artifact(lake, target.files[CARD]).decode().replace(target.name, version.name)
        notice, title = f"> {inert(_notice(version))}\n", f"# {version.dataset} {version.name}\n"
        has_title = title in card
        card = card.replace(title, f"{title}\n{notice}", 1) if has_title else card + notice
        pages[CARD] = objects.put(card.encode(), "md")
    if REPORT in target.files:
        # What it tells was measured for the target, so its name stays there.
        report = read_artifact(lake, target.files[REPORT]).decode()
        noticed = with_remark(report, _notice(version))
        pages[REPORT] = objects.put(noticed.encode(), "html")
    return pages


def _notice(version: Version) -> str:
    back = version.rollback
    if back is None:
        return ""
    notice = f"{version.name} is {back.to} again: {back.by} rolled back to it ({back.reason})."
    return f"{notice} What is told of {back.to} holds for {version.name}."
