"""Garbage: objects of a dataset that no version names, left by publishers that lost or were killed.

Why nothing is lost, with publishers at work and without a word between them and this: an object
below `objects/v000006` can be named first by v000007 only, for a publisher brings its files below
the folder of its parent before it commits, and of all who try v000007 one gets it (`objects`). So
once v000007 exists and no version up to the newest names the object, none ever will: a publisher
that still counts on it loses the number, looks for the object, and stores it again. That holds at
any later time too, so a collector that sleeps between its look and its removal does no harm.
No clock is needed for this; the grace period only spares slow publishers the second try.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from winnow.lake import Lake, Stored
from winnow.publish.layout import MANIFEST
from winnow.publish.objects import objects_folder, stored_after
from winnow.publish.versions import newest_number, read_version


@dataclass(frozen=True, slots=True)
class Garbage:
    """What can go: objects that no version names, writes that were never finished, old folders."""

    dataset: str
    before: datetime
    objects: tuple[Stored, ...]
    unfinished: tuple[str, ...]
    folders: tuple[str, ...] = ()

    @property
    def n_bytes(self) -> int:
        """Size of the objects together."""
        return sum(stored.n_bytes for stored in self.objects)


def find_garbage(
    lake: Lake, dataset: str, before: datetime, keep: Collection[int] | None = None
) -> Garbage:
    """The garbage of a dataset from before a time; removes nothing.

    With `keep` folders of older versions are garbage too, but those of these numbers, of the newest
    version, and of those that were rolled back to. Such a version is pulled as before.

    Raises:
        Corrupt: A version's manifest cannot be read or is missing, so what it names cannot be told.
    """
    number = newest_number(lake, dataset)
    named, kept, old = set[str](), {number, *(keep or ())}, dict[int, str]()
    for version in (read_version(lake, dataset, n) for n in range(1, number + 1)):
        named.update(artifact.path for artifact in version.files.values())
        if version.rollback is not None:
            kept.add(int(version.rollback.to.removeprefix("v")))
        if datetime.fromisoformat(version.published_at) < before:
            old[version.number] = version.folder
    folders = [] if keep is None else [old[n] for n in sorted(old.keys() - kept)]
    objects = tuple(
        stored
        for stored in lake.listing(objects_folder(dataset))
        # The only version that could name the object first is there.
        if (base := stored_after(stored.path)) is not None
        and base < number
        and stored.path not in named
        and stored.modified < before
    )
    unfinished = lake.unfinished(f"datasets/{dataset}", before, remove=False)
    there = tuple(folder for folder in folders if next(lake.names(folder), None))
    return Garbage(dataset, before, objects, tuple(unfinished), there)


def remove_garbage(lake: Lake, garbage: Garbage) -> None:
    """Remove what was found; may be killed and run again."""
    for stored in garbage.objects:
        lake.remove(stored.path)
    for folder in garbage.folders:
        lake.remove_folder(folder, MANIFEST)
    lake.unfinished(f"datasets/{garbage.dataset}", garbage.before, remove=True)
