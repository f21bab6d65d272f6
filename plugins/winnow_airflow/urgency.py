"""Which task gets a slot first, where tasks of several batches wait for one, as for a GPU.

Tonight's batches go before older ones, of whatever campaign; among either, the campaign of the
higher `priority`. Airflow itself would take runs in turn, and counts a backfill's batches beyond
the first DAG as ordinary ones, so that a night would wait for all of them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from winnow.keys import moment_of
from winnow.stages.tasks import campaign_of

TONIGHT = timedelta(days=2)
"""A batch is tonight's while its key is no older; one that is of the day before is a day late."""

STEP = 10_000
"""More than any campaign's priority."""


def task_instance_mutation_hook(task_instance: Any, dag_run: Any = None) -> None:
    """Raise the weight of a task of tonight's batch; Airflow calls it for each that it makes."""
    key = getattr(dag_run, "partition_key", None)
    if key is None or campaign_of(task_instance.dag_id) is None:
        return
    moment, own = moment_of(key), task_instance.priority_weight % STEP
    is_tonights = moment is not None and datetime.now(UTC) - moment <= TONIGHT
    task_instance.priority_weight = own + STEP if is_tonights else own
