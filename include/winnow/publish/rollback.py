"""Rollback: an older version published again, as a new one.

History stays as it is, without gaps: the new version follows the newest, its files are the older
one's, and its manifest says of which and why. The next batch builds on it. Batches that came in
between are noted as withdrawn, so that a task of theirs that runs again brings nothing back.
"""

from __future__ import annotations

from datetime import datetime

from winnow.errors import Fatal
from winnow.lake import Lake
from winnow.publish.versions import Rollback, Version, commit, finish, newest


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
        version = _again(target, last, Rollback(target.name, reason.strip(), by), now)
        if commit(lake, version):
            finish(lake, version)
            return version


def _again(target: Version, last: Version, rollback: Rollback, now: datetime) -> Version:
    published = dict.fromkeys([*last.withdrawn, *last.batches])
    return Version(
        dataset=target.dataset,
        number=last.number + 1,
        parent=last.number,
        batches=target.batches,
        files=target.files,
        figures=target.figures,
        published_at=now.isoformat(timespec="seconds"),
        withdrawn=tuple(batch for batch in published if batch not in target.batches),
        rollback=rollback,
    )
