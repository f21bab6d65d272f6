"""Stores a lake of a release for `test_upgrade`: what it left half done, and what it made of it.

Made from a checkout of the release, whose `tests` and `include` come first on the path:

    git worktree add --detach /tmp/before REVISION
    export here=$PWD PYTHONPATH=/tmp/before/include:/tmp/before:$PWD; cd /tmp
    $here/.venv/bin/python -m tests.unit.stages.store_lake $here/tests/unit/stages/stored

In the lake the first night is published, labels of the second one are outstanding, and of the third
one half the responses are generated. `published.json` holds the manifests of the versions that the
release made of these two, which name each file with its digest.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

import winnow
from winnow.stages import ingest, label, publish, select

from ..conftest import _served, starting
from .conftest import LAKE_STEPS, Dying, Killed, Night, filled

DAYS = ("2026-11-22", "2026-11-23", "2026-11-24")
HALF = 12
"""Steps in the lake after which the third night is killed: some of its calls are kept."""
LABEL = {"rated_dimensions": ["helpfulness", "honesty"], "repeat_share": 0.2}
SMALL = {"tokens_per_shard": 60, "responses_per_call": 5}


def night_of(folder: Path, simulator: Any, day: str) -> Night:
    """A night over the lake in `folder`, in several shards."""
    night = Night(folder / "night", folder / "inbox", simulator, LABEL)
    settings = night.campaign.model_dump(mode="json")
    settings["expand"] |= SMALL
    night.campaign, night.day = type(night.campaign).model_validate(settings), day
    return night


def begin(folder: Path, simulator: Any) -> None:
    """The three nights, as far as they go."""
    filled(folder / "inbox")
    first, second, third = (night_of(folder, simulator, day) for day in DAYS)
    first.run()
    _add(folder, second.day, "letter")
    second.choose(second.batch())
    label.plan(second.batch())
    label.submit(second.batch(), simulator.connect())
    _add(folder, third.day, "word")
    ingest.run(third.batch())
    with suppress(Killed):
        third.expand(third.batch(Dying(third.lake, LAKE_STEPS, HALF)))


def carry_on(folder: Path, simulator: Any) -> dict[str, Any]:
    """Bring both nights to their versions, whose manifests are returned by their paths."""
    simulator.clock.seconds += 100_000.0  # Later than when it was begun.
    published = {}
    for day in DAYS[1:]:
        night = night_of(folder, simulator, day)
        batch, vendor = night.batch(), simulator.connect()
        if batch.manifest("expand") is None:
            night.expand(batch)
        select.run(batch)
        label.plan(batch)
        night.buy(batch, vendor)
        number = publish.version(batch, publish.check(batch))
        publish.refit(batch, number)
        path = f"datasets/small/v{number:06}/manifest.json"
        published[path] = json.loads(night.lake.read(path))
    return published


def _add(folder: Path, day: str, what: str) -> None:
    rows = [{"prompt": f"why does {what} {n} come after {what} {n - 1}?"} for n in range(1, 5)]
    (folder / "inbox" / f"{day}.jsonl").write_text("\n".join(map(json.dumps, rows)))


def main(stored: Path) -> None:
    """Write the archive of the release that is on the path."""
    with TemporaryDirectory() as scratch, _served() as front:
        begun, ended = Path(scratch) / "begun", Path(scratch) / "ended"
        begun.mkdir()
        with starting(front, httpx.HTTPTransport()) as start:
            begin(begun, start(begun / "books.sqlite"))
        shutil.copytree(begun, ended)
        with starting(front, httpx.HTTPTransport()) as start:
            published = carry_on(ended, start(ended / "books.sqlite"))
        (begun / "published.json").write_text(json.dumps(published, indent=1))
        version = ".".join(winnow.__version__.split(".")[:2])
        with tarfile.open(stored / f"lake-{version}.tar.xz", "w:xz") as archive:
            for each in sorted(begun.iterdir()):
                archive.add(each, each.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
