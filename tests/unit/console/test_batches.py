"""The page of all batches: what it says of each state, what is stuck, filters and paging."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from winnow.console import batches
from winnow.console.memory import Memory
from winnow.console.shell import Site
from winnow.lake import FolderLake
from winnow.operate.standing import FailedTask as Failure
from winnow.operate.standing import Run
from winnow.validate.verdict import Check

from ...console_world import BLOCKING, World, campaign, day
from .conftest import NOW

KEY = day(0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(FolderLake(tmp_path / "lake"))


def shown(world: World, site: Site, **query: str) -> str:
    return batches.page(world.lake, world.campaign, query, site).body


def text(markup: str) -> str:
    """What a reader sees, on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


def keys_in(markup: str) -> list[str]:
    """Batches of the table, in order."""
    table = markup[markup.index('aria-label="Batches"') :]
    return re.findall(r'<th scope="row"><a href="batch\?key=([^"]+)"', table)


def ran(state: str, stage: str = "publish", **told: Any) -> Run:
    tasks = {"failures": (), "waiting": (), **told}
    return Run("nightly", stage, KEY, "run/1", state, NOW - timedelta(minutes=5), None, **tasks)


def with_runs(site: Site, *runs: Run) -> Site:
    return replace(site, runs=lambda keys: {KEY: runs}, ui="../")


def test_a_campaign_without_batches_says_when_there_will_be_one(world: World, site: Site) -> None:
    assert "has no batch yet" in shown(world, site)


def test_a_batch_that_is_done_shows_each_stage_with_counts_age_and_cost(world, site) -> None:
    world.make(KEY)
    seen = text(shown(world, site))
    for said in (
        "6 prompts",
        "1 in quarantine",
        "24 responses",
        "6 pairs",
        "8 annotations",
        "v000001",
    ):
        assert said in seen
    assert "$0.80" in seen
    assert "11 hours ago" in seen


def test_the_newest_batch_comes_first_and_a_second_look_reads_no_manifest(tmp_path, site) -> None:
    class Counted(FolderLake):
        reads: ClassVar[list[str]] = []

        def read(self, path: str) -> bytes:
            self.reads.append(path)
            return super().read(path)

        def listing(self, folder: str) -> Any:
            self.reads.append(folder)
            return super().listing(folder)

    lake = Counted(tmp_path)
    world = World(lake)
    for number in (2, 1, 0):
        world.make(day(number))
    lake.reads.clear()
    assert keys_in(shown(world, site)) == [day(0), day(1), day(2)]
    assert len(lake.reads) == 1 + 3 * 5, "the ledger, and each manifest once"
    lake.reads.clear()
    shown(world, site)
    assert lake.reads == []


def test_a_blocked_gate_names_check_value_limit_setting_and_command(world, site) -> None:
    warning = Check("tie_rate_low", "warn", "fail", 0.7, "<= 0.5")
    world.judge(world.make(KEY, "label"), BLOCKING, warning)
    seen = text(shown(world, site))
    assert "The gate blocks the labels" in seen
    assert "agreement, high end of its interval, is 0.310, the limit &gt;= 0.45" in seen
    assert "tie rate" not in seen
    assert "validation.min_agreement_block" in seen
    assert f"airflow dags clear nightly.publish_dataset --partition-key {KEY} -y" in seen
    assert keys_in(shown(world, site, state="blocked")) == [KEY]


def test_a_verdict_that_was_judged_again_counts_and_not_the_one_before(world, site) -> None:
    batch = world.make(KEY, "label")
    first = world.judge(batch, BLOCKING)
    path = world.lake.root / first.path
    old = path.stat().st_mtime - 100
    os.utime(path, (old, old))
    world.judge(batch)
    assert "Nothing is." in shown(world, site)
    assert "verdict: pass" in text(shown(world, site))


def test_rows_that_break_a_rule_without_a_limit_are_told_otherwise(world, site) -> None:
    rule = Check("unknown pair", "block", "fail", 3, "no row")
    world.judge(world.make(KEY, "label"), rule)
    assert "Rows break a rule that has no limit" in text(shown(world, site))
    world.judge(world.make(day(1), "label"), Check("alpha", "warn", "error", None, ""))
    assert "A check could not be made" in text(shown(world, Site(NOW, Memory())))


def test_a_purchase_over_the_budget_names_both(tmp_path: Path, site: Site) -> None:
    world = World(FolderLake(tmp_path), campaign(label={"budget_usd": 0.2}))
    world.plan(world.make(KEY, "select"))
    seen = text(shown(world, site))
    assert "The labels cost more than the budget" in seen
    assert "the budget of a batch is $0.20" in seen
    assert "label.budget_usd" in seen
    raised = World(world.lake, campaign(label={"budget_usd": 10}))
    assert "more than the budget" not in shown(raised, Site(NOW, Memory()))


def test_a_guess_at_the_price_hides_no_error(tmp_path: Path, site: Site) -> None:
    world = World(FolderLake(tmp_path), campaign(label={"budget_usd": 0.2}))
    world.plan(world.make(KEY, "select"))
    failed = ran("failed", "label", failures=(Failure("submit_tasks", "Fatal: no credential"),))
    body = shown(world, with_runs(site, failed))
    assert "Fatal: no credential" in body
    assert "more than the budget" not in body


def test_votes_that_are_taken_over_cost_no_budget(tmp_path: Path, site: Site) -> None:
    asked = campaign(label={"budget_usd": 0.2}, pools_from="weekly", ingest={})
    world = World(FolderLake(tmp_path), asked)
    world.plan(world.make(KEY, "select"))
    assert "more than the budget" not in shown(world, site)
    assert keys_in(shown(world, site, state="running")) == [KEY]


def test_an_approval_is_asked_for_where_it_is_answered(tmp_path: Path, site: Site) -> None:
    asked = campaign(label={"budget_usd": 10, "approve_above_usd": 0.1})
    world = World(FolderLake(tmp_path), asked)
    world.plan(world.make(KEY, "select"))
    body = shown(world, replace(site, ui="../"))
    assert "waits for a person&#39;s yes" in body
    assert 'href="../required_actions" data-airflow' in body
    assert keys_in(shown(world, site, state="waiting")) == [KEY]


def test_of_an_approval_airflow_knows_more_than_an_estimate(tmp_path: Path, site: Site) -> None:
    asked = campaign(label={"budget_usd": 10, "approve_above_usd": 0.1})
    world = World(FolderLake(tmp_path), asked)
    world.plan(world.make(KEY, "select"))
    assert "Nothing is." in shown(world, with_runs(site, ran("running", "label")))
    waits = ran("running", "label", waiting=("approve_purchase",))
    assert "waits for a person&#39;s yes" in shown(world, with_runs(site, waits))
    rejected = Failure("approve_purchase", "Blocked: Rejected by Ada")
    body = shown(world, with_runs(site, ran("failed", "label", failures=(rejected,))))
    assert "Rejected by Ada" in body
    assert "person&#39;s yes" not in body


def test_labels_with_the_vendor_wait_until_the_deadline_and_then_are_told(world, site) -> None:
    world.submit(world.make(KEY, "select"), NOW + timedelta(days=1))
    assert "Nothing is." in shown(world, site)
    assert "with the vendor" in shown(world, site)
    late = Site(NOW + timedelta(days=2), Memory())
    assert "The deadline passed 1 day ago." in shown(world, late)


def test_the_last_round_that_was_bought_says_until_when_to_wait(world, site) -> None:
    batch = world.make(KEY, "select")
    world.submit(batch, NOW + timedelta(days=1))
    world.submit(batch, NOW + timedelta(days=3), 1)
    late = Site(NOW + timedelta(days=2), Memory())
    assert "Nothing is." in shown(world, late)
    later = Site(NOW + timedelta(days=4), Memory())
    assert "The deadline passed 1 day ago." in shown(world, later)


def test_a_plan_that_nobody_bought_and_a_stage_that_nobody_took_up_are_late(world, site) -> None:
    world.plan(world.make(day(0), "select"))
    world.make(day(1), "expand")
    late = Site(NOW + timedelta(days=30), Memory())
    seen = text(shown(world, late))
    assert "Nothing was bought yet" in seen
    assert "select_pairs has not begun" in seen
    assert f"airflow dags clear nightly.expand_pools --partition-key {day(1)} -y" in seen


def test_a_failed_run_tells_its_task_and_error_and_links_to_it(world, site) -> None:
    world.make(KEY, "label")
    failed = ran("failed", failures=(Failure("publish_version", "Corrupt: <b>row</b> 3"),))
    body = shown(world, with_runs(site, failed))
    assert "publish_version: Corrupt: &lt;b&gt;row&lt;/b&gt; 3" in body
    assert 'href="../dags/nightly.publish_dataset/runs/run%2F1"' in body
    assert "publish_dataset failed" in body
    assert keys_in(shown(world, with_runs(site, failed), state="blocked")) == [KEY]


def test_a_run_that_goes_on_is_no_trouble_even_where_the_last_verdict_blocked(world, site) -> None:
    world.judge(world.make(KEY, "label"), BLOCKING)
    body = shown(world, with_runs(site, ran("running"), ran("failed")))
    assert "Nothing is." in body
    assert "newest of 2 runs" in body
    assert keys_in(shown(world, with_runs(site, ran("running")), state="running")) == [KEY]


def test_a_batch_that_only_airflow_knows_is_there_with_its_error(world, site) -> None:
    world.make(day(1))
    failed = ran("failed", "ingest", failures=(Failure("ingest_files", "Fatal: no folder"),))
    known = replace(with_runs(site, failed), begun=lambda: [KEY])
    body = shown(world, known)
    assert keys_in(body) == [KEY, day(1)]
    assert "Fatal: no folder" in body


def test_keys_that_can_name_no_batch_reach_neither_lake_nor_links(tmp_path, site) -> None:
    class Refusing(FolderLake):
        def read(self, path: str) -> bytes:
            assert ".." not in path and len(path) < 200, path
            return super().read(path)

    world = World(Refusing(tmp_path))
    odd = ["../other/2026-11-20", "<b>" + "x" * 200, *(f"/{n}" for n in range(9))]
    body = shown(world, replace(site, begun=lambda: odd))
    assert "has no batch yet" in body
    world.make(KEY, "ingest")
    known = replace(site, begun=lambda: [*odd, KEY, day(1)])
    body = shown(world, known)
    assert keys_in(body) == [KEY, day(1)]
    seen = text(body)
    assert "keys that can name no batch: ../other/2026-11-20" in seen
    assert "&lt;b&gt;xxx" in seen and "<b>x" not in body and "x" * 100 not in body
    assert "and 6 more." in seen
    assert "other%2F" not in body


def test_a_batch_that_handed_nothing_on_is_over_and_not_stuck(world: World) -> None:
    asked: list[str] = []
    late = Site(NOW + timedelta(days=30), Memory(), lambda keys: asked.extend(keys) or {})
    world.end(day(0))
    world.make(day(1), "ingest")
    body = shown(world, late)
    seen = text(body)
    assert "ended: nothing to hand on" in seen
    assert f"{day(0)} , expand" not in seen and f"{day(1)} , expand" in seen
    assert "2 batches 0 done, 1 ended with no row" in seen
    assert keys_in(shown(world, late, state="open")) == [day(1)]
    assert keys_in(shown(world, late, state="ended")) == [day(0)]
    asked.clear()
    shown(world, late, state="open")
    assert day(0) not in asked


def test_a_run_that_ended_before_the_batch_began_is_another_campaigns(world, site) -> None:
    world.make(KEY, "select")
    began = world.at(KEY)
    error = Failure("submit_tasks", "Fatal: of the other")
    other = replace(ran("failed", "label", failures=(error,)), ended=began - timedelta(minutes=1))
    assert "of the other" not in shown(world, with_runs(site, other))
    own = replace(other, ended=began + timedelta(minutes=1))
    assert "of the other" in shown(world, with_runs(site, own))


def test_airflow_is_asked_for_the_newest_batches_and_the_page_says_so(
    world: World, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert batches.MOST_OPEN >= 1_000
    monkeypatch.setattr(batches, "MOST_OPEN", 2)
    asked: list[str] = []
    counting = replace(site, runs=lambda keys: asked.extend(keys) or {})
    for number in range(2):
        world.make(day(number), "ingest")
    assert "newest 2 batches" not in shown(world, counting)
    world.make(day(2), "ingest")
    asked.clear()
    seen = text(shown(world, replace(counting, memory=Memory())))
    assert asked == [day(0), day(1)]
    assert "the newest 2 batches that are not done. Of 1 older ones the lake alone tells" in seen


def test_much_quarantine_is_told_while_it_is_young(world, site) -> None:
    batch = world.batch(KEY)
    world.take(batch)
    counts = {"rows_in": 10, "rows_out": 4, "quarantined": 6}
    batch.commit("ingest", inputs=[], outputs={}, counts=counts)
    assert "ingest put 6 of 10 rows into quarantine, 60.0 %" in shown(world, site)
    old = Site(NOW + timedelta(days=30), Memory())
    assert "into quarantine" not in shown(world, old)


def test_filters_and_pages_work_without_script(tmp_path: Path, site: Site) -> None:
    world = World(FolderLake(tmp_path))
    for number in range(120):
        world.take(world.batch(day(number)))
    first = shown(world, site)
    assert len(keys_in(first)) == 50
    assert '<a aria-current="page" href="batches">1</a>' in first
    assert 'href="batches?page=3"' in first
    assert len(keys_in(shown(world, site, page="3"))) == 20
    assert keys_in(shown(world, site, page="99")) == keys_in(shown(world, site, page="3"))
    for odd in ("-1", "0", "²", "x", "9" * 500):
        assert keys_in(shown(world, site, page=odd))
    assert keys_in(shown(world, site, q="2026-11-2")) == [day(n) for n in range(6)]
    assert 'href="batches?q=2026&amp;page=2"' in shown(world, site, q="2026")
    assert "No batch is like this." in shown(world, site, q="zebra")
    assert "No batch is like this." in shown(world, site, state="done")
    assert len(keys_in(shown(world, site, state="<script>"))) == 50


def test_hostile_words_stay_words(tmp_path: Path, site: Site) -> None:
    world = World(FolderLake(tmp_path))
    world.make(KEY, "label")
    error = "‮<script>alert(1)</script>\x00" + "x" * 1_000_000
    failed = ran("failed", failures=(Failure("t", error),))
    body = shown(world, with_runs(site, failed), q="\"><script>alert('q')</script>" + "y" * 1000)
    assert "<script" not in body
    assert "\u202e" not in body
    assert len(body) < 20_000
