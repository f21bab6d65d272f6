"""What Airflow did with the batches of a lake, read from inside a task.

A task reaches no database and holds no token of the REST API. What it may ask is the execution API,
as every worker can, also one behind a firewall: the states of a DAG's tasks by run, one run by its
id, whether a DAG is paused. (The events of an asset with the runs that came of them would be one
call, but Airflow 3.3.2 fails it while one of these runs is queued.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset

from winnow.stages.tasks import DAGS, FIRST_TASK, dag_id
from winnow_airflow.campaigns import campaign_named
from winnow_airflow.context import (
    annotator_salt,
    assets_of,
    campaign_name,
    the_lake,
    vendor_of,
)

if TYPE_CHECKING:
    from winnow.campaign import Campaign
    from winnow.label.vendor import LabelVendor
    from winnow.operate.reconcile.once import Airflow
    from winnow.operate.standing import Facts, Run

MARGIN = timedelta(minutes=5)
"""Clocks of workers and scheduler may differ by so much."""

_TIME_IN_ID = re.compile(r"__(\d{4}-\d\d-\d\dT[\d:.]+[+-]\d\d:\d\d)")
_OVER = ("success", "skipped")


def handed_on(campaign: str) -> list[tuple[str, str, Asset]]:
    """Each stage that has a next one: it, the task that announces it, and by which asset."""
    assets, stages = assets_of(campaign), [dag for dag in DAGS if dag.stage]
    return [(dag.stage, f"announce_{dag.asset}", assets[dag.stage]) for dag in stages[:-1]]


def look_around(task_instance: Any) -> dict[str, Any]:
    """Make one pass; batches to announce by stage, and what a person is to be told.

    Raises:
        AirflowSkipException: Nothing is to be done, so nothing else has to start.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    from winnow.operate.reconcile import once
    from winnow_airflow import metrics

    metrics.stand(campaign_name(task_instance.dag_id))
    lake, now = the_lake(), datetime.now(UTC)
    campaign = campaign_named(campaign_name(task_instance.dag_id))
    airflow = read_airflow(campaign.name, once.unfinished(lake, campaign), task_instance)
    vendor, salt = _vendor_and_salt(campaign)
    report = once.reconcile(lake, campaign, airflow, now, vendor, salt)
    print(once.report_text(report))
    if not (report.announce or report.tell):
        raise AirflowSkipException("Nothing to announce again, nobody to tell.")
    alarms = [once.alarm_of(campaign.name, finding, now) for finding in report.tell]
    return {
        "campaign": campaign.name,
        "announce": dict(report.announce),
        "alarms": [asdict(alarm) for alarm in alarms if alarm],
        "names": [finding.name for finding in report.tell],
        "told": once.alarm_text(report.tell) if report.tell else "",
    }


def _vendor_and_salt(campaign: Campaign) -> tuple[LabelVendor | None, bytes]:
    """The vendor to ask about late answers; None where its connection is missing or wrong.

    The tasks that buy fail of that; this one has other things to do as well.
    """
    from airflow.sdk.exceptions import AirflowNotFoundException

    from winnow.errors import WinnowError

    try:
        return vendor_of(campaign), annotator_salt(campaign)
    except (AirflowNotFoundException, WinnowError) as error:
        print(f"Late answers are not looked for: {error}")
        return None, b""


def announce_again(plan: Mapping[str, Any], stage: str, outlet_events: Any) -> list[str]:
    """Emit the stage's asset event for each batch that needs it.

    Raises:
        AirflowSkipException: None does.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    keys = list(plan["announce"].get(stage, []))
    if not keys:
        raise AirflowSkipException("No batch waits for it.")
    outlet_events[assets_of(plan["campaign"])[stage]].add_partitions(keys)
    return keys


def tell(plan: Mapping[str, Any]) -> None:
    """Send what a person has to know to whoever hears of alarms, and fail with it.

    Raises:
        Blocked: There is something; the message lists each thing with the command that mends it.
        Retryable: A channel did not take an alarm; each other one has them all.
    """
    from winnow.errors import Blocked
    from winnow.operate.alarms import Alarm
    from winnow.operate.reconcile.once import note_told
    from winnow_airflow.alarms import tell_all

    if not plan["told"]:
        return
    lake = the_lake()
    tell_all(lake, (Alarm(**alarm) for alarm in plan["alarms"]))
    note_told(lake, plan["campaign"], plan["names"], datetime.now(UTC))
    raise Blocked(plan["told"])


def read_airflow(campaign: str, batches: Iterable[Facts], task_instance: Any) -> Airflow:
    """The runs of the stages that `batches` are in, and which of these stages are paused."""
    from winnow.batch import STAGES
    from winnow.operate.reconcile.once import Airflow

    since: dict[str, datetime] = {}
    for batch in batches:
        if batch.stage is not None and batch.stage != "ingest":
            at = batch.done[STAGES[STAGES.index(batch.stage) - 1]]
            since[batch.stage] = min(at, since.get(batch.stage, at))
    runs = list(_nights_not_through(campaign, task_instance))
    for stage, first in since.items():
        ids = _states(campaign, stage, task_instance)
        runs += _read_runs(campaign, stage, (i for i in ids if _may_be_after(i, first - MARGIN)))
    return Airflow(
        runs, frozenset(s for s in since if _drops_events(dag_id(campaign, s), task_instance))
    )


def _drops_events(dag: str, task_instance: Any) -> bool:
    """Whether Airflow drops an event for a DAG: it is paused, or its file is unreadable.

    One DAG that Airflow does not know must not end the pass over the others.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        return bool(task_instance.get_dag(dag_id=dag).is_paused)
    except AirflowRuntimeError as error:
        if (error.error.detail or {}).get("status_code") != 404:
            raise
        return True


def _nights_not_through(campaign: str, task_instance: Any) -> Iterator[Run]:
    """Runs of the first DAG that failed or are not over, each with what stands beside it.

    All others are left unread: after a year they are many, and the ledger tells of them.
    """
    from winnow.operate.standing import Run

    states = _states(campaign, "ingest", task_instance)
    for run in _read_runs(
        campaign, "ingest", (i for i, state in states.items() if state not in _OVER)
    ):
        yield run
        later = [i for i, state in states.items() if state in _OVER and f"__{run.key}__" in i]
        yield from (Run(campaign, "ingest", run.key, run_id, "success") for run_id in later)


def _states(campaign: str, stage: str, task_instance: Any) -> dict[str, str | None]:
    """The state of the first task of each run of a stage's DAG, by the run's id."""
    first = FIRST_TASK[stage]
    states = task_instance.get_task_states(dag_id=dag_id(campaign, stage), task_ids=[first])
    return {run_id: tasks.get(first) for run_id, tasks in states.items()}


def _read_runs(campaign: str, stage: str, run_ids: Iterable[str]) -> Iterator[Run]:
    """Runs by their ids; those without a key, and those that are gone meanwhile, are left out."""
    from airflow.sdk.execution_time.comms import DagRunResult, GetDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    from winnow.operate.standing import Run

    for run_id in run_ids:
        answer = SUPERVISOR_COMMS.send(GetDagRun(dag_id=dag_id(campaign, stage), run_id=run_id))
        if isinstance(answer, DagRunResult) and answer.partition_key:
            state, key = str(answer.state.value), answer.partition_key
            yield Run(campaign, stage, key, run_id, state, answer.start_date, answer.end_date)


def _may_be_after(run_id: str, first: datetime) -> bool:
    """Whether a run may have been made after a time: Airflow writes the time into most ids."""
    match = _TIME_IN_ID.search(run_id)
    return match is None or datetime.fromisoformat(match[1]) >= first
