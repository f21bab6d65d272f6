"""A whole night, as metrics and lineage tell of it: the names they read are the stages' own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from winnow.batch import STAGES
from winnow.operate.alarms import found
from winnow.stages import label, publish
from winnow.stages.tasks import METRICS, STAGE_OF, TASKS, Done
from winnow_airflow import lineage, metrics

from .conftest import SALT

KEY = "2026-11-22"
WATCHED = {name for name, task in TASKS.items() if task.is_watched}


@pytest.fixture
def stats(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, float, dict[str, str]]]:
    """What Airflow's metrics were told, by name."""
    from airflow.sdk.observability import stats as airflows

    heard: dict[str, tuple[str, float, dict[str, str]]] = {}

    def hear(kind: str) -> Callable[..., None]:
        def keep(name: str, value: float, tags: dict[str, str]) -> None:
            assert name not in heard, f"{name} was emitted twice"
            heard[name] = (kind, value, tags)

        return keep

    monkeypatch.setattr(airflows, "incr", hear("counter"))
    monkeypatch.setattr(airflows, "gauge", hear("gauge"))
    return heard


@pytest.fixture
def done(night: Callable[..., Any]) -> Callable[[str], Done]:
    """A task of a night that is over."""
    small = night(deadline_minutes=1, unanswered="buy_again")
    batch, vendor = small.batch(), small.simulator.connect()
    small.choose(batch)
    results: dict[str, Any] = {"plan_tasks": {"estimate_usd": 1.5, "budget_usd": 50.0}}
    results["submit_tasks"] = label.submit(batch, vendor)
    # A part is answered by the deadline; the rest is bought again.
    small.simulator.clock.seconds += 8.0
    small.time += timedelta(minutes=2)
    results["submit_follow_up"] = label.follow_up(batch, vendor, SALT)
    small.simulator.finish()
    label.collect(batch, vendor, SALT)
    results["check_labels"] = publish.check(batch)
    results["publish_version"] = publish.version(batch, results["check_labels"])
    publish.refit(batch, results["publish_version"])

    def make(task: str) -> Done:
        return Done(task, KEY, small.campaign, small.lake, results.get(task))

    return make


def test_every_figure_is_emitted_once_with_its_campaign(done: Any, stats: Any) -> None:
    for _ in range(2):
        for task in sorted(WATCHED):
            metrics.emit(done(task))
    # The night's engine tells no speed, and its few labels neither judge nor calibrate a model.
    unmeasured = {"tokens_per_second", "calibration_error", "selection_gate"}
    unmeasured |= {"gold_accuracy", "agreement"}
    names = {metric.name for metric in METRICS}
    assert {name.removeprefix("winnow.") for name in stats} >= names - unmeasured
    assert {tags["campaign"] for _, _, tags in stats.values()} == {"small"}
    labelled = done("plan_tasks").manifest("label")
    assert {"gold_accuracy", "agreement"} <= set(labelled.figures)
    assert {"ece", "gate"} <= set(done("plan_tasks").manifest("publish").figures)
    assert stats["winnow.annotations"][:2] == ("counter", labelled.counts["annotations"])
    assert stats["winnow.cost_usd"][:2] == ("counter", labelled.cost / 1_000_000)
    n_bought = stats["winnow.bought_tasks"][1] + stats["winnow.follow_up_tasks"][1]
    assert stats["winnow.follow_up_tasks"][1] == labelled.counts["follow_ups"] > 0
    assert n_bought == labelled.counts["tasks"]
    usd = stats["winnow.committed_usd"][1] + stats["winnow.follow_up_usd"][1]
    assert usd == pytest.approx(0.1 * n_bought)
    assert stats["winnow.quarantined_prompts"][:2] == ("counter", 1)
    assert stats["winnow.gate_verdict"][:2] == ("gauge", 0)
    assert stats["winnow.version"][:2] == ("gauge", 1)
    assert stats["winnow.planned_usd"][:2] == ("gauge", 1.5)


def test_a_good_night_is_silent_and_one_near_its_budget_is_told(done: Any) -> None:
    for task in sorted(WATCHED):
        assert found(done(task)) == []
    planned, paid = done("plan_tasks"), done("collect_annotations")
    poor = planned.campaign.label.model_copy(update={"budget_usd": 1.6, "price_usd": 0.1})
    tight = planned.campaign.model_copy(update={"label": poor})
    [one] = found(replace(planned, campaign=tight))
    [other] = found(replace(paid, campaign=tight))
    assert one.path == other.path
    assert "$1.50, 94% of its budget of $1.60" in one.cause


@pytest.mark.parametrize("task", ["submit_tasks", "submit_follow_up"])
def test_a_purchase_that_nears_the_budget_is_told_at_once(done: Any, task: str) -> None:
    bought = done(task)
    usd = bought.result["committed_usd"]
    for share, n_told in ((0.7, 0), (0.9, 1)):
        settings = bought.campaign.label.model_copy(update={"budget_usd": usd / share})
        campaign = bought.campaign.model_copy(update={"label": settings})
        told = found(replace(bought, campaign=campaign))
        assert [f"cost ${usd:,.2f}, {share:.0%} of" in alarm.cause for alarm in told] == [
            True
        ] * n_told


def test_a_follow_up_is_told_with_what_the_first_round_cost(done: Any) -> None:
    first, second = (done(task).result for task in ("submit_tasks", "submit_follow_up"))
    # The tasks that nobody answered cost nothing.
    assert 0.0 < second["estimate_usd"] < second["committed_usd"]
    assert second["committed_usd"] == pytest.approx(first["committed_usd"])


def test_a_dear_purchase_is_told_until_it_is_bought(done: Any) -> None:
    each = done("plan_tasks")
    asks = each.campaign.label.model_copy(update={"approve_above_usd": 1.0})
    careful = each.campaign.model_copy(update={"label": asks})
    for submitted, kinds in ((False, ["approval"]), (True, [])):
        plan = {**each.result, "most_usd": 2.5, "submitted": submitted}
        told = found(replace(each, campaign=careful, result=plan))
        assert [alarm.kind for alarm in told] == kinds
        assert all("$2.50" in alarm.cause for alarm in told)


def test_each_watched_task_belongs_to_a_stage() -> None:
    assert set(STAGE_OF) >= WATCHED
    assert set(STAGE_OF.values()) == set(STAGES)
    for task in ("submit_tasks", "submit_follow_up"):
        row = TASKS[task]
        assert row.reads and row.writes and row.metrics and row.alarms, "a purchase is told of"


def test_counters_stand_at_nothing_before_a_night_counts(stats: Any) -> None:
    metrics.stand("small")
    counters = {f"winnow.{metric.name}" for metric in METRICS if metric.kind == "counter"}
    assert stats == dict.fromkeys(counters, ("counter", 0, {"campaign": "small"}))


def test_lineage_leads_from_files_to_version_and_model_with_rows_and_checks(done: Any) -> None:
    pytest.importorskip("airflow.providers.openlineage")
    read, written = {}, {}
    for task in sorted(WATCHED):
        read[task] = {(each.namespace, each.name) for each in lineage.inputs_of(done(task))}
        written[task] = {(each.namespace, each.name) for each in lineage.outputs_of(done(task))}
    lake = f"file://{done('plan_tasks').lake.uri}"
    [file] = read["ingest_files"]
    assert file[0] == "file" and file[1].endswith("inbox/a.jsonl")
    assert (lake, "small/ingest/prompts") in written["ingest_files"] & read["gather_pools"]
    assert (lake, "small/select/comparisons") in written["choose_pairs"]
    assert (lake, "small/select/comparisons") in read["submit_tasks"] & read["collect_annotations"]
    account = "simulator://winnow_vendor"
    first, second = {(account, "small/round-0")}, {(account, "small/round-1")}
    assert written["submit_tasks"] == read["submit_follow_up"] == first
    assert written["submit_follow_up"] == second
    assert first | second < read["collect_annotations"]
    assert (lake, "small/label/annotations") in written["collect_annotations"]
    assert (lake, "small/label/annotations") in read["check_labels"] & read["publish_version"]
    assert written["publish_version"] == read["refit_posterior"] == {(lake, "datasets/small")}
    assert written["refit_posterior"] == {(lake, "small/reward_model")}
    made = set().union(*written.values())
    foreign = set().union(*read.values()) - made
    assert foreign == {file}
    labelled = done("collect_annotations").manifest("label")
    [annotations] = [
        each
        for each in lineage.outputs_of(done("collect_annotations"))
        if each.name.endswith("/annotations")
    ]
    artifact = labelled.outputs["annotations"]
    assert annotations.facets["version"].datasetVersion == artifact.sha256
    assert annotations.outputFacets["outputStatistics"].rowCount == artifact.n_rows
    [judged] = [
        each
        for each in lineage.inputs_of(done("check_labels"))
        if each.name.endswith("/annotations")
    ]
    assert judged.inputFacets["dataQualityMetrics"].rowCount == artifact.n_rows
    assert "dataQualityAssertions" in judged.facets
    [model] = lineage.outputs_of(done("refit_posterior"))
    assert len(model.facets["version"].datasetVersion) == 64
