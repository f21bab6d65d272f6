"""Nights of `winnow run` that are killed at random moments until they are through.

A warm process forks each run, so that a night takes a second. The vendor is a process of its own,
calm or with every disorder of answers and calls. A calm night must end as its undisturbed twin did;
of any night each task is bought once, the bill is the vendor's, and whatever the vendor delivered
is in the lake.

Minutes, so it runs with `pytest -m kill`. WINNOW_LAB_SEED moves the kills, WINNOW_LAB_KILLS is how
many there are at least with each vendor.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from .nights import CALM, NIGHTS, SEED, Place, quick_nights, vendors, write_nights
from .outcome import check_bought_once, check_nothing_lost, check_versions

pytestmark = [pytest.mark.slow, pytest.mark.kill]

KILLS = int(os.environ.get("WINNOW_LAB_KILLS", "110"))
MOST_KILLS = 15
"""Of one night; then it is let through."""
LONGEST_SECONDS = 300.0
DISORDER = (
    "unanswered=0.2,edited=0.2,retracted=0.1,answered_twice=0.1,broken_record=0.1,record_twice,"
    "page_shuffled,page_twice,busy,error,error_after,dropped,truncated"
)
FORK = multiprocessing.get_context("fork")


def begin(place: Place, night: str) -> BaseProcess:
    """A process that takes a night through; what it says is in its log."""
    process = FORK.Process(target=run, args=(place, night))
    process.start()
    return process


def run(place: Place, night: str) -> None:
    """The work of `begin`."""
    said = place.winnow("run", "--batch", night)
    with log_of(place).open("a") as log:
        log.write(said.out + said.err)
    sys.exit(said.code)


def log_of(place: Place) -> Path:
    return place.folder / "runs.log"


def let_through(place: Place, night: str) -> float:
    """Run a night to its end; how many seconds it took."""
    started, process = time.monotonic(), begin(place, night)
    process.join(LONGEST_SECONDS)
    assert process.exitcode == 0, log_of(place).read_text()[-2000:]
    return time.monotonic() - started


def kill_until_through(place: Place, night: str, seconds: float, rng: random.Random) -> int:
    """Run a night, kill it within `seconds`, begin again; how many kills.

    Each run goes on from where the one before was killed, so that kills come late in a night too.
    """
    for kills in range(MOST_KILLS):
        process = begin(place, night)
        process.join(rng.uniform(0.02, seconds))
        if process.exitcode is not None:
            assert process.exitcode == 0, log_of(place).read_text()[-2000:]
            return kills
        process.kill()
        process.join()
    let_through(place, night)
    return MOST_KILLS


def import_what_a_night_needs(place: Place, night: str) -> None:
    """Import in this process, and run nothing, so that a fork begins where the work does."""
    ours, theirs = FORK.Pipe(duplex=False)

    def try_it(told: Connection) -> None:
        place.winnow("run", "--batch", night)
        told.send(sorted(sys.modules))

    FORK.Process(target=try_it, args=(theirs,)).start()
    assert ours.poll(LONGEST_SECONDS)
    for name in ours.recv():
        with contextlib.suppress(Exception):
            importlib.import_module(name)


@pytest.mark.parametrize("faults", [CALM, DISORDER], ids=["calm", "disorder"])
def test_a_killed_night_ends_as_if_nothing_had_been(tmp_path: Path, faults: str) -> None:
    rng, started = random.Random(SEED), time.monotonic()
    kills, dollars, found = 0, 0, Counter[str]()
    campaign, nights = write_nights(tmp_path), iter(NIGHTS)
    folders = {tmp_path / "killed": faults, tmp_path / "twin": CALM}
    with quick_nights(), vendors(folders) as services:
        killed, twin = (
            Place(campaign, folder, vendor, str(folder / "lake"))
            for folder, vendor in zip(folders, services, strict=True)
        )
        warm = Place(campaign, tmp_path, twin.vendor, str(tmp_path / "warm"))
        import_what_a_night_needs(warm, NIGHTS[-1])
        while kills < KILLS:
            night = next(nights)
            seconds = let_through(twin, night)
            kills += kill_until_through(killed, night, seconds / 2, rng)
            check_bought_once(killed, night)
            found += check_nothing_lost(killed, night)
            labels = killed.manifest(night, "label")
            dollars += labels.cost
            found["follow-ups"] += labels.counts["follow_ups"]
            assert killed.digest(night) == twin.digest(night) or faults != CALM
        versions = check_versions(killed)
    print(
        f"\n{kills} kills (seed {SEED}) over {len(versions)} nights in "
        f"{time.monotonic() - started:.0f} s: ${dollars / 1e6:.2f}, {dict(found)}"
    )
    assert found["follow-ups"]
    assert found["in quarantine"] or faults == CALM
