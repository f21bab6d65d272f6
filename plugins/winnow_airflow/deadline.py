"""The alert of a batch whose labels are late.

Airflow's scheduler watches the deadline of every `label_pairs` run, whatever its tasks do: a run
that waits for a vendor, for an approval, or for a triggerer that is down is seen all the same. The
deadline is the campaign's `label.deadline_minutes` after the run was queued, read when the DAG file
is parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

from winnow.errors import WinnowError
from winnow_airflow.context import campaign_path, current_campaign, the_lake
from winnow_airflow.plain_log import plain_logger

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
    """Tell, in the triggerer, which batch is late; once, however many runs of it are.

    Sending blocks, so it has a thread of its own: other waits go on meanwhile.
    """
    return await asyncio.to_thread(_warn, context["dag_run"], context["deadline"])


def _warn(run: Mapping[str, Any], missed: Mapping[str, Any]) -> str:
    from winnow.operate.alarms import late
    from winnow_airflow.alarms import tell

    key = str(run.get("partition_key"))
    name = current_campaign().name
    alarm = late(name, key, str(run.get("state")), _minute(str(missed["deadline_time"])))
    try:
        tell(the_lake(), alarm)
    except WinnowError as error:
        # Airflow would not call again: what could not be sent stands in the log.
        plain_logger(__name__).warning("%s %s", alarm.cause, error)
    return f"{alarm.subject} {alarm.cause}"


def _minute(time: str) -> str:
    """A time of Airflow's, to the minute."""
    try:
        return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return time


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
