"""Winnow's figures in Airflow's own metrics: StatsD, Datadog or OpenTelemetry, as Airflow has it.

A counter grows by what a batch did, a gauge holds what the last batch came to. They are emitted
when a stage is done, once a batch: a task that runs again counts nothing twice. Each carries the
campaign as a tag (plain StatsD drops tags; `docker/statsd-mapping.yml` says what to set).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from winnow_airflow.done import Done

if TYPE_CHECKING:
    from winnow.batch import Manifest

MICROS = 1_000_000
VERDICTS = {"pass": 0, "warn": 1, "block": 2}

Value = float | int | None


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric `winnow.NAME`, emitted when `task` is done; `of` may find that there is none."""

    name: str
    kind: Literal["counter", "gauge"]
    task: str
    of: Callable[[Done], Value]
    told: str


def _counted(stage: str, count: str) -> Callable[[Done], Value]:
    return lambda done: _manifest(done, stage).counts.get(count)


def _figure(stage: str, figure: str) -> Callable[[Done], Value]:
    return lambda done: _manifest(done, stage).figures.get(figure)


def _planned(name: str) -> Callable[[Done], Value]:
    return lambda done: done.result.get(name) if isinstance(done.result, Mapping) else None


def _cost(done: Done) -> Value:
    return _manifest(done, "label").cost / MICROS


def _tokens_per_second(done: Done) -> Value:
    from datetime import UTC, datetime

    from winnow.batch import open_batch
    from winnow.stages.expand import tokens_per_second

    batch = open_batch(done.campaign, done.key, done.lake, lambda: datetime.now(UTC))
    return tokens_per_second(batch)


def _verdict(done: Done) -> Value:
    from winnow.validate.verdict import Verdict

    return VERDICTS[Verdict.from_bytes(done.lake.read(str(done.result))).verdict]


def _version(done: Done) -> Value:
    return int(str(_manifest(done, "publish").figures["version"]).removeprefix("v"))


def _gate_open(done: Done) -> Value:
    state = _manifest(done, "publish").figures["gate"]["state"]
    return {"closed": 0, "open": 1}.get(state)


def _counter(name: str, task: str, of: Callable[[Done], Value], told: str) -> Metric:
    return Metric(name, "counter", task, of, told)


def _gauge(name: str, task: str, of: Callable[[Done], Value], told: str) -> Metric:
    return Metric(name, "gauge", task, of, told)


INGEST, EXPAND, SELECT = "ingest_files", "gather_pools", "choose_pairs"
LABEL, PUBLISH = "collect_annotations", "refit_posterior"

METRICS: tuple[Metric, ...] = (
    _counter("prompts", INGEST, _counted("ingest", "rows_out"), "prompts taken in"),
    _counter("quarantined_prompts", INGEST, _counted("ingest", "quarantined"), "rows refused"),
    _counter("responses", EXPAND, _counted("expand", "sampled"), "responses generated"),
    _counter("tokens", EXPAND, _counted("expand", "tokens"), "tokens generated"),
    _counter("quarantined_responses", EXPAND, _counted("expand", "quarantined"), "refused"),
    _gauge("tokens_per_second", EXPAND, _tokens_per_second, "of one generation process"),
    _counter("pairs_scored", SELECT, _counted("select", "pairs_scored"), "pairs scored"),
    _counter("comparisons", SELECT, _counted("select", "comparisons"), "pairs chosen"),
    _gauge("planned_usd", "plan_tasks", _planned("estimate_usd"), "cost of the planned tasks"),
    _gauge("budget_usd", "plan_tasks", _planned("budget_usd"), "most that a batch may cost"),
    _counter("tasks", LABEL, _counted("label", "tasks"), "labelling tasks bought"),
    _counter("unanswered_tasks", LABEL, _counted("label", "unanswered"), "without an answer"),
    _counter("annotations", LABEL, _counted("label", "annotations"), "annotations collected"),
    _counter(
        "quarantined_annotations",
        LABEL,
        _counted("label", "annotations_quarantined"),
        "annotations refused",
    ),
    _counter("cost_usd", LABEL, _cost, "charged by the vendor"),
    _gauge("batch_cost_usd", LABEL, _cost, "charged for the last batch"),
    _gauge("agreement", LABEL, _figure("label", "agreement"), "two annotators name one side"),
    _gauge("gold_accuracy", LABEL, _figure("label", "gold_accuracy"), "known answers given right"),
    _gauge("gate_verdict", "check_labels", _verdict, "0 pass, 1 warn, 2 block"),
    _gauge("version", PUBLISH, _version, "number of the newest dataset version"),
    _gauge("preferences", PUBLISH, _figure("publish", "reward_rows"), "rows of that version"),
    _gauge("posterior_votes", PUBLISH, _figure("publish", "posterior_labels"), "votes learnt from"),
    _gauge("calibration_error", PUBLISH, _figure("publish", "ece"), "of the reward model"),
    _gauge("selection_gate", PUBLISH, _gate_open, "1 open, 0 closed; silent while undecided"),
)


def emit(done: Done) -> None:
    """Emit what the task gives, unless an earlier run of it has."""
    wanted = [metric for metric in METRICS if metric.task == done.task]
    if not wanted or not done.lake.create(_note(done), b""):
        return
    from airflow.sdk.observability import stats

    tags = {"campaign": done.campaign.name}
    for metric in wanted:
        value = metric.of(done)
        if value is None:
            continue
        if metric.kind == "counter":
            # Airflow's types say int; StatsD and OpenTelemetry count dollars as well.
            stats.incr(f"winnow.{metric.name}", value, tags=tags)  # type: ignore[arg-type]
        else:
            stats.gauge(f"winnow.{metric.name}", value, tags=tags)


def _manifest(done: Done, stage: str) -> Manifest:
    """The manifest of a stage that is done.

    Raises:
        Fatal: It is not: the task ended without one.
    """
    from winnow.errors import Fatal

    manifest = done.manifest(stage)
    if manifest is None:
        raise Fatal(f"Stage {stage} of batch {done.key} has no manifest to count.")
    return manifest


def _note(done: Done) -> str:
    from winnow.batch import batch_folder

    verdict = f"-{str(done.result)[-24:-8]}" if done.task == "check_labels" else ""
    return f"{batch_folder(done.campaign.name, done.key)}/emitted/{done.task}{verdict}"
