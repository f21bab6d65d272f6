"""The month's budgets, of a campaign and of its team, at each purchase of a batch.

A lake that a version before 0.4 bought in has no entries: what was bought in the present month is
entered once, before the first purchase, from the batches' own records. A batch that cannot be read
is passed over then. A campaign's batches of that time count for the team that it has now; those of
other campaigns for the one that they were begun with.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial

from winnow.batch import Batch, batch_folder, read_batch
from winnow.campaign.teams import Limits
from winnow.errors import Corrupt
from winnow.ingest.ledger import read_ledger
from winnow.label.purchases import FOLDER, Purchase, month_of
from winnow.label.vendor import BatchStatus, LabelVendor, Priced
from winnow.lake import Lake
from winnow.stages.label.containers import check_container, noted_container
from winnow.stages.label.plans import read_plan
from winnow.stages.label.rounds import ROUNDS, read_submission, submissions
from winnow.stored import sealed_json

_AT_ONCE = 8
_BEGUN = f"{FOLDER}/begun.json"


def purchase_of(batch: Batch, number: int) -> Purchase:
    """The money of a round of the batch."""
    return Purchase(batch.lake, batch.campaign.name, batch.folder, batch.key, number)


def reserve(
    batch: Batch,
    vendor: LabelVendor,
    number: int,
    requests: Collection[Priced],
    left: int,
    limits: Limits,
) -> None:
    """Have the month's money for a round reserved, if the batch's own budget leaves as much.

    Raises:
        Blocked: A budget of the month does not allow it.
    """
    _take_over(batch, limits)
    purchase, price = purchase_of(batch, number), vendor.estimate(requests)
    if noted_container(batch, number) is not None:
        if read_submission(batch, number) is not None and not purchase.is_noted:
            return  # bought by a version before 0.4
        ref = check_container(batch, number, vendor).ref
        held = vendor.list_task_ids(ref)
        missing = (request for request in requests if request.task_id not in held)
        price = vendor.status(ref).committed + vendor.estimate(missing)
    if price <= left:
        purchase.reserve(price, limits)


def settle(batch: Batch, statuses: Mapping[int, BatchStatus]) -> None:
    """Correct what is reserved for each round to what the vendor charged, or may still charge."""
    for number, status in statuses.items():
        charged = status.charged if status.is_final else status.committed
        purchase_of(batch, number).settle(charged)


def release(lake: Lake, campaign: str, key: str, rounds: Sequence[int]) -> None:
    """Free what is reserved for rounds that no vendor has."""
    for number in rounds:
        Purchase(lake, campaign, batch_folder(campaign, key), key, number).settle(0)


def _take_over(batch: Batch, limits: Limits) -> None:
    """Enter what was bought this month by a version before 0.4; once in a lake."""
    lake = batch.lake
    if lake.exists(_BEGUN):
        return
    month = month_of(lake.now())
    keys = [
        (campaign, key)
        for campaign in lake.names("batches")
        for key in lake.names(f"batches/{campaign}")
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        bought = pool.map(partial(_bought, batch, month), keys)
    for older, prices in filter(None, bought):
        is_own = older.campaign.name == batch.campaign.name
        team = limits.team if is_own else older.campaign.team
        for number, price in prices.items():
            purchase = purchase_of(older, number)
            purchase.reserve(0 if purchase.is_noted else price, Limits(team=team))
    lake.create(_BEGUN, sealed_json({"month": month}))


def _bought(
    batch: Batch, month: str, campaign_and_key: tuple[str, str]
) -> tuple[Batch, dict[int, int]] | None:
    """A batch, and what each round cost that was bought in the month; None where none was."""
    with suppress(Corrupt):
        older = read_batch(batch.lake, *campaign_and_key, batch.clock)
        if older is None:
            return None
        rounds = {
            number
            for number, record in submissions(older).items()
            if month_of(datetime.fromisoformat(record.submitted_at)) == month
        }
        return (older, {n: p for n, p in _prices(older).items() if n in rounds}) if rounds else None
    return None


def _prices(batch: Batch) -> dict[int, int]:
    """What each round cost, micro-dollars: all together what was charged, where that is known."""
    plans = {number: read_plan(batch, number) for number in ROUNDS}
    prices = {n: plan.totals.estimate if plan else 0 for n, plan in plans.items()}
    collected = batch.manifest("label")
    dropped = read_ledger(batch.lake, batch.campaign.name).dropped(batch.key)
    charged = collected.cost if collected else dropped.charged if dropped else None
    if charged is not None:
        prices[1] = min(prices[1], charged)
        prices[0] = charged - prices[1]
    return prices
