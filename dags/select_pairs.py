"""
### Select the pairs worth a label

Scores every pair of every candidate pool by what a label would teach the reward posterior, and
chooses a few per prompt, taking into account what the pairs chosen before will teach already.

**Key** the batch. **In** asset `candidate_pools`. **Out** asset `comparisons`.

**When it fails** the cause is a setting or a damaged file; the message names it. Choosing again
gives the same pairs.
"""

from airflow.sdk import DAG, PartitionedAssetTimetable, task

from winnow_airflow import assets
from winnow_airflow.context import announce, batch_of
from winnow_airflow.policy import DAG_DEFAULTS

with DAG(
    "select_pairs",
    schedule=PartitionedAssetTimetable(assets=assets.CANDIDATE_POOLS),
    max_active_runs=4,
    doc_md=__doc__,
    tags=["winnow", "select"],
    **DAG_DEFAULTS,
):

    @task(outlets=[assets.COMPARISONS])
    def choose_pairs(dag_run=None, outlet_events=None):
        from winnow.stages import select

        return announce(assets.COMPARISONS, select.run(batch_of(dag_run)), outlet_events)

    choose_pairs()
