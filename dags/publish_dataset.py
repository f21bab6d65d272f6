"""
### Publish a dataset version

Checks the annotations against the campaign's limits, publishes an immutable version with manifest
and card, and refits the reward posterior that chooses the next batch's pairs.

**Key** the batch. **In** asset `annotations`. **Out** asset `datasets`.

**When it fails** `check_labels` writes its verdict either way; `publish_version` stops at a verdict
of *block* and says which figure crossed which limit. A version that is published never changes.
`push_to_hub` (campaigns with `publish.hub`) may be cleared at any time: it does what is missing.
"""

from winnow_airflow.campaigns import campaigns_here
from winnow_airflow.context import announce, batch_of, hub_of
from winnow_airflow.policy import listed_task, stage_dag

for campaign in campaigns_here():
    with stage_dag(
        campaign, "publish_dataset", max_active_runs=campaign.max_active, doc_md=__doc__
    ):

        @listed_task
        def check_labels(dag_run=None):
            from winnow.stages import publish

            return publish.check(batch_of(dag_run))

        @listed_task
        def publish_version(verdict, dag_run=None):
            from winnow.stages import publish

            return publish.version(batch_of(dag_run), verdict)

        @listed_task
        def refit_posterior(number, dag_run=None, outlet_events=None):
            from winnow.stages import publish

            return announce(publish.refit(batch_of(dag_run), number), outlet_events)

        number = publish_version(check_labels())
        done = refit_posterior(number)
        if campaign.publish.hub is not None:

            @listed_task
            def push_to_hub(number, dag_run=None):
                from winnow.stages import publish

                batch = batch_of(dag_run)
                return publish.push(batch, number, hub_of(batch.campaign))

            # Last: the next night waits for no hub.
            done >> push_to_hub(number)
