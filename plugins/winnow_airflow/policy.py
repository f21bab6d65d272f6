"""What every Winnow DAG shares: names, owner, retries, time limits, and who hears of a task.

What its DAGs and tasks do not share stands in the table of tasks (`winnow.stages.tasks`).

A task that is done emits its metrics, reports its lineage, and tells what there is to tell; one
that failed for good tells why. None of that can fail the task: what goes wrong there is logged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from datetime import datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from zlib import crc32
from zoneinfo import ZoneInfo

from airflow.sdk import (
    DAG,
    Asset,
    AssetAny,
    ExceptionRetryPolicy,
    PartitionedAssetTimetable,
    RetryAction,
    RetryRule,
    task,
)
from airflow.sdk.configuration import conf
from airflow.sdk.definitions._internal.contextmanager import DagContext

from winnow.errors import Ambiguous, Blocked, Corrupt, Fatal, Retryable
from winnow.stages.tasks import DAGS, TASKS, Done
from winnow_airflow.campaigns import campaign_named
from winnow_airflow.context import assets_of, batch_key, campaign_name, the_lake
from winnow_airflow.plain_log import plain_logger

if TYPE_CHECKING:
    from winnow.campaign import Campaign

RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[Fatal, Blocked, Corrupt, Ambiguous],
            action=RetryAction.FAIL,
            reason="a retry cannot help; the message says what can",
        ),
        RetryRule(exception=Retryable, reason="what is away or busy may be back"),
    ]
)
"""A full disk or a lost host gets the ordinary retries; what a person must mend fails at once."""

HOURS: Mapping[str, float] = {
    "default": 2.0,
    **{row.name: row.hours for row in TASKS.values() if row.hours is not None},
}
"""How long one try of a task may take; WINNOW_TASK_HOURS changes it, `default` is all others.

A wait for the vendor or for a person is none of it: it holds no process, and has a deadline of its
own. A try that is ended is tried again like one whose host was lost, and goes on where it was.
"""

log = plain_logger(__name__)


def time_limit(name: str = "default") -> timedelta:
    """How long one try of a task may take.

    Raises:
        Fatal: WINNOW_TASK_HOURS is not `task=hours,...` of tasks that `HOURS` names.
    """
    setting = os.environ.get("WINNOW_TASK_HOURS", "")
    entries = dict(part.partition("=")[::2] for part in setting.replace(" ", "").split(",") if part)
    try:
        hours = {**HOURS, **{name: float(value) for name, value in entries.items()}}
        if hours.keys() != HOURS.keys():
            raise ValueError("another task")
        if not all(0 < value <= 24 * 366 for value in hours.values()):
            raise ValueError("no hours")
    except ValueError:
        raise Fatal(
            f"WINNOW_TASK_HOURS is {setting!r}; write hours such as "
            f"generate_responses=48,default=3, for any of {', '.join(HOURS)}."
        ) from None
    return timedelta(hours=hours.get(name, hours["default"]))


def task_done(context: Any) -> None:
    """Count, report and tell what a task that is done gives."""
    ti = context["ti"]
    if ti.task_id not in TASKS or not TASKS[ti.task_id].is_watched:
        return
    from winnow_airflow import alarms, lineage, metrics

    done = _quietly("its batch", done_of, context)
    if done is not None:
        _quietly("metrics", metrics.emit, done)
        _quietly("lineage", partial(lineage.report, task_instance=ti), done)
        _quietly("alarms", alarms.tell_of, done)


def done_of(context: Any) -> Done:
    """The task that the callback's context is about.

    Raises:
        Fatal: The run has no partition key, or Winnow's settings are wrong.
    """
    ti = context["ti"]
    return Done(
        task=ti.task_id,
        key=batch_key(context["dag_run"]),
        campaign=campaign_named(campaign_name(ti.dag_id)),
        lake=the_lake(),
        result=ti.xcom_pull(ti.task_id, key="return_value", map_indexes=ti.map_index),
    )


def task_failed(context: Any) -> None:
    """Tell why a task failed for good."""
    from winnow_airflow import alarms

    _quietly("the alarm", alarms.tell_failure, context)


def run_failed(context: Any) -> None:
    """Tell of a run whose task was killed before it could tell anything."""
    from winnow_airflow import alarms

    _quietly("the run's alarm", alarms.tell_lost, context)


def _quietly(what: str, step: Callable[[Any], Any], about: Any) -> Done | None:
    """The step's result; what it raises is logged, by its kind alone where Winnow did not raise it.

    A traceback is not logged: it may quote a connection.
    """
    from winnow.operate.alarms import cause_of

    try:
        result: Done | None = step(about)
    except Exception as error:
        log.warning("After the task, %s failed: %s", what, cause_of(error))
        return None
    return result


TASK_DEFAULTS: Mapping[str, Any] = {
    # 20 s, 40 s, ... 10 min: an object store or a vendor may be away for a quarter of an hour.
    "retries": 6,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": RETRY_POLICY,
    "on_success_callback": task_done,
    "on_failure_callback": task_failed,
}


def stage_dag(campaign: Campaign, name: str, *, tags: Sequence[str] = (), **settings: Any) -> DAG:
    """A DAG of the table for a campaign; `settings` are what no other DAG has.

    A stage starts on what the one before it hands on. Who pauses a campaign pauses its first DAG:
    the others are made running, for Airflow drops what is announced to a paused one.
    """
    place = [dag.name for dag in DAGS].index(name)
    stage, assets = DAGS[place].stage, assets_of(campaign.name)
    if stage and place:
        before = DAGS[place - 1].stage
        settings = {"schedule": PartitionedAssetTimetable(assets=assets[before]), **settings}
        settings["is_paused_upon_creation"] = False
    zone = ZoneInfo(campaign.schedule.timezone)
    start = campaign.start and datetime.combine(campaign.start, time(), zone)
    named = {"campaign": campaign.name, "stage": stage or name, "team": campaign.team}
    own = [f"{what}:{name}" for what, name in named.items() if name is not None]
    return DAG(
        dag_id=f"{campaign.name}.{name}",
        start_date=start,
        catchup=False,
        on_failure_callback=settings.pop("on_failure_callback", run_failed),
        tags=["winnow", *own, *tags, *campaign.tags],
        access_control=_access(campaign),
        default_args={
            **TASK_DEFAULTS,
            "owner": campaign.owner,
            "execution_timeout": time_limit(),
            # What follows a task says nothing of how urgent it is.
            "weight_rule": "absolute",
            "priority_weight": campaign.priority,
        },
        **settings,
    )


def head_schedule(campaign: Campaign) -> Any:
    """What begins a campaign's batches: its cron, other teams' assets, or a person alone.

    By hand, any run is one that names its key: so it is with a DAG that waits for assets.
    """
    schedule = campaign.schedule
    if schedule.cron is not None:
        from winnow_airflow.timetable import BatchTimetable

        assert schedule.kind is not None
        return BatchTimetable(schedule.cron, timezone=schedule.timezone, kind=schedule.kind)
    wanted = [Asset(name) for name in schedule.assets or [f"{campaign.name}.by_hand"]]
    return PartitionedAssetTimetable(assets=AssetAny(*wanted))


def reconcile_minutes(campaign: Campaign) -> str:
    """The cron of a campaign's `reconcile`: every 15 minutes, campaigns apart from each other.

    WINNOW_RECONCILE_MINUTES makes a pass rarer, for hundreds of campaigns.

    Raises:
        Fatal: It is none of 5, 10, 15, 20, 30 and 60.
    """
    every = os.environ.get("WINNOW_RECONCILE_MINUTES", "15")
    if every not in ("5", "10", "15", "20", "30", "60"):
        raise Fatal(f"WINNOW_RECONCILE_MINUTES is {every!r}; write 5, 10, 15, 20, 30 or 60.")
    return f"{crc32(campaign.name.encode()) % int(every)}-59/{every} * * * *"


_RIGHTS: Mapping[str, dict[str, set[str]]] = {
    "read": {"DAGs": {"can_read"}, "DAG Runs": {"can_read"}},
    "run": {
        "DAGs": {"can_read", "can_edit"},
        "DAG Runs": {"can_read", "can_create", "can_delete"},
    },
}


def _access(campaign: Campaign) -> dict[str, dict[str, set[str]]] | None:
    """A campaign's rights as Airflow's FAB auth manager reads them."""
    if campaign.access is None:
        return None
    return {role: deepcopy(_RIGHTS[what]) for role, what in campaign.access.items()}


def listed_task(function: Any = None, /, **settings: Any) -> Any:
    """Airflow's `@task` for a task of the table, which is named as the function is.

    From there it has its time limit and, if it ends a stage, the asset of its campaign, which is
    that of the DAG around it, by which the stage is announced.

    Raises:
        KeyError: No task of this name stands in the table.
    """
    if function is None:
        return partial(listed_task, **settings)
    name = TASKS[function.__name__].name
    ends = [dag.stage for dag in DAGS if dag.stage and dag.last == name]
    assets = assets_of(campaign_name(DagContext.get_current().dag_id))
    outlets = [assets[stage] for stage in ends]
    return task(execution_timeout=time_limit(name), outlets=outlets, **settings)(function)


def where_generated(campaign: Campaign) -> dict[str, Any]:
    """Where a campaign's shards run: beside a GPU, unless nothing of a night loads a model."""
    if not campaign.expand.has_model:
        return {}
    return {"pool": "gpu", "queue": "gpu", "executor": gpu_executor()}


def gpu_executor() -> str | None:
    """The Edge executor, to which the GPU's tasks go; None: the first executor of the setting.

    Its workers call the API server and need neither database nor broker. It goes by the name that
    Airflow's own setting has for it, so that no host can name one that it does not know: its DAGs
    could not be read there.
    """
    listed = [entry.strip() for entry in conf.get("core", "executor").split(",")]
    # An entry is a name or a path, and may have an alias before it.
    names = [entry.split(":")[0] for entry in listed if entry.endswith("EdgeExecutor")]
    return names[0] if names else None
