"""Ingest: new files of the campaign's sources become the batch's prompts.

Each file is taken by one batch, each prompt is accepted once in a campaign and those that it
`continues`. Every row that is not accepted lies in quarantine with file, line and reason, and what
lies at a source and is not read is named. Where `expand.engine` is `brought` rows bring responses
too, and a row whose prompt the batch has already brings more of them. A campaign with `pools_from`
reads no file: its batches take over the prompts of another campaign's.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import pyarrow as pa

from winnow.batch import Artifact, Batch, Manifest, quarantine_table, store_parts
from winnow.expand.shard import MOST_SHARDS, PART_BYTES, PART_RESPONSES
from winnow.ingest.brought import BroughtPools, opened_pools
from winnow.ingest.continued import earlier_ledgers
from winnow.ingest.earlier import earlier_id
from winnow.ingest.formats.raw import RawRow
from winnow.ingest.ledger import (
    BACKFILL,
    Earlier,
    Entry,
    Ledger,
    append,
    check_knows_all,
    note_taken,
    read_ledger,
    untaken,
)
from winnow.ingest.near import Before, NearDuplicates, signature_table
from winnow.ingest.normalise import Prompt
from winnow.ingest.prompts import parse_prompt
from winnow.ingest.readers import parsed
from winnow.ingest.shapes.registry import AS_EACH_IS, How, unfolded
from winnow.ingest.sources import SourceFile, look_for, told
from winnow.ingest.values import Unreadable
from winnow.records import BROUGHT_POOLS, PROMPTS, Quarantined, to_table
from winnow.stages.expand.pools_from import Source, entry_of, source_of

STAGE = "ingest"

_PIECE, _PIECE_BYTES = 20_000, 32 << 20
"""Rows that are held against earlier batches at once, and their bytes."""


def run(batch: Batch, s3_client: Any = None, *, at_once: int | None = None) -> Manifest | None:
    """Ingest the batch; None (and no manifest) if there is no new file, or it was given up.

    `at_once` is how many batches the backfill that begins it lets choose side by side (1: one
    after the other); None where no backfill does. Whoever takes the files first decides.

    Raises:
        Retryable: The campaign that its pools are taken over from has none for this key yet.
        Fatal: Those pools do not fit the campaign, a source cannot be read, or the campaign that it
            continues is not in the lake.
    """
    done = batch.manifest(STAGE)
    if done is not None:
        return done
    source = source_of(batch)
    lying = look_for(batch.campaign.ingest.sources, batch.day, s3_client)
    entry = _take(batch, source, lying.files, at_once)
    if entry is None:
        return None
    if source is not None:
        figures = {**source.ingested.figures, "pools_from": source.batch.campaign.name}
    else:
        figures = {
            "files": sorted(entry.files.values()),
            "passed_over": told(lying.passed_over),
            "formats": dict(entry.formats),
            "mended": dict(entry.mended),
        }
    figures.pop(BACKFILL, None)  # another campaign's
    if entry.at_once is not None:
        figures[BACKFILL] = entry.at_once
    return batch.commit(
        STAGE,
        inputs=[source.ingested] if source else [],
        outputs=entry.outputs,
        counts=entry.counts,
        figures=figures,
    )


def _take(
    batch: Batch, source: Source | None, files: Sequence[SourceFile], at_once: int | None
) -> Entry | None:
    """The batch's ledger entry: the one it has, or a new one over what no batch took yet."""
    while True:
        ledger = read_ledger(batch.lake, batch.campaign.name)
        entry = ledger.of(batch.key)
        if entry is not None:
            note_taken(batch.lake, batch.campaign.name, ledger)
            return entry if entry.dropped is None else None
        ledgers = {batch.campaign.name: ledger}
        ledgers |= earlier_ledgers(batch.lake, batch.campaign, ledger)
        new = untaken(ledgers.values(), files, batch.campaign.ingest.files_per_batch)
        if source is not None:
            entry = entry_of(batch, source, partial(_accepted_before, batch, ledgers))
        elif new:
            entry = _read(batch, new, ledgers)
        else:
            return None
        check_knows_all(batch.lake, batch.campaign.name, ledger)
        entry = replace(entry, at_once=at_once, continues=batch.campaign.predecessor)
        if append(batch.lake, batch.campaign.name, ledger, entry):
            return entry


def _accepted_before(
    batch: Batch, ledgers: Mapping[str, Ledger], prompts: Collection[str]
) -> dict[str, str]:
    """Which of the prompts an earlier batch brought, by id, with the words for it."""
    places: dict[str, str] = {}
    for name, ledger in ledgers.items():
        of_other = "" if name == batch.campaign.name else f" of {name}"
        for prompt, key in ledger.brought(prompts).items():
            places.setdefault(prompt, f"batch {key}{of_other}")
    return places


def _read(batch: Batch, files: Sequence[SourceFile], ledgers: Mapping[str, Ledger]) -> Entry:
    accepted, near = partial(_accepted_before, batch, ledgers), _near_duplicates(batch, ledgers)
    n_read = n_unfolded = 0

    def rows(how: How) -> Iterator[RawRow]:
        # Counted where they are read, and not by what becomes of them.
        nonlocal n_read, n_unfolded
        for row in (row for file in files for row in file.rows(how.read)):
            n_read += 1
            for each in unfolded(row) if how.as_pools else [row]:
                n_unfolded += each is not row
                yield each

    settings, expand = batch.campaign.ingest, batch.campaign.expand
    columns = {str(ours): theirs for ours, theirs in settings.columns.items()}
    how = How(settings.format, columns, as_pools=expand.is_brought)
    formats: Counter[str] = Counter()
    outputs: dict[str, Artifact] = {}
    with opened_pools(expand.features) if expand.is_brought else nullcontext() as pools:
        prompts, quarantined = sort_rows(
            rows(how), accepted, settings.max_prompt_chars, near, how, formats, pools
        )
        if pools is not None:
            outputs |= _write_pools(batch, pools)
    mended = Counter(rule for prompt in prompts for rule in prompt.mended)
    ids = pa.table({"prompt_id": pa.array([p.prompt_id for p in prompts], pa.string())})
    outputs |= {
        "prompts": batch.write_table(STAGE, "prompts", to_table(prompts, PROMPTS)),
        "prompt_ids": batch.write_table(STAGE, "prompt_ids", ids),
        "quarantine": batch.write_table(STAGE, "quarantine", quarantine_table(quarantined)),
    }
    counts = {"rows_in": n_read, "rows_out": len(prompts), "quarantined": len(quarantined)}
    if pools is not None:
        joined, brought = pools.n_joined, pools.n_responses
        counts |= {"unfolded": n_unfolded, "joined": joined, "brought": brought}
        if "score" in expand.features:
            counts["scored"] = pools.n_scored
    if near is not None:
        signatures = signature_table(near.signatures)
        outputs["signatures"] = batch.write_table(STAGE, "signatures", signatures)
        counts["near_duplicates"] = near.n_found
    looks = tuple(file.look for file in files if file.look is not None)
    taken = {file.file_id: file.name for file in files}
    return Entry(
        batch.key, taken, outputs, counts, looks=looks, formats=dict(formats), mended=dict(mended)
    )  # fmt: skip


def _write_pools(batch: Batch, pools: BroughtPools) -> dict[str, Artifact]:
    """The tables `brought`, in parts, and `brought_pools`, which says in which one a pool is."""
    parts: list[Artifact] = []
    placed: list[dict[str, Any]] = []
    # What becomes a part of the pool tables: no more of them than there may be tasks.
    most = max(PART_RESPONSES, 4 * pools.n_responses // MOST_SHARDS)
    most_bytes = max(PART_BYTES, 4 * pools.n_bytes // MOST_SHARDS)
    for table in pools.parts(most, most_bytes):
        sizes = Counter(table["prompt_id"].to_pylist())
        placed += [{"prompt_id": p, "part": len(parts), "n": n} for p, n in sizes.items()]
        parts.append(batch.write_table(STAGE, "brought", table))
    return {
        "brought": store_parts(batch.lake, f"{batch.folder}/{STAGE}/brought", parts),
        "brought_pools": batch.write_table(STAGE, "brought_pools", to_table(placed, BROUGHT_POOLS)),
    }


def _near_duplicates(batch: Batch, ledgers: Mapping[str, Ledger]) -> NearDuplicates | None:
    """What finds them, as the campaign asks for; None where it does not."""
    settings = batch.campaign.ingest
    if settings.near_duplicates == "off":
        return None
    refuses = settings.near_duplicates == "quarantine"
    earlier = partial(_bands_before, batch, ledgers)
    return NearDuplicates(batch.lake, settings.near_duplicate_share, refuses, earlier)


def _bands_before(
    batch: Batch, ledgers: Mapping[str, Ledger], bands: Collection[bytes]
) -> dict[bytes, list[Before]]:
    """Which earlier batches have each of the bands."""
    before: dict[bytes, list[Before]] = {}
    for name, ledger in ledgers.items():
        of_other = "" if name == batch.campaign.name else f" of {name}"
        entry_of_key = lru_cache(None)(ledger.of)
        for band, keys in ledger.having(bands).items():
            for entry in filter(None, map(entry_of_key, keys)):
                place = f"batch {entry.batch}{of_other}"
                before.setdefault(band, []).append(Before(place, entry.outputs["signatures"]))
    return before


def sort_rows(
    rows: Iterable[RawRow],
    accepted: Mapping[str, str] | Earlier,
    max_chars: int,
    near: NearDuplicates | None = None,
    how: How = AS_EACH_IS,
    formats: Counter[str] | None = None,
    pools: BroughtPools | None = None,
) -> tuple[list[Prompt], list[Quarantined]]:
    """Rows as distinct prompts and quarantined rows; the first of equal prompts is the prompt.

    `accepted` maps prompt ids of earlier batches to the place that brought them, or says it; `near`
    finds prompts that nearly repeat another one. `formats` counts the rows of each format. `pools`
    takes the responses that come with the prompts: a row whose prompt came before then joins it.
    """
    formats = Counter() if formats is None else formats
    places: dict[str, str] = {}
    ahead: deque[Prompt | Exception] = deque()

    def read_ahead() -> Iterator[RawRow]:
        # Earlier batches are asked about many prompts at once.
        left = iter(rows)
        while piece := _piece(left):
            whole = [row for row in piece if row.fault is None]
            ahead.extend(_prompt_or_fault(row, max_chars, how) for row in whole)
            formats.update(getattr(each, "format", None) or "none" for each in ahead)
            earlier.clear()
            earlier.update(_earlier_places(whole, ahead, accepted))
            if near is not None:
                near.look_ahead(each for each in ahead if isinstance(each, Prompt))
            yield from piece

    def new_prompt(row: RawRow) -> Prompt | None:
        prompt = ahead.popleft()
        if isinstance(prompt, Exception):
            raise prompt
        if pools is not None and prompt.prompt_id in places:
            pools.join(prompt)
            return None
        place = places.get(prompt.prompt_id) or earlier.get(prompt.prompt_id)
        if place is None and earlier:
            ids = (earlier_id(row.value), prompt.as_it_stood)
            place = next((earlier[each] for each in ids if each in earlier), None)
        if place is not None:
            raise Unreadable("duplicate", f"same prompt as {place}")
        if near is not None:
            prompt = near.taken(prompt)
        places[prompt.prompt_id] = f"{row.file}:{row.line}"
        if pools is not None:
            pools.take(prompt)
            return replace(prompt, example=None)
        return prompt

    earlier: dict[str, str] = {}
    sorted_rows = [row for row in parsed(read_ahead(), new_prompt, STAGE) if row is not None]
    quarantined = [row for row in sorted_rows if isinstance(row, Quarantined)]
    return [row for row in sorted_rows if isinstance(row, Prompt)], quarantined


def _piece(rows: Iterator[RawRow]) -> list[RawRow]:
    """The next rows, as many as may be held at once; [] behind the last."""
    piece: list[RawRow] = []
    n_bytes = 0
    for row in rows:
        piece.append(row)
        n_bytes += row.n_bytes
        if len(piece) == _PIECE or n_bytes >= _PIECE_BYTES:
            break
    return piece


def _prompt_or_fault(row: RawRow, max_chars: int, how: How) -> Prompt | Exception:
    """A row's prompt, or why it is none: whatever is raised is about the row."""
    try:
        return parse_prompt(row.value, row.file, row.line, max_chars, how)
    except Exception as fault:
        return fault


def _earlier_places(
    rows: Sequence[RawRow],
    read: Iterable[Prompt | Exception],
    accepted: Mapping[str, str] | Earlier,
) -> Mapping[str, str]:
    """Earlier batches' places of the rows' prompts, by the ids of today and of earlier versions."""
    if not callable(accepted):
        return accepted
    prompts = {
        prompt
        for row, each in zip(rows, read, strict=True)
        if isinstance(each, Prompt)
        for prompt in (each.prompt_id, earlier_id(row.value), each.as_it_stood)
        if prompt is not None
    }
    return accepted(prompts)
