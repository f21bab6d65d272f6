"""What is wrong with the batches of a lake, and what mends it. Computes only.

A batch goes from stage to stage by Airflow's asset events. An event may be lost, a run may end
without having done its work, and nothing in Airflow would start it again. Every stage may be run
again at any time, so the one cure is to announce the stage before once more: the same work goes on
where it stopped, and what was bought is not bought again.

How often that is tried is bounded, and what needs a person is told once, not every 15 minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from winnow.batch import STAGES, next_stage
from winnow.ids import content_id
from winnow.stages.tasks import DAG_OF, clear_command

GRACE = timedelta(minutes=10)
"""Airflow gets this long to start what follows."""
MOST_MENDS = 3
"""A stage of a batch is announced again at most so often; then a person is told."""
PAUSES = (timedelta(0), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=8))
"""How long after the mend before: by how many there were."""
RUN_LIMIT = timedelta(hours=24)
"""A run that is active for longer is told of; one that waits for labels, past its deadline."""
COLLECTING = timedelta(hours=6)
"""After the vendor's deadline the answers are collected within this time."""
TELL_AGAIN = timedelta(days=7)

ACTIVE = ("queued", "running")

Kind = Literal[
    "lost_event",
    "failed_run",
    "no_manifest",
    "paused",
    "twin_runs",
    "stuck",
    "gave_up",
    "failed",
    "night_failed",
    "taken_not_begun",
    "half_published",
    "late_answers",
    "unreadable",
]
Mend = Literal["announce", "commit_ingest", "finish_version"]


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run: of which stage and batch, and how it stands (as Airflow says)."""

    stage: str
    key: str
    run_id: str
    state: str
    began: datetime | None = None
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last task that failed in a stage did; `final` where no retry can help."""

    run_id: str
    final: bool
    message: str
    at: str


@dataclass(frozen=True, slots=True)
class BatchState:
    """What the lake says of a batch.

    Attributes:
        key: The batch.
        done: When each stage that is done was committed, in order.
        ended: The last of them left nothing to hand on: the batch is over.
        failures: The last failure of each stage that had one.
        deadline: Until when the vendor may answer; None before the purchase.
    """

    key: str
    done: Mapping[str, datetime]
    ended: bool = False
    failures: Mapping[str, Failure] = field(default_factory=dict)
    deadline: datetime | None = None

    @property
    def stage(self) -> str | None:
        """The stage that is to be done next; None when there is none."""
        return None if self.ended else next_stage(self.done)


@dataclass(frozen=True, slots=True)
class Mended:
    """How often a stage of a batch was announced again, and when last."""

    n: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        kind: What it is.
        key: The batch, or the version's name.
        stage: The stage that does not go on.
        detail: What it is in words, one line, plain text.
        mend: What is done about it; None: a person is told, or nothing is to be done.
        command: What a person does about it.
        occasion: Tells two findings of one kind about the same stage of a batch apart: Winnow's
            own word, never one of a server or of a person.
    """

    kind: Kind
    key: str
    stage: str
    detail: str
    mend: Mend | None = None
    command: str = ""
    occasion: str = ""

    @property
    def name(self) -> str:
        """Says whether two findings are the same one; the detail may differ at every look."""
        return f"{self.kind} {self.key} {self.stage} {self.occasion}".rstrip()

    @property
    def is_alarm(self) -> bool:
        """Whether a person has to hear of it."""
        return self.mend is None and bool(self.command)


def find(
    batches: Iterable[BatchState],
    runs: Iterable[Run],
    paused: Iterable[str],
    mends: Mapping[str, Mended],
    now: datetime,
    through: Iterable[str] = (),
) -> list[Finding]:
    """What is wrong with the batches.

    Args:
        batches: Those that are not through; all that the ledger knows.
        runs: Every run of them that Airflow knows, in any order.
        paused: Stages whose DAG is paused.
        mends: What was announced again before, by `mend_name`.
        now: With its zone.
        through: Batches that are published or over.
    """
    of_stage: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        of_stage.setdefault((run.key, run.stage), []).append(run)
    known, stopped = list(batches), frozenset(paused)
    found = [
        finding
        for batch in known
        if batch.stage is not None
        for finding in _of_batch(
            batch, batch.stage, of_stage.get((batch.key, batch.stage), []), stopped, mends, now
        )
    ]
    return [*found, *_nights_that_failed(of_stage, {*through, *(b.key for b in known)})]


def mend_name(key: str, stage: str) -> str:
    """Under which name mends of a stage of a batch are counted."""
    return f"{key}/{stage}"


def _of_batch(
    batch: BatchState,
    stage: str,
    runs: Sequence[Run],
    paused: frozenset[str],
    mends: Mapping[str, Mended],
    now: datetime,
) -> Iterator[Finding]:
    active = [run for run in runs if run.state in ACTIVE]
    if len(active) > 1:
        yield _twins(batch.key, stage, active)
    if active:
        yield from _stuck(batch, stage, active, now)
        return
    if stage == "ingest":
        detail = "its files are in the ledger and its manifest is not written"
        yield Finding("taken_not_begun", batch.key, stage, detail, mend="commit_ingest")
        return
    if stage in paused:
        yield Finding("paused", batch.key, stage, f"{DAG_OF[stage]} is paused")
        return
    last = max(runs, key=_by_time, default=None)
    failure = _final_failure(batch, stage, last)
    if failure is not None:
        detail = f"{failure.message} (failed at {failure.at})"
        occasion = content_id(failure.run_id, failure.at)[:12]
        command = (
            f"mend what the message says, then {clear_command(stage, batch.key, only_failed=True)}"
        )
        yield Finding("failed", batch.key, stage, detail, None, command, occasion=occasion)
        return
    since = batch.done[STAGES[STAGES.index(stage) - 1]]
    if now - ((last.ended if last else None) or since) < GRACE:
        return
    kind, detail = _cause(stage, last)
    yield from _again(Finding(kind, batch.key, stage, detail, mend="announce"), mends, now)


def _final_failure(batch: BatchState, stage: str, last: Run | None) -> Failure | None:
    """Why the last run failed, where no retry can help."""
    if last is None or last.state != "failed":
        return None
    failure = batch.failures.get(stage)
    known = failure is not None and failure.run_id == last.run_id and failure.final
    return failure if known else None


def _cause(stage: str, last: Run | None) -> tuple[Kind, str]:
    if last is None:
        return "lost_event", f"{DAG_OF[stage]} never ran for it"
    if last.state == "failed":
        return "failed_run", f"its last run of {DAG_OF[stage]} failed"
    return "no_manifest", f"its last run of {DAG_OF[stage]} ended and left no manifest"


def _again(finding: Finding, mends: Mapping[str, Mended], now: datetime) -> Iterator[Finding]:
    """The finding with its mend, unless that was tried just now or often enough."""
    before = mends.get(mend_name(finding.key, finding.stage), Mended(0, now))
    if before.n and now - before.at < PAUSES[min(before.n, len(PAUSES) - 1)]:
        return
    if before.n < MOST_MENDS:
        yield finding
        return
    yield Finding(
        "gave_up",
        finding.key,
        finding.stage,
        f"{finding.detail}; announced again {before.n} times",
        command=f"read the log of {DAG_OF[finding.stage]} in Airflow, mend what it says, then "
        f"winnow reconcile --again {finding.key}",
    )


def _twins(key: str, stage: str, active: Sequence[Run]) -> Finding:
    ids = sorted(run.run_id for run in active)
    return Finding(
        "twin_runs",
        key,
        stage,
        f"{len(active)} runs of {DAG_OF[stage]} work on it: {', '.join(ids)}",
        command="nothing is bought or published twice; to save the work, mark all but one as "
        "failed in Airflow",
    )


def _stuck(
    batch: BatchState, stage: str, active: Sequence[Run], now: datetime
) -> Iterator[Finding]:
    began = min((run.began for run in active if run.began), default=None)
    limit = None if began is None else began + RUN_LIMIT
    if stage == "label" and batch.deadline is not None:
        limit = batch.deadline + COLLECTING
    if limit is not None and now > limit:
        since = f" since {began:%Y-%m-%d %H:%M} UTC" if began else ""
        yield Finding(
            "stuck",
            batch.key,
            stage,
            f"{DAG_OF[stage]} is {active[0].state}{since}",
            command=f"see which task waits and for what: {DAG_OF[stage]} in Airflow, run "
            f"{active[0].run_id}",
        )


def _nights_that_failed(
    of_stage: Mapping[tuple[str, str], Sequence[Run]], known: set[str]
) -> Iterator[Finding]:
    """Nights of which no file was taken because their run failed."""
    for (key, stage), runs in sorted(of_stage.items()):
        if stage != "ingest" or key in known or any(run.state != "failed" for run in runs):
            continue
        yield Finding(
            "night_failed",
            key,
            stage,
            f"its run of {DAG_OF[stage]} failed before a file was taken",
            command="read its log, mend what it says, then "
            f"winnow backfill --from {key} --to {key} --failed",
        )


def _by_time(run: Run) -> tuple[float, str]:
    at = run.ended or run.began
    return (at.timestamp() if at else 0.0, run.run_id)
