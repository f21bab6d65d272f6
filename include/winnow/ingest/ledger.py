"""The ledger of ingested files: which batch took which file, and which prompts it brought.

It is one pointer a campaign, moved by compare-and-swap, so that two batches that run at the same
moment can never both take a file or both accept a prompt. An entry holds all that the batch's
manifest needs: a run killed between the swap and the commit finds it and only commits.

A batch that a person gave up keeps its entry, marked: who, when, why. Its files and prompts are
free again, which is the same swap.

A ledger that is absent, or that does not know a batch which has begun, is lost or of another time:
by it the next night would buy the same labels again. It is refused, not taken for a first night.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from winnow.batch import STAGES, Artifact, batch_folder, is_key, manifest_path
from winnow.errors import Corrupt
from winnow.ids import canonical_json, sealed, unsealed
from winnow.lake import Lake
from winnow.stored import RESTORE, typed

BACKFILL = "backfill_at_once"
"""Under this name `at_once` of a batch that a backfill began is among its first figures."""

_AT_ONCE = 8

Count = Annotated[int, Field(ge=0, lt=2**63)]


def _key(name: str) -> str:
    if not is_key(name):
        raise ValueError("no batch's key")
    return name


@dataclass(frozen=True, slots=True)
class Dropped:
    """That a person gave a batch up.

    Attributes:
        who: The person.
        at: When, ISO 8601.
        reason: Why, in the person's words.
        charged: What the vendor took for labels that were not collected, micro-dollars; None where
            nobody could ask it.
    """

    who: str
    at: str
    reason: str
    charged: Count | None = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """What one batch took: files by id, its tables, and its row counts; and whether it gave up.

    `at_once` is how many batches the backfill that began it lets choose side by side; None where no
    backfill did. `continues` is the campaign that its own one went on from
    (`winnow.ingest.continued`).
    """

    batch: Annotated[str, AfterValidator(_key)]
    files: Mapping[str, str]
    outputs: Mapping[str, Artifact]
    counts: Mapping[str, Count]
    dropped: Dropped | None = None
    at_once: Annotated[int, Field(ge=1)] | None = None
    continues: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        content = asdict(self)
        for name in ("dropped", "at_once", "continues"):
            if content[name] is None:
                del content[name]
        return sealed(content)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The entries of a campaign in the order they were taken, and the tag to swap against.

    `damaged` has entries that cannot be read, by their batch as far as that can be told, each with
    the reason. Readers show them; nobody writes a ledger that has one, for it would be lost.
    """

    entries: tuple[Entry, ...]
    tag: str | None
    damaged: Mapping[str, str] = field(default_factory=dict)

    @property
    def live(self) -> tuple[Entry, ...]:
        """The entries of batches that were not given up."""
        return tuple(entry for entry in self.entries if entry.dropped is None)

    @property
    def keys(self) -> list[str]:
        """The batches of all entries, dropped and damaged ones too, by name."""
        return sorted({*(entry.batch for entry in self.entries), *self.damaged})

    def of(self, batch: str) -> Entry | None:
        """The batch's entry, if it took files already."""
        return next((entry for entry in self.entries if entry.batch == batch), None)

    def dropped(self, batch: str) -> Dropped | None:
        """That the batch was given up; None if it was not."""
        entry = self.of(batch)
        return None if entry is None else entry.dropped

    def taken(self) -> set[str]:
        """Ids of every file that some batch took and did not give up."""
        return {file_id for entry in self.live for file_id in entry.files}


def ledger_path(campaign: str) -> str:
    """Where a campaign's ledger lies in the lake."""
    return f"campaigns/{campaign}/ingested.json"


def read_ledger(lake: Lake, campaign: str) -> Ledger:
    """The ledger as it is now; empty before the first batch.

    Raises:
        Corrupt: It is no list of entries at all, or it is absent and batches have begun.
    """
    data, tag = lake.read_tagged(ledger_path(campaign))
    if data is None:
        begun = _first_trace(lake, campaign)
        if begun is None:
            return Ledger((), None)
        # Looked for again: a twin may have begun the first batch meanwhile.
        data, tag = lake.read_tagged(ledger_path(campaign))
    if data is None:
        raise Corrupt(
            f"{lake.uri}/{ledger_path(campaign)} is missing, though {begun} was made after it: "
            f"which files and prompts are taken cannot be told; {RESTORE}."
        )
    return parse_ledger(data, tag, f"{lake.uri}/{ledger_path(campaign)}")


def check_knows_all(lake: Lake, campaign: str, ledger: Ledger) -> None:
    """Refuse a ledger that does not know a batch whose prompts were accepted.

    Raises:
        Corrupt: There is one: the ledger is of an earlier time.
    """
    keys = set(ledger.keys)
    strange = [key for key in lake.names(f"batches/{campaign}") if key not in keys]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        begun = pool.map(lambda key: lake.exists(manifest_path(campaign, key, STAGES[0])), strange)
        lost = [key for key, is_there in zip(strange, begun, strict=True) if is_there]
    # Read again: a twin that began one meanwhile has put it into the ledger first.
    if lost and set(lost) - set(read_ledger(lake, campaign).keys):
        raise Corrupt(
            f"{lake.uri}/{ledger_path(campaign)} does not know batch {lost[0]}, which has begun "
            f"({manifest_path(campaign, lost[0], STAGES[0])}): it is of an earlier time, and what "
            f"later batches took would be bought again; {RESTORE}."
        )


def parse_ledger(data: bytes, tag: str | None, where: str) -> Ledger:
    """A ledger from its bytes; `where` it lies is for messages.

    Raises:
        Corrupt: It is no list of entries at all.
    """
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _no_ledger(where) from error
    if not isinstance(rows, list) or not rows:
        raise _no_ledger(where)
    entries: list[Entry] = []
    damaged: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        try:
            entries.append(typed(Entry, unsealed(row)))
        except (TypeError, ValueError) as error:
            name = row.get("batch") if isinstance(row, dict) else None
            is_named = isinstance(name, str) and is_key(name)
            fault = f"entry {number} of {where} cannot be read ({type(error).__name__})"
            damaged[str(name) if is_named else f"entry-{number}"] = fault
    return Ledger(tuple(entries), tag, damaged)


def append(lake: Lake, campaign: str, ledger: Ledger, entry: Entry) -> bool:
    """Take `entry`'s files; False if another batch moved the ledger meanwhile (read it again).

    Raises:
        Corrupt: An entry cannot be read, so what is taken cannot be told.
    """
    return _swap(lake, campaign, ledger, (*ledger.entries, entry))


def mark(lake: Lake, campaign: str, ledger: Ledger, batch: str, dropped: Dropped | None) -> bool:
    """Give the batch up, or (None) take that back; False if the ledger moved meanwhile.

    Raises:
        Corrupt: An entry cannot be read.
    """
    entries = tuple(
        replace(entry, dropped=dropped) if entry.batch == batch else entry
        for entry in ledger.entries
    )
    return _swap(lake, campaign, ledger, entries)


def _swap(lake: Lake, campaign: str, ledger: Ledger, entries: tuple[Entry, ...]) -> bool:
    if ledger.damaged:
        raise Corrupt(f"{'; '.join(ledger.damaged.values())}: restore it, or mend it by hand.")
    data = canonical_json([entry.as_dict() for entry in entries])
    return lake.swap(ledger_path(campaign), data, ledger.tag)


def _first_trace(lake: Lake, campaign: str) -> str | None:
    """Something in the lake that a campaign has only after its ledger; None on its first night."""
    if next(lake.names(f"campaigns/{campaign}/reward"), None):
        return f"campaigns/{campaign}/reward"
    stages = (
        f"{batch_folder(campaign, key)}/{stage}/manifest.json"
        for key in lake.names(f"batches/{campaign}")
        for stage in lake.names(batch_folder(campaign, key))
        if stage in STAGES
    )
    return next(filter(lake.exists, stages), None)


def _no_ledger(where: str) -> Corrupt:
    return Corrupt(
        f"{where} is no ledger: {RESTORE}; until then it cannot be told which files and prompts "
        "are taken."
    )
