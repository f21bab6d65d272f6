"""Everything that a night leans on is killed while it leans on it, and comes back by itself.

In each of the five stages of a night one component of docker/compose.yaml gets SIGKILL with all its
processes and is away for a while; its restart policy brings it back. Nobody touches anything. The
order turns from night to night, so that five nights have killed each component in each stage.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from winnow.batch import STAGES

from . import cluster as clusters
from .cluster import cluster, wait
from .nights import SUBJECTS, Night, Outcome, begin, finished, is_in, manifest, night

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engine,
    pytest.mark.kill,
    pytest.mark.skipif(clusters.lack() is not None, reason=clusters.lack() or ""),
]

COMPONENTS: list[tuple[str, ...]] = [
    ("postgres",),
    ("object-store",),
    ("scheduler",),
    ("api-server-1", "api-server-2"),
    ("triggerer",),
]
AIRFLOW_HOSTS = {
    *("api-server-1", "api-server-2", "scheduler", "dag-processor", "triggerer", "worker"),
    *clusters.GPU_HOSTS,
}
OUTAGE_SECONDS = 20.0
HEARTBEAT_TIMEOUT = "90"
"""As a deployment's 180, for outages of 20 s."""
PATIENCE = 1200.0
"""Seconds that a stage may take on a busy machine."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Night:
    folder = tmp_path_factory.mktemp("night")
    # Transformers load in seconds; the engine is not what is killed here.
    questions = [f"Tell me about {s}." for s in SUBJECTS[:6]]
    return night(folder, models, questions, {"engine": "transformers"})


@pytest.fixture(scope="module")
def undisturbed(asked: Night) -> Outcome:
    return asked.alone()[1]


@pytest.mark.parametrize("turn", range(len(COMPONENTS)))
def test_a_night_goes_through_whatever_is_killed(
    asked: Night, undisturbed: Outcome, turn: int, tmp_path: Path
) -> None:
    folder = tmp_path / "cluster"
    variables = {**asked.prepare(folder), "WINNOW_HEARTBEAT_TIMEOUT": HEARTBEAT_TIMEOUT}
    with cluster(folder, asked.models, variables) as deployment:
        begin(deployment)
        started = time.monotonic()
        for i, stage in enumerate(STAGES):
            victims = COMPONENTS[(i + turn) % len(COMPONENTS)]
            wait(is_in(deployment, stage), f"{stage} has begun", PATIENCE)
            with deployment.down(*victims):
                seconds = time.monotonic() - started
                time.sleep(OUTAGE_SECONDS)
            print(f"\n{seconds:.0f} s: {', '.join(victims)} killed in {stage}")
        outcome = finished(deployment, PATIENCE)
        print(
            f"\nthrough after {time.monotonic() - started:.0f} s; started again: "
            f"{sorted(set(deployment.restarts))}"
        )
        assert outcome == undisturbed
        assert {bought for _, bought, _ in outcome.tasks} == {1}


def test_a_night_goes_through_when_its_database_comes_back_from_an_older_dump(
    asked: Night, undisturbed: Outcome, tmp_path: Path
) -> None:
    """The README's commands: the dump knows of the prompts alone when the labels are bought."""
    folder = tmp_path / "cluster"
    variables = {**asked.prepare(folder), "WINNOW_HEARTBEAT_TIMEOUT": HEARTBEAT_TIMEOUT}
    with cluster(folder, asked.models, variables) as deployment:
        begin(deployment)
        wait(
            lambda: manifest(deployment.lake, "ingest") is not None, "the prompts are in", PATIENCE
        )
        dumped = deployment.execute("postgres", ["pg_dump", "-U", "airflow", "-Fc", "airflow"])
        assert dumped.returncode == 0, dumped.stderr
        wait(is_in(deployment, "label"), "labels are bought", PATIENCE)
        with deployment.down(*(name for name in deployment.hosts if name in AIRFLOW_HOSTS)):
            asks = ["psql", "-U", "airflow", "-d", "airflow", "-c"]
            lost = deployment.execute("postgres", [*asks, "DROP SCHEMA public CASCADE"])
            assert lost.returncode == 0, lost.stderr
            deployment.execute("postgres", [*asks, "CREATE SCHEMA public"])
            restore = ["pg_restore", "-U", "airflow", "-d", "airflow", "--clean", "--if-exists"]
            restored = deployment.execute("postgres", restore, dumped.stdout)
            assert restored.returncode == 0, restored.stderr
        outcome = finished(deployment, PATIENCE)
        assert outcome == undisturbed
        assert {bought for _, bought, _ in outcome.tasks} == {1}
