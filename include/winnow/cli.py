"""The `winnow` command: run a batch without Airflow, and look at what batches did.

    winnow run --campaign nightly.yaml --lake ./lake --batch 2026-11-22
    winnow status --lake ./lake
    winnow quarantine --lake ./lake --batch 2026-11-22
    winnow versions --lake ./lake

Exit codes: 0 done, 1 an error (one line says which), 2 the command itself is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import winnow
from winnow.batch import STAGES, Batch, open_batch, read_manifest, read_table
from winnow.campaign import Campaign, load_campaign
from winnow.errors import Fatal, Retryable, WinnowError
from winnow.ingest.ledger import read_ledger
from winnow.label.vendors import connect
from winnow.lake import Lake, open_lake
from winnow.progress import progress, summary
from winnow.publish.versions import newest, read_version
from winnow.stages import expand, ingest, label, publish, select

SHIPPED_CAMPAIGN = Path(winnow.__file__).parents[1] / "campaigns" / "nightly.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    asked = _parser().parse_args(arguments)
    try:
        lake, campaign = open_lake(asked.lake), load_campaign(asked.campaign)
        asked.command(lake, campaign, asked)
    except WinnowError as error:
        print(f"winnow: {error}", file=sys.stderr)
        return 1
    return 0


def run(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """Take the batch through its five stages in this process, waiting for the vendor."""
    batch = open_batch(campaign, asked.batch, lake, _now)
    if ingest.run(batch) is None:
        print("No new prompt file since the last batch.")
        return
    for shard in expand.plan(batch):
        expand.generate(batch, shard, asked.engine_python, asked.models, print)
    if not expand.gather(batch).counts["rows_out"]:
        print("No response could be generated; `winnow quarantine` says why.")
        return
    select.run(batch)
    vendor = connect(campaign.label.vendor, asked.vendor_url, _token())
    label.submit(batch, vendor)
    while batch.manifest(label.STAGE) is None:
        try:
            label.collect(batch, vendor, _token().encode())
        except Retryable as error:
            print(error)
            time.sleep(campaign.label.poll_seconds)
    publish.refit(batch, publish.version(batch, publish.check(batch)))
    print(summary(batch))


def status(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """A block a batch: each stage that has begun, newest batch last."""
    for batch in _batches(lake, campaign, asked.batch):
        print(batch.key)
        for stage, line in progress(batch).items():
            print(f"  {stage:<8} {line}")


def quarantine(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """A line a row in quarantine: stage, file and line or id, reason."""
    for batch in _batches(lake, campaign, asked.batch):
        for stage in STAGES:
            manifest = read_manifest(lake, campaign.name, batch.key, stage)
            if manifest is None or "quarantine" not in manifest.outputs:
                continue
            for row in read_table(lake, manifest.outputs["quarantine"]).to_pylist():
                place = f"{row['file']}:{row['line']}" if row["file"] else row["record_id"]
                print(f"{batch.key} {stage} {place} {row['reason']}: {row['detail']}")


def versions(lake: Lake, campaign: Campaign, asked: argparse.Namespace) -> None:
    """A line a version of the campaign's dataset, oldest first."""
    dataset = campaign.publish.dataset
    last = newest(lake, dataset)
    for number in range(1, last.number + 1 if last else 1):
        version = read_version(lake, dataset, number)
        print(
            f"{dataset}@{version.name} {version.digest[:12]} {version.published_at} "
            f"{version.n_rows('reward')} preferences, batches to {version.batches[-1]}"
        )


def _batches(lake: Lake, campaign: Campaign, key: str | None) -> list[Batch]:
    keys = [entry.batch for entry in read_ledger(lake, campaign.name).entries]
    wanted = [k for k in keys if key in (None, k)]
    if key is not None and not wanted:
        raise Fatal(f"Campaign {campaign.name} has no batch {key} in {lake.uri}.")
    return [open_batch(campaign, k, lake, _now) for k in sorted(wanted)]


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--campaign", type=Path, default=SHIPPED_CAMPAIGN, help="YAML file")
    lake = os.environ.get("WINNOW_LAKE")
    shared.add_argument("--lake", default=lake, required=lake is None, help="folder or s3://…")
    parser = argparse.ArgumentParser(prog="winnow", description=__doc__.split("\n")[0])
    parser.add_argument("--version", action="version", version=winnow.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (run, status, quarantine, versions):
        told = (command.__doc__ or "").split(":")[0].rstrip(".")
        sub = commands.add_parser(command.__name__, parents=[shared], help=told)
        sub.set_defaults(command=command)
        if command is not versions:
            sub.add_argument("--batch", required=command is run, help="the day, 2026-11-22")
        if command is run:
            _add_run_options(sub)
    return parser


def _add_run_options(sub: argparse.ArgumentParser) -> None:
    engine, models = os.environ.get("WINNOW_ENGINE_PYTHON"), os.environ.get("WINNOW_MODELS")
    sub.add_argument(
        "--engine-python",
        type=Path,
        default=engine or sys.executable,
        help="interpreter of the generation environment",
    )
    sub.add_argument("--models", type=Path, default=models or "models", help="prepared models")
    sub.add_argument(
        "--vendor-url",
        default="http://127.0.0.1:8790",
        help="the vendor's address; its token is read from WINNOW_VENDOR_TOKEN",
    )


def _token() -> str:
    token = os.environ.get("WINNOW_VENDOR_TOKEN", "")
    if not token:
        raise Fatal("Set WINNOW_VENDOR_TOKEN to the vendor's token.")
    return token


def _now() -> datetime:
    return datetime.now(UTC)
