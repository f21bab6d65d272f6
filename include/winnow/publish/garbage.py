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

from dataclasses import dataclass
from datetime import datetime

from winnow.lake import Lake, Stored
from winnow.publish.objects import objects_folder, stored_after
from winnow.publish.versions import newest_number, read_version


@dataclass(frozen=True, slots=True)
class Garbage:
    """What can go: objects that no version names, and writes that were never finished."""

    dataset: str
    before: datetime
    objects: tuple[Stored, ...]
    unfinished: tuple[str, ...]

    @property
    def n_bytes(self) -> int:
        """Size of the objects together."""
        return sum(stored.n_bytes for stored in self.objects)


def find_garbage(lake: Lake, dataset: str, before: datetime) -> Garbage:
    """The garbage of a dataset from before a time; removes nothing.

    Raises:
        Corrupt: A version's manifest cannot be read or is missing, so what it names cannot be told.
    """
    number = newest_number(lake, dataset)
    versions = (read_version(lake, dataset, n) for n in range(1, number + 1))
    named = {artifact.path for version in versions for artifact in version.files.values()}
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
    return Garbage(dataset, before, objects, tuple(unfinished))


def remove_garbage(lake: Lake, garbage: Garbage) -> None:
    """Remove what was found; may be killed and run again."""
    for stored in garbage.objects:
        lake.remove(stored.path)
    lake.unfinished(f"datasets/{garbage.dataset}", garbage.before, remove=True)
