"""What is found and mended, over any state of a lake and of Airflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.batch import STAGES
from winnow.operate.reconcile.findings import Finding, find
from winnow.operate.standing import GRACE, MOST_MENDS, Facts, Failure, Mended, Run, mend_name
from winnow.stages.turn import Turn

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TICK = timedelta(minutes=15)
DAY = "2026-11-24"


def ago(**since: float) -> datetime:
    return NOW - timedelta(**since)


def done_up_to(stage: str, at: datetime) -> dict[str, datetime]:
    """Every stage before `stage`, committed at a time."""
    return dict.fromkeys(STAGES[: STAGES.index(stage)], at)


def waits_for(stage: str, at: datetime = NOW - timedelta(hours=1)) -> Facts:
    return Facts("nightly", DAY, done_up_to(stage, at))


def run(stage: str, state: str, run_id: str = "r1", ended: datetime | None = None) -> Run:
    over = ended or (None if state in ("queued", "running") else ago(minutes=30))
    return Run("nightly", stage, DAY, run_id, state, ago(minutes=40), over)


def found(
    batch: Facts, *runs: Run, paused: Iterable[str] = (), mended: Mended | None = None
) -> list[Finding]:
    mends = {mend_name(batch.key, batch.stage or ""): mended} if mended else {}
    return find([batch], runs, paused, mends, NOW)


def kinds(findings: Sequence[Finding]) -> list[tuple[str, str | None]]:
    return [(finding.kind, finding.mend) for finding in findings]


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_whose_dag_never_ran_is_announced_again(stage: str) -> None:
    assert kinds(found(waits_for(stage))) == [("lost_event", "announce")]


def test_airflow_gets_a_while_to_start_what_follows() -> None:
    assert not found(waits_for("select", NOW - GRACE + timedelta(seconds=1)))
    assert not found(waits_for("select"), run("select", "failed", ended=ago(minutes=5)))


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_run_that_is_active_is_left_to_airflow(state: str) -> None:
    assert not found(waits_for("select"), run("select", state))


def test_a_run_of_another_batch_or_stage_is_no_run_of_this_one() -> None:
    others = [replace(run("select", "running"), key="2026-11-23"), run("expand", "success")]
    assert kinds(found(waits_for("select"), *others)) == [("lost_event", "announce")]


def test_a_batch_of_a_paused_dag_waits_and_nobody_is_alarmed() -> None:
    [finding] = found(waits_for("label"), paused=["label"])
    assert (finding.kind, finding.mend, finding.is_alarm) == ("paused", None, False)


def test_a_run_that_was_killed_is_started_again_and_one_that_needs_a_person_is_told() -> None:
    batch = waits_for("publish")
    assert kinds(found(batch, run("publish", "failed"))) == [("failed_run", "announce")]
    blocked = {"publish": Failure("r1", True, "Blocked: agreement 0.31", "2026-11-25T11:30")}
    [finding] = found(replace(batch, failures=blocked), run("publish", "failed"))
    assert (finding.kind, finding.is_alarm) == ("failed", True)
    assert "agreement 0.31" in finding.detail
    just_now = run("publish", "failed", ended=ago(minutes=1))
    assert kinds(found(replace(batch, failures=blocked), just_now)) == [("failed", None)]
    assert f"airflow dags clear nightly.publish_dataset --partition-key {DAY}" in finding.command


def test_a_note_of_an_earlier_run_does_not_speak_of_the_last_one() -> None:
    old = {"publish": Failure("r0", True, "Blocked: x", "")}
    findings = found(replace(waits_for("publish"), failures=old), run("publish", "failed"))
    assert kinds(findings) == [("failed_run", "announce")]


def test_the_last_run_decides() -> None:
    first, last = run("select", "success", "r1", ago(minutes=50)), run("select", "failed", "r2")
    [finding] = found(waits_for("select"), last, first)
    assert finding.kind == "failed_run"


def test_a_run_that_ended_well_and_left_no_manifest_is_started_again() -> None:
    assert kinds(found(waits_for("expand"), run("expand", "success"))) == [
        ("no_manifest", "announce")
    ]


def test_two_runs_at_once_are_told_with_their_names() -> None:
    [finding] = found(waits_for("expand"), run("expand", "running"), run("expand", "queued", "r2"))
    assert (finding.kind, finding.mend, finding.is_alarm) == ("twin_runs", None, True)
    assert "r1, r2" in finding.detail


def test_after_three_tries_a_person_is_told() -> None:
    assert MOST_MENDS == 3
    assert not found(waits_for("select"), mended=Mended(1, ago(minutes=29)))
    again = found(waits_for("select"), mended=Mended(1, ago(minutes=31)))
    assert kinds(again) == [("lost_event", "announce")]
    [finding] = found(waits_for("select"), mended=Mended(3, ago(hours=9)))
    assert (finding.kind, finding.is_alarm) == ("gave_up", True)
    assert f"winnow reconcile --again {DAY}" in finding.command


def test_a_batch_that_waits_for_its_turn_is_neither_announced_nor_told() -> None:
    end = NOW + timedelta(days=3)
    waits = replace(waits_for("select", ago(days=9)), turn=Turn(end, {"2026-11-23": end}))
    long_ago = Run("nightly", "select", DAY, "r1", "running", ago(days=9))
    assert not found(waits) and not found(waits, long_ago)
    come = replace(waits, turn=Turn(ago(hours=1), {}))
    assert kinds(found(come)) == [("lost_event", "announce")]
    assert not found(come, long_ago)


def test_what_is_over_is_left_alone() -> None:
    everything = Facts("nightly", DAY, dict.fromkeys(STAGES, ago(hours=1)))
    over = replace(waits_for("select"), ended=True)
    assert not find([everything, over], [], (), {}, NOW)


def test_a_batch_that_took_files_and_has_no_manifest_is_committed_in_the_lake() -> None:
    assert kinds(found(Facts("nightly", DAY, {}))) == [("taken_not_begun", "commit_ingest")]
    assert not found(Facts("nightly", DAY, {}), run("ingest", "running"))


def test_a_night_that_failed_before_it_took_a_file_is_told_until_it_went_through() -> None:
    [finding] = find([], [run("ingest", "failed")], (), {}, NOW)
    assert (finding.kind, finding.is_alarm) == ("night_failed", True)
    assert f"winnow backfill --campaign nightly --from {DAY} --to {DAY} --failed" in finding.command
    assert not find([], [run("ingest", "failed"), run("ingest", "success", "r2")], (), {}, NOW)
    assert not find([], [run("ingest", "failed")], (), {}, NOW, through={DAY})


def test_a_run_that_hangs_is_told_and_one_that_waits_for_labels_is_not() -> None:
    began = Run("nightly", "expand", DAY, "r1", "queued", ago(hours=25))
    [finding] = found(waits_for("expand", ago(hours=30)), began)
    assert (finding.kind, finding.is_alarm) == ("stuck", True)
    waiting = Run("nightly", "label", DAY, "r1", "running", ago(days=5))
    batch = replace(waits_for("label", ago(days=6)), deadline=NOW + timedelta(days=1))
    assert not found(batch, waiting)
    late = replace(batch, deadline=ago(hours=7))
    for run in (waiting, replace(waiting, began=None)):
        assert kinds(found(late, run)) == [("stuck", None)]


times = st.integers(0, 60 * 48).map(lambda minutes: ago(minutes=minutes))
keys = st.sampled_from(["2026-11-21", "2026-11-22", "2026-11-23"])


@st.composite
def batches(draw: st.DrawFn) -> list[Facts]:
    found = []
    for key in sorted(draw(st.sets(keys))):
        n_done = draw(st.integers(0, len(STAGES)))
        stages = STAGES[:n_done]
        failure = Failure("r1", draw(st.booleans()), "Fatal: x", "then")
        failures = {STAGES[n_done]: failure} if n_done < len(STAGES) else {}
        done = {stage: draw(times) for stage in stages}
        deadline = draw(st.none() | times)
        found.append(Facts("nightly", key, done, draw(st.booleans()), failures, deadline))
    return found


@st.composite
def any_runs(draw: st.DrawFn) -> list[Run]:
    def one(number: int) -> Run:
        state = draw(st.sampled_from(["queued", "running", "success", "failed"]))
        over = draw(times) if state in ("success", "failed") else None
        stage = draw(st.sampled_from(STAGES))
        return Run("nightly", stage, draw(keys), f"r{number}", state, draw(st.none() | times), over)

    return [one(number) for number in range(draw(st.integers(0, 8)))]


def after(mends: dict[str, Mended], findings: Iterable[Finding], now: datetime) -> dict:
    """What is remembered when the findings' mends are done."""
    changed = dict(mends)
    for finding in findings:
        if finding.mend == "announce":
            name = mend_name(finding.key, finding.stage)
            changed[name] = Mended(changed[name].n + 1 if name in changed else 1, now)
    return changed


@given(batches(), any_runs(), st.sets(st.sampled_from(STAGES)), st.randoms())
def test_a_second_pass_finds_no_more_to_mend_and_nobody_else_to_tell(
    state: list[Facts], runs: list[Run], paused: set[str], random
) -> None:
    first = find(state, runs, paused, {}, NOW)
    random.shuffle(runs)
    second = find(state, runs, paused, after({}, first, NOW), NOW)
    assert not [f for f in second if f.mend == "announce"]
    told = [{f.name for f in findings if f.is_alarm} for findings in (first, second)]
    assert told[0] == told[1]


@given(batches(), any_runs(), st.sets(st.sampled_from(STAGES)))
def test_nothing_is_announced_that_runs_or_is_paused_or_is_over(
    state: list[Facts], runs: list[Run], paused: set[str]
) -> None:
    stages = {batch.key: batch.stage for batch in state}
    active = {(r.key, r.stage) for r in runs if r.state in ("queued", "running")}
    for finding in find(state, runs, paused, {}, NOW):
        if finding.mend == "announce":
            assert finding.stage == stages[finding.key]
            assert (finding.key, finding.stage) not in active
            assert finding.stage not in paused
        assert "\n" not in finding.detail


@dataclass
class World:
    """Airflow and a lake that do what `fates` say: a run ends so, or an event is lost."""

    fates: list[str]
    batch: Facts
    now: datetime = NOW
    runs: list[Run] = field(default_factory=list)
    announced: Counter[str] = field(default_factory=Counter)

    def announce(self, stage: str) -> None:
        """Airflow hears that the stage before `stage` is done."""
        fate = self.fates.pop() if self.fates else "success"
        run_id = f"r{len(self.runs)}"
        if fate == "lost":
            return
        state = "success" if fate in ("success", "no manifest") else "failed"
        self.runs.append(Run("nightly", stage, DAY, run_id, state, self.now, self.now))
        if fate == "final":
            told = Failure(run_id, True, "Blocked: no", "then")
            self.batch = replace(self.batch, failures={stage: told})
        if fate == "success":
            self.batch = replace(self.batch, done={**self.batch.done, stage: self.now})
            if self.batch.stage is not None:
                self.announce(self.batch.stage)

    def reconcile(self, mends: dict[str, Mended]) -> tuple[dict[str, Mended], list[Finding]]:
        self.now += TICK
        findings = find([self.batch], self.runs, (), mends, self.now)
        for finding in findings:
            if finding.mend == "announce":
                self.announced[finding.stage] += 1
                self.announce(finding.stage)
        return after(mends, findings, self.now), findings


FATES = ["success", "success", "lost", "killed", "no manifest", "final"]


@given(st.lists(st.sampled_from(FATES), max_size=20), st.sampled_from(STAGES[1:]))
def test_every_batch_gets_through_or_a_person_is_told(fates: list[str], stage: str) -> None:
    world = World(fates, Facts("nightly", DAY, done_up_to(stage, NOW)))
    mends: dict[str, Mended] = {}
    findings: list[Finding] = []
    for _ in range(4 * 12 * len(STAGES)):
        mends, findings = world.reconcile(mends)
    assert all(n <= MOST_MENDS for n in world.announced.values())
    if world.batch.stage is None:
        assert findings == []
    else:
        assert [finding.is_alarm for finding in findings] == [True]


def test_where_mending_works_nothing_is_left_to_find() -> None:
    world = World(["lost"] * 0, Facts("nightly", DAY, done_up_to("expand", NOW)))
    mends, _ = world.reconcile({})
    assert world.batch.stage is None
    assert world.reconcile(mends)[1] == []
