"""The ledger of ingested files: which batch took which file, and which prompts it brought.

It is one pointer a campaign, moved by compare-and-swap, so that two batches that run at the same
moment can never both take a file or both accept a prompt. An entry holds all that the batch's
manifest needs: a run killed between the swap and the commit finds it and only commits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from winnow.batch import Artifact
from winnow.ids import canonical_json
from winnow.lake import Lake


@dataclass(frozen=True, slots=True)
class Entry:
    """What one batch took: files by id, its tables, and its row counts."""

    batch: str
    files: Mapping[str, str]
    outputs: Mapping[str, Artifact]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Ledger:
    """The entries of a campaign in the order they were taken, and the tag to swap against."""

    entries: tuple[Entry, ...]
    tag: str | None

    def of(self, batch: str) -> Entry | None:
        """The batch's entry, if it took files already."""
        return next((entry for entry in self.entries if entry.batch == batch), None)

    def taken(self) -> set[str]:
        """Ids of every file that some batch took."""
        return {file_id for entry in self.entries for file_id in entry.files}


def ledger_path(campaign: str) -> str:
    """Where a campaign's ledger lies in the lake."""
    return f"campaigns/{campaign}/ingested.json"


def read_ledger(lake: Lake, campaign: str) -> Ledger:
    """The ledger as it is now; empty before the first batch."""
    data, tag = lake.read_tagged(ledger_path(campaign))
    return Ledger(tuple(_entry(e) for e in json.loads(data or b"[]")), tag)


def append(lake: Lake, campaign: str, ledger: Ledger, entry: Entry) -> bool:
    """Take `entry`'s files; False if another batch moved the ledger meanwhile (read it again)."""
    entries = [asdict(e) for e in (*ledger.entries, entry)]
    return lake.swap(ledger_path(campaign), canonical_json(entries), ledger.tag)


def _entry(content: dict[str, object]) -> Entry:
    outputs = {n: Artifact(**a) for n, a in content.pop("outputs").items()}  # type: ignore[attr-defined]
    return Entry(outputs=outputs, **content)  # type: ignore[arg-type]
