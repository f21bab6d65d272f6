"""A whole night, as metrics and lineage tell of it: the names they read are the stages' own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from winnow.batch import STAGES
from winnow.publish.versions import newest
from winnow.stages import publish
from winnow.stages.alarms import STAGE_OF, found
from winnow_airflow import lineage, metrics
from winnow_airflow.done import Done
from winnow_airflow.policy import WATCHED

KEY = "2026-11-22"


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
    small = night()
    small.run()
    plan = {"estimate_usd": 1.5, "budget_usd": 50.0}
    version = newest(small.lake, "small")
    assert version is not None
    results: dict[str, Any] = {
        "plan_tasks": plan,
        "check_labels": publish.check(small.batch()),
        "publish_version": version.number,
    }

    def make(task: str) -> Done:
        return Done(task, KEY, small.campaign, small.lake, None, results.get(task))

    return make


def test_every_figure_is_emitted_once_with_its_campaign(done: Any, stats: Any) -> None:
    for _ in range(2):
        for task in sorted(WATCHED):
            metrics.emit(done(task))
    # The night's engine tells no speed, and its few labels neither judge nor calibrate a model.
    unmeasured = {"tokens_per_second", "calibration_error", "selection_gate"}
    unmeasured |= {"gold_accuracy", "agreement"}
    names = {metric.name for metric in metrics.METRICS}
    assert {name.removeprefix("winnow.") for name in stats} >= names - unmeasured
    assert {tags["campaign"] for _, _, tags in stats.values()} == {"small"}
    label = done("plan_tasks").manifest("label")
    assert {"gold_accuracy", "agreement"} <= set(label.figures)
    assert {"ece", "gate"} <= set(done("plan_tasks").manifest("publish").figures)
    assert stats["winnow.annotations"][:2] == ("counter", label.counts["annotations"])
    assert stats["winnow.cost_usd"][:2] == ("counter", label.cost / 1_000_000)
    assert stats["winnow.quarantined_prompts"][:2] == ("counter", 1)
    assert stats["winnow.gate_verdict"][:2] == ("gauge", 0)
    assert stats["winnow.version"][:2] == ("gauge", 1)
    assert stats["winnow.planned_usd"][:2] == ("gauge", 1.5)


def test_a_good_night_is_silent_and_one_near_its_budget_is_told(done: Any) -> None:
    for task in sorted(WATCHED):
        each = done(task)
        assert found(each.lake, each.campaign, KEY, task, each.result) == []
    planned, paid = done("plan_tasks"), done("collect_annotations")
    label = planned.campaign.label.model_copy(update={"budget_usd": 1.6, "price_usd": 0.1})
    tight = planned.campaign.model_copy(update={"label": label})
    [one] = found(planned.lake, tight, KEY, "plan_tasks", planned.result)
    [other] = found(paid.lake, tight, KEY, "collect_annotations", None)
    assert one.path == other.path
    assert "$1.50, 94% of its budget of $1.60" in one.cause


def test_a_dear_purchase_is_told_until_it_is_bought(done: Any) -> None:
    each = done("plan_tasks")
    asks = each.campaign.label.model_copy(update={"approve_above_usd": 1.0})
    careful = each.campaign.model_copy(update={"label": asks})
    for submitted, kinds in ((False, ["approval"]), (True, [])):
        plan = {**each.result, "most_usd": 2.5, "submitted": submitted}
        told = found(each.lake, careful, KEY, "plan_tasks", plan)
        assert [alarm.kind for alarm in told] == kinds
        assert all("$2.50" in alarm.cause for alarm in told)


def test_each_watched_task_belongs_to_a_stage() -> None:
    assert set(STAGE_OF) >= WATCHED
    assert set(STAGE_OF.values()) == set(STAGES)


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
    assert (lake, "small/select/comparisons") in read["collect_annotations"]
    assert (lake, "small/label/annotations") in written["collect_annotations"]
    assert (lake, "small/label/annotations") in read["check_labels"] & read["publish_version"]
    assert written["publish_version"] == read["refit_posterior"] == {(lake, "datasets/small")}
    assert written["refit_posterior"] == {(lake, "small/reward_model")}
    made = set().union(*written.values())
    foreign = set().union(*read.values()) - made
    assert foreign == {file}
    label = done("collect_annotations").manifest("label")
    [annotations] = [
        each
        for each in lineage.outputs_of(done("collect_annotations"))
        if each.name.endswith("/annotations")
    ]
    artifact = label.outputs["annotations"]
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
    assert len(model.facets["version"].datasetVersion) == 16
