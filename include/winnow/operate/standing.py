"""Where a batch stands, why it does not go on, and the command that mends it. Computes only.

    Facts, Run    what the lake says of a batch; what Airflow says, which may be unknown
    standing_of   both -> Standing

`winnow status`, the pages, `reconcile` and its alarms read the one answer; each may show less.
Times are held against four limits:

    GRACE       10 minutes   Airflow starts what follows; then `reconcile` announces it again
    PATIENCE    1 hour       then a person is told that a stage has not begun
    QUIET       6 hours      a task works no longer without leaving anything in the lake; what buys
                             or collects may take so long, also past the vendor's deadline
    RUN_LIMIT   24 hours     a run, but for one that waits for labels

A command is one that finds something to do. `airflow dags clear` finds the runs that there are: of
a stage that has not begun there is none, so the stage before is run again, which is done, returns
at once, and hands its batch on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from winnow.batch import STAGES, next_stage
from winnow.label.purchases import OverMonth
from winnow.runbook import (
    APPROVAL_CLICK,
    APPROVAL_HEADING,
    DEADLINE_HEADING,
    GATE_HEADING,
    STUCK_HEADING,
)
from winnow.stages.tasks import clear_command, dag_id
from winnow.stored import StoredTime
from winnow.text import plain_line
from winnow.validate.verdict import Check

if TYPE_CHECKING:
    from winnow.stages.turn import Turn

GRACE = timedelta(minutes=10)
PATIENCE = timedelta(hours=1)
QUIET = timedelta(hours=6)
RUN_LIMIT = timedelta(hours=24)
LONGEST_CAUSE = 600

MOST_MENDS = 3
"""A stage of a batch is announced again at most so often; then a person is told."""
PAUSES = (timedelta(0), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=8))
"""How long after the mend before: by how many there were."""

ACTIVE = ("queued", "running", "restarting")

_TAKEN = "Its prompt files were taken, but no manifest was written."

Level = Literal["goes_on", "waits", "stuck", "failed", "done", "ended", "damaged", "dropped"]
Kind = Literal[
    "goes_on",
    "done",
    "ended",
    "damaged",
    "dropped",
    "turn",
    "approval",
    "vendor",
    "collecting",
    "uncollected",
    "hangs",
    "gate",
    "over_budget",
    "not_bought",
    "paused",
    "taken_not_begun",
    "failed",
    "failed_run",
    "no_manifest",
    "lost_event",
    "gave_up",
    "quiet",
]


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task of a run that failed; `error` is the last line of its log, where it is known."""

    task: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run: of which campaign, stage and batch, and how it stands (as Airflow says).

    `failures` and `waiting` are the tasks that failed and those that wait for a person's answer;
    both are None where nobody asked for tasks.
    """

    campaign: str
    stage: str
    key: str
    run_id: str
    state: str
    began: datetime | None = None
    ended: datetime | None = None
    failures: Sequence[FailedTask] | None = None
    waiting: Sequence[str] | None = None

    @property
    def dag(self) -> str:
        """The DAG that it is a run of."""
        return dag_id(self.campaign, self.stage)

    @property
    def last_seen(self) -> tuple[float, str]:
        """When it ended or else began, seconds since 1970; its id tells equal ones apart."""
        at = self.ended or self.began
        return (at.timestamp() if at else 0.0, self.run_id)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last task that failed in a stage did; `final` where no retry can help."""

    run_id: str
    final: bool
    message: str
    at: StoredTime


@dataclass(frozen=True, slots=True)
class Mended:
    """How often a stage of a batch was announced again, and when last."""

    n: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """What the lake says of a batch.

    Attributes:
        campaign: Whose batch it is.
        key: The batch.
        done: When each stage that is done was committed, in order.
        ended: The last of them left nothing to hand on: the batch is over.
        failures: The last failure of each stage that had one.
        deadline: Until when the vendor may answer; None before the purchase.
        touched: When the stage that is not done left something last; None if it left nothing.
        planned_at: When a purchase was planned that is not made.
        approval_usd: What a person is asked to approve, dollars; None where nobody is asked.
        over_usd: What the first votes cost and the budget, dollars, where they cost more.
        over_month: The budget of a month, its campaign's or its team's, that stopped the purchase.
        checks: Where the last verdict of the gate blocks: what did not pass, the worst first.
        damage: Why the batch cannot be read.
        dropped: That a person gave it up: who, when and why.
        turn: From when on it may choose; None where it waits for no other batch, or has chosen.
    """

    campaign: str
    key: str
    done: Mapping[str, datetime]
    ended: bool = False
    failures: Mapping[str, Failure] = field(default_factory=dict)
    deadline: datetime | None = None
    touched: datetime | None = None
    planned_at: datetime | None = None
    approval_usd: float | None = None
    over_usd: tuple[float, float] | None = None
    over_month: OverMonth | None = None
    checks: Sequence[Check] = ()
    damage: str = ""
    dropped: str = ""
    turn: Turn | None = None

    @property
    def stage(self) -> str | None:
        """The stage that is to be done next; None when there is none."""
        over = self.ended or self.damage or self.dropped
        return None if over else next_stage(self.done)

    @property
    def since(self) -> datetime | None:
        """When the last stage that is done was committed."""
        return list(self.done.values())[-1] if self.done else None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a batch stands and why.

    Attributes:
        campaign: Whose batch it is.
        key: The batch.
        stage: The stage it is in; empty where it is in none.
        level: `goes_on`; `waits` for somebody outside, or for what happens by itself; `stuck`,
            nothing will happen by itself; `failed`, Airflow gave up; `done`; `ended`, nothing was
            left to hand on; `damaged`, the lake cannot be read; `dropped`, a person gave it up.
        kind: What is the cause, as a word for programs.
        cause: One line, plain text; empty where there is nothing to say.
        first: What a person does before the command, or instead of one.
        command: To be typed; empty where there is none.
        heading: The runbook's heading; empty where it has none.
        since: From when on.
        run: The run of Airflow that it is about.
    """

    campaign: str
    key: str
    stage: str
    level: Level
    kind: Kind
    cause: str = ""
    first: str = ""
    command: str = ""
    heading: str = ""
    since: datetime | None = field(default=None, compare=False)
    run: Run | None = None

    @property
    def dag(self) -> str:
        """The DAG of the stage it is in."""
        return dag_id(self.campaign, self.stage)

    def clear(self, *, only_failed: bool = False) -> str:
        """The command that runs the stage it is in again."""
        return clear_command(self.campaign, self.stage, self.key, only_failed=only_failed)

    @property
    def mend(self) -> str:
        """What to do, one line; empty where there is nothing to do."""
        return ": ".join(filter(None, (self.first, self.command)))

    @property
    def is_trouble(self) -> bool:
        """Whether there is something to say: the batch neither is published nor simply goes on."""
        return self.level not in ("goes_on", "done")


def damaged(campaign: str, key: str, cause: str) -> Standing:
    """A batch that cannot be read."""
    first = "restore the object from the bucket's versions or a copy of the lake; or give it up"
    command = f'winnow drop {key} --campaign {campaign} --reason "..."'
    return Standing(campaign, key, "", "damaged", "damaged", cause, first, command)


def mend_name(key: str, stage: str) -> str:
    """Under which name mends of a stage of a batch are counted."""
    return f"{key}/{stage}"


def standing_of(
    facts: Facts,
    now: datetime,
    runs: Sequence[Run] | None = None,
    paused: Collection[str] = (),
    mended: Mended | None = None,
) -> Standing:
    """Where a batch stands.

    Args:
        facts: What the lake says of it.
        now: With its zone.
        runs: Every run of the batch that Airflow knows, in any order; None where nobody asked
            Airflow. Then time and what lies in the lake tell whether a stage goes on.
        paused: Stages whose DAG is paused.
        mended: How often the stage was announced again.
    """
    stage = facts.stage
    if stage is None:
        return _over(facts)
    since = facts.since
    if since is not None and facts.turn is not None:
        # What waited for its turn is late from then on.
        since = max(since, facts.turn.at)
    so_far = Standing(facts.campaign, facts.key, stage, "goes_on", "goes_on", since=since)
    if runs is None:
        so_far = _without_airflow(so_far, facts, now, mended)
    else:
        so_far = _with_airflow(so_far, facts, now, own_runs(facts, stage, runs), paused, mended)
    return replace(so_far, cause=plain_line(so_far.cause, LONGEST_CAUSE))


def _over(facts: Facts) -> Standing:
    campaign, key = facts.campaign, facts.key
    if facts.dropped:
        return Standing(campaign, key, "", "dropped", "dropped", plain_line(facts.dropped))
    if facts.damage:
        return damaged(campaign, key, facts.damage)
    if not facts.ended:
        return Standing(campaign, key, "", "done", "done", since=facts.since)
    cause = f"Stage {list(facts.done)[-1]} left nothing to hand on."
    standing = Standing(
        campaign, key, next_stage(facts.done) or "", "ended", "ended", cause, since=facts.since
    )
    return replace(standing, command=f"winnow quarantine --batch {key} --campaign {campaign}")


def own_runs(facts: Facts, stage: str, runs: Sequence[Run]) -> list[Run]:
    """The stage's runs; one that ended before the batch took its prompts is another campaign's."""
    first = facts.done.get(STAGES[0])
    own = [run for run in runs if run.stage == stage]
    return [run for run in own if first is None or run.ended is None or run.ended >= first]


def _with_airflow(
    so_far: Standing,
    facts: Facts,
    now: datetime,
    runs: Sequence[Run],
    paused: Collection[str],
    mended: Mended | None,
) -> Standing:
    asks = next((run for run in runs if run.waiting), None)
    if asks is not None:
        return replace(_approval(so_far, facts), run=asks, since=asks.began)
    active = [run for run in runs if run.state in ACTIVE and not run.failures]
    if active:
        return _active(replace(so_far, run=active[0]), facts, now, active)
    last = max(runs, key=lambda run: run.last_seen, default=None)
    so_far = replace(so_far, run=last)
    again = _again(so_far, facts, runs)
    if facts.checks:
        return _gate(so_far, facts)
    if so_far.stage in paused:
        dag = so_far.dag
        cause, command = f"{dag} is paused.", f"airflow dags unpause {dag}"
        return _stuck(so_far, "paused", cause, command, level="waits")
    if facts.over_month is not None:
        return _over_month(so_far, facts.over_month)
    if last is not None and last.state != "success":
        so_far = replace(so_far, since=last.ended or last.began or so_far.since)
        return _given_up(_failed(so_far, facts, last), mended, now)
    if facts.turn is not None and facts.turn.at > now:
        return _turn(so_far, facts, facts.turn, now)
    if so_far.stage == STAGES[0]:
        return _stuck(so_far, "taken_not_begun", _TAKEN, again if runs else "winnow reconcile")
    ended = last.ended if last else None
    if ended is not None and (facts.turn is None or ended > facts.turn.at):
        so_far = replace(so_far, since=ended)
    if so_far.since is None or now - so_far.since < GRACE:
        return so_far
    level = "waits" if now - so_far.since < PATIENCE else "stuck"
    kind: Kind = "lost_event" if last is None else "no_manifest"
    cause = f"The last run of {so_far.dag} ended and left no manifest."
    if last is None:
        before, hours = STAGES[STAGES.index(so_far.stage) - 1], _hours(now - so_far.since)
        cause = f"{so_far.dag} has not begun: {before} was done {hours} ago, and no run "
        cause += "has taken the batch up."
    return _given_up(_stuck(so_far, kind, cause, again, level=level), mended, now)


def _without_airflow(
    so_far: Standing, facts: Facts, now: datetime, mended: Mended | None
) -> Standing:
    stage, dag = so_far.stage, so_far.dag
    again, touched = _again(so_far, facts, None), facts.touched
    if facts.checks:
        return _gate(so_far, facts)
    if facts.over_month is not None:
        return _over_month(so_far, facts.over_month)
    failure = facts.failures.get(stage)
    if failure is not None and failure.final:
        at = datetime.fromisoformat(failure.at)
        later = [touched, mended.at if mended else None]
        if all(time is None or time <= at for time in later):
            return _noted(replace(so_far, since=at), failure)
    if facts.turn is not None and facts.turn.at > now:
        return _turn(so_far, facts, facts.turn, now)
    if stage == STAGES[0]:
        return _stuck(so_far, "taken_not_begun", _TAKEN, again)
    if facts.over_usd is not None:
        cost, budget = facts.over_usd
        cause = f"The first votes cost about ${cost:,.2f}, the budget of a batch is ${budget:,.2f}."
        first = "raise label.budget_usd in the campaign"
        return _stuck(so_far, "over_budget", cause, so_far.clear(), first=first)
    if facts.approval_usd is not None:
        return _approval(so_far, facts)
    if facts.deadline is not None:
        return _vendor(so_far, facts.deadline, now)
    if facts.planned_at is not None:
        if now - facts.planned_at <= PATIENCE:
            return so_far
        cause = f"The tasks were planned {_hours(now - facts.planned_at)} ago; no vendor has them."
        return _given_up(_stuck(so_far, "not_bought", cause, again), mended, now)
    if so_far.since is None or now - so_far.since <= PATIENCE:
        return so_far
    cause = f"Stage {stage} is not done {_hours(now - so_far.since)} after the stage before it"
    if touched is None:
        cause += f": {dag} has not begun, or its run goes on."
        return _given_up(_stuck(so_far, "lost_event", cause, again), mended, now)
    if now - touched <= QUIET:
        return so_far
    cause += f", and has left nothing new for {_hours(now - touched)}."
    return _given_up(_stuck(so_far, "quiet", cause, again), mended, now)


def _again(so_far: Standing, facts: Facts, runs: Sequence[Run] | None) -> str:
    """The command that has the stage run: its own run cleared, where there is one."""
    has_begun = bool(runs)
    if runs is None:
        has_begun = facts.touched is not None or so_far.stage in facts.failures
    if has_begun or so_far.stage == STAGES[0]:
        return so_far.clear()
    return clear_command(so_far.campaign, STAGES[STAGES.index(so_far.stage) - 1], so_far.key)


def _stuck(so_far: Standing, kind: Kind, cause: str, command: str, **more: Any) -> Standing:
    fields = {"level": "stuck", "heading": STUCK_HEADING, **more}
    return replace(so_far, kind=kind, cause=cause, command=command, **fields)


def _active(so_far: Standing, facts: Facts, now: datetime, active: Sequence[Run]) -> Standing:
    if so_far.stage == "label" and facts.deadline is not None:
        return _vendor(so_far, facts.deadline, now)
    if facts.approval_usd is not None and all(run.waiting is None for run in active):
        return _approval(so_far, facts)
    if facts.turn is not None and facts.turn.at > now:
        return _turn(so_far, facts, facts.turn, now)
    began = min((run.began for run in active if run.began), default=None)
    if began is not None and facts.turn is not None:
        began = max(began, facts.turn.at)
    if began is None or now <= began + RUN_LIMIT:
        return replace(so_far, since=began or so_far.since)
    dag, run = so_far.dag, active[0]
    cause = f"{dag} is {run.state} since {began:%Y-%m-%d %H:%M} UTC."
    first = f"see which task waits and for what: {dag} in Airflow, run {run.run_id}"
    return _stuck(so_far, "hangs", cause, "", first=first, since=began)


def _turn(so_far: Standing, facts: Facts, turn: Turn, now: datetime) -> Standing:
    cause = turn.sentence(now)
    return replace(so_far, level="waits", kind="turn", cause=cause, since=facts.since)


def _vendor(so_far: Standing, deadline: datetime, now: datetime) -> Standing:
    until = f"{deadline:%Y-%m-%d %H:%M} UTC"
    if now <= deadline:
        cause = f"The vendor answers until {until}."
        return replace(so_far, level="waits", kind="vendor", cause=cause)
    if now <= deadline + QUIET:
        cause = f"The vendor's time ended at {until}; the answers are being collected."
        return replace(so_far, level="waits", kind="collecting", cause=cause)
    cause = f"The vendor's time ended at {until} and the answers are not collected."
    command = so_far.clear()
    return _stuck(so_far, "uncollected", cause, command, heading=DEADLINE_HEADING)


def _approval(so_far: Standing, facts: Facts) -> Standing:
    most = "" if facts.approval_usd is None else f" of up to about ${facts.approval_usd:,.2f}"
    cause, first = f"A person must approve the purchase{most}.", {"first": APPROVAL_CLICK}
    return _stuck(so_far, "approval", cause, "", level="waits", heading=APPROVAL_HEADING, **first)


def _over_month(so_far: Standing, over: OverMonth) -> Standing:
    command = so_far.clear()
    return _stuck(so_far, "over_budget", over.cause, command, first=f"{over.mend}, then")


def _gate(so_far: Standing, facts: Facts) -> Standing:
    cause = "; ".join(check.reason for check in facts.checks)
    command = so_far.clear()
    return _stuck(so_far, "gate", cause, command, heading=GATE_HEADING)


def _failed(so_far: Standing, facts: Facts, last: Run) -> Standing:
    """The last run failed: its own note says why, or the logs of its tasks."""
    note = facts.failures.get(so_far.stage)
    noted = note is not None and note.run_id == last.run_id
    if note is not None and noted and note.final:
        return _noted(so_far, note)
    cause = f"The last run of {last.dag} failed; its log says why."
    logged = next((task for task in last.failures or () if task.error), None)
    if logged is not None:
        cause = f"{logged.task}: {logged.error}"
    elif note is not None and noted:
        cause = f"The last run of {last.dag} failed: {note.message}"
    # A run that failed though none of its tasks did (it timed out, say) is cleared as a whole.
    some = last.failures is None or bool(last.failures) or noted
    command = so_far.clear(only_failed=some)
    return _stuck(so_far, "failed_run", cause, command, level="failed")


def _noted(so_far: Standing, note: Failure) -> Standing:
    cause = f"{note.message} (failed at {note.at})"
    command = so_far.clear(only_failed=True)
    first = "mend what the message says, then"
    return _stuck(so_far, "failed", cause, command, level="failed", first=first)


def _given_up(so_far: Standing, mended: Mended | None, now: datetime) -> Standing:
    """Nothing came of announcing the stage again, so nobody announces it any more."""
    if so_far.kind == "failed" or mended is None or mended.n < MOST_MENDS:
        return so_far
    if now - mended.at < PAUSES[-1]:
        return so_far
    return replace(
        so_far,
        kind="gave_up",
        level="failed" if so_far.level == "failed" else "stuck",
        cause=f"{so_far.cause.rstrip('.')}; announced again {mended.n} times",
        first=f"read the log of {so_far.dag} in Airflow, mend what it says, then",
        command=f"winnow reconcile --again {so_far.key} --campaign {so_far.campaign}",
    )


def _hours(time: timedelta) -> str:
    hours = round(time / timedelta(hours=1))
    if not hours:
        return f"{round(time / timedelta(minutes=1))} minutes"
    return f"{hours:,} hour{'' if hours == 1 else 's'}"
