"""Answers that came after their batch was collected.

A batch is closed by its manifest, and what the vendor still sends is in no dataset. It is paid for
all the same: it is brought into the lake, counted, and priced by the vendor's bill.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from winnow.batch import Batch, table_files
from winnow.label.annotation import Annotation
from winnow.label.vendor import BatchStatus, LabelVendor
from winnow.records import ANNOTATIONS
from winnow.sql import database
from winnow.stages.label.brought import Brought, all_brought
from winnow.stages.label.containers import bought
from winnow.stages.label.results import STAGE
from winnow.stages.label.rounds import answers_of, look


@dataclass(frozen=True, slots=True)
class Bill:
    """What the vendor says of all rounds of a batch: tasks answered, micro-dollars charged."""

    n_answered: int
    charged: int


def bill_of(batch: Batch, vendor: LabelVendor) -> Bill:
    """The vendor's bill as it is now, with what other sources had when they were brought home.

    Raises:
        Retryable: The vendor cannot be asked now.
        Fatal: It does not know the batch, or refuses the credential.
    """
    ended: list[BatchStatus | Brought] = [*all_brought(batch).values()]
    ended += [vendor.status(record.ref) for record in bought(batch, vendor).values()]
    return Bill(sum(s.n_answered for s in ended), sum(s.charged for s in ended))


def collected_bill(batch: Batch) -> Bill:
    """What the batch's manifest says came, and what it cost."""
    manifest = batch.require(STAGE)
    counts = manifest.counts
    bought = counts["tasks"] - counts.get("taken_over", 0)
    return Bill(bought - counts["unanswered"], manifest.cost)


def keep_late(batch: Batch, vendor: LabelVendor, salt: bytes) -> None:
    """Bring what the vendor has of a collected batch into the lake; its dataset is as before."""
    for number, record in bought(batch, vendor).items():
        look(batch, number, vendor, record.ref, salt)


def late_answers(batch: Batch, vendor: LabelVendor) -> list[Annotation]:
    """The kept answers that the batch's manifest does not hold, new ones and revisions."""
    stored = batch.require(STAGE).outputs
    names = {
        "tasks": stored.get("ranking_tasks", stored["tasks"]),
        "held": stored.get("ranking_answers", stored["annotations"]),
    }
    with (
        tempfile.TemporaryDirectory(prefix="winnow-late-") as folder,
        table_files(batch.lake, names) as files,
    ):
        answers = answers_of(batch, vendor, files["tasks"], Path(folder)).annotations
        with database({"answers": answers, "held": files["held"]}) as connection:
            rows = connection.sql(_LATE).to_arrow_table().cast(ANNOTATIONS).to_pylist()
    return [Annotation(**row) for row in rows]


_LATE = """
SELECT answers.* EXCLUDE (row_n) FROM answers ANTI JOIN held USING (annotation_id, revision)
ORDER BY row_n
"""
