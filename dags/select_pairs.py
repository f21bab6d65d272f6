"""
### Select the pairs worth a label

Scores every pair of every candidate pool by what a label would teach the reward posterior, and
chooses a few per prompt, taking into account what the pairs chosen before will teach already.
A backfilled batch waits before that, without a worker slot, until the batches before it have taught
the model, as does any where the campaign says so (`select.wait_for`); log and XCom `progress` of
`wait_for_turn` say for which.

**Key** the batch. **In** asset `candidate_pools`. **Out** asset `comparisons`.

**When it fails** the cause is a setting or a damaged file; the message names it. Choosing again
gives the same pairs.
"""

from winnow_airflow.campaigns import campaigns_here
from winnow_airflow.context import announce, batch_of
from winnow_airflow.policy import listed_task, stage_dag
from winnow_airflow.turn import WaitForTurn

for campaign in campaigns_here():
    # A batch that waits for its turn holds no worker.
    with stage_dag(campaign, "select_pairs", max_active_runs=500, doc_md=__doc__):

        @listed_task(max_active_tis_per_dag=4)
        def choose_pairs(dag_run=None, outlet_events=None):
            from winnow.stages import select

            return announce(select.run(batch_of(dag_run), print), outlet_events)

        WaitForTurn(task_id="wait_for_turn") >> choose_pairs()
