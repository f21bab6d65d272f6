"""Buying a round of a batch within its budgets, and the vendor's last word on it."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from winnow.batch import Batch
from winnow.campaign.teams import Limits
from winnow.errors import Blocked, Retryable
from winnow.label import unreadable
from winnow.label.purchases import room
from winnow.label.submit import submit_tasks
from winnow.label.vendor import BatchStatus, LabelVendor
from winnow.money import MICROS
from winnow.pace import noted
from winnow.stages.label.approvals import approved
from winnow.stages.label.brought import read_brought
from winnow.stages.label.budgets import purchase_of, reserve
from winnow.stages.label.containers import bought, noted_container, open_container
from winnow.stages.label.drop import refuse_dropped
from winnow.stages.label.plans import Plan, read_plan
from winnow.stages.label.rounds import (
    ROUNDS,
    SubmissionRecord,
    batch_key,
    note_begun,
    record_submission,
    rounds_of,
    terms_of,
)
from winnow.stages.label.turns import turn_to_buy

_LOG = logging.getLogger("winnow.stages.label")

STAGE = "label"
CALLING_OFF = timedelta(days=1)
"""How long after its deadline a vendor's batch is waited for that does not end."""


def buy(
    batch: Batch, vendor: LabelVendor, number: int, planned: Plan, limits: Limits
) -> dict[str, Any]:
    """Bring the vendor to hold the tasks of a round, within all budgets; what was sent.

    A round that is not the first is left out where money does not allow it any more.

    Raises:
        Blocked: A budget does not allow the first round.
    """
    if not planned.totals.tasks:
        return {"sent": 0, "tasks": 0}
    refuse_dropped(batch)
    batch.check_whole("select")
    # What the other rounds leave; below 0 if they took more.
    elsewhere = committed_elsewhere(batch, number, vendor)
    left = limit(batch) - elsewhere
    # Money that is gone since a follow-up was planned ends the purchase, not the batch.
    may_leave_out = number > 0 and noted_container(batch, number) is None
    left_out = {"sent": 0, "tasks": 0, "left_out": planned.totals.tasks}
    requests = planned.requests()
    if number not in ROUNDS and not purchase_of(batch, number).is_noted:
        left = min(left, _left_by_people(batch, limits, left))
    if may_leave_out and vendor.estimate(requests.priced) > left:
        return left_out
    try:
        reserve(batch, vendor, number, requests.priced, left, limits)
    except Blocked:
        if may_leave_out:
            return left_out
        raise
    # What a source is bought for is told to the others by its plan, so that it costs no more.
    most = left if number in ROUNDS else min(left, planned.totals.estimate)
    terms = terms_of(batch, number, most)
    note_begun(batch, number)
    with turn_to_buy(batch, number, vendor) as selling:
        sent = submit_tasks(
            selling,
            batch_key(batch, number),
            terms,
            requests,
            left,
            lambda: open_container(batch, number, vendor, terms),
            noted(batch.lake, batch.folder, STAGE, _LOG.info, batch.clock),
        )
    record_submission(batch, number, sent.ref, terms.deadline)
    return {
        "ref": sent.ref,
        "tasks": sent.n_tasks,
        "sent": sent.n_sent,
        "already_there": sent.n_already,
        "estimate_usd": sent.estimate / MICROS,
        "committed_usd": (elsewhere + sent.committed) / MICROS,
    }


def _left_by_people(batch: Batch, limits: Limits, left: int) -> int:
    """What the month leaves a source where people's first round is still to be reserved."""
    month, people = room(batch.lake, batch.campaign.name, limits), read_plan(batch, 0)
    if month is None or people is None or purchase_of(batch, 0).is_noted:
        return left
    return month - people.totals.estimate


def committed_elsewhere(batch: Batch, number: int, vendor: LabelVendor) -> int:
    """Most that the other rounds cost, micro-dollars.

    Those at the vendor of people by its books, if it is asked itself, else by their plans; a source
    by what it cost, else by its plan.
    """
    total = 0
    if number in ROUNDS:
        others = [r.ref for n, r in bought(batch, vendor).items() if n != number]
        total += sum(vendor.status(ref).committed for ref in others)
    for other in rounds_of(batch):
        if other == number or {other, number} <= {*ROUNDS}:
            continue
        brought, planned = read_brought(batch, other), read_plan(batch, other)
        if brought is not None:
            total += brought.charged
        elif planned is not None:
            total += planned.totals.estimate
    return total


def limit(batch: Batch) -> int:
    """Most that the batch may cost, micro-dollars: its budget, as far as no approval is wanting.

    An approval is for its amount: a budget that was raised afterwards allows nothing by itself.
    """
    settings = batch.campaign.label
    if settings.approve_above is None:
        return settings.budget
    return min(settings.budget, max(settings.approve_above, approved(batch.lake, batch.folder)))


def close(batch: Batch, vendor: LabelVendor, record: SubmissionRecord) -> BatchStatus:
    """The vendor's last word: it is done, or the deadline passed and the rest is called off.

    One that does not finish being called off is waited for as long as `CALLING_OFF`: its status is
    not final then, and what it brings later is a late answer (`winnow.stages.label.late`).
    """
    status = vendor.status(record.ref)
    unreadable.note(batch.lake, record.ref, status)
    if status.is_final:
        return status
    now, deadline = batch.lake.now(), datetime.fromisoformat(record.deadline)
    if now < deadline:
        raise Retryable(
            f"Vendor batch {record.ref} is still open; wait_for_vendor waits for it."
            + (f" {unread}." if (unread := unreadable.words(status)) else "")
        )
    why = "It may still bring answers."
    try:
        status = vendor.cancel(record.ref, "deadline passed")
    except Retryable as error:
        status, why = vendor.status(record.ref), str(error)
    if not status.is_final and now < deadline + CALLING_OFF:
        raise Retryable(
            f"Vendor batch {record.ref} is being called off. {why} It is waited for until "
            f"{deadline + CALLING_OFF:%Y-%m-%d %H:%M} UTC; then the batch goes on with what came."
        )
    return status
