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
from typing import TYPE_CHECKING, Any

from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

from winnow.errors import WinnowError
from winnow_airflow.context import campaign_name, the_lake
from winnow_airflow.plain_log import plain_logger

if TYPE_CHECKING:
    from winnow.campaign import Campaign


def labels_are_late(campaign: Campaign) -> DeadlineAlert:
    """Alerts once, when a run is not through at the campaign's deadline."""
    return DeadlineAlert(
        name="labels are late",
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(minutes=campaign.label.deadline_minutes),
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
    name = campaign_name(str(run.get("dag_id")))
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
