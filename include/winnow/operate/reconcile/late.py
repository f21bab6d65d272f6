"""Batches of which the vendor has more than the lake: answers that came after they were collected.

A batch that is through is asked about every few hours, for a month. What came late is brought into
the lake and told of once: it is paid for and in no dataset.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from winnow.batch import Batch, open_batch, read_manifest
from winnow.campaign import Campaign
from winnow.errors import Corrupt, Retryable, WinnowError
from winnow.label.vendor import LabelVendor
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole
from winnow.operate.memory import Looked, Memory
from winnow.operate.reconcile.findings import Finding
from winnow.records import MICROS
from winnow.stages.label.late import bill_of, collected_bill, keep_late, late_answers
from winnow.text import plain_line

LOOK_FOR = timedelta(days=30)
"""How long after it was collected a batch is asked about."""
LOOK_EVERY = timedelta(hours=6)


@dataclass(slots=True)
class LateLook:
    """What a look found, what it saw, and which batches need no further look."""

    findings: list[Finding] = field(default_factory=list)
    looked: dict[str, Looked] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)


def look_for_late(
    lake: Lake,
    campaign: Campaign,
    memory: Memory,
    vendor: LabelVendor,
    salt: bytes,
    now: datetime,
) -> LateLook:
    """Ask the vendor about every batch that is due."""
    found = LateLook()
    for key in sorted(memory.through - memory.closed):
        before = memory.looked.get(key)
        if before is not None and now - before.at < LOOK_EVERY:
            continue
        manifest = whole(partial(read_manifest, lake, campaign.name, key, "label"))
        if isinstance(manifest, Damage):
            continue  # told of where the batch is read
        if manifest is None or now - datetime.fromisoformat(manifest.committed_at) > LOOK_FOR:
            found.closed.add(key)
            continue
        batch = whole(partial(open_batch, campaign, key, lake, lambda: now))
        if isinstance(batch, Damage):
            found.findings.append(_cannot_ask(key, Corrupt(batch.cause)))
            continue
        if batch.campaign.label.vendor != vendor.name:
            continue
        try:
            _look(batch, vendor, salt, before, now, found)
        except Retryable:
            return found
        except WinnowError as error:
            found.findings.append(_cannot_ask(key, error))
            found.looked[key] = replace(before or Looked(0, 0, now), at=now)
    return found


def _look(
    batch: Batch,
    vendor: LabelVendor,
    salt: bytes,
    before: Looked | None,
    now: datetime,
    found: LateLook,
) -> None:
    bill, collected = bill_of(batch, vendor), collected_bill(batch)
    seen = Looked(bill.n_answered, bill.charged, now)
    if bill.n_answered > collected.n_answered or bill.charged > collected.charged:
        # Some vendors count what went to quarantine, for ever: one look at an equal bill is enough.
        if before is None or (before.n_answered, before.charged) != (seen.n_answered, seen.charged):
            keep_late(batch, vendor, salt)
        n_late, over = len(late_answers(batch, vendor)), bill.charged - collected.charged
        if n_late or over > 0:
            found.findings.append(_came_late(batch.key, n_late, over))
    found.looked[batch.key] = seen


def _came_late(key: str, n_late: int, over: int) -> Finding:
    detail = (
        f"{n_late} answers came after it was collected, ${over / MICROS:.2f} charged for what is "
        "in no dataset; they are kept in the lake"
    )
    return Finding("late_answers", key, "label", detail, command=f"winnow late --batch {key}")


def _cannot_ask(key: str, error: WinnowError) -> Finding:
    detail = f"the vendor cannot be asked about it: {plain_line(str(error))}"
    command = "check label.connection: address and token"
    return Finding("unreadable", key, "label", detail, command=command)
