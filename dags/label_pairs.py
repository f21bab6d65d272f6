"""
### Buy the labels

Sends the chosen pairs to the labelling vendor, waits without holding a worker slot, and collects
the annotations. This is the one DAG that spends money.

**Key** the batch. **In** asset `comparisons`. **Out** asset `annotations`.

**When it fails** `submit_tasks` may always be run again: it asks the vendor what it has and sends
only what is missing, within the campaign's budget. `wait_for_vendor` looks at the vendor until the
campaign's deadline. `collect_annotations` stops the batch if too few tasks were answered.
"""

from airflow.sdk import DAG, PartitionedAssetTimetable, task

from winnow_airflow import assets
from winnow_airflow.context import annotator_salt, announce, batch_of, vendor_of
from winnow_airflow.policy import DAG_DEFAULTS
from winnow_airflow.waiting import WaitForVendor

with DAG(
    "label_pairs",
    schedule=PartitionedAssetTimetable(assets=assets.COMPARISONS),
    # Batches wait for days side by side; a waiting run holds no worker.
    max_active_runs=64,
    doc_md=__doc__,
    tags=["winnow", "label", "spends-money"],
    **DAG_DEFAULTS,
):

    @task
    def submit_tasks(dag_run=None):
        from winnow.stages import label

        batch = batch_of(dag_run)
        return label.submit(batch, vendor_of(batch))

    @task(outlets=[assets.ANNOTATIONS])
    def collect_annotations(dag_run=None, outlet_events=None):
        from winnow.stages import label

        batch = batch_of(dag_run)
        manifest = label.collect(batch, vendor_of(batch), annotator_salt(batch))
        return announce(assets.ANNOTATIONS, manifest, outlet_events)

    submit_tasks() >> WaitForVendor(task_id="wait_for_vendor") >> collect_annotations()
