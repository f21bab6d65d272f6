"""The assets that link the five DAGs, each named once.

Their events are partitioned: the key is the batch, and with it a backfill of the first DAG goes
through the whole chain. Events carry the key and small counts; data goes through the lake.
"""

from airflow.sdk import Asset

PROMPTS = Asset("prompts")
CANDIDATE_POOLS = Asset("candidate_pools")
COMPARISONS = Asset("comparisons")
ANNOTATIONS = Asset("annotations")
DATASETS = Asset("datasets")
