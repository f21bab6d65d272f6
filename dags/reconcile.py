"""
### Reconcile

Every 15 minutes holds what the lake says of each of the campaign's batches against what Airflow
did. A stage that is done and whose next DAG never ran (Airflow drops events for a paused DAG), or
whose run ended without its work, is announced again, at most three times; a version that lacks its
folder or the pointer is finished; answers that came after their batch was collected are kept. A
batch waits while its DAG is paused. `look_around` is skipped where nothing is to be done.

**When it fails** `tell` failed on purpose: its message lists what a person must look at, each with
the command that mends it. It says so once, and again after a week. `winnow reconcile` prints
everything; `winnow reconcile --leave KEY` ends the telling for a batch.
"""

from airflow.sdk import CronTriggerTimetable, task

from winnow_airflow import reconcile
from winnow_airflow.campaigns import campaigns_here
from winnow_airflow.policy import listed_task, reconcile_minutes, stage_dag

for campaign in campaigns_here():
    with stage_dag(
        campaign,
        "reconcile",
        schedule=CronTriggerTimetable(reconcile_minutes(campaign), timezone="UTC"),
        max_active_runs=1,
        # A pass that died is made good by the next one.
        on_failure_callback=None,
        is_paused_upon_creation=False,
        doc_md=__doc__,
    ):

        @listed_task
        def look_around(ti=None):
            return reconcile.look_around(ti)

        @task
        def announce_again(plan, stage, outlet_events=None):
            return reconcile.announce_again(plan, stage, outlet_events)

        # It has told what it fails with.
        @listed_task(on_failure_callback=None)
        def tell(plan):
            reconcile.tell(plan)

        plan = look_around()
        tell(plan)
        for stage, name, asset in reconcile.handed_on(campaign.name):
            announce_again.override(task_id=name, outlets=[asset])(plan, stage)
