"""A listener that writes into the lake why a task of Winnow's DAGs failed.

`reconcile` reads it, to tell what may pass from what a person must mend. It runs in the process of
the task; of one that was killed there is no error, and nothing is written.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.listeners import hookimpl

from winnow_airflow.plain_log import plain_logger


@hookimpl
def on_task_instance_failed(task_instance: Any, error: Any) -> None:
    """Note the error; a lake that cannot be written must not make the failure worse."""
    from winnow.stages.tasks import campaign_of, stage_of

    campaign, stage = campaign_of(task_instance.dag_id), stage_of(task_instance.dag_id)
    if campaign is None or stage is None or not isinstance(error, BaseException):
        return
    from winnow.operate.failures import note_failure
    from winnow_airflow.context import batch_key, the_lake

    try:
        key = batch_key(task_instance.get_template_context()["dag_run"])
        run_id = task_instance.run_id
        note_failure(the_lake(), campaign, key, stage, run_id, error, datetime.now(UTC))
    except Exception as fault:
        plain_logger(__name__).warning("The failure cannot be noted in the lake: %s", fault)
