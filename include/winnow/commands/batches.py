"""Commands about the batches of a lake."""

from __future__ import annotations

import argparse
import getpass
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

from winnow.batch import STAGES, Batch, open_batch, read_manifest, read_table
from winnow.campaign import Campaign
from winnow.commands.say import say, say_json, say_text
from winnow.errors import Fatal, Retryable
from winnow.expand.server import ServerAddress
from winnow.ingest.ledger import Dropped, Ledger, read_ledger
from winnow.ingest.sources import look_for, told
from winnow.label.vendor import VendorAccount
from winnow.label.vendors import connect
from winnow.lake import Lake
from winnow.progress import standing, summary
from winnow.records import MICROS
from winnow.stages import expand, ingest, label, publish, select
from winnow.stages.drop import again_text, dropped_text
from winnow.stages.drop import drop as drop_batch
from winnow.stages.trouble import Damage, damage_mend, whole
from winnow.text import plain_line

AT_ONCE = 8
"""Batches that `status` reads at the same time: a store far away answers slowly, not seldom."""


def run(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """Take the batch through its five stages in this process, waiting for the vendor."""
    dropped = read_ledger(lake, campaign.name).dropped(asked.batch)
    if dropped is not None:
        say(dropped_text(asked.batch, dropped), again_text(asked.batch))
        return
    batch = open_batch(campaign, asked.batch, lake, _now)
    if ingest.run(batch) is None:
        passed_over = told(look_for(campaign.ingest.sources, batch.day).passed_over)
        say("No new prompt file since the last batch.")
        if passed_over:
            say(f"Passed over: {passed_over}.")
        return
    for shard in expand.plan(batch):
        expand.generate(batch, shard, asked.engine_python, asked.models, say, _server(asked))
    if not expand.gather(batch).counts["rows_out"]:
        say("No response could be generated; `winnow quarantine` says why.")
        return
    select.run(batch)
    vendor = connect(campaign.label.vendor, VendorAccount(asked.vendor_url, _token()))
    if asked.approve:
        label.approve(batch, getpass.getuser())
    label.submit(batch, vendor)
    _wait(batch, lambda: label.follow_up(batch, vendor, _token().encode()))
    _wait(batch, lambda: label.collect(batch, vendor, _token().encode()))
    publish.refit(batch, publish.version(batch, publish.check(batch)))
    say_text(summary(batch))


def status(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """A block a batch: each stage that has begun, what is wrong and what mends it, newest last."""
    ledger = read_ledger(lake, campaign.name)
    keys = _keys(ledger, lake, campaign, asked.batch)
    wanted = keys if asked.all else keys[-max(asked.last, 0) :] if asked.last else []
    vendor = None
    if asked.vendor_url:
        token = os.environ.get("WINNOW_VENDOR_TOKEN", "")
        vendor = connect(campaign.label.vendor, VendorAccount(asked.vendor_url, token))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(
            pool.map(lambda key: standing(lake, campaign, key, _now(), vendor, ledger), wanted)
        )
    if asked.json:
        say_json([each.as_dict() for each in found])
        return
    if len(wanted) < len(keys):
        say(f"The last {len(wanted)} of {len(keys)} batches; --all shows every one.")
    say(*(line for each in found for line in each.lines()))


def quarantine(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """A line a row in quarantine: stage, file and line or id, reason."""
    for key in keys_of(lake, campaign, asked.batch):
        for stage in STAGES:
            found = whole(partial(_quarantined, lake, campaign.name, key, stage))
            if isinstance(found, Damage):
                found = [f"damaged: {found.cause}", f"Do: {damage_mend(key)}"]
            for line in found:
                say(f"{key} {stage} {line}")


def drop(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """Give a batch up: its files and prompts are free again, what it cost stays on the books."""
    token = os.environ.get("WINNOW_VENDOR_TOKEN", "")
    vendor = None
    if token and not asked.called_off:
        vendor = connect(campaign.label.vendor, VendorAccount(asked.vendor_url, token))
    note = Dropped(getpass.getuser(), _now().isoformat(timespec="seconds"), asked.reason)
    dropped = drop_batch(
        lake, campaign, asked.key, note, _now, vendor, token.encode(), called_off=asked.called_off
    )
    say(dropped_text(asked.key, dropped))
    if dropped.charged:
        say(f"${dropped.charged / MICROS:.2f} was charged for its labels and stays on the books.")
    if dropped.charged is None:
        say("What its labels cost is not known; the books keep what its plan allows.")
    say(again_text(asked.key))


def keys_of(lake: Lake, campaign: Campaign, key: str | None) -> list[str]:
    """Keys of a campaign's batches, oldest first, or the one `key`.

    Raises:
        Fatal: There is no such batch.
    """
    return _keys(read_ledger(lake, campaign.name), lake, campaign, key)


def _keys(ledger: Ledger, lake: Lake, campaign: Campaign, key: str | None) -> list[str]:
    if key is None:
        return ledger.keys
    if key not in ledger.keys:
        raise Fatal(f"Campaign {campaign.name} has no batch {key} in {lake.uri}.")
    return [key]


def _quarantined(lake: Lake, campaign: str, key: str, stage: str) -> list[str]:
    manifest = read_manifest(lake, campaign, key, stage)
    if manifest is None or "quarantine" not in manifest.outputs:
        return []
    return [
        f"{_place(row)} {row['reason']}: {row['detail']}"
        for row in read_table(lake, manifest.outputs["quarantine"]).to_pylist()
    ]


def _place(row: Mapping[str, Any]) -> str:
    # A file's name is its owner's words, which must not drive a terminal.
    return plain_line(f"{row['file']}:{row['line']}" if row["file"] else str(row["record_id"]))


def _wait(batch: Batch, step: Callable[[], object]) -> None:
    """Take a step as soon as the vendor is ready for it."""
    while True:
        try:
            step()
        except Retryable as error:
            say(str(error))
            time.sleep(batch.campaign.label.poll_seconds)
        else:
            return


def _server(asked: argparse.Namespace) -> ServerAddress | None:
    if asked.server_url is None:
        return None
    return ServerAddress(asked.server_url, os.environ.get("WINNOW_SERVER_KEY", ""))


def _token() -> str:
    token = os.environ.get("WINNOW_VENDOR_TOKEN", "")
    if not token:
        raise Fatal("Set WINNOW_VENDOR_TOKEN to the vendor's token.")
    return token


def _now() -> datetime:
    return datetime.now(UTC)
