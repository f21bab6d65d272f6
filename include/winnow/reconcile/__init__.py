"""What was lost on the way: the lake's word held against what Airflow did, and mended.

    lake_state   what the lake says of each batch that is not through
    findings     that and a plain list of runs -> what is wrong and what mends it; computes only
    memory       what was mended and told before; one pointer a campaign, moved by compare-and-swap
    late         answers that came after their batch was collected
    once         one pass over everything

The DAG `reconcile` does it with Airflow's runs every 15 minutes, `winnow reconcile` without them.
"""
