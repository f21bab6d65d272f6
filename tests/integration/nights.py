"""A night of a small campaign: alone in one process, or on a cluster of many that may be killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import yaml

from winnow.batch import Manifest, read_manifest
from winnow.lake import FolderLake, Lake
from winnow.publish.versions import read_version
from winnow.stages.tasks import dag_id, dag_ids
from winnow_local.airflow_api import ACTIVE, AirflowApi

from .cluster import DOCKER, ROOT, wait
from .conftest import CAMPAIGN, books_at, free_port

DAY = "2026-03-01"
SUBJECTS = [
    *("tides", "bread", "bicycles", "rain", "maps", "bees", "clocks", "rivers"),
    *("salt", "bridges", "wool", "stars", "ink", "cheese", "trains", "moss"),
]


@dataclass(frozen=True)
class Outcome:
    """What a night gave: the version, and each task with how often it was bought and its price."""

    digest: str
    tasks: list[tuple[str, int, int]]


@dataclass(frozen=True)
class Night:
    """A campaign with prompts for one day, and the secrets that every run of it shares."""

    folder: Path
    models: Path

    @property
    def campaign(self) -> Path:
        """Its file; what it reads lies below the same folder."""
        return self.folder / "campaigns" / "nightly.yaml"

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    def alone(self) -> tuple[FolderLake, Outcome]:
        """The night undisturbed: `winnow run`, one process and a folder."""
        lake, port = self.folder / "alone" / "lake", free_port()
        token = (self.secrets / "simulator_token").read_text()
        env = {**os.environ, "WINNOW_SIMULATOR_TOKEN": token, "WINNOW_VENDOR_TOKEN": token}
        database = str(self.folder / "alone" / "books.sqlite")
        service = "winnow_simulator"
        vendor = [sys.executable, "-m", service, "--port", str(port), "--database", database]
        url = f"http://127.0.0.1:{port}"
        simulator = subprocess.Popen(vendor, env=env)
        try:
            wait(lambda: httpx.get(f"{url}/health").is_success, "the simulator answers", 60)
            night = [sys.executable, "-m", "winnow", "run", "--campaign", str(self.campaign)]
            night += ["--lake", str(lake), "--batch", DAY, "--vendor-url", url]
            engine = ROOT / ".venv-engine" / "bin" / "python"
            night += ["--engine-python", str(engine), "--models", str(self.models)]
            offline = {**env, "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(night, env=offline, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
            books = books_at(url, token)
        finally:
            simulator.kill()
            simulator.wait()
        found = FolderLake(lake)
        return found, Outcome(read_version(found, "nightly", 1).digest, _bought(books))

    def prepare(self, folder: Path) -> dict[str, str]:
        """Put the secrets into a cluster's folder; the variables of its .env file."""
        shutil.copytree(self.secrets, folder / "secrets")
        return {"WINNOW_CAMPAIGNS_URI": str(self.campaign)}


def night(
    folder: Path, models: Path, prompts: Sequence[str], changes: Mapping[str, Any] | None = None
) -> Night:
    """A campaign of the tests in a folder, with `changes` to its expand settings."""
    made = Night(folder, models)
    inbox = made.campaign.parent / "inbox" / DAY
    inbox.mkdir(parents=True)
    rows = "\n".join(json.dumps({"prompt": prompt}) for prompt in prompts)
    (inbox / "prompts.jsonl").write_text(rows)
    ingest = {"sources": ["inbox/{day}"]}
    expand = {**CAMPAIGN["expand"], **(changes or {})}
    label = {**CAMPAIGN["label"], "budget_usd": 50.0}
    made.campaign.write_text(
        yaml.safe_dump({**CAMPAIGN, "expand": expand, "ingest": ingest, "label": label})
    )
    drawn = ["sh", str(DOCKER / "make-secrets.sh"), str(made.secrets)]
    subprocess.run(drawn, check=True, capture_output=True)
    return made


def manifest(lake: Lake, stage: str) -> Manifest | None:
    """A stage's manifest, if it is done."""
    return read_manifest(lake, "nightly", DAY, stage)


class Deployment(Protocol):
    """Where a night runs: on hosts (`cluster.py`) or in containers (`containers.py`)."""

    @property
    def api(self) -> AirflowApi: ...

    @property
    def lake(self) -> Lake: ...

    def books(self) -> list[dict[str, Any]]: ...


def begin(deployment: Deployment) -> None:
    """Start the night's first DAG, once the scheduler knows all of them."""
    api = deployment.api
    wait(lambda: set(dag_ids("nightly").values()) <= api.parsed_dags(), "the DAGs are read")
    api.trigger(dag_id("nightly", "ingest"), DAY)


def is_in(deployment: Deployment, stage: str) -> Callable[[], bool]:
    """Whether the stage is at work, as far as can be seen while parts may be away."""
    lake = deployment.lake
    folder = f"batches/nightly/{DAY}/{stage}"

    def has_begun() -> bool:
        if manifest(lake, stage) is not None:
            return True
        if stage == "expand":
            return any(path.endswith("manifest.json") for path in lake.tags(f"{folder}/calls"))
        if stage == "label":
            return lake.exists(f"{folder}/round-0/submission.json")
        runs = deployment.api.runs(DAY)
        return any(run.dag == dag_id("nightly", stage) and run.state in ACTIVE for run in runs)

    return has_begun


def finished(deployment: Deployment, seconds: float) -> Outcome:
    """The night's outcome on a deployment, when it is through and no run failed."""
    lake = deployment.lake
    wait(lambda: manifest(lake, "publish") is not None, "the night is published", seconds)
    api = deployment.api
    wait(lambda: {run.state for run in api.runs(DAY)} == {"success"}, "every run is a success", 120)
    version = read_version(lake, "nightly", 1)
    assert not lake.exists("datasets/nightly/versions/v000002.json")
    return Outcome(version.digest, _bought(deployment.books()))


def _bought(tasks: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    return sorted((task["task_id"], task["bought"], task["charged"]) for task in tasks)
