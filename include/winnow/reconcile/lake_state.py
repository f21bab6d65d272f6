"""What the lake says of the batches of a campaign that are not through."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from winnow.campaign import Campaign
from winnow.ingest.ledger import read_ledger
from winnow.lake import Lake
from winnow.operate.damage import Damage, whole
from winnow.operate.facts import facts_of
from winnow.operate.standing import Facts, damaged
from winnow.reconcile.findings import Finding


def read_batches(
    lake: Lake, campaign: Campaign, leave: Iterable[str]
) -> tuple[list[Facts], list[Finding]]:
    """Every batch of the ledger but those to `leave`, oldest first; and what could not be read.

    One that was given up is none.

    Raises:
        Retryable: The store is away, which says nothing of a batch.
    """
    batches: list[Facts] = []
    left = frozenset(leave)
    ledger = read_ledger(lake, campaign.name)
    # Told of published ones too: nothing can be taken until the ledger is whole again.
    unreadable = [_unreadable(key, cause) for key, cause in ledger.damaged.items()]
    for entry in ledger.live:
        if entry.batch in left:
            continue
        found = whole(partial(facts_of, lake, campaign, entry.batch))
        if isinstance(found, Damage):
            unreadable.append(_unreadable(entry.batch, found.cause))
        else:
            batches.append(found)
    return batches, unreadable


def _unreadable(key: str, cause: str) -> Finding:
    return Finding("unreadable", key, "", cause, command=damaged(key, cause).mend)
