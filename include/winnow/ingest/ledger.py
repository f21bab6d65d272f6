"""The ledger of ingested files: which batch took which file, and which prompts it brought.

It is one pointer a campaign, moved by compare-and-swap, so that two batches that run at the same
moment can never both take a file or both accept a prompt. An entry holds all that the batch's
manifest needs: a run killed between the swap and the commit finds it and only commits.

The entries of the newest batches stand in it, as they were taken. Those of older batches lie in
runs (`runs`), which it names: whoever takes the next entry seals the oldest of them into a run and
merges runs of like size, in the same swap. So what is asked of a thousand nights reads about as
much as of ten.

A batch that a person gave up keeps its entry, marked: who, when, why. Its files and prompts are
free again, which is the same swap.

A ledger that is absent, or that does not know a batch which has begun, is lost or of another time:
by it the next night would buy the same labels again. It is refused, not taken for a first night.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import AfterValidator, Field

from winnow.batch import STAGES, Artifact, batch_folder, is_key, manifest_path, read_table
from winnow.errors import Corrupt
from winnow.ids import canonical_json, content_id, sealed, unsealed
from winnow.ingest.near import bands_of, read_signatures
from winnow.ingest.runs import MOST_IDS, Content, Run, RunReader, found_in, words_of, write_run
from winnow.ingest.sources import SourceFile
from winnow.lake import Lake, Stored
from winnow.stored import RESTORE, as_json, parsed, read_sealed, reader, sealed_json, typed

BACKFILL = "backfill_at_once"
"""Under this name `at_once` of a batch that a backfill began is among its first figures."""

MOST_NEWEST, SEALED = 10, 5
"""Entries that stand in the ledger itself at most, and how many of them are sealed at once."""
MOST_ROWS = 100_000
"""Prompts of those entries; where they are more, all are sealed."""

Earlier = Callable[[Collection[str]], Mapping[str, str]]
"""Says of prompts, by id, which were accepted before, each with the place that brought it."""

_AT_ONCE = 8
_HASH = re.compile("[0-9a-f]{32}")

Thing = TypeVar("Thing", str, bytes)

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
    (`winnow.ingest.continued`). `looks` name the files as they lay there. `formats` counts its rows
    by format, `mended` its prompts by the rules that changed their rows.
    """

    batch: Annotated[str, AfterValidator(_key)]
    files: Mapping[str, str]
    outputs: Mapping[str, Artifact]
    counts: Mapping[str, Count]
    dropped: Dropped | None = None
    at_once: Annotated[int, Field(ge=1)] | None = None
    continues: str | None = None
    looks: tuple[str, ...] = ()
    formats: Mapping[str, Count] = field(default_factory=dict)
    mended: Mapping[str, Count] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        content = asdict(self)
        for name in ("dropped", "at_once", "continues", "looks", "formats", "mended"):
            if not content[name]:
                del content[name]
        return sealed(content)


@dataclass(frozen=True, slots=True)
class Older:
    """The batches that are in runs, oldest first; `dropped` has those of them given up, by key."""

    runs: tuple[Run, ...] = ()
    dropped: Mapping[str, Dropped] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """What the batches of a campaign took, in the order they took it, and the tag to swap against.

    `damaged` has entries that cannot be read, by their batch as far as that can be told, each with
    the reason. Readers show them; nobody writes a ledger that has one, for it would be lost. What
    is asked of one batch, or of some files and prompts, reads little of the others.

    Raises:
        Corrupt: A run that has to be looked into is missing or was changed.
    """

    lake: Lake
    newest: tuple[Entry, ...]
    tag: str | None
    damaged: Mapping[str, str] = field(default_factory=dict)
    older: Older = field(default_factory=Older)

    @cached_property
    def _runs(self) -> list[RunReader]:
        return [RunReader(self.lake, run) for run in self.older.runs]

    @cached_property
    def _newest_ids(self) -> Content:
        return _joined([_content_of(self.lake, entry) for entry in self.newest])

    @property
    def n_taken(self) -> int:
        """How many batches took something, dropped and damaged ones too."""
        n_older = sum(run.n_entries for run in self.older.runs)
        return n_older + len(self.newest) + len(self.damaged)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every entry: reads all that every batch ever took, but for the prompts."""
        older = (self._parsed(run, data) for run in self._runs for data in run.entries())
        return (*older, *self.newest)

    def newest_first(self) -> Iterator[Entry]:
        """The entries from the last one back; reads as far as it is followed."""
        yield from reversed(self.newest)
        for run in reversed(self._runs):
            for place in reversed(range(run.run.n_entries)):
                yield self._parsed(run, run.entry(place))

    @property
    def taken_keys(self) -> list[str]:
        """The batches of all entries that can be read, in the order they were taken."""
        older = (name for run in self._runs for name in run.names())
        return [*older, *(entry.batch for entry in self.newest)]

    @property
    def live_keys(self) -> list[str]:
        """Those that were not given up."""
        dropped = self.given_up
        return [key for key in self.taken_keys if key not in dropped]

    @property
    def keys(self) -> list[str]:
        """The batches of all entries, dropped and damaged ones too, by name."""
        return sorted({*self.taken_keys, *self.damaged})

    @property
    def given_up(self) -> dict[str, Dropped]:
        """The batches that a person gave up."""
        return {**self.older.dropped, **{e.batch: e.dropped for e in self.newest if e.dropped}}

    @property
    def has_live(self) -> bool:
        """Whether a batch took something and was not given up."""
        return self.n_taken - len(self.damaged) > len(self.given_up)

    @property
    def predecessors(self) -> list[str]:
        """The campaigns that some batch's own one went on from, by name."""
        older = {name for run in self.older.runs for name in run.continues}
        return sorted(older | {entry.continues for entry in self.newest if entry.continues})

    def of(self, batch: str) -> Entry | None:
        """The batch's entry, if it took files already."""
        for entry in self.newest:
            if entry.batch == batch:
                return entry
        wanted = words_of([_batch_id(batch)])
        for run in self._runs:
            for _, place in run.find(wanted):
                if run.names()[place] == batch:
                    return self._parsed(run, run.entry(place))
        return None

    def some(self, batches: Collection[str]) -> list[Entry]:
        """The entries of some batches, in the order in which they took."""
        if len(batches) > MOST_NEWEST:
            # One read of a run is less than some for each of its batches.
            wanted = set(batches)
            return [entry for entry in self.entries if entry.batch in wanted]
        return [entry for entry in map(self.of, batches) if entry is not None]

    def knows(self, batch: str) -> bool:
        """Whether the batch has an entry, one that cannot be read too."""
        return batch in self.damaged or self.of(batch) is not None

    def dropped(self, batch: str) -> Dropped | None:
        """That the batch was given up; None if it was not."""
        return self.given_up.get(batch)

    def taken(self, files: Collection[str]) -> set[str]:
        """Those of the files, by id or look, that some batch took and did not give up."""
        live = (entry for entry in self.newest if entry.dropped is None)
        newest = {file for entry in live for file in (*entry.files, *entry.looks)}
        left = set(files) - newest
        return set(files) & newest | self._takers(left, _file_id, _joined([])).keys()

    def brought(self, prompts: Collection[str]) -> dict[str, str]:
        """The batch that brought each of the prompts, by id, and was not given up."""
        takers = self._takers(prompts, _prompt_id, self._newest_ids)
        return {prompt: keys[0] for prompt, keys in takers.items()}

    def having(self, bands: Collection[bytes]) -> dict[bytes, list[str]]:
        """The batches that have each of the bands (`near`) and were not given up, oldest first."""
        return self._takers(bands, bytes, self._newest_ids)

    def _takers(
        self, things: Collection[Thing], id_of: Callable[[Thing], bytes], newest: Content
    ) -> dict[Thing, list[str]]:
        """The live batches in runs and `newest` that took each of the things, the oldest first."""
        asked, dropped = list(things), self.given_up
        ids = words_of([id_of(each) for each in asked])
        found: list[tuple[Callable[[], Sequence[str]], list[tuple[int, int]]]] = [
            (run.names, run.find(ids)) for run in self._runs
        ]
        found.append((lambda: newest.names, found_in(newest.ids, newest.places, ids)))
        takers: dict[Thing, list[str]] = {}
        for names, hits in found:
            for which, place in hits:
                if (key := names()[place]) not in dropped:
                    takers.setdefault(asked[which], []).append(key)
        return takers

    def _parsed(self, run: RunReader, data: bytes) -> Entry:
        entry = parsed(self.lake, run.run.path, reader(Entry), data)
        return replace(entry, dropped=self.older.dropped.get(entry.batch))


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
            return Ledger(lake, (), None)
        # Looked for again: a twin may have begun the first batch meanwhile.
        data, tag = lake.read_tagged(ledger_path(campaign))
    if data is None:
        raise Corrupt(
            f"{lake.uri}/{ledger_path(campaign)} is missing, though {begun} was made after it: "
            f"which files and prompts are taken cannot be told; {RESTORE}."
        )
    return _parsed_ledger(lake, campaign, data, tag)


def untaken(
    ledgers: Collection[Ledger], files: Sequence[SourceFile], most: int | None = None
) -> list[SourceFile]:
    """Files that no batch took, at most so many of the first; those taken are not read again."""
    looks = [file.look for file in files if file.look is not None]
    seen = {look for ledger in ledgers for look in ledger.taken(looks)}
    left = iter([file for file in files if file.look not in seen])
    new: list[SourceFile] = []
    while (most is None or len(new) < most) and (piece := list(islice(left, most))):
        ids = [file.file_id for file in piece]
        taken = {file_id for ledger in ledgers for file_id in ledger.taken(ids)}
        new += [file for file in piece if file.file_id not in taken]
    return new[:most]


def check_knows_all(lake: Lake, campaign: str, ledger: Ledger) -> None:
    """Refuse a ledger that does not know a batch whose prompts were accepted.

    Raises:
        Corrupt: There is one: the ledger is of an earlier time.
    """
    strange = _unknown(lake, campaign, ledger)
    # Read again: a twin that began one meanwhile has put it into the ledger first.
    now = read_ledger(lake, campaign) if strange else ledger
    lost = [key for key in strange if not now.knows(key)]
    if lost:
        raise Corrupt(
            f"{lake.uri}/{ledger_path(campaign)} does not know batch {lost[0]}, which has begun "
            f"({manifest_path(campaign, lost[0], STAGES[0])}): it is of an earlier time, and what "
            f"later batches took would be bought again; {RESTORE}."
        )


def _unknown(lake: Lake, campaign: str, ledger: Ledger) -> list[str]:
    """Batches that took prompts and that the ledger does not know, as far as can be told."""
    if ledger.older.runs:
        note = _note_path(campaign, ledger.n_taken + 1)
        if not lake.exists(note):
            return []
        return [parsed(lake, note, lambda data: str(read_sealed(data)["batch"]))]
    # Before there were runs nobody noted who took what: all batches are looked at.
    keys = set(ledger.keys)
    strange = [key for key in lake.names(f"batches/{campaign}") if key not in keys]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        begun = pool.map(lambda key: lake.exists(manifest_path(campaign, key, STAGES[0])), strange)
        return [key for key, is_there in zip(strange, begun, strict=True) if is_there]


def note_taken(lake: Lake, campaign: str, ledger: Ledger) -> None:
    """Note beside the ledger whose its last entry is, before anything is made of the entry.

    By the note of the next entry a ledger of an earlier time is known. A ledger without runs is
    held against the batches themselves.
    """
    if ledger.older.runs:
        note = sealed_json({"batch": ledger.newest[-1].batch})
        lake.create(_note_path(campaign, ledger.n_taken), note)


def _note_path(campaign: str, number: int) -> str:
    return f"campaigns/{campaign}/taken/{number:09d}.json"


def _parsed_ledger(lake: Lake, campaign: str, data: bytes, tag: str | None) -> Ledger:
    where = f"{lake.uri}/{ledger_path(campaign)}"
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _no_ledger(where) from error
    if not isinstance(rows, list) or not rows:
        raise _no_ledger(where)
    older = Older()
    if isinstance(rows[0], dict) and "runs" in rows[0]:
        try:
            older = typed(Older, unsealed(rows.pop(0)))
        except (TypeError, ValueError) as error:
            raise _no_ledger(where) from error
    entries: list[Entry] = []
    damaged: dict[str, str] = {}
    for number, row in enumerate(rows, 1 + sum(run.n_entries for run in older.runs)):
        try:
            entries.append(typed(Entry, unsealed(row)))
        except (TypeError, ValueError) as error:
            name = row.get("batch") if isinstance(row, dict) else None
            is_named = isinstance(name, str) and is_key(name)
            fault = f"entry {number} of {where} cannot be read ({type(error).__name__})"
            damaged[str(name) if is_named else f"entry-{number}"] = fault
    return Ledger(lake, tuple(entries), tag, damaged, older)


def append(lake: Lake, campaign: str, ledger: Ledger, entry: Entry) -> bool:
    """Take `entry`'s files; False if another batch moved the ledger meanwhile (read it again).

    Raises:
        Corrupt: An entry cannot be read, so what is taken cannot be told.
    """
    _refuse_damaged(ledger)
    note_taken(lake, campaign, ledger)
    n_sealed = _n_to_seal(ledger)
    older = _with_sealed(lake, campaign, ledger, n_sealed) if n_sealed else ledger.older
    after = replace(ledger, newest=(*ledger.newest[n_sealed:], entry), older=older)
    if not _swap(lake, campaign, after):
        return False
    note_taken(lake, campaign, after)
    return True


def mark(lake: Lake, campaign: str, ledger: Ledger, batch: str, dropped: Dropped | None) -> bool:
    """Give the batch up, or (None) take that back; False if the ledger moved meanwhile.

    Raises:
        Corrupt: An entry cannot be read.
    """
    _refuse_damaged(ledger)
    newest = tuple(
        replace(entry, dropped=dropped) if entry.batch == batch else entry
        for entry in ledger.newest
    )
    older = ledger.older
    if all(entry.batch != batch for entry in newest):
        others = {key: note for key, note in older.dropped.items() if key != batch}
        older = replace(older, dropped=others if dropped is None else {**others, batch: dropped})
    return _swap(lake, campaign, replace(ledger, newest=newest, older=older))


def unneeded_runs(lake: Lake, campaign: str) -> list[Stored]:
    """Runs that no ledger will name: merged into others, or written by one that came too late.

    A run is first named by the entry whose number is in its name, so once that entry is there it
    is named or never will be.
    """
    ledger = read_ledger(lake, campaign)
    named = {run.path for run in ledger.older.runs}
    return [
        stored
        for stored in lake.listing(_runs_folder(campaign))
        if stored.path not in named and _number_of(stored.path) <= ledger.n_taken
    ]


def _number_of(run_path: str) -> int:
    return int(run_path.rpartition("/")[2].partition("-")[0])


def _runs_folder(campaign: str) -> str:
    return f"campaigns/{campaign}/ingested"


def _refuse_damaged(ledger: Ledger) -> None:
    if ledger.damaged:
        raise Corrupt(f"{'; '.join(ledger.damaged.values())}: restore it, or mend it by hand.")


def _swap(lake: Lake, campaign: str, ledger: Ledger) -> bool:
    rows = [entry.as_dict() for entry in ledger.newest]
    if ledger.older.runs:
        rows.insert(0, sealed(as_json(ledger.older)))
    return lake.swap(ledger_path(campaign), canonical_json(rows), ledger.tag)


def _n_to_seal(ledger: Ledger) -> int:
    """How many of the newest entries go into a run, the oldest first."""
    n = len(ledger.newest)
    if sum(entry.counts.get("rows_out", 0) for entry in ledger.newest) >= MOST_ROWS:
        return n
    return n - n % SEALED if n >= MOST_NEWEST + SEALED else SEALED if n >= MOST_NEWEST else 0


def _with_sealed(lake: Lake, campaign: str, ledger: Ledger, n_sealed: int) -> Older:
    """The runs with the oldest of the newest entries in them, runs of like size merged."""
    folder, number = _runs_folder(campaign), ledger.n_taken + 1
    runs, content = list(ledger.older.runs), _joined([])
    for entry in ledger.newest[:n_sealed]:
        more = _content_of(lake, entry)
        if content.names and len(content.ids) + len(more.ids) > MOST_IDS:
            runs.append(write_run(lake, folder, number, content))
            content = _joined([])
        content = content.then(more)
    while runs and _merge(runs[-1], content):
        content = RunReader(lake, runs.pop()).content().then(content)
    dropped = {e.batch: e.dropped for e in ledger.newest[:n_sealed] if e.dropped is not None}
    runs.append(write_run(lake, folder, number, content))
    return Older(tuple(runs), {**ledger.older.dropped, **dropped})


def _merge(run: Run, later: Content) -> bool:
    """Whether a run and what follows it become one: sizes double, so each id is seldom moved."""
    return run.n_entries <= len(later.names) and run.n_ids + len(later.ids) <= MOST_IDS


def _joined(contents: Sequence[Content]) -> Content:
    joined = Content([], [], np.zeros((0, 4), np.uint32), np.zeros(0, np.uint32))
    for content in contents:
        joined = joined.then(content)
    return joined


def _content_of(lake: Lake, entry: Entry) -> Content:
    """What one batch took, for a run."""
    prompts = entry.outputs.get("prompt_ids")
    brought = read_table(lake, prompts).column(0).to_pylist() if prompts else []
    files = (*entry.files, *entry.looks)
    ids = [_batch_id(entry.batch), *map(_file_id, files), *map(_prompt_id, brought)]
    stored = entry.outputs.get("signatures")
    if stored is not None:
        _, signatures = read_signatures(lake, stored)
        ids += [band for signature in signatures for band in bands_of(signature)]
    continues = frozenset({entry.continues} if entry.continues else ())
    data = canonical_json(replace(entry, dropped=None).as_dict())
    return Content([entry.batch], [data], words_of(ids), np.zeros(len(ids), np.uint32), continues)


def _batch_id(key: str) -> bytes:
    return bytes.fromhex(content_id("batch", key))


def _file_id(file_id: str) -> bytes:
    return bytes.fromhex(content_id("file", file_id))


def _prompt_id(prompt_id: str) -> bytes:
    """Those of today are hashes already."""
    return bytes.fromhex(prompt_id if _HASH.fullmatch(prompt_id) else content_id(prompt_id))


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
