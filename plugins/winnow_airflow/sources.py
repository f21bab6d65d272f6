"""Tasks that ask others beside people (`label.sources`), each of them mapped, one a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from winnow_airflow.context import annotator_salt, batch_of, limits_of, vendor_of
from winnow_airflow.policy import listed_task
from winnow_airflow.waiting import WaitForVendor

if TYPE_CHECKING:
    from airflow.sdk.definitions._internal.node import DAGNode

    from winnow.campaign import Campaign


def ask_sources(campaign: Campaign, before: DAGNode, after: DAGNode) -> None:
    """Put the tasks of a campaign's sources into the DAG, between two others; it may have none.

    Of a batch that was begun when nobody but people was asked the mapped ones count as skipped.
    """
    if not campaign.label.sources:
        return

    @listed_task
    def list_sources(dag_run: Any = None) -> list[str]:
        return [source.name for source in batch_of(dag_run).campaign.label.sources]

    @listed_task(map_index_template="{{ task.op_kwargs['source'] }}")
    def ask_source(source: str, dag_run: Any = None) -> dict[str, Any]:
        from winnow.stages import label

        batch = batch_of(dag_run)
        vendor = vendor_of(batch.campaign, source)
        return label.ask_source(batch, source, vendor, limits_of(batch))

    @listed_task(map_index_template="{{ task.op_kwargs['source'] }}")
    def bring_source(source: str, dag_run: Any = None) -> dict[str, Any]:
        from winnow.stages import label

        batch = batch_of(dag_run)
        vendor = vendor_of(batch.campaign, source)
        return label.bring_source(batch, source, vendor, annotator_salt(batch.campaign, source))

    names = list_sources()
    wait = WaitForVendor.partial(
        task_id="wait_for_source", map_index_template="{{ task.source }}"
    ).expand(source=names)
    brought = bring_source.expand(source=names)
    before >> names
    ask_source.expand(source=names) >> wait >> brought >> after
