"""One small night over a lake and the simulator's books, in this process.

Engine and gate are small stand-ins, since neither writes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import httpx
import pytest

from winnow.batch import STAGES, Batch, open_batch, read_table
from winnow.campaign import parse_campaign
from winnow.expand.features import Embed
from winnow.expand.runner import run_shard
from winnow.expand.shard import plan_shards
from winnow.lake import FolderLake
from winnow.publish.versions import newest
from winnow.records import QUARANTINE
from winnow.stages import expand, ingest, label, publish, select
from winnow.validate.gate import Judgement, Verdict

from ...sampling import some
from ..conftest import starting
from ..expand.conftest import TinyEngine, tiny_embed

DAY = "2026-11-22"
SALT = b"salt"
LAKE_STEPS = ("create", "create_file", "swap", "create_folder")
VENDOR_STEPS = ("open_batch", "add_tasks", "launch", "list_task_ids", "status", "fetch", "cancel")


class Killed(BaseException):
    """The process died here."""


class Dying:
    """Hands on every call, until the k-th of `steps` kills."""

    def __init__(self, real: Any, steps: tuple[str, ...], at: int | None) -> None:
        self._real, self._steps, self._at = real, steps, at
        self.n_steps, self._one = 0, Lock()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        return self._counted(found) if name in self._steps else found

    def _counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with self._one:
                if self.n_steps == self._at:
                    raise Killed
                self.n_steps += 1
            return step(*arguments)

        return call


@pytest.fixture(autouse=True)
def quick_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    pass_all(monkeypatch)


def pass_all(patch: pytest.MonkeyPatch) -> None:
    """A gate that passes whatever it is shown."""
    passed = Judgement(Verdict("pass", []), QUARANTINE.empty_table())
    patch.setattr(publish, "judge", lambda *_: passed)


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    return filled(tmp_path / "inbox")


def filled(folder: Path) -> Path:
    """An inbox of six prompts and a row that is none."""
    folder.mkdir()
    rows = [{"prompt": f"why does number {n} follow number {n - 1}?"} for n in range(6)]
    (folder / "a.jsonl").write_text("\n".join(json.dumps(row) for row in [*rows, 42]))
    return folder


class Night:
    """One batch over a lake folder and the simulator's books."""

    day = DAY
    embed: Embed = staticmethod(tiny_embed)
    words = "rain sun wind tide moon follows because the water"

    def __init__(self, folder: Path, inbox: Path, simulator: Any, label: dict[str, Any]) -> None:
        self.day = DAY
        self.time = datetime(2026, 11, 23, tzinfo=UTC)
        self.lake, self.simulator = FolderLake(folder, lambda: self.time), simulator
        self.campaign = parse_campaign(
            {
                "name": "small",
                "ingest": {"sources": [str(inbox)]},
                "expand": {"model": "tiny", "pool_size": 5, "max_tokens": 6, "max_model_len": 200},
                "select": {"pairs_per_prompt": 2, "exploration": 0.3},
                "label": {"budget_usd": 50, "second_vote_share": 0.4, **label},
                "publish": {"dataset": "small"},
            },
            "test",
        )

    def run(self, die_at: int | None = None, in_vendor: bool = False) -> int:
        """Run all stages; how many steps were taken where it may die."""
        lake = Dying(self.lake, LAKE_STEPS, None if in_vendor else die_at)
        vendor = Dying(self.simulator.connect(), VENDOR_STEPS, die_at if in_vendor else None)
        batch = self.batch(lake)
        self.choose(batch)
        self.buy(batch, vendor)
        publish.refit(batch, publish.version(batch, publish.check(batch)))
        return vendor.n_steps if in_vendor else lake.n_steps

    def buy(self, batch: Batch, vendor: Any = None) -> None:
        """Buy and collect the labels of a batch whose comparisons are chosen."""
        vendor = vendor or self.simulator.connect()
        label.submit(batch, vendor)
        self.simulator.finish()
        label.follow_up(batch, vendor, SALT)
        self.simulator.finish()
        label.collect(batch, vendor, SALT)

    def batch(self, lake: Any = None) -> Batch:
        """The batch, over `lake` where it is another one."""
        return open_batch(self.campaign, self.day, lake or self.lake, lambda: self.time)

    def choose(self, batch: Batch) -> None:
        """The stages up to the comparisons."""
        ingest.run(batch)
        self.expand(batch)
        select.run(batch)

    def expand(self, batch: Batch) -> None:
        settings = batch.campaign.expand
        prompts = read_table(batch.lake, batch.require("ingest").outputs["prompts"])
        for shard in plan_shards(prompts.to_pylist(), settings):
            run_shard(
                shard,
                prompts.to_pylist(),
                settings,
                TinyEngine(self.words, 200),
                self.embed,
                batch.lake,
                lambda _: None,
                campaign="small",
                folder=f"{batch.folder}/expand",
            )
        expand.gather(batch)

    def rows(self, stage: str, table: str) -> list[dict[str, Any]]:
        """A table of a stage that is done."""
        manifest = self.batch().require(stage)
        return list(read_table(self.lake, manifest.outputs[table]).to_pylist())

    def outcome(self) -> Any:
        """Everything that must not depend on a kill."""
        version = newest(self.lake, self.campaign.publish.dataset)
        assert version is not None
        batch = self.batch()
        counts = {stage: batch.require(stage).counts for stage in STAGES}
        costs = {stage: batch.require(stage).cost for stage in STAGES}
        digests = {stage: batch.require(stage).digest for stage in ("ingest", "expand", "select")}
        return version.number, version.digest, counts, costs, digests, self.simulator.bought()


def killed_at_steps(
    night: Callable[..., Night], every: int, *, in_vendor: bool = False
) -> tuple[int, Any]:
    """Nights killed before every so many of their steps end, run again, as one that was not.

    How many steps there are, and the outcome.
    """
    undisturbed = night("undisturbed")
    n_steps = undisturbed.run(in_vendor=in_vendor)
    expected = undisturbed.outcome()
    for step in some(range(n_steps), every):
        killed = night(f"killed-{step}")
        with pytest.raises(Killed):
            killed.run(die_at=step, in_vendor=in_vendor)
        killed.run()
        assert killed.outcome() == expected, f"killed before step {step}"
    return n_steps, expected


@pytest.fixture
def night(
    tmp_path: Path, inbox: Path, start_simulator: Callable[[Path], Any]
) -> Callable[..., Night]:
    """Makes a night of its own; keywords are settings of `label`."""

    def make(name: str = "night", **label: Any) -> Night:
        simulator = start_simulator(tmp_path / f"{name}.sqlite")
        return Night(tmp_path / name, inbox, simulator, label)

    return make


@pytest.fixture(scope="session")
def _published_once(
    tmp_path_factory: pytest.TempPathFactory, _front: Any, loopback: httpx.HTTPTransport
) -> Path:
    """A folder with the lake and the books of a published night."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch, starting(_front, loopback) as start:
        pass_all(patch)
        simulator = start(folder / "books.sqlite")
        Night(folder / "lake", filled(folder / "inbox"), simulator, {}).run()
    return folder


@pytest.fixture
def published(
    _published_once: Path, tmp_path: Path, inbox: Path, start_simulator: Callable[[Path], Any]
) -> Night:
    """A night of its own that is published."""
    shutil.copytree(_published_once / "lake", tmp_path / "published")
    shutil.copy(_published_once / "books.sqlite", tmp_path)
    simulator = start_simulator(tmp_path / "books.sqlite")
    simulator.clock.seconds += 100_000.0
    return Night(tmp_path / "published", inbox, simulator, {})
