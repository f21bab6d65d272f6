"""
### Expand candidate pools

Generates a pool of responses for every prompt of the batch on the Airflow pool and queue `gpu`, one
mapped task a shard, and computes the features that selection works on. `gather_pools` merges copies
and audits the pools; what it warns of is in the batch's status and does not stop the night. Of a
batch with more than 50,000 responses a mapped task a part, `gather_part`, does so beforehand.
Labels that the campaign brings are read by shards of their own, `labels-...`.

A campaign with `pools_from` generates nothing here: `gather_pools` takes another campaign's over.
With `engine: brought` `generate_responses` reads the features of what came with the prompts, on any
worker where no model does so.

**Key** the batch. **In** asset `prompts`. **Out** asset `candidate_pools`.

**When it fails** look at the mapped task's log: the generation process writes there. A shard goes
on from the call it was at, on this or another host; what is finished is not generated again.
"""

from winnow_airflow.campaigns import campaigns_here
from winnow_airflow.context import announce, batch_of, engine, server_of
from winnow_airflow.policy import listed_task, stage_dag, where_generated

for campaign in campaigns_here():
    with stage_dag(campaign, "expand_pools", max_active_runs=campaign.max_active, doc_md=__doc__):

        @listed_task
        def plan_shards(dag_run=None):
            from winnow.stages import expand

            return expand.plan(batch_of(dag_run))

        @listed_task(
            **where_generated(campaign),
            map_index_template="shard {{ task.op_kwargs['shard'] }}",
        )
        def generate_responses(shard, dag_run=None):
            from winnow.stages import expand

            batch = batch_of(dag_run)
            return expand.generate(batch, shard, *engine(batch), print, server_of(batch))

        @listed_task
        def plan_parts(dag_run=None):
            from winnow.stages import expand

            return expand.plan_parts(batch_of(dag_run))

        # Without shards (all done before, or pools taken over) the mapped task counts as skipped.
        @listed_task(
            trigger_rule="none_failed", map_index_template="part {{ task.op_kwargs['part'] }}"
        )
        def gather_part(part, dag_run=None):
            from winnow.stages import expand

            return expand.gather_part(batch_of(dag_run), part)

        # So does that one where the pools have one part.
        @listed_task(trigger_rule="none_failed")
        def gather_pools(dag_run=None, outlet_events=None):
            from winnow.stages import expand

            return announce(expand.gather(batch_of(dag_run), print), outlet_events)

        generated = generate_responses.expand(shard=plan_shards())
        gathered = gather_part.expand(part=plan_parts())
        generated >> gathered >> gather_pools()
