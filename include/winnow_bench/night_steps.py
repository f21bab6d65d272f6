"""A made-up night's world, what is measured of a step in it, and the steps themselves.

A step is one task of a night, called as Airflow's tasks call it. What generation does is fabricated
between `ingest` and `gather`, and what people do before `follow_up` and `collect`; neither is
counted. The vendor is the file drop: real, and made for batches of a million tasks.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from winnow.batch import Batch, open_batch
from winnow.campaign import Campaign, parse_campaign
from winnow.label.vendor import LabelVendor
from winnow.label.vendors.file_drop.client import FileDropVendor
from winnow.lake import FolderLake
from winnow_bench.document import in_a_process, peak_mib
from winnow_bench.night_world import (
    answer,
    generate,
    side_by_side,
    write_brought,
    write_prompts,
)

State = dict[str, Any]
"""What one step hands to a later one, as Airflow's XCom would."""

NAME = "bench"
SALT = b"bench"
PAIRS = 4
_FIRST_DAY = date(2024, 1, 1)
_LOOKS_A_SECOND = 20


@dataclass(frozen=True, slots=True)
class World:
    """A folder that holds a lake, the prompt files, the vendor's files and the campaign's.

    With `brought` its prompt files hold the responses too, with vectors and scores.
    """

    folder: str
    processes: int = 1
    brought: bool = False

    @property
    def lake(self) -> FolderLake:
        """The lake."""
        return FolderLake(Path(self.folder) / "lake")

    @property
    def drop(self) -> Path:
        """The vendor's folder."""
        return Path(self.folder) / "vendor"

    @property
    def prompt_files(self) -> Path:
        """The folder of prompt files, one of its own for each night."""
        return Path(self.folder) / "prompts"

    @property
    def campaigns(self) -> Path:
        """The folder of campaigns."""
        return Path(self.folder) / "campaigns"

    def campaign(self, pool: int) -> Campaign:
        """The campaign, with pools of this size; the last one asked for lies in its folder."""
        settings = {
            "name": NAME,
            "ingest": {"sources": [f"{self.prompt_files}/{{day}}"]},
            "expand": {
                "model": "SmolLM2-135M-Instruct",
                "pool_size": pool,
                # Shards of a part each, as a night of this size is cut.
                "tokens_per_shard": 20_000_000,
                **({"engine": "brought", "features": ["vector", "score"]} if self.brought else {}),
            },
            "select": {"pairs_per_prompt": PAIRS},
            "label": {"vendor": "file_drop", "budget_usd": 1e9},
            "publish": {"dataset": NAME},
        }
        self.campaigns.mkdir(parents=True, exist_ok=True)
        (self.campaigns / f"{NAME}.yaml").write_text(json.dumps(settings))
        return parse_campaign(settings, "the night bench")

    def batch(self, night: int, pool: int) -> Batch:
        """The batch of a night; what it commits is of the morning after."""
        day = _FIRST_DAY + timedelta(days=night)
        morning = datetime(day.year, day.month, day.day, 6, tzinfo=UTC) + timedelta(days=1)
        return open_batch(self.campaign(pool), day.isoformat(), self.lake, lambda: morning)

    def vendor(self) -> LabelVendor:
        """The vendor."""
        return FileDropVendor(FolderLake(self.drop))


@dataclass(frozen=True, slots=True)
class Night:
    """One night of a world: its number, its prompts and the size of its pools."""

    world: World
    number: int
    prompts: int
    pool: int

    @property
    def batch(self) -> Batch:
        """Its batch."""
        return self.world.batch(self.number, self.pool)


@dataclass(frozen=True, slots=True)
class Used:
    """What a step took. Of its child processes memory and time count too.

    Attributes:
        seconds: By the wall.
        cpu_seconds: Of all cores.
        peak_mib: Most that was resident, MiB.
        bytes_read: Through the kernel's read calls, from its cache or the disk: the lake, the
            vendor's folder, the prompt files, and Python's own modules where a step imports some.
        bytes_written: Likewise, spilled rows included.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    bytes_read: int
    bytes_written: int


@dataclass(slots=True)
class _Watch:
    """The most that this process and its children held at once, by looks."""

    peak_kib: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def look(self) -> None:
        while not self._over.wait(1.0 / _LOOKS_A_SECOND):
            own = os.getpid()
            children = _descendants(own)
            if children:
                self.peak_kib = max(self.peak_kib, sum(map(_resident_kib, [own, *children])))

    def end(self) -> None:
        self._over.set()


def measured(work: Callable[[], Any]) -> tuple[Any, Used]:
    """What `work` gives, and what it took; of Linux alone are memory and bytes told."""
    _forget_peak()
    watch = _Watch()
    looks = threading.Thread(target=watch.look, daemon=True)
    looks.start()
    before, cpu, started = _io(), sum(os.times()[:4]), time.perf_counter()
    try:
        result = work()
    finally:
        seconds = time.perf_counter() - started
        watch.end()
        looks.join()
    after = _io()
    return result, Used(
        seconds=round(seconds, 4),
        cpu_seconds=round(sum(os.times()[:4]) - cpu, 2),
        peak_mib=round(max(peak_mib() or 0.0, watch.peak_kib / 1024.0), 1),
        bytes_read=after.get("rchar", 0) - before.get("rchar", 0),
        bytes_written=after.get("wchar", 0) - before.get("wchar", 0),
    )


def _forget_peak() -> None:
    """Let the kernel's figure of the most that was resident begin anew."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")


def _io() -> dict[str, int]:
    """What this process, and children that ended, have read and written so far."""
    file = Path("/proc/self/io")
    lines = file.read_text().splitlines() if file.exists() else []
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in file.read_text().split()]
        except OSError:
            continue  # it has ended
        found += [each for child in children for each in (child, *_descendants(child))]
    return found


def _resident_kib(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def _ingest(night: Night, state: State) -> None:
    _stages("ingest").run(night.batch)


def _read(night: Night, state: State) -> None:
    shards = _stages("expand").plan(night.batch)
    side_by_side(partial(_read_shard, night), shards, night.world.processes)
    state["responses"] = night.batch.require("ingest").counts["brought"]


def _read_shard(night: Night, shard: str) -> None:
    _stages("expand").generate(night.batch, shard, Path(), Path(), lambda _: None)


def _gather(night: Night, state: State) -> None:
    # As three tasks of Airflow's: what plans the parts is over when mapped ones gather them.
    processes = night.world.processes
    numbers = _plan_parts(night) if processes == 1 else in_a_process(_plan_parts, night)
    side_by_side(partial(_gather_part, night), numbers, processes)
    _stages("expand").gather(night.batch)


def _plan_parts(night: Night) -> list[int]:
    return list(_stages("expand").plan_parts(night.batch))


def _gather_part(night: Night, number: int) -> None:
    _stages("expand").gather_part(night.batch, number)


def _select(night: Night, state: State) -> None:
    _stages("select").run(night.batch)


def _plan(night: Night, state: State) -> None:
    state["tasks"] = _stages("label").plan(night.batch)["tasks"]


def _submit(night: Night, state: State) -> None:
    _stages("label").submit(night.batch, night.world.vendor())


def _follow_up(night: Night, state: State) -> None:
    _stages("label").follow_up(night.batch, night.world.vendor(), SALT)


def _collect(night: Night, state: State) -> None:
    _stages("label").collect(night.batch, night.world.vendor(), SALT)


def _check(night: Night, state: State) -> None:
    state["verdict"] = _stages("publish").check(night.batch)


def _version(night: Night, state: State) -> None:
    state["version"] = _stages("publish").version(night.batch, state["verdict"])


def _refit(night: Night, state: State) -> None:
    _stages("publish").refit(night.batch, state["version"])


def _stages(name: str) -> Any:
    """A stage's module, which no other step's process loads."""
    return import_module(f"winnow.stages.{name}")


@dataclass(frozen=True, slots=True)
class Step:
    """A step: its stage, what it does, and which count of which stage says how many rows it has."""

    stage: str
    work: Callable[[Night, State], None]
    rows: tuple[str, str]


STEPS: Mapping[str, Step] = {
    "ingest": Step("ingest", _ingest, ("ingest", "rows_in")),
    "read": Step("expand", _read, ("", "responses")),
    "gather": Step("expand", _gather, ("expand", "rows_in")),
    "select": Step("select", _select, ("expand", "responses")),
    "plan": Step("label", _plan, ("", "tasks")),
    "submit": Step("label", _submit, ("", "tasks")),
    "follow_up": Step("label", _follow_up, ("", "tasks")),
    "collect": Step("label", _collect, ("label", "annotations")),
    "check": Step("publish", _check, ("label", "annotations")),
    "version": Step("publish", _version, ("label", "rows_in")),
    "refit": Step("publish", _refit, ("label", "rows_in")),
}
"""The steps in their order; `read` is of pools that are brought alone."""


def steps_of(world: World) -> list[str]:
    """The steps that a night of a world has."""
    return [name for name in STEPS if name != "read" or world.brought]


def make_up(night: Night, step: str) -> None:
    """What comes before a step and is no step: prompt files, generation, people's answers."""
    if step == "ingest":
        folder = night.world.prompt_files / night.batch.day
        if night.world.brought:
            settings = night.batch.campaign.expand
            write_brought(folder, night.prompts, night.number, NAME, settings)
        else:
            write_prompts(folder, night.prompts, night.number)
    elif step == "gather" and not night.world.brought:
        generate(night.batch, night.world.processes)
    elif step in ("follow_up", "collect"):
        answer(night.world.drop)


def take(night: Night, step: str, state: State) -> tuple[State, dict[str, Any]]:
    """Take a step, which adds to `state`; the state, and what the step took."""
    # Whoever counts what is read counts no module.
    _stages(STEPS[step].stage)
    _, used = measured(lambda: STEPS[step].work(night, state))
    stage, count = STEPS[step].rows
    manifest = night.batch.manifest(stage) if stage else None
    rows = manifest.counts[count] if manifest else state.get(count)
    return state, {**asdict(used), "rows": rows}
