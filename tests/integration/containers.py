"""docker/compose.yaml as Docker Compose runs it: containers of what `make images` built.

Nothing of the file is changed but what a test machine cannot have: fixed ports, and a GPU.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import httpx

from winnow.lake import S3Lake
from winnow_local.airflow_api import AirflowApi

from ..compose_file import DOCKER, services
from .cluster import lake_at, wait
from .conftest import books_at, free_port
from .nights import Night

PROJECT = "winnow-test"
PROFILES = "simulator,gpu,metrics"
PORTS = ("WINNOW_PORT", "WINNOW_STORE_PORT", "WINNOW_VENDOR_PORT", "WINNOW_METRICS_PORT")
HEALTHY_SECONDS = 900.0
_ENGINE_USER = 50000

_READ: dict[str, Any] = {"capture_output": True, "check": True}

# A machine of two cores, more than which the release 0.3 wanted, without a GPU: the worker's engine
# takes the processor, and nobody asks for the driver.
_OVERRIDE = """
services:
  worker:
    deploy: { resources: { limits: { cpus: "2" } } }
  gpu-worker:
    hostname: gpu-1
    healthcheck:
      test: [CMD, airflow, edge, status]
      interval: 15s
      timeout: 45s
      start_period: 120s
    deploy: !override { resources: { limits: { memory: 8g } } }
"""


@cache
def lack() -> str | None:
    """What this machine lacks to run the stack; None where it can."""
    if os.geteuid() != 0:
        return "processes of containers are killed from outside, which needs root"
    if not shutil.which("docker"):
        return "there is no docker"
    for words in (["info"], ["compose", "version"]):
        if subprocess.run(["docker", *words], capture_output=True, check=False).returncode:
            return f"docker {' '.join(words)} fails"
    for service in services({}).values():
        if _here(service.image) is None:
            return f"{service.image} is not here: `make images`, or `docker compose pull`"
    return None


def stand_ins() -> dict[str, str | None]:
    """Services whose image could not be pulled by its digest, and what has its tag here."""
    found = {name: (service.image, _here(service.image)) for name, service in services({}).items()}
    return {name: here for name, (image, here) in found.items() if here != image}


@cache
def _here(image: str) -> str | None:
    """An image, or what stands here in its place under the same tag; None without either."""
    for each in (image, image.partition("@")[0]):
        asked = ["docker", "image", "inspect", each]
        if not subprocess.run(asked, capture_output=True, check=False).returncode:
            return each
    return None


@dataclass
class Stack:
    """A deployment in containers; `folder` has the checkout's `docker` and what .env names."""

    folder: Path
    ports: Mapping[str, int]
    tag: str = "latest"
    """Of both images of Winnow."""

    @property
    def docker(self) -> Path:
        """The folder of compose.yaml."""
        return self.folder / "docker"

    @property
    def environment(self) -> dict[str, str]:
        """What leads `docker compose`, and the scripts that call it, to this deployment."""
        return {
            **os.environ,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "COMPOSE_FILE": "compose.yaml:test.yaml:images.yaml",
            "COMPOSE_PROFILES": PROFILES,
            "WINNOW_IMAGE": f"winnow-airflow:{self.tag}",
            "WINNOW_GPU_IMAGE": f"winnow-gpu-worker:{self.tag}",
        }

    def compose(self, *words: str) -> str:
        """What a command of Compose prints.

        Raises:
            AssertionError: It fails.
        """
        return self.run("docker", "compose", *words)

    def run(self, *command: str) -> str:
        """What a command prints in the folder of compose.yaml.

        Raises:
            AssertionError: It fails.
        """
        done = subprocess.run(
            command,
            cwd=self.docker,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    # --- what the tests of a night ask of a deployment

    @cached_property
    def api(self) -> AirflowApi:
        """A client that goes through the proxy, logged in."""
        return AirflowApi(
            f"http://127.0.0.1:{self.ports['WINNOW_PORT']}", self.secret("admin_password")
        )

    @property
    def lake(self) -> S3Lake:
        """The lake, in the object store."""
        store = f"http://127.0.0.1:{self.ports['WINNOW_STORE_PORT']}"
        return lake_at(store, self.docker / "secrets" / "lake_credentials")

    def books(self) -> list[dict[str, Any]]:
        """The vendor's own record of each task."""
        url = f"http://127.0.0.1:{self.ports['WINNOW_VENDOR_PORT']}"
        return books_at(url, self.secret("simulator_token"))

    def metrics(self) -> str:
        """What Prometheus would read."""
        url = f"http://127.0.0.1:{self.ports['WINNOW_METRICS_PORT']}/metrics"
        return httpx.get(url, timeout=30).raise_for_status().text

    def secret(self, name: str) -> str:
        """What make-secrets.sh drew."""
        return (self.docker / "secrets" / name).read_text()

    # --- containers

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What Docker knows of a service's containers."""
        ids = self.compose("ps", "--all", "--quiet", service).split()
        return list(json.loads(self.run("docker", "inspect", *ids))) if ids else []

    def is_well(self, service: str, since: datetime | None = None) -> bool:
        """Whether its containers run, started after `since`, and call themselves healthy."""
        states = [each["State"] for each in self.containers(service)]
        return bool(states) and all(
            state["Running"]
            and state["Health"]["Status"] == "healthy"
            and (since is None or _time(state["StartedAt"]) >= since)
            for state in states
        )

    def kill(self, service: str) -> float:
        """SIGKILL to all processes of a service; seconds until Docker brought it back, healthy.

        Not by `docker kill`, after which Docker takes it for stopped by a person.
        """
        began, since = time.monotonic(), datetime.now(UTC).replace(microsecond=0)
        for each in self.containers(service):
            # 0 of one that does not run, which would be this test itself.
            assert each["State"]["Pid"], f"{service} does not run"
            with contextlib.suppress(ProcessLookupError):
                os.kill(each["State"]["Pid"], signal.SIGKILL)
        wait(lambda: self.is_well(service, since), f"{service} is back", HEALTHY_SECONDS)
        return time.monotonic() - began

    def services(self) -> list[str]:
        """What is started and stays: all but `init`, which ends."""
        return sorted(set(self.compose("config", "--services").split()) - {"init"})

    def up(self) -> float:
        """Seconds until everything is up and healthy."""
        began = time.monotonic()
        # Not by --wait: older releases of Compose take the end of `init` for a failure.
        self.compose("up", "--detach", "--no-build")
        for name in self.services():
            wait(lambda name=name: self.is_well(name), f"{name} is well", HEALTHY_SECONDS)
        return time.monotonic() - began

    def lose(self, but: tuple[str, ...] = ()) -> None:
        """Take away every container, network and volume, but for the volumes named."""
        self.compose("down", "--timeout", "1", "--remove-orphans")
        listed = ["docker", "volume", "ls", "-q", "--filter"]
        for volume in self.run(*listed, f"label=com.docker.compose.project={PROJECT}").split():
            if volume.removeprefix(f"{PROJECT}_") not in but:
                self.run("docker", "volume", "rm", "--force", volume)
        self.__dict__.pop("api", None)


@contextlib.contextmanager
def stack(folder: Path, night: Night) -> Iterator[Stack]:
    """A deployment of the checkout's compose.yaml, not started; nothing of it stays."""
    ports = {name: free_port() for name in PORTS}
    made = Stack(folder, ports)
    made.docker.mkdir(parents=True)
    checked_out(made.docker)
    shutil.copytree(night.secrets, made.docker / "secrets")
    settings = {
        "WINNOW_CAMPAIGNS": str(night.campaign.parent),
        "WINNOW_STATSD": "True",
        **{name: str(port) for name, port in ports.items()},
    }
    lines = [f"{name}={value}\n" for name, value in settings.items()]
    (made.docker / ".env").write_text("".join(lines))
    try:
        made.lose()
        _bring_models(made, night.models)
        yield made
    finally:
        made.lose()


def checked_out(folder: Path, revision: str | None = None) -> None:
    """Put what git has of `docker`, now or at a revision, into a folder, as a machine gets it."""
    if revision is None:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=DOCKER, **_READ)
        for name in filter(None, listed.stdout.decode().split("\0")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(DOCKER / name, folder / name)
    else:
        packed = subprocess.run(
            ["git", "archive", f"{revision}:docker"], cwd=DOCKER.parent, **_READ
        )
        subprocess.run(["tar", "x", "-C", str(folder)], input=packed.stdout, check=True)
    (folder / "test.yaml").write_text(_OVERRIDE)
    others = {name: {"image": image} for name, image in stand_ins().items()}
    (folder / "images.yaml").write_text(json.dumps({"services": others}))


def _time(of_docker: str) -> datetime:
    """To the second: Docker writes more digits than Python reads."""
    return datetime.fromisoformat(f"{of_docker[:19]}+00:00")


def _bring_models(made: Stack, models: Path) -> None:
    """The prepared model into the GPU worker's volume, which has no way to a model hub here."""
    volume = f"{PROJECT}_models"
    labels = [
        f"--label=com.docker.compose.project={PROJECT}",
        "--label=com.docker.compose.volume=models",
    ]
    made.run("docker", "volume", "create", *labels, volume)
    at = Path(made.run("docker", "volume", "inspect", "-f", "{{.Mountpoint}}", volume).strip())
    shutil.copytree(models, at, dirs_exist_ok=True)
    for path in (at, *at.rglob("*")):
        os.chown(path, _ENGINE_USER, 0)
