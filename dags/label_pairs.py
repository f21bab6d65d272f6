"""
### Buy the labels

Plans the labelling tasks, asks a person where they are dear, sends them to the labelling vendor,
waits without holding a worker slot, asks again where two annotators disagreed, waits again, and
collects the annotations. This is the one DAG that spends money.

Votes that another campaign bought of the same pairs (`annotations_from`) are taken over. Judges and
experts (`label.sources`) are asked by mapped tasks of their own, `ask_source` and what follows it.

**Key** the batch. **In** asset `comparisons`. **Out** asset `annotations`.

**When it fails** a task may always be run again: buying asks the vendor what it has and sends only
what is missing, within the budgets of batch, month and team. `approve_purchase` waits in *Required
Actions* above `label.approve_above_usd`; a rejection fails the run and buys nothing. At the
campaign's deadline the two waits call off what is open, and wait up to a day for a vendor that does
not end at once; their log and XCom `progress` say how far it is. A run past its deadline is shown
under *Deadlines*. `collect_annotations` stops the batch if too few tasks were answered.
To go on without a source that stays away mark its `ask_source` as success.
"""

from winnow_airflow.approval import ApprovePurchase
from winnow_airflow.campaigns import campaigns_here
from winnow_airflow.context import annotator_salt, announce, batch_of, limits_of, vendor_of
from winnow_airflow.deadline import labels_are_late
from winnow_airflow.policy import listed_task, stage_dag
from winnow_airflow.sources import ask_sources
from winnow_airflow.waiting import WaitForVendor

for campaign in campaigns_here():
    with stage_dag(
        campaign,
        "label_pairs",
        # Batches wait for days side by side; a waiting run holds no worker.
        max_active_runs=500,
        deadline=labels_are_late(campaign),
        doc_md=__doc__,
        tags=["spends-money"],
    ):

        @listed_task
        def plan_tasks(dag_run=None):
            from winnow.stages import label

            return label.plan(batch_of(dag_run))

        @listed_task
        def submit_tasks(dag_run=None):
            from winnow.stages import label

            batch = batch_of(dag_run)
            return label.submit(batch, vendor_of(batch.campaign), limits_of(batch))

        @listed_task
        def submit_follow_up(dag_run=None):
            from winnow.stages import label

            batch = batch_of(dag_run)
            vendor, salt = vendor_of(batch.campaign), annotator_salt(batch.campaign)
            return label.follow_up(batch, vendor, salt, limits_of(batch))

        # A source that a batch does not have is skipped.
        @listed_task(trigger_rule="none_failed")
        def collect_annotations(dag_run=None, outlet_events=None):
            from winnow.stages import label

            batch = batch_of(dag_run)
            campaign = batch.campaign
            manifest = label.collect(batch, vendor_of(campaign), annotator_salt(campaign))
            return announce(manifest, outlet_events)

        (
            (approved := ApprovePurchase(task_id="approve_purchase", plan=plan_tasks()))
            >> submit_tasks()
            >> WaitForVendor(task_id="wait_for_vendor")
            >> submit_follow_up()
            >> WaitForVendor(task_id="wait_for_follow_up", round=1)
            >> (collected := collect_annotations())
        )
        ask_sources(campaign, approved, collected)
