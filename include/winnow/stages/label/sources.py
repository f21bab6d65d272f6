"""Sources beside people: judges and experts, each asked in a round of its own.

    plan_source    what it is asked, frozen; planned with what people are asked
    ask_source     its vendor has it, within the budgets; a judge is asked here
    bring_source   everything that it sent, in the lake

A source has its own Airflow tasks, so that one that is away keeps nobody waiting but the last task
of the stage, `collect_annotations`, which takes what was brought. Each may be run again at any
time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from winnow.batch import Batch
from winnow.campaign.teams import NO_LIMITS, Limits
from winnow.errors import Fatal
from winnow.label.tasks import Draft, draft_tasks
from winnow.label.vendor import BatchStatus, LabelVendor
from winnow.stages.label import annotations_from
from winnow.stages.label.brought import Brought, read_brought, write_brought
from winnow.stages.label.budgets import release, settle
from winnow.stages.label.buying import STAGE, buy, close
from winnow.stages.label.containers import check_container, noted_container
from winnow.stages.label.offered import offered
from winnow.stages.label.plans import Plan, freeze_plan
from winnow.stages.label.rounds import (
    ROUNDS,
    asked_in,
    look,
    read_submission,
    record_submission,
    round_of,
    rounds_of,
    source_of,
    terms_of,
)


def plan_source(batch: Batch, source: str) -> Plan:
    """Freeze what a source is asked."""
    number = round_of(batch, source)

    def in_round(rows: pa.RecordBatch) -> pa.RecordBatch:
        place = rows.schema.get_field_index("round")
        same = pa.repeat(pa.scalar(number, rows.schema.field(place).type), len(rows))
        return rows.set_column(place, rows.schema.field(place), same)

    def make(folder: Path) -> Draft:
        label, seed = asked_in(batch, number), batch.campaign.select.seed
        draft = draft_tasks(offered(batch, source), [], label, seed, None, folder)
        return annotations_from.with_own_ids(
            batch, replace(draft, asked=map(in_round, draft.asked))
        )

    return freeze_plan(batch, number, make)


def ask_source(
    batch: Batch, source: str, vendor: LabelVendor, limits: Limits = NO_LIMITS
) -> dict[str, Any]:
    """Bring a source to hold what it is asked, within the budgets; what was sent and what not.

    Raises:
        Retryable: Its vendor is away, or the judge's server is.
    """
    number = round_of(batch, source)
    if batch.manifest(STAGE) is not None or read_brought(batch, number) is not None:
        return {"sent": 0}
    return buy(batch, vendor, number, plan_source(batch, source), limits)


def bring_source(batch: Batch, source: str, vendor: LabelVendor, salt: bytes) -> dict[str, Any]:
    """Bring home what a source sent; how many tasks it answered, for how much.

    What is still open ends at its deadline. A purchase that was cut off, and is not gone on with,
    ends with what came.

    Raises:
        Retryable: It is not done and its deadline has not passed, or not for long.
    """
    number = round_of(batch, source)
    brought = read_brought(batch, number)
    if brought is None and noted_container(batch, number) is None:
        if batch.manifest(STAGE) is None:
            release(batch.lake, batch.campaign.name, batch.key, [number])
        return {"tasks": 0, "answered": 0}
    if brought is None:
        ref = check_container(batch, number, vendor).ref
        status = _ended(batch, number, vendor, ref)
        look(batch, number, vendor, ref, salt)
        settle(batch, {number: status})
        charged = status.charged if status.is_final else status.committed
        told = vendor.snapshot, vendor.names_people
        ended = Brought(status.n_tasks, status.n_answered, charged, *told)
        brought = write_brought(batch, number, ended)
    return {"tasks": brought.n_tasks, "answered": brought.n_answered, "charged": brought.charged}


def _ended(batch: Batch, number: int, vendor: LabelVendor, ref: str) -> BatchStatus:
    record = read_submission(batch, number)
    if record is not None:
        return close(batch, vendor, record)
    status = vendor.status(ref)
    if not status.is_final:
        status = vendor.cancel(ref, "not gone on with")
    record_submission(batch, number, ref, terms_of(batch, number).deadline)
    return status


def check_brought(batch: Batch) -> None:
    """Refuse to collect while a source that has tasks is not brought home.

    Raises:
        Fatal: One is not.
    """
    for number in rounds_of(batch):
        if number in ROUNDS or read_brought(batch, number) is not None:
            continue
        if noted_container(batch, number) is not None:
            name = source_of(batch, number)
            raise Fatal(
                f"What {name} sent of batch {batch.key} is not in the lake: run ask_source, "
                "wait_for_source and bring_source of it, then collect_annotations. To go on "
                "without what it did not answer, mark ask_source as success and run the others. "
                "label_pairs has them while label.sources of the campaign names anybody: put it "
                "back if it was taken out."
            )
