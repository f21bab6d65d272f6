"""Whose turn it is to choose: a night may wait until those before it have taught the model.

    places_of   the lake -> how far each batch of a campaign is (`Place`)
    turn_of     places   -> from when on a batch may choose (`Turn`); computes only
    Looks       both, for all who ask in one process

Batches stand in the order of their keys. One waits where its campaign says so
(`select.wait_for`), or where a backfill began it and its strategy reads the model: while N earlier
ones that have begun are not over (N is 1; `winnow backfill --at-once N` gives the order up by
name). Over is what is published, ended, dropped, or cannot be read.

Nobody waits for ever. A batch counts as over when nothing came of it for
`select.longest_wait_hours` since its last stage was done or a vendor took its tasks; one that waits
itself, since its own turn came. So a night that is stuck stops those after it for that long, and a
chain of ten may take ten times as long.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import insort
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial

from winnow.batch import STAGES, Batch, Manifest, read_batch, read_manifest
from winnow.campaign import Campaign
from winnow.errors import Retryable, WinnowError
from winnow.ingest.ledger import BACKFILL, Entry, read_ledger
from winnow.lake import Lake
from winnow.select.rules import is_guided
from winnow.stages.label.rounds import last_submitted
from winnow.stored import stored_time

NEVER = datetime.min.replace(tzinfo=UTC)
SPARE = timedelta(hours=24)
"""So long after its labels are due a night is waited for, where the campaign does not say."""

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Place:
    """How far a batch is.

    Attributes:
        since: When it was over; else when its last stage was done, or a vendor took its tasks.
        is_over: Whether nothing more will come of it, as things are: one that a person dropped may
            be taken up again.
        stage: The stage to be done next; empty where none ever is.
        at_once: It chooses only while fewer earlier batches than this are unfinished; None: it
            waits for none, or has chosen.
        patience: So long it waits for one before it.
    """

    since: datetime
    is_over: bool = False
    stage: str = ""
    at_once: int | None = None
    patience: timedelta = SPARE


@dataclass(frozen=True, slots=True)
class Turn:
    """From when on a batch may choose, as things are: `at`, which lies in the past once it may.

    `ends` says of each earlier batch that is not over when it will count as over.
    """

    at: datetime
    ends: Mapping[str, datetime]

    def waits_for(self, now: datetime) -> list[str]:
        """The batches that it waits for; none once its turn has come."""
        return sorted(key for key, end in self.ends.items() if end > now) if self.at > now else []

    def sentence(self, now: datetime) -> str:
        """What it waits for, for people; empty once its turn has come."""
        keys = self.waits_for(now)
        if not keys:
            return ""
        shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if len(keys) > 3 else "")
        return (
            f"It waits for the labels of {shown} before it chooses, until "
            f"{self.at:%Y-%m-%d %H:%M} UTC at the longest."
        )


_UNREADABLE = Place(NEVER, is_over=True, stage=STAGES[0])


def turn_of(places: Mapping[str, Place], key: str) -> Turn | None:
    """When the turn of a batch comes; None where it waits for none."""
    own = places.get(key)
    if own is None or own.is_over or own.at_once is None:
        return None
    ends: dict[str, datetime] = {}
    in_order: list[datetime] = []
    for earlier in sorted(each for each in places if each < key):
        place = places[earlier]
        end = place.since
        if not place.is_over:
            end = ends[earlier] = max(end, _came(place.at_once, in_order)) + own.patience
        insort(in_order, end)
    return Turn(_came(own.at_once, in_order), ends)


def _came(at_once: int | None, ends: Sequence[datetime]) -> datetime:
    """When fewer than `at_once` of those before were left; `ends` rise."""
    return NEVER if at_once is None or len(ends) < at_once else ends[-at_once]


class Looks:
    """Turns of a campaign's batches; the lake is looked at again after some seconds, for all."""

    def __init__(self, lake: Lake, campaign: str, seconds: float = 30.0) -> None:
        self.lake, self.campaign, self._seconds = lake, campaign, seconds
        self._places: dict[str, Place] = {}
        self._until, self._lock = -math.inf, threading.Lock()

    def turn_of(self, key: str, *, fresh: bool = False) -> Turn | None:
        """When the turn of a batch comes; None where it waits for none. Raises like `places_of`.

        A batch that began since the last look is seen by a `fresh` one.
        """
        with self._lock:
            if fresh or time.monotonic() >= self._until:
                self._places = places_of(self.lake, self.campaign, self._places)
                self._until = time.monotonic() + self._seconds
            return turn_of(self._places, key)


def turn(batch: Batch, ingested: Manifest, looks: Looks | None = None) -> Turn | None:
    """When the turn of a batch comes; None, without a look, where it waits for none.

    Raises:
        Retryable: The store is away.
        Corrupt: The ledger cannot be read.
    """
    select, at_once = batch.campaign.select, ingested.figures.get(BACKFILL)
    if waits_at_once(select.strategy, select.wait_for, at_once) is None:
        return None
    return (looks or Looks(batch.lake, batch.campaign.name)).turn_of(batch.key)


def places_of(
    lake: Lake, campaign: str, before: Mapping[str, Place] | None = None
) -> dict[str, Place]:
    """How far each batch of a campaign's ledger is.

    With what a look `before` gave, a batch that is through costs no read, and another one or three.

    Raises:
        Retryable: The store is away.
        Corrupt: The ledger cannot be read.
    """
    known, ledger = before or {}, read_ledger(lake, campaign)
    places = dict.fromkeys(ledger.damaged, _UNREADABLE)
    keys = ledger.taken_keys
    places |= {key: known[key] for key in keys if key in known and not known[key].stage}
    others = ledger.some([key for key in keys if key not in places])
    if others:
        look = partial(_look, lake, campaign, known)
        with ThreadPoolExecutor(min(_AT_ONCE, len(others))) as pool:
            places |= zip((entry.batch for entry in others), pool.map(look, others), strict=True)
    return places


def _look(lake: Lake, campaign: str, known: Mapping[str, Place], entry: Entry) -> Place:
    key = entry.batch
    try:
        if entry.dropped is not None:
            return Place(stored_time(entry.dropped.at), is_over=True, stage=STAGES[0])
        place = known.get(key)
        if place is None or place.is_over:
            place = _first_look(lake, campaign, entry)
        while place.stage and (done := read_manifest(lake, campaign, key, place.stage)):
            place = _after(place, done)
        if place.stage == "label":
            submitted = last_submitted(lake, campaign, key) or NEVER
            place = replace(place, since=max(place.since, submitted))
    except Retryable:
        raise
    except (WinnowError, TypeError, ValueError):
        return _UNREADABLE
    return place


def _first_look(lake: Lake, campaign: str, entry: Entry) -> Place:
    """Whether a batch is published, as most are; else how it began, with what it waits for."""
    published = read_manifest(lake, campaign, entry.batch, STAGES[-1])
    if published is not None:
        return _after(Place(NEVER), published)
    batch = read_batch(lake, campaign, entry.batch, lake.now)
    if batch is None:
        return _UNREADABLE
    since = NEVER
    if batch.manifest(STAGES[0]) is None:
        # Until it has a manifest, what it has stored tells the time.
        since = max(each.modified for each in lake.listing(batch.folder))
    select = batch.campaign.select
    at_once = waits_at_once(select.strategy, select.wait_for, entry.at_once)
    return Place(since, False, STAGES[0], at_once, patience_of(batch.campaign))


def _after(place: Place, done: Manifest) -> Place:
    """Where a batch stands once a stage is done."""
    at = STAGES.index(done.stage) + 1
    is_over = at == len(STAGES) or not done.counts["rows_out"]
    has_chosen = at > STAGES.index("select")
    return replace(
        place,
        since=stored_time(done.committed_at) if done.committed_at else NEVER,
        is_over=is_over,
        stage="" if is_over else STAGES[at],
        at_once=None if has_chosen else place.at_once,
    )


def waits_at_once(strategy: str, wait_for: str, backfill_at_once: int | None) -> int | None:
    """How many earlier batches have to be unfinished for one to wait; None: it waits for none.

    `backfill_at_once` is what the backfill that began it asked for; None where none did.
    """
    if wait_for == "last_batch":
        return 1
    return backfill_at_once if is_guided(strategy) else None


def patience_of(campaign: Campaign) -> timedelta:
    """So long a batch of a campaign waits for one before it, since that one got on."""
    hours = campaign.select.longest_wait_hours
    if hours is not None:
        return timedelta(hours=hours)
    return timedelta(minutes=campaign.label.deadline_minutes) + SPARE
