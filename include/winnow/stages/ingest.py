"""Ingest: new files of the campaign's sources become the batch's prompts.

Each file is taken by one batch, each prompt is accepted once in a campaign and those that it
`continues`. Every row that is not accepted lies in quarantine with file, line and reason, and what
lies at a source and is not read is named. A campaign with `pools_from` reads no file: its batches
take over the prompts of another campaign's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from winnow.batch import Artifact, Batch, Manifest, quarantine_table, read_table
from winnow.ingest.continued import earlier_ledgers
from winnow.ingest.earlier import earlier_id
from winnow.ingest.formats.raw import RawRow
from winnow.ingest.ledger import BACKFILL, Entry, Ledger, append, check_knows_all, read_ledger
from winnow.ingest.normalise import Prompt, parse_prompt
from winnow.ingest.readers import parsed
from winnow.ingest.sources import SourceFile, look_for, told
from winnow.ingest.values import Unreadable
from winnow.records import PROMPTS, Quarantined, to_table
from winnow.stages.expand.pools_from import Source, entry_of, source_of

STAGE = "ingest"


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
        figures = {"files": sorted(entry.files.values()), "passed_over": told(lying.passed_over)}
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
            return entry if entry.dropped is None else None
        ledgers = {batch.campaign.name: ledger}
        ledgers |= earlier_ledgers(batch.lake, batch.campaign, ledger)
        taken = {file_id for each in ledgers.values() for file_id in each.taken()}
        new = [file for file in files if file.file_id not in taken]
        new = new[: batch.campaign.ingest.files_per_batch]
        if source is not None:
            entry = entry_of(batch, source, _accepted_before(batch, ledgers))
        elif new:
            entry = _read(batch, new, _accepted_before(batch, ledgers))
        else:
            return None
        check_knows_all(batch.lake, batch.campaign.name, ledger)
        entry = replace(entry, at_once=at_once, continues=batch.campaign.predecessor)
        if append(batch.lake, batch.campaign.name, ledger, entry):
            return entry


def _accepted_before(batch: Batch, ledgers: Mapping[str, Ledger]) -> dict[str, str]:
    """Prompt id to the place that brought it, over all earlier batches, by campaign."""
    places: dict[str, str] = {}
    for name, ledger in ledgers.items():
        of_other = "" if name == batch.campaign.name else f" of {name}"
        for entry in ledger.live:
            for row in read_table(batch.lake, entry.outputs["prompt_ids"]).column(0).to_pylist():
                places.setdefault(row, f"batch {entry.batch}{of_other}")
    return places


def _read(batch: Batch, files: Sequence[SourceFile], accepted: Mapping[str, str]) -> Entry:
    n_read = 0

    def rows() -> Iterator[RawRow]:
        # Counted where they are read, and not by what becomes of them.
        nonlocal n_read
        for row in (row for file in files for row in file.rows()):
            n_read += 1
            yield row

    prompts, quarantined = sort_rows(rows(), accepted, batch.campaign.ingest.max_prompt_chars)
    ids = pa.table({"prompt_id": pa.array([p.prompt_id for p in prompts], pa.string())})
    outputs: dict[str, Artifact] = {
        "prompts": batch.write_table(STAGE, "prompts", to_table(prompts, PROMPTS)),
        "prompt_ids": batch.write_table(STAGE, "prompt_ids", ids),
        "quarantine": batch.write_table(STAGE, "quarantine", quarantine_table(quarantined)),
    }
    counts = {"rows_in": n_read, "rows_out": len(prompts), "quarantined": len(quarantined)}
    return Entry(batch.key, {f.file_id: f.name for f in files}, outputs, counts)


def sort_rows(
    rows: Iterable[RawRow], accepted: Mapping[str, str], max_chars: int
) -> tuple[list[Prompt], list[Quarantined]]:
    """Rows as distinct prompts and quarantined rows; the first of equal prompts is the prompt.

    `accepted` maps prompt ids of earlier batches to the place that brought them.
    """
    places = dict(accepted)

    def new_prompt(row: RawRow) -> Prompt:
        prompt = parse_prompt(row.value, row.file, row.line, max_chars)
        place = places.get(prompt.prompt_id)
        if place is None and accepted:
            place = accepted.get(earlier_id(row.value) or "")
        if place is not None:
            raise Unreadable("duplicate", f"same prompt as {place}")
        places[prompt.prompt_id] = f"{row.file}:{row.line}"
        return prompt

    sorted_rows = list(parsed(rows, new_prompt, STAGE))
    quarantined = [row for row in sorted_rows if isinstance(row, Quarantined)]
    return [row for row in sorted_rows if isinstance(row, Prompt)], quarantined
