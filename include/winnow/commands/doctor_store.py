"""Checks of `winnow doctor` on what is stored: lake, sources, disks, versions."""

from __future__ import annotations

import platform
import shutil
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import winnow
from winnow.batch import STAGES, read_manifest
from winnow.campaign import Campaign
from winnow.commands.checks import Check, failed, ok, warning
from winnow.ingest.ledger import read_ledger, untaken
from winnow.ingest.sources import look_for
from winnow.ingest.sources import told as told_of
from winnow.lake import Lake
from winnow.publish.probe import require_conditional_writes
from winnow.records import Quarantined
from winnow.stages.expand.brought_labels import files_of
from winnow.stages.gate_input import evaluation_of
from winnow.stages.label import gold_of

FOLDER = "doctor"
"""Where the checks write, and remove what they wrote."""
SKEW_WARNS, SKEW_FAILS = timedelta(seconds=60), timedelta(minutes=15)
"""S3 refuses requests whose clock is 15 minutes off."""
DISK_WARNS, DISK_FAILS = 5.0, 1.0
"""Gigabytes that are left."""
LAST_BATCHES = 5
PACKAGES = ("apache-airflow", "duckdb", "pyarrow", "great-expectations")


def lake(store: Lake) -> Check:
    """Whether an object can be written, read and removed."""
    path, data = f"{FOLDER}/{uuid.uuid4().hex}", b"winnow doctor wrote this.\n"
    began = time.monotonic()
    try:
        store.create(path, data)
        same = store.read(path) == data
        store.remove(path)
    except OSError as error:
        return failed(f"{store.uri}: {error.strerror}", "give this user the right to write there")
    if not same:
        return failed(f"{store.uri}: what is read is not what was written", "do not use this store")
    took = (time.monotonic() - began) * 1000.0
    return ok(f"{store.uri} ({store.store}), written, read and removed in {took:.0f} ms")


def conditional_writes(store: Lake) -> Check:
    """Whether the store keeps the promises that versions stand on; a bad one raises."""
    require_conditional_writes(store)
    return ok("the store refuses to write over an object")


def clock(store: Lake) -> Check:
    """How far this host's clock is from the store's, by an object written now."""
    folder = f"{FOLDER}/clock-{uuid.uuid4().hex}"
    before = datetime.now(UTC)
    store.create(f"{folder}/now", b"")
    after = datetime.now(UTC)
    [stored] = store.listing(folder)
    store.remove(stored.path)
    # A store may keep whole seconds only.
    early, late = before - timedelta(seconds=1) - stored.modified, stored.modified - after
    skew = max(early, late, timedelta(0))
    measured = f"{skew.total_seconds():.1f} s from the store's"
    if skew >= SKEW_FAILS:
        return failed(measured, "set this host's clock (NTP): the store refuses what is so far off")
    if skew >= SKEW_WARNS:
        return warning(measured, "set this host's clock (NTP)")
    return ok(measured)


def sources(campaign: Campaign, store: Lake | None, day: str) -> Check:
    """Which prompt files of the day are there, and which of them no batch took yet."""
    if campaign.pools_from is not None:
        name = campaign.pools_from
        if store is not None and read_manifest(store, name, day, "expand") is not None:
            return ok(f"{name} has pools of {day}")
        return warning(f"{name} has no pools of {day}", f"let {name} expand that day first")
    found = look_for(campaign.ingest.sources, day)
    files, passed_over = found.files, told_of(found.passed_over)
    ledgers = [read_ledger(store, campaign.name)] if store is not None else []
    new = untaken(ledgers, files)
    measured = f"{len(files)} files for {day}, {len(new)} of them new"
    measured += f"; passed over: {passed_over}" if passed_over else ""
    if not new:
        return warning(measured, f"put files into {', '.join(campaign.ingest.sources)}")
    names = ", ".join(Path(file.name).name for file in new[:3])
    return ok(f"{measured}: {names}{', ...' if len(new) > 3 else ''}")


def known_answers(campaign: Campaign, day: str) -> Check:
    """Whether files of evaluation prompts and gold can be read, and labels to bring are there."""
    parts = []
    if campaign.brought_labels is not None:
        parts.append(f"{len(files_of(campaign.brought_labels, day))} files of labels to bring")
    if campaign.validation.evaluation_prompts is not None:
        held_out = evaluation_of(campaign, day)
        parts.append(f"{len(held_out.texts)} evaluation prompts" if held_out else "")
    wrong: list[Quarantined] = []
    if campaign.label.gold is not None:
        items, wrong = gold_of(campaign, day)
        parts.append(f"{len(items)} gold pairs, {len(wrong)} rows that are none")
    measured = ", ".join(parts) or "the campaign names neither gold nor evaluation prompts"
    if wrong:
        first = f"{wrong[0].file}:{wrong[0].line} ({wrong[0].reason})"
        return warning(measured, f"correct the rows, the first at {first}")
    return ok(measured)


def versions(store: Lake, campaign: Campaign) -> Check:
    """Versions that are installed; and whether newer code wrote one of the last batches."""
    keys = read_ledger(store, campaign.name).taken_keys[-LAST_BATCHES:]
    manifests = [
        read_manifest(store, campaign.name, key, stage) for key in keys for stage in STAGES
    ]
    newest = max((_number(m.code_version) for m in manifests if m is not None), default=())
    if newest > _number(winnow.__version__):
        wrote = ".".join(map(str, newest))
        return failed(
            f"winnow {winnow.__version__}, but winnow {wrote} wrote batches of this lake",
            f"install winnow {wrote} here as well",
        )
    return installed()


def installed() -> Check:
    """What runs here."""
    packages = [f"winnow {winnow.__version__}", f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            packages.append(f"{package.removeprefix('apache-')} {version(package)}")
        except PackageNotFoundError:
            continue
    return ok(", ".join(packages))


def disk(places: Mapping[str, Path]) -> Check:
    """Space that is left where Winnow writes."""
    left = {name: shutil.disk_usage(_existing(place)).free / 1e9 for name, place in places.items()}
    measured = ", ".join(f"{gigabytes:.1f} GB for {name}" for name, gigabytes in left.items())
    least = min(left.values())
    if least < DISK_FAILS:
        return failed(measured, "free space; `winnow gc` lists what no version needs")
    if least < DISK_WARNS:
        return warning(measured, "free space soon; `winnow gc` lists what no version needs")
    return ok(measured)


def _existing(place: Path) -> Path:
    """The place, or the folder above it that is there."""
    return next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
