"""What the lake says of the batches of a campaign: its ledger, their manifests, their failures."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial

from winnow.batch import done_stages, open_batch
from winnow.campaign import Campaign
from winnow.ingest.ledger import read_ledger
from winnow.lake import Lake
from winnow.reconcile.failures import read_failure
from winnow.reconcile.findings import BatchState, Finding
from winnow.stages.label_rounds import answers_until
from winnow.stages.trouble import Damage, damage_mend, whole


def read_batches(
    lake: Lake, campaign: Campaign, leave: Iterable[str], now: datetime
) -> tuple[list[BatchState], list[Finding]]:
    """Every batch of the ledger but those to `leave`, oldest first; and what could not be read.

    One that was given up is none.

    Raises:
        Retryable: The store is away, which says nothing of a batch.
    """
    states: list[BatchState] = []
    left = frozenset(leave)
    ledger = read_ledger(lake, campaign.name)
    # Told of published ones too: nothing can be taken until the ledger is whole again.
    unreadable = [_unreadable(key, Damage(cause)) for key, cause in ledger.damaged.items()]
    for entry in ledger.live:
        if entry.batch in left:
            continue
        found = whole(partial(read_batch, lake, campaign, entry.batch, now))
        if isinstance(found, Damage):
            unreadable.append(_unreadable(entry.batch, found))
        else:
            states.append(found)
    return states, unreadable


def read_batch(lake: Lake, campaign: Campaign, key: str, now: datetime) -> BatchState:
    """What the lake says of one batch.

    Raises:
        WinnowError: Something of it cannot be read.
    """
    done = done_stages(lake, campaign.name, key)
    committed = {stage: datetime.fromisoformat(m.committed_at) for stage, m in done.items()}
    last = list(done.values())[-1] if done else None
    ended = last is not None and not last.counts["rows_out"]
    state = BatchState(key, committed, ended)
    if state.stage is None:
        return state
    failure = read_failure(lake, campaign.name, key, state.stage)
    return BatchState(
        key,
        committed,
        ended,
        {state.stage: failure} if failure else {},
        answers_until(open_batch(campaign, key, lake, lambda: now))
        if state.stage == "label"
        else None,
    )


def _unreadable(key: str, damage: Damage) -> Finding:
    return Finding("unreadable", key, "", damage.cause, command=damage_mend(key))
