"""Give a batch up: its files and prompts are free again, what it cost stays on the books.

    call off what is still open at the vendor  →  mark the ledger's entry  →  look again

The mark is the one act that counts: a compare-and-swap, after which no stage of the batch works any
more. Killed before it the batch only lost what was open at its vendor; killed after it all is done.
Either way the same call again ends in the same place. What the batch made and bought stays in the
lake, under its key, which names no other batch ever again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from winnow.batch import STAGES, Batch, batch_folder, open_batch, read_batch, read_manifest
from winnow.campaign import Campaign
from winnow.dataset_owner import owner_of
from winnow.errors import Blocked, Corrupt, Fatal, Retryable, WinnowError
from winnow.ingest.ledger import Dropped, ledger_path, mark, read_ledger
from winnow.label.vendor import LabelVendor
from winnow.lake import Lake
from winnow.publish.versions import newest
from winnow.stages.label.brought import read_brought
from winnow.stages.label.budgets import release, settle
from winnow.stages.label.containers import noted_container, open_container
from winnow.stages.label.rounds import (
    ALL_ROUNDS,
    ROUNDS,
    asked_in,
    look,
    opened_rounds,
    read_submission,
    source_of,
    terms_of,
)
from winnow.stored import RESTORE

REASON = "dropped"


def drop(
    lake: Lake,
    campaign: Campaign,
    key: str,
    note: Dropped,
    clock: Callable[[], datetime],
    vendor: LabelVendor | None,
    salt: bytes = b"",
    *,
    called_off: bool = False,
) -> Dropped:
    """Give the batch up; returns the note in the ledger, an earlier one if there is one.

    Args:
        lake: Where the batch lies.
        campaign: Its campaign as it is now.
        key: Its key.
        note: Who gives it up, when and why; `charged` is filled in here.
        clock: With its zone.
        vendor: Where its labels were bought; None where nobody can ask.
        salt: What annotator ids are hashed with; without it answers are not fetched any more.
        called_off: A person saw to it that the vendor asks nobody any more.

    Raises:
        Fatal: There is no such batch, or it is another vendor's.
        Blocked: It is published, or its purchase is open and nobody can call it off.
        Retryable: The vendor is away, or has not ended the purchase yet.
        Corrupt: The ledger cannot be read.
    """
    _check_unpublished(lake, campaign, key, clock)
    charged = _call_off(lake, campaign, key, clock, vendor, salt, called_off)
    while True:
        ledger = read_ledger(lake, campaign.name)
        if key in ledger.damaged:
            raise Corrupt(f"{ledger.damaged[key]}: restore it, then drop the batch.")
        entry = ledger.of(key)
        if entry is None:
            raise Fatal(
                f"Campaign {campaign.name} has no batch {key} in {lake.uri} that took anything."
            )
        if entry.dropped is not None:
            return entry.dropped
        dropped = replace(note, charged=charged)
        if mark(lake, campaign.name, ledger, key, dropped):
            break
    # A stage that had begun before the mark may have bought or published since the first look.
    try:
        _check_unpublished(lake, campaign, key, clock)
    except Blocked:
        while not mark(lake, campaign.name, read_ledger(lake, campaign.name), key, None):
            pass
        raise
    _call_off(lake, campaign, key, clock, vendor, salt, called_off)
    return dropped


def refuse_dropped(batch: Batch) -> None:
    """Raise Blocked where the batch was given up: it buys and publishes nothing any more.

    Raises:
        Blocked: It was; the message says by whom, when and why.
        Corrupt: The ledger, which would say so, is lost or of an earlier time.
    """
    ledger = read_ledger(batch.lake, batch.campaign.name)
    if not ledger.knows(batch.key):
        raise Corrupt(
            f"{batch.lake.uri}/{ledger_path(batch.campaign.name)} does not know batch {batch.key}, "
            f"which has begun: it is of an earlier time; {RESTORE}."
        )
    dropped = ledger.dropped(batch.key)
    if dropped is not None:
        raise Blocked(dropped_text(batch.key, dropped))


def dropped_text(key: str, dropped: Dropped) -> str:
    """That a batch was given up, as one line for people."""
    return (
        f"Batch {key} was dropped by {dropped.who} at {dropped.at[:16].replace('T', ' ')} UTC: "
        f"{dropped.reason}"
    )


def again_text(key: str) -> str:
    """What to do to take a dropped batch's files and prompts up, as one line for people."""
    return (
        f"Nothing is started under {key} again. Its files and prompts are free: a later batch "
        f"whose sources hold them takes them, or one of its own: winnow run --batch {key}.2"
    )


def _check_unpublished(
    lake: Lake, campaign: Campaign, key: str, clock: Callable[[], datetime]
) -> None:
    datasets, made = {campaign.publish.dataset}, ""
    with suppress(WinnowError):
        # It publishes where it was begun to, whatever the campaign's file says now.
        begun = read_batch(lake, campaign.name, key, clock)
        datasets |= {begun.campaign.publish.dataset} if begun else set()
    with suppress(WinnowError):
        published = read_manifest(lake, campaign.name, key, STAGES[-1])
        if published is not None:
            made = str(published.figures["folder"]).split("/")[1]
            datasets.add(made)
    for dataset in sorted(datasets):
        version = newest(lake, dataset)
        if version is None and dataset == made:
            raise Blocked(
                f"Batch {key} was published in {dataset}, and {lake.uri}/datasets/{dataset}/"
                f"versions, which tells whether it still is, is lost; {RESTORE}."
            )
        # A dataset of another campaign has that one's batch of the day.
        is_own = dataset == made or owner_of(lake, dataset) in (None, campaign.name)
        if is_own and version is not None and key in version.batches:
            raise Blocked(
                f"Batch {key} is in {dataset} {version.name}, so it is not dropped. Roll back to a "
                "version without it first (`winnow versions`, `winnow rollback`)."
            )


def _call_off(
    lake: Lake,
    campaign: Campaign,
    key: str,
    clock: Callable[[], datetime],
    vendor: LabelVendor | None,
    salt: bytes,
    called_off: bool,
) -> int | None:
    """End what is open at the vendor; what it charged for labels that are not collected.

    What was answered is brought into the lake first. Micro-dollars; None where nobody can tell.
    """
    opened = opened_rounds(lake, batch_folder(campaign.name, key), ALL_ROUNDS)
    collected = None
    with suppress(Corrupt):
        collected = read_manifest(lake, campaign.name, key, "label")
    if collected is not None:
        return 0
    release(lake, campaign.name, key, [number for number in ALL_ROUNDS if number not in opened])
    if not opened:
        return 0
    if called_off:
        return None
    if vendor is None:
        raise Blocked(
            f"Batch {key} has tasks at {campaign.label.vendor} that would go on to cost money. Set "
            "WINNOW_VENDOR_TOKEN (and --vendor-url) and it is called off first; or call it off "
            "there by hand and say --called-off."
        )
    try:
        batch = open_batch(campaign, key, lake, clock)
        if batch.campaign.label.vendor != vendor.name:
            raise Fatal(f"Batch {key} was bought of {batch.campaign.label.vendor}.")
        beside = [_charged(batch, number) for number in opened if number not in ROUNDS]
        charged = sum(_end(batch, number, vendor, salt) for number in opened if number in ROUNDS)
        return None if None in beside else charged + sum(filter(None, beside))
    except (Corrupt, Fatal) as error:
        raise Blocked(
            f"The purchase of batch {key} cannot be called off: {error} Call it off at the vendor "
            "by hand, and say --called-off."
        ) from error


def _charged(batch: Batch, number: int) -> int | None:
    """What a source cost; None where nobody can tell: what is reserved for it stays so.

    Raises:
        Fatal: People are asked there, who would go on.
    """
    brought = read_brought(batch, number)
    if brought is not None:
        return brought.charged
    # A task is sent after its container is noted.
    if noted_container(batch, number) is None:
        release(batch.lake, batch.campaign.name, batch.key, [number])
        return 0
    # A judge is asked by a task of its own, and by nobody else.
    if asked_in(batch, number).vendor == "judge":
        return None
    raise Fatal(f"{source_of(batch, number)} has tasks that are not brought home.")


def _end(batch: Batch, number: int, vendor: LabelVendor, salt: bytes) -> int:
    record = read_submission(batch, number)
    # Killed in between, a purchase has a container that nobody noted: it is found by its key.
    ref = open_container(batch, number, vendor, terms_of(batch, number))
    status = vendor.status(ref)
    if not status.is_final:
        status = vendor.cancel(ref, REASON)
    if not status.is_final:
        raise Retryable(
            f"Vendor batch {ref} is being called off; drop batch {batch.key} again in a while, or "
            "see to it there by hand and say --called-off."
        )
    settle(batch, {number: status})
    if salt and record is not None:
        with suppress(Corrupt, Fatal):
            look(batch, number, vendor, ref, salt)
    return status.charged
