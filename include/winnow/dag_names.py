"""The DAG of each stage, and the command that runs it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

DAG_OF: Mapping[str, str] = {
    "ingest": "ingest_prompts",
    "expand": "expand_pools",
    "select": "select_pairs",
    "label": "label_pairs",
    "publish": "publish_dataset",
}
"""The DAG of each stage, in order."""


def clear_command(stage: str, key: str, *, only_failed: bool = False) -> str:
    """Airflow's command that runs a stage of a batch again; what is done returns at once.

    >>> clear_command("label", "2026-11-22", only_failed=True)
    'airflow dags clear label_pairs --partition-key 2026-11-22 --only-failed -y'
    """
    failed = " --only-failed" if only_failed else ""
    return f"airflow dags clear {DAG_OF[stage]} --partition-key {shlex.quote(key)}{failed} -y"
