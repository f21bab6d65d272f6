"""All of docker/compose.yaml in containers: a night, what is killed in it, a machine that is lost.

`make stack`, as root, after `make images`. Every service of the file is there, the
GPU worker too, whose engine takes the processor.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from winnow.lake import S3Lake

from . import containers
from .cluster import wait
from .containers import Stack, checked_out, stack
from .nights import SUBJECTS, Night, Outcome, begin, finished, is_in, manifest, night

pytestmark = [
    pytest.mark.slow,
    pytest.mark.kill,
    pytest.mark.skipif(containers.lack() is not None, reason=containers.lack() or ""),
]

KILLS: list[tuple[str, tuple[str, ...]]] = [
    ("ingest", ("dag-processor", "scheduler")),
    ("expand", ("gpu-worker", "object-store", "api-server")),
    ("select", ("redis", "worker")),
    ("label", ("triggerer", "vendor-simulator", "proxy", "postgres", "statsd-exporter")),
]
"""Each service once, in the stage that leans on it; the next when the last one is healthy again."""
PATIENCE = 1800.0
"""Seconds that a stage may take on a busy machine."""
BEFORE = os.environ.get("WINNOW_BEFORE", "")
"""Git's name of the release before, which the images of that release have as their tag."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Night:
    questions = [f"Tell me about {subject}." for subject in SUBJECTS[:6]]
    # Transformers load in seconds; the engine is not what is killed here.
    folder = tmp_path_factory.mktemp("night")
    return night(folder, models, questions, {"engine": "transformers"})


@pytest.fixture
def deployed(asked: Night, tmp_path: Path) -> Iterator[Stack]:
    with stack(tmp_path / "winnow", asked) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(asked: Night, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The same night in the same containers, and nobody kills anything."""
    with stack(tmp_path_factory.mktemp("undisturbed") / "winnow", asked) as made:
        print(f"\nup: {made.up():.0f} s")
        outcome = through(made)
        assert 'winnow_prompts{campaign="nightly"} 6' in made.metrics()
        return outcome


def test_each_service_is_in_the_table(deployed: Stack) -> None:
    print(f"\nstand-ins: {containers.stand_ins()}")
    assert sorted(victim for _, victims in KILLS for victim in victims) == deployed.services()


def through(made: Stack) -> Outcome:
    """The night from its first DAG to its version."""
    began = time.monotonic()
    begin(made)
    outcome = finished(made, PATIENCE)
    print(f"\nthe night: {time.monotonic() - began:.0f} s")
    return outcome


def buy(made: Stack) -> None:
    """Start everything, and the night, until its labels are bought."""
    made.up()
    begin(made)
    wait(is_in(made, "label"), "labels are bought", PATIENCE)


def ends_as(made: Stack, undisturbed: Outcome) -> None:
    """Wait for the night's end: it gave what nothing disturbed gave, each task bought once."""
    outcome = finished(made, PATIENCE)
    assert outcome == undisturbed
    assert {bought for _, bought, _ in outcome.tasks} == {1}


def test_every_service_is_killed_once_and_the_night_goes_through(
    deployed: Stack, undisturbed: Outcome
) -> None:
    deployed.up()
    begin(deployed)
    for stage, victims in KILLS:
        for victim in victims:
            wait(is_in(deployed, stage), f"{stage} has begun", PATIENCE)
            seconds = deployed.kill(victim)
            print(f"\n{victim} killed in {stage}: healthy after {seconds:.0f} s")
    ends_as(deployed, undisturbed)
    print(f"\ntasks that were tried again: {tried_again(deployed)}")


def tried_again(made: Stack) -> list[str]:
    """Each task of more than one try, with their number."""
    found = made.api.get("/api/v2/dags/~/dagRuns/~/taskInstances", limit=1000)["task_instances"]
    tries = [(each["task_id"], each["map_index"], each["try_number"]) for each in found]
    return [f"{task}[{index}]: {number}" for task, index, number in sorted(tries) if number > 1]


def test_a_backup_comes_back_on_an_empty_machine_while_labels_are_out(
    deployed: Stack, undisturbed: Outcome, tmp_path: Path
) -> None:
    buy(deployed)
    print(deployed.run("./backup.sh", str(tmp_path / "backups")))
    objects = copied(deployed.lake)
    assert manifest(deployed.lake, "publish") is None
    # The machine goes with all that was on it; the vendor is elsewhere, and keeps its books.
    deployed.lose(but=("simulator", "models"))
    shutil.rmtree(deployed.docker)
    deployed.docker.mkdir()
    checked_out(deployed.docker)

    began = time.monotonic()
    print(deployed.run("./restore.sh", str(tmp_path / "backups")))
    # The store's port is the proxy's.
    deployed.compose("up", "-d", "--wait", "--no-deps", "object-store", "proxy")
    brought_back(deployed.lake, objects)
    deployed.up()
    print(f"\nup again: {time.monotonic() - began:.0f} s")
    ends_as(deployed, undisturbed)


@pytest.mark.skipif(not BEFORE, reason="WINNOW_BEFORE names no release before this one")
def test_an_upgrade_while_labels_are_out_publishes_the_same(
    asked: Night, deployed: Stack, tmp_path: Path
) -> None:
    """As docs/deployment.md says it."""
    with stack(tmp_path / "before", asked) as before:
        release(before, BEFORE)
        print(f"\nup, of {BEFORE}: {before.up():.0f} s")
        without = through(before)
    release(deployed, BEFORE)
    buy(deployed)
    assert manifest(deployed.lake, "publish") is None
    print(deployed.run("./backup.sh", str(tmp_path / "backups")))
    began = time.monotonic()
    deployed.compose("stop", "gpu-worker")
    print(f"\nthe GPU worker is drained: {time.monotonic() - began:.0f} s")
    release(deployed, None)
    check = ("run", "--rm", "--no-deps", "triggerer", "winnow", "migrate", "--check")
    print(deployed.compose(*check))
    print(f"\nupgraded: {deployed.up():.0f} s")
    ends_as(deployed, without)


def release(made: Stack, revision: str | None) -> None:
    """Put a release's files and images in place; None is what is checked out."""
    made.tag = revision or "latest"
    checked_out(made.docker, revision)


def copied(lake: S3Lake) -> dict[str, bytes]:
    """Every object of the lake's bucket, by its key, as a store's own copy has them."""
    pages = lake.client.get_paginator("list_objects_v2").paginate(Bucket=lake.bucket)
    keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
    read = lake.client.get_object
    return {key: read(Bucket=lake.bucket, Key=key)["Body"].read() for key in keys}


def brought_back(lake: S3Lake, objects: dict[str, bytes]) -> None:
    """Put them into an empty store."""
    lake.client.create_bucket(Bucket=lake.bucket)
    for key, content in objects.items():
        lake.client.put_object(Bucket=lake.bucket, Key=key, Body=content)
