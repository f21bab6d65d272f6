"""Alarms of tasks and runs, each told once.

    WINNOW_ALARMS="slack:slack_default#data-alarms, smtp:smtp_default#team@example.org"

names who hears of them, beside the log (`channels`). Every component that runs tasks, the triggerer
and the DAG processor read it; what a worker without it could only log, the run sends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from winnow_airflow.channels import channels
from winnow_airflow.context import batch_key, campaign_name, the_lake
from winnow_airflow.plain_log import plain_logger

if TYPE_CHECKING:
    from winnow.lake import Lake
    from winnow.operate.alarms import Alarm
    from winnow.stages.tasks import Done

log = plain_logger(__name__)


def tell_of(done: Done) -> None:
    """Tell what there is to tell after a task."""
    from winnow.operate.alarms import found

    tell_all(done.lake, found(done))


def tell_failure(context: Any) -> None:
    """Tell why a task failed for good. A broken campaign or lake is told as well as it can be."""
    from winnow.operate.alarms import failure_of

    ti, run = context["ti"], context["dag_run"]
    name, key, lake = campaign_name(ti.dag_id), _key_of(run), None
    try:
        lake = the_lake()
        lake.create(_heard(name, key, ti), b"")
    except Exception as error:
        log.warning("The alarm cannot be remembered: %s", type(error).__name__)
    alarm = failure_of(name, key, ti.dag_id, ti.task_id, context.get("exception"))
    # What is of no batch may happen again, and is told once a day.
    kind = alarm.kind if key else f"{alarm.kind}-{datetime.now(UTC):%Y-%m-%d}"
    tell(lake, replace(alarm, kind=kind))


def tell_lost(context: Any) -> None:
    """Tell of a task that could not, or not to everybody: killed, or on a worker without channels.

    Airflow calls this for the run, in the DAG processor, whatever became of its tasks.
    """
    from winnow.operate.alarms import Alarm, failure_of
    from winnow.operate.telling import told

    ti = context.get("ti")
    if ti is None:
        return
    name, key, lake = campaign_name(ti.dag_id), _key_of(context["dag_run"]), the_lake()
    died = failure_of(name, key, ti.dag_id, ti.task_id, None)
    if not lake.exists(_heard(name, key, ti)):
        tell(lake, died)
        return
    own = died.kind.removesuffix("died")
    notes = [note for note in told(lake, name, key) if note["kind"].startswith((own, "gate-"))]
    names = [field.name for field in fields(Alarm)]
    tell_all(lake, (Alarm(**{name: note[name] for name in names}) for note in notes))


def _key_of(run: Any) -> str:
    """The run's batch; empty where it is of none, as those of `reconcile`."""
    from winnow.errors import Fatal

    try:
        return batch_key(run)
    except Fatal:
        return ""


def _heard(campaign: str, key: str, ti: Any) -> str:
    """Where the lake notes that a try of a task told why it failed."""
    from winnow.ids import content_id
    from winnow.operate.alarms import alarm_folder

    attempt = content_id(ti.run_id, ti.task_id, str(ti.map_index), str(ti.try_number))
    return f"{alarm_folder(campaign, key)}/heard/{attempt}"


def tell_all(lake: Lake, alarms: Iterable[Alarm]) -> None:
    """Tell each, whatever becomes of the others.

    Raises:
        Retryable: A channel did not take one of them.
    """
    from winnow.errors import Retryable

    faults = []
    for alarm in alarms:
        try:
            tell(lake, alarm)
        except Retryable as fault:
            faults.append(str(fault))
    if faults:
        raise Retryable("; ".join(faults))


def tell(lake: Lake | None, alarm: Alarm) -> bool:
    """Tell an alarm once, or now where no lake remembers; whether it was told now.

    Raises:
        Retryable: A channel did not take it, or WINNOW_ALARMS is malformed; the log has it.
    """
    from winnow.operate.telling import tell_once

    return tell_once(lake, alarm, datetime.now(UTC), channels())
