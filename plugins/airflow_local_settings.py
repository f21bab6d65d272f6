"""Read by Airflow at its start: what lets tonight's batch go before a backfill.

A deployment with local settings of its own, in `$AIRFLOW_HOME/config`, imports the hook there.
"""

from winnow_airflow.urgency import task_instance_mutation_hook

__all__ = ["task_instance_mutation_hook"]
