"""Airflow in one process, on a clock of the test: a week of it passes in minutes.

What is Airflow's own: the bundle, the parse and its way into the database; the whole loop of the
scheduler, run by its job as `airflow scheduler` does it, with all that it calls at intervals;
backfills; the execution API, by which a task speaks with the database; the triggers and how their
events resume a task. The database is SQLite in a file.

What stands in: the executor, which runs a task in this process and at once, as `DAG.test` does, so
that tasks that Airflow would run side by side run one after the other; the triggerer, whose event
loop lives here and reads the test's clock; the DAG processor's process, so that nobody answers
callbacks of DAGs. Where nothing is to be done now the clock is put to the next thing that is due.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import time_machine
from airflow import settings
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.executors.base_executor import BaseExecutor
from airflow.jobs import scheduler_job_runner
from airflow.jobs.job import Job, run_job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.pool import Pool
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk.api.datamodels._generated import TaskInstance as TaskInstanceOfTask
from airflow.sdk.execution_time.supervisor import (
    InProcessSupervisorComms,
    InProcessTestSupervisor,
    run_task_in_process,
    set_supervisor_comms,
)
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from sqlalchemy import Engine, event, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import now as sql_now

from winnow.lake import FolderLake
from winnow.stages import turn
from winnow_airflow import context

Hook = Callable[[str, str, str], None]
"""Called with DAG, task and partition key."""
Planned = tuple[datetime, Callable[[], None]]

MOMENT = timedelta(milliseconds=50)
MINUTE = timedelta(minutes=1)
LONGEST_STEP = timedelta(hours=1)


class Executor(BaseExecutor):
    """Runs what it is given at once; then lets the triggers run, and the clock."""

    is_local = True

    def __init__(self, airflow: AirflowInProcess) -> None:
        super().__init__(parallelism=32)
        self.airflow = airflow

    def _process_workloads(self, workload_items: Any) -> None:
        for workload in workload_items:
            key = workload.ti.key
            self.queued_tasks.pop(key, None)
            self.airflow.run_task(workload.ti)
            # The process ended; what became of the task stands in the database.
            self.change_state(key, TaskInstanceState.SUCCESS)

    def sync(self) -> None:
        self.airflow.pass_is_over()

    def send_callback(self, request: Any) -> None:
        """Nobody answers it here."""

    def end(self) -> None:
        """Nothing is left running."""


class Loop(asyncio.SelectorEventLoop):
    """An event loop on the test's clock; what it would give to threads it does itself."""

    def time(self) -> float:
        return time.time()

    def run_in_executor(self, executor: Any, call: Any, *arguments: Any) -> Any:
        future = self.create_future()
        try:
            future.set_result(call(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def pump(self) -> None:
        """Run what can run now."""
        while True:
            self.run_until_complete(asyncio.sleep(0))
            if not self._ready:
                return

    def next_timer(self) -> datetime | None:
        """When something that sleeps wants to be woken."""
        times = [t.when() for t in self._scheduled if not t.cancelled()]
        return datetime.fromtimestamp(min(times), UTC) if times else None


class Triggerer:
    """The triggers of deferred tasks, all in one event loop."""

    def __init__(self) -> None:
        self.loop, self.running = Loop(), dict[int, asyncio.Task[Any]]()
        client = InProcessTestSupervisor._api_client()
        nobody: dict[str, Any] = {"id": UUID(int=0), "pid": 0, "process": None, "process_log": None}
        self.supervisor = InProcessTestSupervisor(**nobody, client=client)
        self.supervisor.comms = InProcessSupervisorComms(supervisor=self.supervisor)

    def step(self) -> bool:
        """Begin what is new, and hand on what fired; whether something did."""
        with create_session() as session:
            deferred = select(TaskInstance.trigger_id).where(
                TaskInstance.state == TaskInstanceState.DEFERRED
            )
            for trigger in session.scalars(select(Trigger).where(Trigger.id.in_(deferred))):
                if trigger.id not in self.running:
                    made = import_string(trigger.classpath)(**trigger.kwargs)
                    made.task_instance = None
                    self.running[trigger.id] = self.loop.create_task(_first(made))
        with set_supervisor_comms(self.supervisor.comms):
            self.loop.pump()
        fired = [number for number, task in self.running.items() if task.done()]
        for number in fired:
            task = self.running.pop(number)
            if error := task.exception():
                Trigger.submit_failure(number, exc=error)
            else:
                Trigger.submit_event(number, task.result())
        return bool(fired)

    def close(self) -> None:
        """End what still waits."""
        for task in self.running.values():
            task.cancel()
        self.loop.pump()
        self.loop.close()


async def _first(trigger: Any) -> Any:
    return await anext(trigger.run())


class AirflowInProcess:
    """Airflow over the campaigns, lake and home that the environment names.

    Attributes:
        before: Called right before each task.
    """

    def __init__(self, now: datetime) -> None:
        self.clock = time_machine.travel(now, tick=True).start()
        self.before: Hook = lambda *_: None
        self.n_tasks = 0
        self._plan: list[Planned] = []
        self._end: datetime | None = None
        self._latest: datetime | None = None
        self._runner: SchedulerJobRunner | None = None
        self._triggerer: Triggerer | None = None
        self._worked, self._idle = False, 0

    @property
    def now(self) -> datetime:
        """The time of the clock."""
        return datetime.now(UTC)

    @staticmethod
    def create() -> None:
        """Make the database, with a pool of two GPUs."""
        initdb()
        Pool.create_or_update_pool("gpu", 2, "GPUs", include_deferred=False)

    def parse(self) -> dict[str, str]:
        """Read the campaigns as the DAG processor does; what it cannot read, by file."""
        manager = DagBundlesManager()
        manager.sync_bundles_to_db()
        [bundle] = manager.get_all_dag_bundles()
        bundle.initialize()
        self.bag = BundleDagBag(
            dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name
        )
        sync_bag_to_db(self.bag, bundle.name, bundle.version)
        return dict(self.bag.import_errors)

    def run(self, until: datetime | None, plan: list[Planned]) -> None:
        """Run the scheduler until a time, or until nothing is left to do, and what is planned."""
        self._latest = None if until else self.now + timedelta(days=2)
        self._plan, self._end, self._idle = sorted(plan, key=itemgetter(0)), until, 0
        self._triggerer = Triggerer()
        job = Job()
        self._runner = SchedulerJobRunner(
            job=job, executors=[Executor(self)], scheduler_idle_sleep_time=0.0
        )
        try:
            run_job(job=job, execute_callable=self._runner._execute)
        finally:
            self._triggerer.close()
            settings.Session.remove()

    def run_task(self, task: Any) -> None:
        """Run one task as the executor would have its process do it."""
        with create_session() as session:
            key = session.scalar(
                select(DagRun.partition_key).where(
                    DagRun.dag_id == task.dag_id, DagRun.run_id == task.run_id
                )
            )
        self.before(task.dag_id, task.task_id, str(key))
        self.n_tasks += 1
        self._worked = True
        names = ("id", "task_id", "dag_id", "run_id", "try_number", "map_index", "dag_version_id")
        instance = TaskInstanceOfTask(**{name: getattr(task, name) for name in names})
        operator = self.bag.dags[task.dag_id].task_dict[task.task_id]
        run_task_in_process(ti=instance, task=operator)

    def pass_is_over(self) -> None:
        """The scheduler went once around: let the triggers run, else put the clock forward."""
        assert self._triggerer is not None and self._runner is not None
        if self._triggerer.step() or self._worked:
            self._worked, self._idle = False, 0
            return
        self._idle += 1
        if self._plan and self._plan[0][0] <= self.now:
            self._plan.pop(0)[1]()
            self._idle = 0
        elif self._end is not None and self.now >= self._end and not self._plan:
            self._runner.num_runs = 1
        # Runs are begun in one pass, tasks in the next.
        elif self._idle >= 3:
            step = self._next_moment()
            assert self._latest is None or self.now < self._latest, "nothing moved for days"
            if step is None:
                self._runner.num_runs = 1
            else:
                self.clock.move_to(max(step, self.now + MOMENT))

    def _next_moment(self) -> datetime | None:
        """When the next thing is due; None where nothing ever is."""
        with create_session() as session:
            next_run = session.scalar(
                select(func.min(DagModel.next_dagrun_create_after)).where(
                    DagModel.is_paused.is_(False), DagModel.is_stale.is_(False)
                )
            )
            queued = session.scalar(
                select(func.min(DagRun.run_after)).where(
                    DagRun.state == DagRunState.QUEUED, DagRun.run_after > self.now
                )
            )
            retries = [
                ti.end_date + LONGEST_STEP / 6
                for ti in session.scalars(
                    select(TaskInstance).where(TaskInstance.state == TaskInstanceState.UP_FOR_RETRY)
                )
            ]
            is_open = session.scalar(
                select(func.count()).where(
                    DagRun.state.in_([DagRunState.QUEUED, DagRunState.RUNNING]),
                    DagRun.run_after <= self.now,
                )
            )
        timer = self._triggerer.loop.next_timer() if self._triggerer else None
        # Whoever looks once a minute can as well look together with the others.
        timer = timer and max(timer, self.now + MINUTE)
        planned = self._plan[0][0] if self._plan else None
        times = [t for t in (next_run, queued, timer, planned, self._end, *retries) if t]
        if self._end is None and not is_open and not queued:
            return None
        self._idle = 0
        return min([*times, self.now + LONGEST_STEP])


def _with_clock(connection: Any, _: Any) -> None:
    """The database's own time is the test's."""
    connection.create_function(
        "time_of_the_test", 0, lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    )


@contextmanager
def in_process(lake: Path, now: datetime) -> Iterator[AirflowInProcess]:
    """Airflow with its clock, and the lake's, at a time."""
    airflow = AirflowInProcess(now)
    opened = FolderLake(lake, lambda: datetime.now(UTC))
    context._open_lake = lambda _: opened
    turn.time = SimpleNamespace(monotonic=lambda: time.time())
    compiles(sql_now, "sqlite")(lambda *_, **__: "time_of_the_test()")
    event.listen(Engine, "connect", _with_clock)
    settings.engine.dispose()
    timers = scheduler_job_runner.EventScheduler
    scheduler_job_runner.EventScheduler = partial(timers, lambda: time.time(), lambda _: None)
    try:
        yield airflow
    finally:
        scheduler_job_runner.EventScheduler = timers
        airflow.clock._stop()
