"""Tonight's batch goes before a backfill, and among either the campaign of the higher priority."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from winnow_airflow.urgency import task_instance_mutation_hook

ROOT = Path(__file__).parents[2]


def weight(days_ago: float, priority: int, dag: str = "nightly.expand_pools") -> int:
    day = datetime.now(UTC) - timedelta(days=days_ago)
    task: Any = SimpleNamespace(dag_id=dag, priority_weight=priority)
    run = SimpleNamespace(partition_key=day.date().isoformat())
    for _ in range(2):  # Airflow calls it again when a mapped task is expanded
        task_instance_mutation_hook(task, run)
    return int(task.priority_weight)


def test_tonight_goes_first_and_then_priority_decides() -> None:
    ordered = [weight(1, 1000), weight(1, 10), weight(9, 1000), weight(9, 10)]
    assert ordered == sorted(ordered, reverse=True)
    assert len(set(ordered)) == 4
    assert weight(1, 1) > weight(9, 1000)


@pytest.mark.parametrize("key", [None, "", "a text"])
def test_what_is_of_no_night_keeps_its_weight(key: str | None) -> None:
    task: Any = SimpleNamespace(dag_id="nightly.reconcile", priority_weight=10)
    task_instance_mutation_hook(task, SimpleNamespace(partition_key=key))
    assert task.priority_weight == 10


def test_other_teams_dags_are_left_alone() -> None:
    assert weight(0, 7, "etl.load") == 7


def test_airflow_has_the_hook(tmp_path: Path) -> None:
    script = "from airflow import settings; print(settings.task_instance_mutation_hook.is_noop)"
    env = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "PYTHONPATH": str(ROOT / "include"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == "False"
