"""The alert of a batch whose labels are late.

Airflow's scheduler watches the deadline of every `label_pairs` run, whatever its tasks do: a run
that waits for a vendor, for an approval, or for a triggerer that is down is seen all the same. The
deadline is the campaign's `label.deadline_minutes` after the run was queued, read when the DAG file
is parsed.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

from winnow_airflow.context import campaign_path

DEFAULT_MINUTES = 7 * 24 * 60.0
"""As `label.deadline_minutes` of a campaign that does not set it."""


def labels_are_late() -> DeadlineAlert:
    """Alerts once, when a run is not through at the campaign's deadline."""
    return DeadlineAlert(
        name="labels are late",
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(minutes=deadline_minutes(campaign_path())),
        callback=AsyncCallback(warn),
    )


async def warn(context: Any) -> str:
    """Say in the triggerer's log which batch is late; a notifier can stand in its place."""
    run = context["dag_run"]
    message = (
        f"Labels of batch {run.get('partition_key')} are late: run {run.get('dag_run_id')} is "
        f"{run.get('state')} past its deadline {context['deadline']['deadline_time']}."
    )
    logging.getLogger(__name__).warning(message)
    return message


def deadline_minutes(campaign: Path) -> float:
    """`label.deadline_minutes` of a campaign file.

    Read without the campaign's own code, which costs too much while a DAG file is parsed. A file
    that cannot be read gives the default: the tasks say what is wrong with it.
    """
    try:
        minutes = float(yaml.safe_load(campaign.read_text())["label"]["deadline_minutes"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return DEFAULT_MINUTES
    return minutes if 0.0 < minutes < 1e7 else DEFAULT_MINUTES
