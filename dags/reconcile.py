"""
### Reconcile

Every 15 minutes holds what the lake says of each batch against what Airflow did. A stage that is
done and whose next DAG never ran (Airflow drops events for a paused DAG), or whose run ended
without its work, is announced again, at most three times; a version that lacks its folder or the
pointer is finished; answers that came after their batch was collected are kept. A batch waits while
its DAG is paused. `look_around` is skipped where nothing is to be done.

**When it fails** `tell` failed on purpose: its message lists what a person must look at, each with
the command that mends it. It says so once, and again after a week. `winnow reconcile` prints
everything; `winnow reconcile --leave KEY` ends the telling for a batch.
"""

from airflow.sdk import DAG, CronTriggerTimetable, task

from winnow_airflow import reconcile
from winnow_airflow.policy import dag_settings, listed_task

with DAG(
    schedule=CronTriggerTimetable("*/15 * * * *", timezone="UTC"),
    max_active_runs=1,
    doc_md=__doc__,
    tags=["winnow", "reconcile"],
    # A pass that died is made good by the next one.
    **dag_settings("reconcile") | {"on_failure_callback": None},
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
    for stage, asset in reconcile.HANDED_ON.items():
        announce_again.override(task_id=f"announce_{asset.name}", outlets=[asset])(plan, stage)
