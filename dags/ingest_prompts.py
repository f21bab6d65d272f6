"""
### Ingest prompts

Takes the prompt files that are new since the last batch, normalises and de-duplicates their
rows, and puts what cannot be used into quarantine with file, line and reason.

**Key** the day the batch belongs to (`2026-11-22`), or its hour or minute, as the campaign's
`schedule` says. **Out** asset `prompts`. **Backfill** this DAG; the other four follow by asset.
**Pause** it, and the campaign begins no batch; those that have begun go on.

A campaign with `pools_from` reads no file: the day's prompts come from the other campaign's batch.

**When it fails** the message names the file or the setting. A skipped run means that no new file
was there. Running it again for the same day never takes a file twice.
"""

from winnow_airflow.campaigns import campaigns_here
from winnow_airflow.context import announce, batch_of, nights_at_once, unless_begun_by_hand
from winnow_airflow.policy import head_schedule, listed_task, stage_dag

for campaign in campaigns_here():
    with stage_dag(
        campaign,
        "ingest_prompts",
        schedule=head_schedule(campaign),
        # One after the other: which batch takes a prompt file must not depend on chance.
        max_active_runs=1,
        doc_md=__doc__,
    ):

        @listed_task
        def ingest_files(dag_run=None, ti=None, outlet_events=None):
            from winnow.stages import ingest

            batch = unless_begun_by_hand(batch_of(dag_run), dag_run, ti)
            nights = nights_at_once(dag_run)
            return announce(ingest.run(batch, at_once=nights), outlet_events)

        ingest_files()
