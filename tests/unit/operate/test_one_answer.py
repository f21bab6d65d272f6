"""The same batch through `status`, the pages, `reconcile` and the alarms: one answer.

Each state lies in a real lake and is read by each of them in its own way.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import STAGES, Batch
from winnow.console import batch as batch_page
from winnow.console import batches, clues
from winnow.console.memory import Memory
from winnow.console.shell import Site
from winnow.console.stages import stages_of
from winnow.errors import Blocked, Fatal, Retryable
from winnow.ingest.ledger import Dropped, mark, read_ledger
from winnow.label.aggregation.votes import COMPARISON
from winnow.label.tasks import Task
from winnow.lake import FolderLake
from winnow.operate import alarms
from winnow.operate.facts import facts_of
from winnow.operate.failures import note_failure
from winnow.operate.memory import read_memory, write_memory
from winnow.operate.reconcile.once import Airflow, Report, alarm_of, reconcile
from winnow.operate.standing import FailedTask, Mended, Run, Standing, mend_name, standing_of
from winnow.progress import Progress, progress_of
from winnow.stages import label
from winnow.stages.label.plans import freeze_plan
from winnow.stages.tasks import Done
from winnow.validate.verdict import Check, Verdict

from ...console_world import BLOCKING, World, campaign, day
from ...label_rows import drafted

KEY = day(0)
MADE = datetime.fromisoformat(KEY).replace(tzinfo=UTC) + timedelta(hours=25)
"""When the last stage that is done was committed."""
PLAIN = {"second_vote_share": 0.0, "repeat_share": 0.0, "third_votes": False, "gold_share": 0.0}
LIMITS: Mapping[str, Mapping[str, Any]] = {
    "": {"budget_usd": 30.0},
    "dear": {"budget_usd": 10.0, "approve_above_usd": 0.1, **PLAIN},
    "over": {"budget_usd": 0.2, **PLAIN},
}
VERDICTS: Mapping[str, Sequence[Check]] = {
    "pass": (),
    "block": (BLOCKING,),
    "error": (BLOCKING, Check("alpha", "block", "error", None, "")),
}


def at(hours: float) -> datetime:
    return MADE + timedelta(hours=hours)


def ran(stage: str, state: str, began: float = 0.0, ended: float | None = None, **more: Any) -> Run:
    over = None if ended is None else at(ended)
    return Run("nightly", stage, KEY, "r1", state, at(began), over, **more)


def clear(stage: str, *, only_failed: bool = False) -> str:
    """The command, written out: a change of it is seen."""
    dags = dict(
        zip(
            STAGES,
            ("ingest_prompts", "expand_pools", "select_pairs", "label_pairs", "publish_dataset"),
            strict=True,
        )
    )
    return (
        f"airflow dags clear nightly.{dags[stage]} --partition-key {KEY}"
        f"{' --only-failed' if only_failed else ''} -y"
    )


@dataclass(frozen=True)
class State:
    """A batch, hours after a stage was done, and what is to be said of it.

    `left` says what the next stage has left, `touched` hours after the commit; `noted` is the error
    that its last task noted, at `noted_at`; `mends` how often it was announced again, at 3 hours.
    """

    name: str
    done: str
    hours: float
    level: str
    kind: str
    command: str = ""
    left: str = ""
    touched: float = 0.0
    runs: Sequence[Run] | None = None
    paused: tuple[str, ...] = ()
    noted: Exception | None = None
    noted_at: float = 0.1
    mends: int = 0
    limits: str = ""
    told: str | None = None
    """Under which name reconcile tells a person; None: it does not."""
    announced: str | None = field(default=None)


AGAIN = f"winnow reconcile --again {KEY} --campaign nightly"
FAILED = (FailedTask("t", "Fatal: no credential"),)
# fmt: off
STATES = [
    # No Airflow to ask.
    State("fresh", "expand", 0.9, "goes_on", "goes_on"),
    State("two hours after expand", "expand", 2, "stuck", "lost_event", clear("expand")),
    State("seven hours after expand", "expand", 7, "stuck", "lost_event", clear("expand")),
    State("a year after ingest", "ingest", 8760, "stuck", "lost_event", clear("ingest")),
    State("no purchase was planned", "select", 2, "stuck", "lost_event", clear("select")),
    State("no verdict", "label", 2, "stuck", "lost_event", clear("label")),
    State("shards come", "ingest", 5, "goes_on", "goes_on", left="shard", touched=4),
    State("shards come no more", "ingest", 12, "stuck", "quiet", clear("expand"), left="shard"),
    State("planned just now", "select", 0.9, "goes_on", "goes_on", left="plan"),
    State("not bought", "select", 2, "stuck", "not_bought", clear("label"), left="plan"),
    State("dear", "select", 2, "waits", "approval", left="plan", limits="dear"),
    State("over the budget", "select", 2, "stuck", "over_budget", clear("label"), left="plan",
          limits="over"),
    State("with the vendor", "select", 20, "waits", "vendor", left="bought"),
    State("one hour past the deadline", "select", 25, "waits", "collecting", left="bought"),
    State("six hours past it", "select", 30, "waits", "collecting", left="bought"),
    State("seven hours past it", "select", 31, "stuck", "uncollected", clear("label"),
          left="bought"),
    State("verdict passed", "label", 2, "goes_on", "goes_on", left="pass"),
    State("verdict passed long ago", "label", 9, "stuck", "quiet", clear("publish"), left="pass"),
    State("gate blocked", "label", 0.5, "stuck", "gate", clear("publish"), left="block"),
    State("two checks", "label", 2, "stuck", "gate", clear("publish"), left="error"),
    State("noted failure", "expand", 0.5, "failed", "failed", clear("select", only_failed=True),
          noted=Fatal("no model")),
    State("noted failure, then it went on", "ingest", 5, "goes_on", "goes_on", left="shard",
          touched=4, noted=Fatal("no model")),
    State("noted failure, announced since", "expand", 4, "stuck", "lost_event", clear("select"),
          noted=Fatal("no model"), mends=1),
    State("failure that may pass", "expand", 0.5, "goes_on", "goes_on", noted=Retryable("busy")),
    State("failure that may pass, long ago", "expand", 2, "stuck", "lost_event", clear("select"),
          noted=Retryable("busy")),
    State("announced twice", "expand", 20, "stuck", "lost_event", clear("expand"), mends=2),
    State("announced three times", "expand", 12, "stuck", "gave_up", AGAIN, mends=3),
    State("the third time just now", "expand", 9, "stuck", "lost_event", clear("expand"), mends=3),
    State("waits for its turn", "expand", 30, "waits", "turn", left="turn"),
    State("its turn has come", "expand", 9 * 24, "stuck", "lost_event", clear("expand"),
          left="turn"),
    State("waits, and failed", "expand", 30, "failed", "failed",
          clear("select", only_failed=True), left="turn", noted=Fatal("no model")),
    State("taken", "", 2, "stuck", "taken_not_begun", clear("ingest")),
    State("published", "publish", 900, "done", "done"),
    State("ended", "end", 900, "ended", "ended",
          f"winnow quarantine --batch {KEY} --campaign nightly"),
    State("dropped", "select", 900, "dropped", "dropped", left="dropped"),
    State("damaged", "select", 900, "damaged", "damaged",
          f'winnow drop {KEY} --campaign nightly --reason "..."', left="damaged",
          told="unreadable"),
    # Airflow was asked.
    State("no run yet", "expand", 0.1, "goes_on", "goes_on", runs=()),
    State("no run, 20 minutes", "expand", 0.34, "waits", "lost_event", clear("expand"), runs=(),
          announced="expand"),
    State("no run, two hours", "expand", 2, "stuck", "lost_event", clear("expand"), runs=(),
          announced="expand"),
    State("no run, seven hours", "expand", 7, "stuck", "lost_event", clear("expand"), runs=(),
          announced="expand"),
    State("no run, given up", "expand", 12, "stuck", "gave_up", AGAIN, runs=(), mends=3,
          told="gave_up"),
    State("no run of label", "select", 2, "stuck", "lost_event", clear("select"), runs=(),
          announced="select"),
    State("a run of another stage", "expand", 2, "stuck", "lost_event", clear("expand"),
          runs=(ran("expand", "success", -1, -0.1),), announced="expand"),
    State("taken, and no run", "", 2, "stuck", "taken_not_begun", "winnow reconcile", runs=()),
    State("running", "expand", 7, "goes_on", "goes_on", runs=(ran("select", "running"),)),
    State("queued", "ingest", 7, "goes_on", "goes_on", runs=(ran("expand", "queued"),)),
    State("it hangs", "ingest", 25, "stuck", "hangs", runs=(ran("expand", "running"),),
          told="stuck"),
    State("running, then failing", "expand", 2, "goes_on", "goes_on", noted=Retryable("busy"),
          runs=(ran("select", "running"),)),
    State("failed by a person's fault", "expand", 2, "failed", "failed",
          clear("select", only_failed=True), noted=Fatal("no model"),
          runs=(ran("select", "failed", 0, 0.1),), told="failed"),
    State("failed, and may pass", "expand", 2, "failed", "failed_run",
          clear("select", only_failed=True), noted=Retryable("busy"),
          runs=(ran("select", "failed", 0, 0.1),), announced="expand"),
    State("failed without a word", "expand", 2, "failed", "failed_run",
          clear("select", only_failed=True), runs=(ran("select", "failed", 0, 0.1),),
          announced="expand"),
    State("failed, its tasks known", "expand", 2, "failed", "failed_run",
          clear("select", only_failed=True), announced="expand",
          runs=(ran("select", "failed", 0, 0.1, failures=FAILED, waiting=()),)),
    State("failed, no task did", "expand", 2, "failed", "failed_run", clear("select"),
          announced="expand", runs=(ran("select", "failed", 0, 0.1, failures=(), waiting=()),)),
    State("failed three times", "expand", 12, "failed", "gave_up", AGAIN, mends=3, told="gave_up",
          runs=(ran("select", "failed", 0, 0.1),)),
    State("done without a manifest", "expand", 2, "stuck", "no_manifest", clear("select"),
          runs=(ran("select", "success", 0, 0.1),), announced="expand"),
    State("paused", "expand", 2, "waits", "paused", "airflow dags unpause nightly.select_pairs",
          runs=(), paused=("select",)),
    State("asks", "select", 2, "waits", "approval", left="plan", limits="dear",
          runs=(ran("label", "running", waiting=("approve_purchase",), failures=()),)),
    State("may ask", "select", 30, "waits", "approval", left="plan", limits="dear",
          runs=(ran("label", "running"),)),
    State("rejected", "select", 2, "failed", "failed", clear("label", only_failed=True),
          left="plan", limits="dear", noted=Blocked("Rejected by Ada"),
          runs=(ran("label", "failed", 0, 0.1),), told="failed"),
    State("over the budget, blocked", "select", 2, "failed", "failed",
          clear("label", only_failed=True), left="plan", limits="over", noted=Blocked("budget"),
          runs=(ran("label", "failed", 0, 0.1),), told="failed"),
    State("vendor, running", "select", 20, "waits", "vendor", left="bought",
          runs=(ran("label", "running"),)),
    State("vendor, running, late", "select", 26, "waits", "collecting", left="bought",
          runs=(ran("label", "running"),)),
    State("vendor, running, very late", "select", 31, "stuck", "uncollected", clear("label"),
          left="bought", runs=(ran("label", "running"),), told="stuck"),
    State("vendor, and no run", "select", 20, "stuck", "lost_event", clear("select"),
          left="bought", runs=(), announced="select"),
    State("vendor, run failed", "select", 20, "failed", "failed_run",
          clear("label", only_failed=True), left="bought",
          runs=(ran("label", "failed", 0, 0.1),), announced="select"),
    State("gate blocked, run failed", "label", 2, "stuck", "gate", clear("publish"), left="block",
          noted=Blocked("agreement"), runs=(ran("publish", "failed", 0, 0.1),), told="failed"),
    State("gate blocked, judged again", "label", 2, "goes_on", "goes_on", left="block",
          runs=(ran("publish", "running"),)),
    State("another campaign's run", "select", 2, "stuck", "lost_event", clear("select"),
          runs=(ran("label", "failed", -9, -8),), announced="select"),
    State("published, Airflow asked", "publish", 2, "done", "done",
          runs=(ran("publish", "success"),)),
]
# fmt: on


def made(world: World, state: State) -> None:
    """Bring the lake into the state."""
    if state.done == "end":
        world.end(KEY)
        return
    if not state.done:
        world.take(world.batch(KEY))
        return
    if state.left == "turn":
        world.submit(world.make(day(1), "select"), at(9999))
    batch = world.make(KEY, state.done)
    folder = world.lake.root / batch.folder
    if state.left == "shard":
        world.lake.create(f"{batch.folder}/expand/shards/0/shard.json", b"{}")
    if state.left in ("plan", "bought"):
        _plan(batch)
    if state.left == "bought":
        world.submit(batch, at(24))
    if state.left in VERDICTS:
        world.judge(batch, *VERDICTS[state.left])
    for path in (folder / _next(state)).rglob("*"):
        os.utime(path, (at(state.touched).timestamp(),) * 2)
    if state.left == "dropped":
        note, name = Dropped("Ada", at(1).isoformat(), "a wrong file"), world.campaign.name
        assert mark(world.lake, name, read_ledger(world.lake, name), KEY, note)
    if state.left == "damaged":
        (folder / "expand" / "manifest.json").write_bytes(b"half a manif")
    if state.noted is not None:
        name, when = world.campaign.name, at(state.noted_at)
        note_failure(world.lake, name, KEY, _next(state), "r1", state.noted, when)


def _next(state: State) -> str:
    """The stage after the last one that is done."""
    return (*STAGES, "none")[STAGES.index(state.done) + 1]


def _plan(batch: Batch) -> None:
    """Six tasks of ten cents."""
    tasks = [
        Task(f"t{n}", f"p{n}", COMPARISON, 0, None, "a", "b", False, "r", 0, "v", 100_000)
        for n in range(6)
    ]
    freeze_plan(batch, 0, lambda _: drafted(tasks))


@pytest.fixture(scope="module", params=STATES, ids=lambda state: state.name)
def state(request: pytest.FixtureRequest) -> State:
    found: State = request.param
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, state: State) -> World:
    lake = FolderLake(tmp_path_factory.mktemp("state") / "lake")
    select = {"wait_for": "last_batch"} if state.left == "turn" else {}
    found = World(lake, campaign(label=LIMITS[state.limits], select=select))
    made(found, state)
    if state.mends:
        memory, tag = read_memory(found.lake, found.campaign.name)
        mends = {mend_name(KEY, _next(state)): Mended(state.mends, at(3))}
        assert write_memory(found.lake, found.campaign.name, replace(memory, mends=mends), tag)
    return found


def page_text(world: World, state: State) -> tuple[str, str]:
    """What the two pages say is stuck, as a reader sees it."""

    def runs(keys: Sequence[str]) -> Mapping[str, Sequence[Run]]:
        return {KEY: [*(state.runs or ())]}

    site = Site(at(state.hours), Memory(), paused=lambda: state.paused)
    if state.runs is not None:
        site = replace(site, runs=runs)
    all_of_them = batches.page(world.lake, world.campaign, {}, site).body
    one = batch_page.page(world.lake, world.campaign, {"key": KEY}, site).body
    stuck = re.search(r"<h2>What is stuck</h2>(.*?)</section>", all_of_them, re.S)
    assert stuck is not None
    boxes = "".join(re.findall(r'<div class="notice.*?</div>', one, re.S))
    return _text(stuck[1]), _text(boxes)


def _text(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def passed(world: World, state: State, folder: Path) -> Report:
    """A pass over a copy: it mends what it can."""
    airflow = None if state.runs is None else Airflow(state.runs, frozenset(state.paused))
    shutil.copytree(world.lake.root, folder)
    return reconcile(FolderLake(folder), world.campaign, airflow, at(state.hours))


def expected(world: World, state: State) -> Standing:
    """Where the batch stands, as the facts that status and reconcile read say."""
    mended = Mended(state.mends, at(3)) if state.mends else None
    facts = facts_of(world.lake, world.campaign, KEY)
    return standing_of(facts, at(state.hours), state.runs, state.paused, mended)


def test_there_are_many_states_and_each_cause_is_among_them() -> None:
    assert len(STATES) >= 60
    assert len({state.name for state in STATES}) == len(STATES)
    assert len({state.kind for state in STATES}) == 22


def test_status_says_where_it_stands(world: World, state: State) -> None:
    mends = read_memory(world.lake, world.campaign.name)[0].mends
    found = progress_of(world.lake, world.campaign, KEY, at(state.hours), mends=mends)
    if state.runs is not None:
        # It asks no Airflow; what it would say if it had.
        found = Progress(KEY, found.stages, expected(world, state))
    standing = found.standing
    assert (standing.level, standing.kind, standing.command) == (
        state.level,
        state.kind,
        state.command,
    )
    lines = "\n".join(found.lines())
    trouble = found.as_dict()["trouble"]
    if state.level in ("goes_on", "done"):
        assert trouble is None and "Do:" not in lines
    else:
        assert f"{state.level:<8} {standing.cause}" in lines
        assert f"Do: {standing.mend}" in lines or not standing.mend
        assert state.command in trouble["mend"] and trouble["cause"] == standing.cause


def test_the_pages_read_the_same_facts(world: World, state: State) -> None:
    if state.left in ("damaged", "dropped"):
        return
    memory = Memory()
    stages = stages_of(world.lake, world.campaign.name, [KEY], memory)[KEY]
    found, _ = clues.facts_of(world.lake, world.campaign, stages, memory)
    of_lake = facts_of(world.lake, world.campaign, KEY)
    if state.left == "bought":
        of_lake = replace(of_lake, planned_at=found.planned_at)
    assert found == of_lake


def test_the_pages_say_where_it_stands(world: World, state: State) -> None:
    is_told = state.level in ("stuck", "failed", "damaged") or state.kind in ("approval", "paused")
    for said in page_text(world, state):
        if state.level == "dropped":
            continue
        assert bool(said and said != "Nothing is.") == is_told
        if not is_told:
            continue
        assert state.command in said
        others = re.findall(
            r"airflow dags [a-z]+ [a-z_.]+ .*? -y|winnow reconcile (?:--\S+ \S+ ?)+", said
        )
        assert set(others) <= {state.command}
        if state.left == "damaged":
            continue
        standing = expected(world, state)
        if state.kind == "gate":
            assert "agreement, high end of its interval, is 0.310, the limit >= 0.45" in said
        elif "no credential" not in standing.cause and state.name != "failed, no task did":
            assert standing.cause in said


def test_the_pages_say_what_a_batch_waits_for(world: World, state: State) -> None:
    site = Site(at(state.hours), Memory())
    for page in (
        batches.page(world.lake, world.campaign, {}, site),
        batch_page.page(world.lake, world.campaign, {"key": KEY}, site),
    ):
        waits = f"for the labels of {day(1)} before it chooses, until"
        assert (waits in _text(page.body)) == (state.kind == "turn")


def test_the_alarms_of_tasks_say_it_too(world: World, state: State) -> None:
    if state.kind not in ("gate", "approval", "failed"):
        return
    name, lake, standing = world.campaign.name, world.lake, expected(world, state)
    told: list[alarms.Alarm | None] = []
    if state.kind == "gate":
        told = [alarms.gate(name, KEY, Verdict("block", VERDICTS[state.left]))]
        assert told[0] is not None and "agreement_high = 0.31 (limit >= 0.45)" in standing.cause
    elif state.kind == "approval":
        planned = Done("plan_tasks", KEY, world.campaign, lake, label.plan(world.batch(KEY)))
        told = list(alarms.found(planned))
        assert state.runs or standing.cause in [alarm.cause for alarm in told if alarm]
    elif state.kind == "failed":
        stage, error = standing.stage, state.noted
        task = next(task for task, of in alarms.STAGE_OF.items() if of == stage)
        told = [alarms.failure_of(name, KEY, "dag", task, error)]
        assert str(error) in standing.cause
    mends = [alarm.mend for alarm in told if alarm]
    assert not told or any((state.command or standing.mend) in mend for mend in mends)


def test_reconcile_and_its_alarms_say_where_it_stands(
    world: World, state: State, tmp_path: Path
) -> None:
    report = passed(world, state, tmp_path / "copy")
    told = [finding for finding in report.findings if finding.is_alarm]
    assert [finding.kind for finding in told] == ([state.told] if state.told else [])
    before = {state.announced: [KEY]} if state.announced else {}
    assert report.announce == before
    for finding in report.findings:
        if finding.mend == "commit_ingest" or state.left == "damaged":
            continue
        standing = expected(world, state)
        assert finding.detail == standing.cause
        if finding.is_alarm:
            assert finding.command == standing.mend and state.command in finding.command
        alarm = alarm_of(world.campaign.name, finding, at(state.hours))
        if alarm is not None and finding.is_alarm:
            assert (alarm.cause, alarm.mend) == (standing.cause, standing.mend)
