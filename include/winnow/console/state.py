"""How each stage of a batch stands, from its manifests, what it left, and Airflow's runs if any.

The lake has the last word on what is done. On what is not, a run that goes on says "running", a
run that failed says "blocked", and without a run the lake's clues decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from winnow.batch import STAGES
from winnow.campaign import Campaign
from winnow.console.clues import Clues, Purchase
from winnow.console.shell import Run
from winnow.console.stages import Done, Stages
from winnow.records import MICROS

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

ACTIVE = ("queued", "running", "restarting")


@dataclass(frozen=True, slots=True)
class Cell:
    """A stage of a batch: how it stands, since when, a few words, and its runs, newest first."""

    stage: str
    state: State
    told: str = ""
    since: datetime | None = None
    runs: Sequence[Run] = ()
    quarantined: int = 0

    @property
    def run(self) -> Run | None:
        """The newest run."""
        return self.runs[0] if self.runs else None


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch: its cells in the order of `STAGES`, and what is known of the one not done."""

    stages: Stages
    cells: Sequence[Cell]
    clues: Clues

    @property
    def key(self) -> str:
        """The batch's key."""
        return self.stages.key

    @property
    def current(self) -> Cell | None:
        """The stage that is to be done next; None where there is none."""
        return next((cell for cell in self.cells if cell.stage == self.stages.next), None)

    @property
    def state(self) -> State:
        """That of the stage that is to be done next."""
        if self.stages.dropped is not None:
            return "dropped"
        if self.stages.damage is not None:
            return "damaged"
        if self.current is not None:
            return self.current.state
        return "ended" if self.stages.ended else "done"


def state_of(stages: Stages, clues: Clues, runs: Sequence[Run], campaign: Campaign) -> BatchState:
    """How a batch stands. `campaign` has the limits that hold now."""
    cells = []
    for stage in STAGES:
        own = [run for run in runs if run.stage == stage]
        if stage in stages.done:
            cells.append(_done(stages.done[stage], own))
            continue
        own = [run for run in own if not _of_another(run, stages)]
        if stage == stages.next:
            cells.append(_current(stage, clues, own, campaign))
        else:
            cells.append(Cell(stage, "idle", runs=own))
    return BatchState(stages, cells, clues)


def _of_another(run: Run, stages: Stages) -> bool:
    """Whether a run ended before the batch took its prompts: another campaign has the same key."""
    first = stages.done.get(STAGES[0])
    return first is not None and run.ended is not None and run.ended < first.committed_at


def damaged(key: str, damage: str) -> BatchState:
    """A batch of which nothing can be told but why it cannot be read."""
    stages = Stages(key, {}, damage=damage)
    return BatchState(stages, [Cell(stage, "idle") for stage in STAGES], Clues())


def needs_approval(purchase: Purchase, campaign: Campaign) -> bool:
    """Whether a person must say yes before the purchase goes on, as far as can be told."""
    limit = campaign.label.approve_above_usd
    most = min(purchase.most, campaign.label.budget)
    return limit is not None and most > max(limit * MICROS, purchase.approved)


def over_budget(purchase: Purchase, campaign: Campaign) -> bool:
    """Whether the first round alone costs more than the campaign allows, as far as can be told.

    How many votes are taken over, and not bought, stands in the plan alone.
    """
    return not campaign.vote_campaigns and purchase.estimate > campaign.label.budget


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
        return f"{counts.get('annotations', counts['rows_out']):,} votes"
    return f"{figures.get('version', 'published')}, gate: {figures.get('verdict', 'not known')}"


def _current(stage: str, clues: Clues, runs: Sequence[Run], campaign: Campaign) -> Cell:
    newest = runs[0] if runs else None
    told = _progress(stage, clues)
    if newest is not None and newest.waiting:
        return Cell(stage, "waiting", "for a person's answer", newest.began, runs)
    bought = clues.purchase is not None and clues.purchase.submitted_at is not None
    if newest is not None and newest.state in ACTIVE and not newest.failures:
        since = clues.purchase.submitted_at if bought and clues.purchase else newest.began
        return Cell(stage, "waiting" if bought else "running", told, since, runs)
    if newest is not None and newest.state in (*ACTIVE, "failed"):
        return Cell(stage, "blocked", told, newest.ended or newest.began, runs)
    return Cell(stage, _by_clues(clues, campaign), told, clues.latest, runs)


def _by_clues(clues: Clues, campaign: Campaign) -> State:
    if clues.said is not None:
        return "blocked" if clues.said.verdict == "block" else "running"
    if clues.purchase is not None:
        if clues.purchase.submitted_at is not None or needs_approval(clues.purchase, campaign):
            return "waiting"
        return "blocked" if over_budget(clues.purchase, campaign) else "running"
    return "idle" if clues.latest is None else "running"


def _progress(stage: str, clues: Clues) -> str:
    if stage == "expand" and clues.shards:
        return f"{clues.shards:,} shard{'s' if clues.shards > 1 else ''} generated"
    if clues.purchase is not None:
        if clues.purchase.submitted_at is None:
            return "planned, not bought"
        return "with the vendor"
    if clues.said is not None:
        return f"verdict: {clues.said.verdict}"
    return ""
