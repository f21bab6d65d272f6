"""A task that is done, in Winnow's words: what metrics, lineage and alarms are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from winnow_airflow.context import batch_key, current_campaign, the_lake

if TYPE_CHECKING:
    from winnow.batch import Manifest
    from winnow.campaign import Campaign
    from winnow.lake import Lake


@dataclass(frozen=True, slots=True)
class Done:
    """One task of a batch that is done, and what it returned.

    The campaign is the deployment's as its file is now: a batch is opened by its stages alone.
    """

    task: str
    key: str
    campaign: Campaign
    lake: Lake
    task_instance: Any
    result: Any

    def manifest(self, stage: str) -> Manifest | None:
        """The manifest of a stage of the batch."""
        from winnow.batch import read_manifest

        return read_manifest(self.lake, self.campaign.name, self.key, stage)


def done_of(context: Any) -> Done:
    """The task that the callback's context is about.

    Raises:
        Fatal: The run has no partition key, or Winnow's settings are wrong.
    """
    ti = context["ti"]
    return Done(
        task=ti.task_id,
        key=batch_key(context["dag_run"]),
        campaign=current_campaign(),
        lake=the_lake(),
        task_instance=ti,
        result=ti.xcom_pull(task_ids=ti.task_id, key="return_value"),
    )
