"""What Airflow's DAG processor costs with many campaigns, and how soon it sees one that changed.

    python -m tests.integration.processor_cost 200

Prints seconds of processor of the first pass, the share of a core after it, over one interval of
those that are shipped, and the seconds from a changed file to its DAG in Airflow's database.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

from winnow_local import stack

from .many_campaigns import environment, settings_of, write_campaign

SECONDS = 300.0
DAGS_A_CAMPAIGN = 6
AIRFLOW = str(Path(sys.executable).parent / "airflow")


def campaign(folder: Path, number: int, owner: str) -> dict[str, Any]:
    """One of many."""
    schedule = {"cron": f"{number % 60} {number % 24} * * *", "timezone": "Europe/Berlin"}
    return settings_of(folder, f"c{number:03}", schedule=schedule) | {"owner": owner}


def used(process: psutil.Process) -> float:
    """Seconds of processor of a process and of all that it started."""
    times = process.cpu_times()
    seconds = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        try:
            own = child.cpu_times()
        except psutil.Error:
            continue
        seconds += own.user + own.system
    return float(seconds)


def asked(folder: Path, query: str) -> Any:
    """The one value that Airflow's database has for a query."""
    with closing(sqlite3.connect(folder / "airflow" / "airflow.db", timeout=60)) as database:
        return database.execute(query).fetchone()[0]


def main() -> None:
    """Measure, and print."""
    n_campaigns = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(n_campaigns):
            write_campaign(folder, campaign(folder, number, "ann"))
        shipped = stack.environment(stack.Home(folder / "home", folder, 1, 2))
        interval = "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL"
        env = {**environment(folder, "http://127.0.0.1:9"), interval: shipped[interval]}
        subprocess.run([AIRFLOW, "db", "migrate"], env=env, check=True, capture_output=True)
        began = time.monotonic()
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen([AIRFLOW, "dag-processor"], env=env, **quiet) as started:
            try:
                print(json.dumps(measured(folder, psutil.Process(started.pid), n_campaigns, began)))
            finally:
                started.terminate()


def measured(
    folder: Path, process: psutil.Process, n_campaigns: int, began: float
) -> dict[str, Any]:
    """The figures of a processor that has just been started."""
    start = None
    n_dags = "select count(distinct dag_id) from serialized_dag"
    while (n := asked(folder, n_dags)) < n_campaigns * DAGS_A_CAMPAIGN:
        if n and start is None:
            start = (time.monotonic(), used(process))
        time.sleep(0.5)
    first, first_wall = used(process), time.monotonic() - began
    assert start is not None
    loads = [os.getloadavg()[0]]
    time.sleep(10.0)
    before, at = used(process), time.monotonic()
    time.sleep(SECONDS)
    share = (used(process) - before) / (time.monotonic() - at)
    loads.append(os.getloadavg()[0])
    write_campaign(folder, campaign(folder, 7, "bob"))
    changed = time.monotonic()
    owner = "select owners from dag where dag_id = 'c007.ingest_prompts'"
    while asked(folder, owner) != "bob":
        time.sleep(0.2)
    return {
        "campaigns": n_campaigns,
        "first_pass_cpu_seconds": round(first - start[1], 1),
        "first_pass_wall_seconds": round(first_wall, 1),
        "share_of_a_core_after_it": round(share, 4),
        "seconds_until_a_change_is_seen": round(time.monotonic() - changed, 1),
        "load": loads,
    }


if __name__ == "__main__":
    main()
