"""Two GPU hosts share a night; one loses its power in the middle of a shard.

The rest of the deployment is the one of docker/compose.yaml: Postgres, Redis, an object store, two
API servers. Run with `.venv-cluster/bin/python -m pytest -m kill`; see `cluster.py`.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from winnow.batch import read_table
from winnow.campaign import load_campaign
from winnow.expand.manifests import CallManifest, ShardManifest, call_path, shard_path
from winnow.expand.shard import plan_shards
from winnow.lake import Lake
from winnow.stages.tasks import dag_id

from . import cluster as clusters
from .cluster import Cluster, cluster, wait
from .nights import DAY, SUBJECTS, Night, begin, finished, manifest, night

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engine,
    pytest.mark.kill,
    pytest.mark.skipif(clusters.lack() is not None, reason=clusters.lack() or ""),
]

HEARTBEAT_TIMEOUT = "30"
"""Seconds after which a silent host counts as lost; a deployment has 180."""
PATIENCE = 1200.0
"""Seconds that a step may take on a busy machine."""
LONG_SHARDS = {"pool_size": 8, "max_tokens": 48, "tokens_per_shard": 3200}
CALLS = f"batches/nightly/{DAY}/expand/calls"


def test_a_lost_gpu_hosts_shard_goes_on_elsewhere(tmp_path: Path, models: Path) -> None:
    asked = night(tmp_path, models, [f"Tell me about {s}." for s in SUBJECTS], LONG_SHARDS)
    alone, undisturbed = asked.alone()
    folder = tmp_path / "cluster"
    variables = {
        **asked.prepare(folder),
        "WINNOW_HEARTBEAT_TIMEOUT": HEARTBEAT_TIMEOUT,
        "WINNOW_GPU_SLOTS": "2",
    }
    with cluster(folder, models, variables, gpu_hosts=2) as deployment:
        lake = deployment.lake
        begin(deployment)
        found: list[tuple[str, int]] = []

        def is_in_the_middle() -> bool:
            found.extend(_in_the_middle(asked, deployment))
            return bool(found)

        wait(is_in_the_middle, "a host is in the middle of a shard", PATIENCE)
        # A GPU host calls the API servers and the object store, and nothing calls it.
        peers = [peer for name in clusters.GPU_HOSTS for peer in deployment.hosts[name].talks_to()]
        assert {port for _, port in peers} <= {8080, 8333}
        lost, unfinished = found[0]
        (other,) = set(clusters.GPU_HOSTS) - {lost}
        deployment.held.add(lost)
        killed = deployment.hosts[lost].kill()
        began = time.monotonic()
        kept = lake.tags(CALLS)
        shards = _shards(deployment)
        assert shards[unfinished]["state"] == "running"
        wait(
            lambda: (
                _shards(deployment)[unfinished]["hostname"] == other
                and _shards(deployment)[unfinished]["try_number"] == 2
            ),
            "the shard goes on on the other host",
            PATIENCE,
        )
        moved = time.monotonic() - began
        outcome = finished(deployment, PATIENCE)
        log = _log(deployment, unfinished, 2)
        print(
            f"\nkilled {killed} processes; the shard was on the other host after {moved:.0f} s; "
            f"memory {deployment.memory()}"
        )
        # No response twice: what was stored when the power went was not written again, ...
        after = lake.tags(CALLS)
        assert kept.items() <= after.items()
        # ... and the second try generated exactly the calls that were not stored.
        told = re.findall(r"event call, .*?skipped (True|False)", log)
        stored = _calls_of(lake, shards[unfinished])
        before = [path for path in stored if path in kept]
        assert told.count("True") == len(before) > 0
        assert told.count("False") == len(stored) - len(before) > 0
        # No response lost or drawn otherwise.
        here, there = manifest(alone, "expand"), manifest(lake, "expand")
        assert here is not None and there is not None
        assert here.counts == there.counts
        for table in ("responses", "features", "quarantine"):
            wanted = read_table(alone, here.outputs[table])
            assert read_table(lake, there.outputs[table]).equals(wanted), table
        assert outcome == undisturbed
        assert {bought for _, bought, _ in outcome.tasks} == {1}


def _shards(deployment: Cluster) -> dict[int, dict[str, Any]]:
    """The task instances of the night's generation, by map index."""
    (run,) = [run for run in deployment.api.runs(DAY) if run.dag == dag_id("nightly", "expand")]
    path = f"/api/v2/dags/{run.dag}/dagRuns/{run.run_id}/taskInstances"
    tasks = deployment.get(path, task_id="generate_responses", limit=100)["task_instances"]
    return {task["map_index"]: task for task in tasks if task["task_id"] == "generate_responses"}


def _in_the_middle(asked: Night, deployment: Cluster) -> list[tuple[str, int]]:
    """A host that has stored some calls of its shard and has some to do, and the shard's index.

    None as long as not both hosts have had a shard.
    """
    lake, shards = deployment.lake, _shards(deployment)
    if {shard["hostname"] for shard in shards.values()} != set(clusters.GPU_HOSTS):
        return []
    ingested = manifest(lake, "ingest")
    assert ingested is not None
    rows = read_table(lake, ingested.outputs["prompts"]).to_pylist()
    planned = plan_shards(rows, load_campaign(asked.campaign).expand)
    paths = [path for path in lake.tags(CALLS) if path.endswith("manifest.json")]
    stored = {p for each in paths for p in CallManifest.from_bytes(lake.read(each)).call.prompts}
    for index, task in shards.items():
        (shard,) = [each for each in planned if each.shard_id == _shard_id(task)]
        n_stored = sum(set(group) <= stored for group in shard.groups)
        if task["state"] == "running" and 0 < n_stored < len(shard.groups) - 1:
            return [(task["hostname"], index)]
    return []


def _shard_id(task: dict[str, Any]) -> str:
    return str(task["rendered_map_index"]).removeprefix("shard ")


def _log(deployment: Cluster, index: int, attempt: int) -> str:
    """What a try of a shard printed."""
    shard = _shards(deployment)[index]
    run = quote(shard["dag_run_id"])
    path = f"/api/v2/dags/nightly.expand_pools/dagRuns/{run}/taskInstances/generate_responses/logs"
    lines = deployment.get(f"{path}/{attempt}", map_index=index, full_content=True)["content"]
    return "\n".join(str(line.get("event", line)) for line in lines)


def _calls_of(lake: Lake, shard: dict[str, Any]) -> list[str]:
    """Paths of the manifests of a shard's calls."""
    folder = f"batches/nightly/{DAY}/expand"
    done = ShardManifest.from_bytes(lake.read(shard_path(folder, _shard_id(shard))))
    return [call_path(folder, call.call_id) for call in done.calls]
