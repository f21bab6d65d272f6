"""What Airflow knows of the runs of batches, by one query, and the errors of failed tasks.

The pages work without it: the lake says what is done. Airflow adds what is going on, what failed,
and what waits for a person.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.utils.log.log_reader import TaskLogReader
from airflow.utils.session import create_session
from sqlalchemy import and_, select
from sqlalchemy.orm import joinedload

from winnow.batch import STAGES
from winnow.console.memory import Memory
from winnow.console.shell import Runs
from winnow.lake import Lake
from winnow.operate.standing import ACTIVE, FailedTask, Run
from winnow.stages.tasks import campaign_of, dag_id, dag_ids, stage_of
from winnow_airflow.plain_log import plain_logger

MOST_ERRORS = 3
"""Logs that one page reads at most; each is read once, of a mapped task one of a run."""

BEGUN_DAYS = 14
"""How long a failed first run is told of, where the lake knows nothing of its batch."""

_ERROR_SECONDS, _UNREAD_SECONDS = 3600.0, 30.0
"""How long an error is kept, and how long that none could be read."""

_LONGEST_ERROR = 2_000
_FAILED, _WAITING = "failed", "awaiting_input"

log = plain_logger(__name__)


class TaskRow(NamedTuple):
    """A run with one of its tasks that failed or waits for a person, or with none of them."""

    key: str
    dag: str
    run_id: str
    state: Any
    began: datetime | None
    ended: datetime | None
    task: Any
    name: str | None
    task_state: str | None

    @property
    def campaign(self) -> str:
        """Whose DAG it is."""
        return campaign_of(self.dag) or ""


def runs_of(
    keys: Mapping[str, Sequence[str]],
    lake: Lake,
    memory: Memory,
    *,
    with_errors: Callable[[Collection[str]], Collection[str]],
) -> Mapping[str, Runs]:
    """The runs of each batch, newest first, by campaign as `keys` are.

    `with_errors` says of which campaigns the user may read logs.
    """
    dags = [dag for name in keys for dag in dag_ids(name).values()]
    wanted = {key for own in keys.values() for key in own}
    stopped = and_(
        TaskInstance.dag_id == DagRun.dag_id,
        TaskInstance.run_id == DagRun.run_id,
        TaskInstance.state.in_((_FAILED, _WAITING)),
    )
    query = (
        select(
            DagRun.partition_key,
            DagRun.dag_id,
            DagRun.run_id,
            DagRun.state,
            DagRun.start_date,
            DagRun.end_date,
            TaskInstance.id,
            TaskInstance.task_id,
            TaskInstance.state,
        )
        .outerjoin(TaskInstance, stopped)
        .where(DagRun.dag_id.in_(dags), DagRun.partition_key.in_(wanted))
        .order_by(DagRun.id.desc(), TaskInstance.task_id, TaskInstance.map_index)
    )
    with create_session() as session:
        rows = [TaskRow(*row) for row in session.execute(query)]
    # A key may be one campaign's on this page, and another's that is not on it.
    asked = {name: frozenset(own) for name, own in keys.items()}
    rows = [row for row in rows if row.key in asked.get(row.campaign, ())]
    failed = {row.campaign for row in rows if row.task_state == _FAILED}
    may = with_errors(failed) if failed else ()
    errors = {
        task: memory.lately(lake, ("error", task), partial(_error, task), _seconds)
        for task in _logs_to_read([row for row in rows if row.campaign in may])
    }
    return _by_batch(rows, errors)


def begun(campaigns: Collection[str]) -> Mapping[str, Sequence[str]]:
    """Keys of the batches whose newest first run goes on or failed, of the last days."""
    since = datetime.now(UTC) - timedelta(days=BEGUN_DAYS)
    heads = [dag_id(name, STAGES[0]) for name in campaigns]
    query = (
        select(DagRun.dag_id, DagRun.partition_key, DagRun.state)
        .where(DagRun.dag_id.in_(heads), DagRun.run_after >= since)
        .order_by(DagRun.id.desc())
    )
    newest: dict[tuple[str, str], str] = {}
    with create_session() as session:
        for dag, key, state in session.execute(query):
            if key:
                newest.setdefault((dag, key), str(getattr(state, "value", state)))
    keys: dict[str, list[str]] = {}
    for (dag, key), state in newest.items():
        if state in (*ACTIVE, _FAILED):
            keys.setdefault(campaign_of(dag) or "", []).append(key)
    return keys


def paused(campaigns: Collection[str]) -> Mapping[str, Collection[str]]:
    """Stages whose DAG is paused: Airflow drops what is announced to it."""
    dags = [dag for name in campaigns for dag in dag_ids(name).values()]
    stages: dict[str, list[str]] = {}
    for dag in DagModel.get_paused_dag_ids(dags):
        stages.setdefault(campaign_of(dag) or "", []).append(stage_of(dag) or "")
    return stages


def key_of(dag: str, run_id: str, campaigns: Collection[str]) -> tuple[str, str] | None:
    """The campaign and the batch that a run works on; None where it is no run of theirs."""
    name = campaign_of(dag)
    if name not in campaigns or stage_of(dag) is None:
        return None
    query = select(DagRun.partition_key).where(DagRun.dag_id == dag, DagRun.run_id == run_id)
    with create_session() as session:
        key: str | None = session.scalar(query)
    return (name, key) if name and key else None


def _logs_to_read(rows: Sequence[TaskRow]) -> list[Any]:
    """The failed tasks whose logs are read: the first of each mapped task."""
    first: dict[tuple[str, str, str | None], Any] = {}
    for row in rows:
        if row.task_state == _FAILED:
            first.setdefault((row.dag, row.run_id, row.name), row.task)
    return list(first.values())[:MOST_ERRORS]


def _seconds(error: str | None) -> float:
    return _ERROR_SECONDS if error else _UNREAD_SECONDS


def _by_batch(rows: Sequence[TaskRow], errors: Mapping[Any, str | None]) -> Mapping[str, Runs]:
    of_run: dict[tuple[str, str, str], list[TaskRow]] = {}
    for row in rows:
        of_run.setdefault((row.key, row.dag, row.run_id), []).append(row)
    runs: dict[str, dict[str, list[Run]]] = {}
    for (key, dag, run_id), tasks in of_run.items():
        run = tasks[0]
        failures: dict[str, FailedTask] = {}
        for task in tasks:
            name = task.name or ""
            if task.task_state == _FAILED and not (name in failures and failures[name].error):
                failures[name] = FailedTask(name, errors.get(task.task))
        runs.setdefault(run.campaign, {}).setdefault(key, []).append(
            Run(
                campaign=run.campaign,
                stage=stage_of(dag) or "",
                key=key,
                run_id=run_id,
                state=str(getattr(run.state, "value", run.state)),
                began=run.began,
                ended=run.ended,
                failures=tuple(failures.values()),
                waiting=tuple(t.name or "" for t in tasks if t.task_state == _WAITING),
            )
        )
    return runs


def _error(task: Any) -> str | None:
    """The error that a failed task's log ends in; None where it cannot be read."""
    try:
        with create_session() as session:
            instance = session.scalar(
                select(TaskInstance)
                .where(TaskInstance.id == task)
                .options(joinedload(TaskInstance.dag_run))
            )
            if instance is None:
                return None
            whole: Any = {}
            lines, _ = TaskLogReader().read_log_chunks(instance, instance.try_number, whole)
            return _last_error(lines)
    except Exception as error:  # a log store may fail in ways of its own; the page goes on
        log.warning("The log of task %s cannot be read: %s", task, error)
        return None


def _last_error(lines: Any) -> str | None:
    details = [line.error_detail for line in lines if getattr(line, "error_detail", None)]
    if not details:
        return None
    last = details[-1][-1]
    return f"{last['exc_type']}: {last['exc_value']}"[:_LONGEST_ERROR]
