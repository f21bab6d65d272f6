"""A night killed before any of its writes or vendor calls, and run again, ends the same.

Runs the five stages in this process over a lake and a vendor that die at the k-th step; engine and
gate are small stand-ins, since neither writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import STAGES, Batch, open_batch, read_table
from winnow.campaign import parse_campaign
from winnow.expand.runner import run_shard
from winnow.expand.shard import plan_shards
from winnow.lake import FolderLake
from winnow.progress import progress, summary
from winnow.publish.versions import newest
from winnow.stages import expand, ingest, label, publish, select
from winnow.validate.gate import Verdict

from ..expand.conftest import TinyEngine, tiny_embed

DAY = "2026-11-22"
SALT = b"salt"
LAKE_STEPS = ("create", "swap", "create_folder")
VENDOR_STEPS = ("open_batch", "add_tasks", "launch", "list_task_ids", "status", "fetch", "cancel")


class Killed(BaseException):
    """The process died here."""


class Dying:
    """Hands on every call, until the k-th of `steps` kills."""

    def __init__(self, real: Any, steps: tuple[str, ...], at: int | None) -> None:
        self._real, self._steps, self._at = real, steps, at
        self.n_steps = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        return self._counted(found) if name in self._steps else found

    def _counted(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            if self.n_steps == self._at:
                raise Killed
            self.n_steps += 1
            return step(*arguments)

        return call


@pytest.fixture(autouse=True)
def quick_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "judge", lambda *_: Verdict("pass", []))


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    rows = [{"prompt": f"why does number {n} follow number {n - 1}?"} for n in range(6)]
    (folder / "a.jsonl").write_text("\n".join(json.dumps(row) for row in [*rows, 42]))
    return folder


class Night:
    """One batch over a lake folder and the simulator's books."""

    def __init__(self, folder: Path, inbox: Path, simulator: Any) -> None:
        self.lake, self.simulator = FolderLake(folder), simulator
        self.campaign = parse_campaign(
            {
                "name": "small",
                "ingest": {"sources": [str(inbox)]},
                "expand": {"model": "tiny", "pool_size": 5, "max_tokens": 6, "max_model_len": 200},
                "select": {"pairs_per_prompt": 2, "exploration": 0.3},
                "label": {"budget_usd": 50, "second_vote_share": 0.4},
                "publish": {"dataset": "small"},
            },
            "test",
        )

    def run(self, die_at: int | None = None, in_vendor: bool = False) -> int:
        """Run all stages; how many steps were taken where it may die."""
        lake = Dying(self.lake, LAKE_STEPS, None if in_vendor else die_at)
        vendor = Dying(self.simulator.connect(), VENDOR_STEPS, die_at if in_vendor else None)
        batch = open_batch(self.campaign, DAY, lake, lambda: datetime(2026, 11, 23, tzinfo=UTC))
        ingest.run(batch)
        self.expand(batch)
        select.run(batch)
        label.submit(batch, vendor)
        self.simulator.finish()
        label.collect(batch, vendor, SALT)
        publish.refit(batch, publish.version(batch, publish.check(batch)))
        return vendor.n_steps if in_vendor else lake.n_steps

    def expand(self, batch: Batch) -> None:
        settings = batch.campaign.expand
        prompts = read_table(batch.lake, batch.require("ingest").outputs["prompts"])
        for shard in plan_shards(prompts.to_pylist(), settings):
            run_shard(
                shard,
                prompts.to_pylist(),
                settings,
                TinyEngine("rain sun wind tide moon follows because the water"),
                tiny_embed,
                batch.lake,
                lambda _: None,
                campaign="small",
                folder=f"{batch.folder}/expand",
            )
        expand.gather(batch)

    def outcome(self) -> Any:
        """Everything that must not depend on a kill."""
        version = newest(self.lake, "small")
        assert version is not None
        batch = open_batch(self.campaign, DAY, self.lake, lambda: datetime.now(UTC))
        counts = {stage: batch.require(stage).counts for stage in STAGES}
        costs = {stage: batch.require(stage).cost for stage in STAGES}
        digests = {stage: batch.require(stage).digest for stage in ("ingest", "expand", "select")}
        return version.number, version.digest, counts, costs, digests, self.simulator.bought()


@pytest.fixture
def night(
    tmp_path: Path, inbox: Path, start_simulator: Callable[[Path], Any]
) -> Callable[[str], Night]:
    """Makes a night of its own."""

    def make(name: str) -> Night:
        simulator = start_simulator(tmp_path / f"{name}.sqlite")
        return Night(tmp_path / name, inbox, simulator)

    return make


@pytest.mark.parametrize("in_vendor", [False, True], ids=["lake", "vendor"])
def test_a_kill_before_any_step_changes_nothing(
    night: Callable[[str], Night], in_vendor: bool
) -> None:
    undisturbed = night("undisturbed")
    n_steps = undisturbed.run(in_vendor=in_vendor)
    expected = undisturbed.outcome()
    assert n_steps >= (5 if in_vendor else 25)
    assert set(expected[-1].values()) == {1}
    for step in range(n_steps):
        killed = night(f"killed-{step}")
        with pytest.raises(Killed):
            killed.run(die_at=step, in_vendor=in_vendor)
        killed.run()
        assert killed.outcome() == expected, f"killed before step {step}"


def test_a_second_run_of_every_stage_writes_and_buys_nothing(
    night: Callable[[str], Night],
) -> None:
    done = night("done")
    done.run()
    before = done.lake.tags("")
    bought = done.simulator.bought()
    done.run()
    after = done.lake.tags("")
    assert after == before
    assert done.simulator.bought() == bought


def test_what_is_shown_of_a_batch_comes_from_its_manifests(night: Callable[[str], Night]) -> None:
    done = night("shown")
    done.run()
    batch = open_batch(done.campaign, DAY, done.lake, lambda: datetime.now(UTC))
    assert list(progress(batch)) == list(STAGES)
    assert all(line.startswith("done: ") for line in progress(batch).values())
    assert "6, and 1 rows in quarantine" in summary(batch)
    assert f"${batch.require('label').cost / 1_000_000:.2f}" in summary(batch)
