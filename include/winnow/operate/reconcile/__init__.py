"""What was lost on the way: the lake's word held against what Airflow did, and mended.

    findings     where each of them stands -> what is mended, and what a person is told
    once         one pass over everything, answers that came late among it; and in words

The DAG `reconcile` does it with Airflow's runs every 15 minutes, `winnow reconcile` without them.
"""
