"""Answers that came after their batch was collected.

A batch is closed by its manifest, and what the vendor still sends is in no dataset. It is paid for
all the same: it is brought into the lake, counted, and priced by the vendor's bill.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from winnow.batch import Batch, read_table
from winnow.label.annotation import Annotation
from winnow.label.collect import read_deliveries
from winnow.label.vendor import LabelVendor
from winnow.stages import label
from winnow.stages.label.containers import bought
from winnow.stages.label.rounds import deliveries, last_looks, look


@dataclass(frozen=True, slots=True)
class Bill:
    """What the vendor says of all rounds of a batch: tasks answered, micro-dollars charged."""

    n_answered: int
    charged: int


def bill_of(batch: Batch, vendor: LabelVendor) -> Bill:
    """The vendor's bill as it is now.

    Raises:
        Retryable: The vendor cannot be asked now.
        Fatal: It does not know the batch, or refuses the credential.
    """
    statuses = [vendor.status(record.ref) for record in bought(batch, vendor).values()]
    return Bill(sum(s.n_answered for s in statuses), sum(s.charged for s in statuses))


def collected_bill(batch: Batch) -> Bill:
    """What the batch's manifest says came, and what it cost."""
    manifest = batch.require(label.STAGE)
    counts = manifest.counts
    bought = counts["tasks"] - counts.get("taken_over", 0)
    return Bill(bought - counts["unanswered"], manifest.cost)


def keep_late(batch: Batch, vendor: LabelVendor, salt: bytes) -> None:
    """Bring what the vendor has of a collected batch into the lake; its dataset is as before."""
    for number, record in bought(batch, vendor).items():
        look(batch, number, vendor, record.ref, salt)


def late_answers(batch: Batch, vendor: LabelVendor) -> list[Annotation]:
    """The kept answers that the batch's manifest does not hold, new ones and revisions."""
    held = {
        (row["annotation_id"], row["revision"])
        for row in _rows(batch, "annotations", ["annotation_id", "revision"])
    }
    tasks = list(_rows(batch, "tasks"))
    last = last_looks(batch, vendor.name) if vendor.snapshot else {}
    found = read_deliveries(deliveries(batch, vendor.name), tasks, last, vendor.names_people)
    return [each for each in found.annotations if (each.annotation_id, each.revision) not in held]


def _rows(batch: Batch, name: str, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    table = read_table(batch.lake, batch.require(label.STAGE).outputs[name])
    yield from (table.select(columns) if columns else table).to_pylist()
