"""The assets that link the five DAGs.

Their events are partitioned: the key is the batch, and with it a backfill of the first DAG goes
through the whole chain. Events carry the key and small counts; data goes through the lake.
"""

from collections.abc import Mapping

from airflow.sdk import Asset

from winnow.stages.tasks import DAGS

ASSET_OF: Mapping[str, Asset] = {dag.stage: Asset(dag.asset) for dag in DAGS if dag.asset}
"""The asset by which each stage is announced, in order."""
