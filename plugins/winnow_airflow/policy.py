"""What every Winnow DAG shares: owner, retries, time limits, errors, and who hears of a task.

A task that is done emits its metrics, reports its lineage, and tells what there is to tell; one
that failed for good tells why. None of that can fail the task: what goes wrong there is logged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from winnow.errors import Ambiguous, Blocked, Corrupt, Fatal, Retryable
from winnow_airflow.plain_log import plain_logger

if TYPE_CHECKING:
    from winnow_airflow.done import Done

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

WATCHED = frozenset(
    {
        "ingest_files",
        "gather_pools",
        "choose_pairs",
        "plan_tasks",
        "submit_tasks",
        "submit_follow_up",
        "collect_annotations",
        "check_labels",
        "publish_version",
        "refit_posterior",
    }
)
"""Tasks after which there is something to count or to tell."""

HOURS: Mapping[str, float] = {
    "default": 2.0,
    # A shard on the slowest engine, a CPU.
    "generate_responses": 24.0,
    # A vendor that takes tasks, or gives answers, a few at a time.
    "submit_tasks": 6.0,
    "submit_follow_up": 6.0,
    "collect_annotations": 6.0,
    # The next pass begins within a quarter of an hour.
    "look_around": 0.5,
}
"""How long one try of a task may take; WINNOW_TASK_HOURS changes it, `default` is all others.

A wait for the vendor or for a person is none of it: it holds no process, and has a deadline of its
own. A try that is ended is tried again like one whose host was lost, and goes on where it was.
"""

log = plain_logger(__name__)


def time_limit(task: str = "default") -> timedelta:
    """How long one try of a task may take.

    Raises:
        Fatal: WINNOW_TASK_HOURS is not `task=hours,...` of tasks that `HOURS` names.
    """
    said = os.environ.get("WINNOW_TASK_HOURS", "")
    asked = dict(part.partition("=")[::2] for part in said.replace(" ", "").split(",") if part)
    try:
        hours = {**HOURS, **{name: float(value) for name, value in asked.items()}}
        if hours.keys() != HOURS.keys():
            raise ValueError("another task")
        if not all(0 < value <= 24 * 366 for value in hours.values()):
            raise ValueError("no hours")
    except ValueError:
        raise Fatal(
            f"WINNOW_TASK_HOURS is {said!r}; write hours such as generate_responses=48,default=3, "
            f"for any of {', '.join(HOURS)}."
        ) from None
    return timedelta(hours=hours[task])


def task_done(context: Any) -> None:
    """Count, report and tell what a task that is done gives."""
    if context["ti"].task_id not in WATCHED:
        return
    from winnow_airflow import alarms, lineage, metrics
    from winnow_airflow.done import done_of

    done = _quietly("its batch", done_of, context)
    if done is not None:
        _quietly("metrics", metrics.emit, done)
        _quietly("lineage", lineage.report, done)
        _quietly("alarms", alarms.tell_of, done)


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
    from winnow.stages.alarms import cause_of

    try:
        found: Done | None = step(about)
    except Exception as error:
        log.warning("After the task, %s failed: %s", what, cause_of(error))
        return None
    return found


DAG_DEFAULTS: dict[str, Any] = {
    "catchup": False,
    "on_failure_callback": run_failed,
    "default_args": {
        "owner": "winnow",
        # 20 s, 40 s, ... 10 min: an object store or a vendor may be away for a quarter of an hour.
        "retries": 6,
        "retry_delay": timedelta(seconds=20),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
        "retry_policy": RETRY_POLICY,
        "execution_timeout": time_limit(),
        "on_success_callback": task_done,
        "on_failure_callback": task_failed,
    },
}
