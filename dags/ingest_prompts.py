"""
### Ingest prompts

Takes the prompt files that are new since the last batch, normalises and de-duplicates their
rows, and puts what cannot be used into quarantine with file, line and reason.

**Key** the day the batch belongs to (`2026-11-22`); the run shortly after midnight UTC takes the
day before. **Out** asset `prompts`. **Backfill** this DAG; the other four follow by asset.

A campaign with `pools_from` reads no file: the day's prompts come from the other campaign's batch.

**When it fails** the message names the file or the setting. A skipped run means that no new file
was there. Running it again for the same day never takes a file twice.
"""

from airflow.sdk import DAG, CronPartitionTimetable

from winnow_airflow.context import announce, batch_of
from winnow_airflow.policy import dag_settings, listed_task

with DAG(
    **dag_settings("ingest_prompts"),
    # At midnight the day's tick is the day's first moment, so a backfill's last day is included.
    schedule=CronPartitionTimetable(
        "0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"
    ),
    max_active_runs=1,
    doc_md=__doc__,
    tags=["winnow", "ingest"],
):

    @listed_task
    def ingest_files(dag_run=None, outlet_events=None):
        from winnow.stages import ingest

        return announce(ingest.run(batch_of(dag_run)), outlet_events)

    ingest_files()
