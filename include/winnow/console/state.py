"""How each stage of a batch looks in a table: done as its manifest says, or as the batch stands."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from winnow.batch import STAGES
from winnow.console.stages import Done, Stages
from winnow.operate.standing import (
    ACTIVE,
    Facts,
    Level,
    Mended,
    Run,
    Standing,
    own_runs,
    standing_of,
)

State = Literal["done", "running", "waiting", "blocked", "idle", "ended", "damaged", "dropped"]

WORDS: Mapping[State, str] = {
    "done": "done",
    "running": "running",
    "waiting": "waiting",
    "blocked": "blocked",
    "idle": "not begun",
    "ended": "ended: nothing to hand on",
    "damaged": "damaged",
    "dropped": "dropped",
}

SETTLED: Sequence[State] = ("done", "ended", "dropped")
"""States of a batch on which nothing is to be done."""

_OF_LEVEL: Mapping[Level, State] = {
    "waits": "waiting",
    "stuck": "blocked",
    "failed": "blocked",
    "done": "done",
    "ended": "ended",
    "damaged": "damaged",
    "dropped": "dropped",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A stage of a batch: how it stands, since when, a few words, and its runs, newest first."""

    stage: str
    state: State
    words: str = ""
    since: datetime | None = None
    runs: Sequence[Run] = ()
    quarantined: int = 0

    @property
    def run(self) -> Run | None:
        """The newest run."""
        return self.runs[0] if self.runs else None


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch: its cells in the order of `STAGES`, and where it stands."""

    stages: Stages
    cells: Sequence[Cell]
    facts: Facts
    standing: Standing

    @property
    def key(self) -> str:
        """The batch's key."""
        return self.stages.key

    @property
    def state(self) -> State:
        """That of the stage that is to be done next."""
        at = next((cell.state for cell in self.cells if cell.stage == self.stages.next), None)
        return at or _OF_LEVEL[self.standing.level]


def state_of(
    stages: Stages,
    facts: Facts,
    now: datetime,
    runs: Sequence[Run] | None = None,
    paused: Collection[str] = (),
    mended: Mended | None = None,
    words: str = "",
) -> BatchState:
    """How a batch looks; `words` say in a few words what the stage it is in has left so far."""
    standing = standing_of(facts, now, runs, paused, mended)
    cells = []
    for stage in STAGES:
        own = [run for run in runs or () if run.stage == stage]
        if stage in stages.done:
            cells.append(_done(stages.done[stage], own))
            continue
        own = own_runs(facts, stage, own)
        if stage == stages.next:
            cells.append(_current(standing, facts, own, words))
        else:
            cells.append(Cell(stage, "idle", runs=own))
    return BatchState(stages, cells, facts, standing)


def damaged(campaign: str, key: str, cause: str, now: datetime) -> BatchState:
    """A batch of which nothing can be told but why it cannot be read."""
    stages = Stages(campaign, key, {}, damage=cause)
    return state_of(stages, Facts(campaign, key, {}, damage=cause), now)


def _done(done: Done, runs: Sequence[Run]) -> Cell:
    quarantined = done.counts.get("quarantined", 0)
    if done.stage == "label":
        quarantined += done.counts.get("annotations_quarantined", 0)
    return Cell(done.stage, "done", _told(done), done.committed_at, runs, quarantined)


def _told(done: Done) -> str:
    counts, figures = done.counts, done.figures
    if done.stage == "ingest":
        return f"{counts['rows_out']:,} prompts"
    if done.stage == "expand":
        return f"{counts.get('responses', counts['rows_out']):,} responses"
    if done.stage == "select":
        return f"{counts.get('comparisons', counts['rows_out']):,} pairs"
    if done.stage == "label":
        return f"{counts.get('annotations', counts['rows_out']):,} annotations"
    return f"{figures.get('version', 'published')}, gate: {figures.get('verdict', 'not known')}"


def _current(standing: Standing, facts: Facts, runs: Sequence[Run], words: str) -> Cell:
    run = standing.run
    if standing.kind == "approval" and run is not None:
        words = "for a person's answer"
    if standing.kind == "turn":
        words = standing.cause.removeprefix("It waits ").removesuffix(".")
    since = facts.touched if run is None else run.ended or run.began
    has_begun = facts.touched is not None or (run is not None and run.state in ACTIVE)
    state = _OF_LEVEL.get(standing.level, "running" if has_begun else "idle")
    return Cell(standing.stage, state, words, since, runs)
