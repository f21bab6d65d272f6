"""Publishes versions of a dataset, or removes its garbage, until it is killed or done.

    python publisher.py publish LAKE NAME VERSIONS
    python publisher.py collect LAKE

Either may be killed at any instruction and started again. A line on the output says that it has
begun, one of the collector's how many objects it has just removed.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from winnow.errors import Retryable
from winnow.lake import Lake, open_lake
from winnow.publish.garbage import find_garbage, remove_garbage
from winnow.publish.rollback import roll_back
from winnow.publish.versions import newest, publish, read_version, shelf

DATASET = "d"
NO_GRACE = datetime(2200, 1, 1, tzinfo=UTC)


def publish_all(lake: Lake, name: str, n_versions: int) -> None:
    """Publish a batch a version."""
    for number in range(n_versions):
        insist(lambda batch=f"{name}-{number}": publish_one(lake, batch))


def collect_on(lake: Lake) -> None:
    """Remove garbage again and again: no grace, and a nap that makes the knowledge old."""
    while True:
        insist(lambda: _collect(lake))


def publish_one(lake: Lake, batch: str) -> None:
    """Publish one batch."""
    objects = shelf(lake, DATASET, newest(lake, DATASET))
    rows = f"rows of {batch}\n" * 3000
    files = {
        f"data/reward/{batch}.parquet": objects.put(rows.encode(), "parquet", 3000),
        "shared.json": objects.put(b"the same in every version", "json"),
    }
    now = datetime.now(UTC)
    publish(lake, DATASET, batch, files, {}, lambda version: f"{batch} in {version.name}", now)


def roll_back_some(lake: Lake, rng: random.Random) -> None:
    """Make one of the last versions the newest again, if there are enough of them."""
    last = newest(lake, DATASET)
    if last is not None and last.number > 3:
        target = read_version(lake, DATASET, last.number - rng.randint(1, 3))
        roll_back(lake, target, "a trial", "a test", datetime.now(UTC))


def collect_once(lake: Lake, nap: float) -> int:
    """Remove garbage, with a nap between look and removal; how many objects went."""
    garbage = find_garbage(lake, DATASET, NO_GRACE)
    time.sleep(nap)
    remove_garbage(lake, garbage)
    return len(garbage.objects)


def _collect(lake: Lake) -> None:
    n_removed = collect_once(lake, 0.3)
    if n_removed:
        print(n_removed, flush=True)


def insist(step: Callable[[], object]) -> None:
    """Take a step again until its store lets it pass."""
    while True:
        try:
            step()
        except Retryable as error:
            print(error, file=sys.stderr, flush=True)
        else:
            return


if __name__ == "__main__":
    task, uri, *rest = sys.argv[1:]
    opened = open_lake(uri)
    print("begun", flush=True)
    if task == "publish":
        publish_all(opened, rest[0], int(rest[1]))
    else:
        collect_on(opened)
