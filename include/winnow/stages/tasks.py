"""The one table of tasks: every DAG, its tasks in order, and what is known of each.

    DAGS     what Airflow runs for each campaign; the first five are the stages
    TASKS    every task, by its name
    dag_id   a stage and a campaign -> its DAG, `nightly.label_pairs`

Time limits, lineage, metrics and alarms stand in a task's row; DAG files and adapters read them
here. Nothing heavy is imported: Airflow reads this whenever it parses a DAG file.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from winnow.errors import Fatal

if TYPE_CHECKING:
    from winnow.batch import Batch, Manifest
    from winnow.campaign import Campaign
    from winnow.lake import Lake

VERDICTS = {"pass": 0, "warn": 1, "block": 2}

AlarmKind = Literal["budget", "approval", "gate", "agreement", "reward"]
Value = float | int | None


@dataclass(frozen=True, slots=True)
class Done:
    """One task of a batch that is done, and what it returned.

    The campaign is as its file is now: a batch is opened by its stages alone.
    """

    task: str
    key: str
    campaign: Campaign
    lake: Lake
    result: Any

    @property
    def batch(self) -> Batch:
        """The batch, as it was begun."""
        from winnow.batch import open_batch

        return open_batch(self.campaign, self.key, self.lake, lambda: datetime.now(UTC))

    def manifest(self, stage: str) -> Manifest | None:
        """The manifest of a stage of the batch."""
        from winnow.batch import read_manifest

        return read_manifest(self.lake, self.campaign.name, self.key, stage)

    def require(self, stage: str) -> Manifest:
        """The manifest of a stage that is done.

        Raises:
            Fatal: It is not: the task ended without one.
        """
        manifest = self.manifest(stage)
        if manifest is None:
            raise Fatal(f"Stage {stage} of batch {self.key} has no manifest to count.")
        return manifest

    def returned(self, name: str) -> Value:
        """A figure of what the task returned; None where it has none of that name."""
        return self.result.get(name) if isinstance(self.result, Mapping) else None


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric `winnow.NAME` of a task that is done; `of` may find that there is none."""

    name: str
    kind: Literal["counter", "gauge"]
    of: Callable[[Done], Value]


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a DAG.

    Attributes:
        name: Its id in Airflow.
        hours: How long one try may take; None: as long as any other.
        reads: Tables of the batch, STAGE/TABLE; or `files`, a round at the vendor, `dataset`,
            `reward_model`.
        writes: The stage whose tables it commits; or a round at the vendor, `dataset`,
            `reward_model`.
        metrics: Emitted when it is done.
        alarms: What there may be to tell when it is done (`winnow.operate.alarms`).
        optional: Whether only a campaign with a setting for it has it: `label.sources`,
            `publish.hub`.
    """

    name: str
    hours: float | None = None
    reads: tuple[str, ...] = ()
    writes: str | None = None
    metrics: tuple[Metric, ...] = ()
    alarms: tuple[AlarmKind, ...] = ()
    optional: bool = False

    @property
    def is_watched(self) -> bool:
        """Whether there is something to count or to tell when it is done."""
        return bool(self.reads or self.writes or self.metrics or self.alarms)


@dataclass(frozen=True, slots=True)
class Dag:
    """A DAG with its tasks in order: of a stage, the first runs always and `last` ends it.

    `asset` is by what a stage is announced to the next one.
    """

    name: str
    stage: str
    asset: str
    tasks: tuple[Task, ...]

    @property
    def last(self) -> str:
        """The task that ends the stage; what only some campaigns have may come after it."""
        return [task.name for task in self.tasks if not task.optional][-1]


def _counts(stage: str, **counts: str) -> tuple[Metric, ...]:
    """Counters, each of a count of a stage's manifest."""

    def count(name: str, done: Done) -> Value:
        return done.require(stage).counts.get(name)

    return tuple(Metric(name, "counter", partial(count, of)) for name, of in counts.items())


def _figures(stage: str, **figures: str) -> tuple[Metric, ...]:
    """Gauges, each of a figure of a stage's manifest."""

    def figure(name: str, done: Done) -> Value:
        return done.require(stage).figures.get(name)

    return tuple(Metric(name, "gauge", partial(figure, of)) for name, of in figures.items())


def _returned(kind: Literal["counter", "gauge"], **names: str) -> tuple[Metric, ...]:
    """Metrics, each of a figure of what the task returned."""

    def returned(name: str, done: Done) -> Value:
        return done.returned(name)

    return tuple(Metric(name, kind, partial(returned, of)) for name, of in names.items())


def _cost(done: Done) -> Value:
    from winnow.money import MICROS

    return done.require("label").cost / MICROS


def _tokens_per_second(done: Done) -> Value:
    from winnow.stages.expand import tokens_per_second

    return tokens_per_second(done.batch)


def _verdict(done: Done) -> Value:
    from winnow.validate.verdict import Verdict

    return VERDICTS[Verdict.from_bytes(done.lake.read(str(done.result))).verdict]


def _version(done: Done) -> Value:
    return int(str(done.require("publish").figures["version"]).removeprefix("v"))


def _gate_open(done: Done) -> Value:
    return {"closed": 0, "open": 1}.get(done.require("publish").figures["gate"]["state"])


_INGEST = (
    Task(
        "ingest_files",
        reads=("files",),
        writes="ingest",
        metrics=_counts("ingest", prompts="rows_out", quarantined_prompts="quarantined"),
    ),
)
_EXPAND = (
    Task("plan_shards"),
    # A shard on the slowest engine, a CPU.
    Task("generate_responses", hours=24.0),
    Task("plan_parts"),
    Task("gather_part"),
    Task(
        "gather_pools",
        # The second one where pools are brought.
        reads=("ingest/prompts", "ingest/brought"),
        writes="expand",
        metrics=(
            *_counts(
                "expand",
                responses="sampled",
                tokens="tokens",
                quarantined_responses="quarantined",
            ),
            # Of one generation process.
            Metric("tokens_per_second", "gauge", _tokens_per_second),
        ),
    ),
)
_SELECT = (
    Task("wait_for_turn"),
    Task(
        "choose_pairs",
        reads=("ingest/prompts", "expand/responses", "expand/features", "reward_model"),
        writes="select",
        metrics=_counts("select", pairs_scored="pairs_scored", comparisons="comparisons"),
    ),
)
_LABEL = (
    Task(
        "plan_tasks",
        metrics=_returned("gauge", planned_usd="estimate_usd", budget_usd="budget_usd"),
        alarms=("budget", "approval"),
    ),
    Task("approve_purchase"),
    # A vendor that takes tasks, or gives answers, a few at a time.
    Task(
        "submit_tasks",
        hours=6.0,
        reads=("ingest/prompts", "select/compared", "select/comparisons"),
        writes="vendor/round-0",
        metrics=(
            *_returned("counter", bought_tasks="tasks"),
            # What the batch costs if every task is answered.
            *_returned("gauge", committed_usd="committed_usd"),
        ),
        alarms=("budget",),
    ),
    Task("wait_for_vendor"),
    Task(
        "submit_follow_up",
        hours=6.0,
        reads=("vendor/round-0",),
        writes="vendor/round-1",
        metrics=_returned("counter", follow_up_tasks="tasks", follow_up_usd="estimate_usd"),
        alarms=("budget",),
    ),
    Task("wait_for_follow_up"),
    Task("list_sources", optional=True),
    # A judge works in it.
    Task("ask_source", hours=24.0, optional=True),
    Task("wait_for_source", optional=True),
    Task("bring_source", hours=6.0, optional=True),
    Task(
        "collect_annotations",
        hours=6.0,
        reads=("select/comparisons", "vendor/round-0", "vendor/round-1"),
        writes="label",
        metrics=(
            *_counts(
                "label",
                tasks="tasks",
                unanswered_tasks="unanswered",
                annotations="annotations",
                quarantined_annotations="annotations_quarantined",
            ),
            Metric("cost_usd", "counter", _cost),
            Metric("batch_cost_usd", "gauge", _cost),
            *_figures("label", agreement="agreement", gold_accuracy="gold_accuracy"),
        ),
        alarms=("budget",),
    ),
)
_PUBLISH = (
    Task(
        "check_labels",
        reads=("label/annotations", "label/preferences", "label/tasks"),
        # 0 pass, 1 warn, 2 block.
        metrics=(Metric("gate_verdict", "gauge", _verdict),),
        alarms=("gate", "agreement"),
    ),
    Task(
        "publish_version",
        reads=(
            *("ingest/prompts", "select/compared", "select/comparisons"),
            *("label/annotations", "label/preferences"),
        ),
        writes="dataset",
    ),
    Task(
        "refit_posterior",
        reads=("dataset",),
        writes="reward_model",
        metrics=(
            Metric("version", "gauge", _version),
            *_figures(
                "publish",
                preferences="reward_rows",
                posterior_votes="posterior_labels",
                calibration_error="ece",
            ),
            # 1 open, 0 closed; silent while undecided.
            Metric("selection_gate", "gauge", _gate_open),
        ),
        alarms=("reward",),
    ),
    # All of a dataset, the first time.
    Task("push_to_hub", hours=6.0, reads=("dataset",), optional=True),
)
_STAGES = (
    Dag("ingest_prompts", "ingest", "prompts", _INGEST),
    Dag("expand_pools", "expand", "candidate_pools", _EXPAND),
    Dag("select_pairs", "select", "comparisons", _SELECT),
    Dag("label_pairs", "label", "annotations", _LABEL),
    Dag("publish_dataset", "publish", "datasets", _PUBLISH),
)
_RECONCILE = (
    # The next pass begins within a quarter of an hour.
    Task("look_around", hours=0.5),
    Task("tell"),
    *(Task(f"announce_{dag.asset}") for dag in _STAGES[:-1]),
)

DAGS: tuple[Dag, ...] = (*_STAGES, Dag("reconcile", "", "", _RECONCILE))
TASKS: Mapping[str, Task] = {task.name: task for dag in DAGS for task in dag.tasks}
DAG_OF: Mapping[str, str] = {dag.stage: dag.name for dag in _STAGES}
"""The DAG of each stage, in order, without its campaign."""
STAGE_OF: Mapping[str, str] = {task.name: dag.stage for dag in _STAGES for task in dag.tasks}
"""The stage of each task that works on a batch."""
FIRST_TASK: Mapping[str, str] = {dag.stage: dag.tasks[0].name for dag in _STAGES}
"""The task that every run of a stage's DAG has."""
METRICS: tuple[Metric, ...] = tuple(metric for task in TASKS.values() for metric in task.metrics)


def dag_id(campaign: str, stage: str) -> str:
    """The DAG of a campaign's stage, as Airflow knows it.

    >>> dag_id("nightly", "label")
    'nightly.label_pairs'
    """
    return f"{campaign}.{DAG_OF[stage]}"


def dag_ids(campaign: str) -> dict[str, str]:
    """The DAGs of a campaign's stages, in order."""
    return {stage: dag_id(campaign, stage) for stage in DAG_OF}


def campaign_of(dag: str) -> str | None:
    """The campaign that a DAG is of; None where it is none of Winnow's.

    >>> campaign_of("nightly.reconcile"), campaign_of("label_pairs"), campaign_of("etl.x")
    ('nightly', None, None)
    """
    campaign, _, name = dag.rpartition(".")
    return campaign if campaign and name in {each.name for each in DAGS} else None


def stage_of(dag: str) -> str | None:
    """The stage that a DAG is of; None for `reconcile` and for what is none of Winnow's."""
    if campaign_of(dag) is None:
        return None
    name = dag.rpartition(".")[2]
    return next((stage for stage, each in DAG_OF.items() if each == name), None)


def clear_command(campaign: str, stage: str, key: str, *, only_failed: bool = False) -> str:
    """Airflow's command that runs a stage of a batch again; what is done returns at once.

    >>> clear_command("nightly", "label", "2026-11-22", only_failed=True)
    'airflow dags clear nightly.label_pairs --partition-key 2026-11-22 --only-failed -y'
    """
    failed = " --only-failed" if only_failed else ""
    dag = dag_id(campaign, stage)
    return f"airflow dags clear {dag} --partition-key {shlex.quote(key)}{failed} -y"
