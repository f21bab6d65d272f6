"""Ninety days backfilled through real Airflow: ninety versions, nothing lost, nothing bought twice.

`winnow backfill` starts it, and on the way somebody pauses a DAG for a while, so that Airflow drops
events; `reconcile` must announce these days again and no others. An hour or more, so it runs with
`pytest -m kill`; WINNOW_BACKFILL_DAYS=5 makes a short one, without the pause. What was measured is
printed, and written to WINNOW_BACKFILL_OUT where that names a file.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import STAGES
from winnow.publish.versions import newest, read_version
from winnow.stages.tasks import dag_ids
from winnow_local import stack
from winnow_local.airflow_api import AirflowApi

from .backfill_world import (
    CAMPAIGN,
    Health,
    days_of,
    environment_with_server,
    processor_seconds,
    prompts_of,
    run_alone,
    seconds_between,
)
from .conftest import ROOT, LocalWinnow, wait_for
from .vllm_server import vllm_server

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.kill]

N_DAYS = int(os.environ.get("WINNOW_BACKFILL_DAYS", "90"))
OUT = os.environ.get("WINNOW_BACKFILL_OUT")
N_ALONE = 2
"""Days more that are taken through the stages without Airflow, for comparison."""
PARALLELISM = 4
GPU_SLOTS = 3
"""Generation tasks at a time: the server takes them side by side."""
PAUSED_DAG = "nightly.select_pairs"
N_PAUSED = 3 if N_DAYS >= 20 else 0
"""Days whose event is dropped, at least."""
SECONDS_A_DAY = 300.0
DAYS = days_of(N_DAYS)


class Backfilled:
    """What is left of the backfill when it is through."""

    def __init__(self, local: LocalWinnow) -> None:
        self.local = local
        self.figures: dict[str, Any] = {}
        self.runs: list[dict[str, Any]] = []
        self.tasks: list[dict[str, Any]] = []
        self.books: list[dict[str, Any]] = []
        self.announced: list[dict[str, Any]] = []
        log = Path(f"{OUT}.health.jsonl") if OUT else None
        self.health = Health(f"{local.home.ui}/api/v2/monitor/health", log)


@pytest.fixture(scope="module")
def backfilled(new_winnow: Callable[..., LocalWinnow], models: Path) -> Backfilled:
    local = new_winnow(prompts_of(N_DAYS + N_ALONE), **CAMPAIGN)
    done = Backfilled(local)
    with (
        vllm_server(models / "SmolLM2-135M-Instruct") as url,
        environment_with_server(local, url, PARALLELISM),
    ):
        env = stack.environment(local.home)
        stack.migrate(local.home, env)
        airflow(env, "pools", "set", "gpu", str(GPU_SLOTS), "The server's")
        with stack.running(local.home), done.health.watched():
            api = AirflowApi(local.home.ui, stack.secrets_of(local.home)["password"])
            wait_for(lambda: set(dag_ids("nightly").values()) <= api.parsed_dags())
            idle = processor_seconds(local.home)
            began = time.monotonic()
            told = backfill(env)
            assert f"of {N_DAYS} batches is started" in told, told
            follow(local, api)
            wall = time.monotonic() - began
            used = processor_seconds(local.home)
            wait_for(lambda: all_ended(api))
            done.runs, done.tasks = read_runs(api), read_tasks(api)
            done.books = local.books()
            done.announced = [e for e in read_events(api) if e["source_dag_id"] == "reconcile"]
        with stack.simulator(local.home):
            alone = [run_alone(local, day, url) for day in days_of(N_DAYS + N_ALONE)[N_DAYS:]]
    spent = {part: used[part] - idle.get(part, 0.0) for part in used}
    done.figures = figures_of(done, wall, spent, alone)
    told = json.dumps(done.figures, indent=1)
    print(f"\n{told}")
    if OUT:
        Path(OUT).write_text(told)
    return done


def airflow(env: dict[str, str], *arguments: str) -> None:
    command = [str(ROOT / ".venv" / "bin" / "airflow"), *arguments]
    subprocess.run(command, env=env, check=True, capture_output=True)


def backfill(env: dict[str, str]) -> str:
    command = [str(ROOT / ".venv" / "bin" / "python"), "-m", "winnow", "backfill"]
    days = ["--from", DAYS[0], "--to", DAYS[-1]]
    return subprocess.run(
        [*command, *days], env=env, check=True, capture_output=True, text=True
    ).stdout


def follow(local: LocalWinnow, api: AirflowApi) -> None:
    """Wait until every day is published; a line a minute says how far each stage is."""
    folder, began, told = local.home.lake / "batches" / "nightly", time.monotonic(), 0.0
    pause_at, resume_at = (N_DAYS // 4, N_DAYS // 4 + N_PAUSED) if N_PAUSED else (N_DAYS, N_DAYS)
    while True:
        n_done = {s: len(list(folder.glob(f"*/{s}/manifest.json"))) for s in STAGES}
        minutes = (time.monotonic() - began) / 60.0
        if minutes - told >= 1.0 or n_done["publish"] >= N_DAYS:
            told = minutes
            load = os.getloadavg()[0]
            print(f"{minutes:5.1f} min, load {load:4.1f}: {n_done}", flush=True)
        if n_done["publish"] >= N_DAYS:
            return
        if N_PAUSED and n_done["expand"] >= pause_at:
            is_over = n_done["expand"] >= resume_at
            api.pause(PAUSED_DAG, not is_over)
            pause_at = N_DAYS + 1 if is_over else pause_at
        assert minutes < N_DAYS * SECONDS_A_DAY / 60.0, f"stuck: {n_done}"
        time.sleep(5)


def pages(api: AirflowApi, path: str, name: str, order: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = api.get(path, limit=100, offset=len(found), order_by=order)
        found += page[name]
        if not page[name] or len(found) >= page["total_entries"]:
            return found


def read_runs(api: AirflowApi) -> list[dict[str, Any]]:
    paths = [f"/api/v2/dags/{dag}/dagRuns" for dag in dag_ids("nightly").values()]
    runs = [run for path in paths for run in pages(api, path, "dag_runs", "id")]
    return [run for run in runs if run["partition_key"] in DAYS]


def read_tasks(api: AirflowApi) -> list[dict[str, Any]]:
    paths = [f"/api/v2/dags/{dag}/dagRuns/~/taskInstances" for dag in dag_ids("nightly").values()]
    return [task for path in paths for task in pages(api, path, "task_instances", "start_date")]


def read_events(api: AirflowApi) -> list[dict[str, Any]]:
    return pages(api, "/api/v2/assets/events", "asset_events", "timestamp")


def all_ended(api: AirflowApi) -> bool:
    return all(run["state"] in ("success", "failed") for run in read_runs(api))


def figures_of(
    done: Backfilled,
    wall: float,
    spent: dict[str, float],
    alone: list[tuple[float, float]],
) -> dict[str, Any]:
    """Seconds a batch; what orchestration adds to what the stages take by themselves."""
    airflow = sum(seconds for part, seconds in spent.items() if part != "vendor-simulator")
    key_of = {run["dag_run_id"]: run["partition_key"] for run in done.runs}
    in_tasks: Counter[str] = Counter()
    for task in done.tasks:
        if task["duration"] and task["dag_run_id"] in key_of:
            in_tasks[key_of[task["dag_run_id"]]] += task["duration"]
    through = [
        seconds_between(
            min(r["start_date"] for r in done.runs if r["partition_key"] == day),
            max(r["end_date"] for r in done.runs if r["partition_key"] == day),
        )
        for day in DAYS
    ]
    answered = [look["seconds"] for look in done.health.looks if look["seconds"] is not None]
    own_wall, own_processor = (statistics.mean(pair) for pair in zip(*alone, strict=True))
    return {
        "days": N_DAYS,
        "parallelism": PARALLELISM,
        "wall_minutes": wall / 60.0,
        "wall_seconds_a_batch": wall / N_DAYS,
        "processor_seconds_a_batch": airflow / N_DAYS,
        "processor_seconds_a_batch_by_part": {p: s / N_DAYS for p, s in sorted(spent.items())},
        "stages_alone_wall_seconds": own_wall,
        "stages_alone_processor_seconds": own_processor,
        "overhead_processor_seconds_a_batch": airflow / N_DAYS - own_processor,
        "seconds_through_all_dags": {
            "median": statistics.median(through),
            "longest": max(through),
        },
        "seconds_in_tasks_a_batch": statistics.mean(in_tasks[day] for day in DAYS),
        "announced_again": sorted(event["partition_key"] for event in done.announced),
        "task_runs": len(done.tasks),
        "task_tries": sum(task["try_number"] for task in done.tasks),
        "health": {
            "looks": len(done.health.looks),
            "unhealthy": len(done.health.unhealthy()),
            "unanswered": len(done.health.looks) - len(answered),
            "longest_silence_seconds": done.health.silent_seconds(),
            "answer_seconds_median": statistics.median(answered),
            "answer_seconds_longest": max(answered),
        },
        "load": os.getloadavg(),
    }


def test_every_day_is_one_version(backfilled: Backfilled) -> None:
    lake = backfilled.local.lake
    versions = [read_version(lake, "nightly", number) for number in range(1, N_DAYS + 1)]
    assert [len(version.batches) for version in versions] == list(range(1, N_DAYS + 1))
    assert sorted(versions[-1].batches) == DAYS
    last = newest(lake, "nightly")
    assert last is not None and last.number == N_DAYS + N_ALONE
    for version in versions:
        assert lake.exists(f"{version.folder}/manifest.json")


def test_what_the_pause_dropped_is_announced_again_and_nothing_else(backfilled: Backfilled) -> None:
    keys = [event["partition_key"] for event in backfilled.announced]
    assert len(keys) == len(set(keys))
    assert N_PAUSED <= len(keys) <= 2 * N_PAUSED
    assert {event["name"] for event in backfilled.announced} <= {"candidate_pools"}


def test_no_event_is_lost_and_no_run_has_a_twin(backfilled: Backfilled) -> None:
    runs = Counter((run["dag_id"], run["partition_key"]) for run in backfilled.runs)
    assert runs == Counter({(dag, day): 1 for dag in dag_ids("nightly").values() for day in DAYS})
    assert {run["state"] for run in backfilled.runs} == {"success"}


def test_each_task_was_bought_once_and_costs_what_is_booked(backfilled: Backfilled) -> None:
    local = backfilled.local
    tasks = [row["task_id"] for day in DAYS for row in local.rows(day, "label", "tasks")]
    assert Counter(task["task_id"] for task in backfilled.books) == Counter(tasks)
    assert {task["bought"] for task in backfilled.books} == {1}
    booked = sum(local.manifest(day, "label").cost for day in DAYS)
    assert booked == sum(task["charged"] for task in backfilled.books)


def test_airflow_stayed_healthy(backfilled: Backfilled) -> None:
    assert not backfilled.health.unhealthy()
    assert backfilled.health.silent_seconds() < 60.0
