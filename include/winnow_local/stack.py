"""The processes of a local Winnow: the labelling-vendor simulator and Airflow's four components.

`airflow standalone` leaves its children behind when it is stopped, so each component is started
here, in a session of its own, and stopped with it. What an earlier run left alive after a SIGKILL
is found by the folder it runs in, which nothing else uses, and stopped before anything starts.
(Not by its environment: Airflow's processes write their titles over it.)
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from winnow.calls import get
from winnow.campaigns import place_setting
from winnow.environment import foreign_environment

ROOT = Path(__file__).resolve().parents[2]
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
START_LIMIT = 240.0
BUNDLE = {
    "name": "winnow",
    "classpath": "winnow_airflow.bundle.CampaignBundle",
    "kwargs": {"refresh_interval": 20},
}
"""How Airflow reads the campaigns: each as a file of its own, looked at every 20 seconds."""
WORKDAY_SPEED = 60.0
"""How much faster than the clock the simulated people work: an hour of theirs in a minute."""


class StackError(Exception):
    """A local Winnow cannot start; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a local Winnow keeps everything: `rm -r` of `folder` forgets it all.

    `campaigns` is their folder, or one file.
    """

    folder: Path
    campaigns: Path
    ui_port: int
    vendor_port: int

    @property
    def run(self) -> Path:
        """The folder that every process of this home runs in."""
        return self.folder / "run"

    @property
    def lake(self) -> Path:
        """The lake's folder."""
        return self.folder / "lake"

    @property
    def ui(self) -> str:
        """Address of the Airflow UI."""
        return f"http://127.0.0.1:{self.ui_port}"

    @property
    def vendor(self) -> str:
        """Address of the labelling-vendor simulator."""
        return f"http://127.0.0.1:{self.vendor_port}"


def home_from_environment() -> Home:
    """The home that WINNOW_HOME, _CAMPAIGNS, _PORT and _VENDOR_PORT describe, or the default."""
    variable = os.environ.get
    return Home(
        folder=Path(variable("WINNOW_HOME", ROOT / ".winnow")).resolve(),
        campaigns=Path(place_setting()).resolve(),
        ui_port=int(variable("WINNOW_PORT", "8080")),
        vendor_port=int(variable("WINNOW_VENDOR_PORT", "8790")),
    )


def secrets_of(home: Home) -> dict[str, str]:
    """Passwords and keys of this home, drawn once."""
    path = home.folder / "secrets.json"
    if not path.exists():
        home.folder.mkdir(parents=True, exist_ok=True)
        names = ("password", "jwt", "session", "vendor_token")
        drawn = {name: secrets.token_urlsafe(12 if name == "password" else 64) for name in names}
        temporary = path.with_suffix(".tmp")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(drawn))
        temporary.rename(path)
    return dict(json.loads(path.read_text()))


def environment(home: Home) -> dict[str, str]:
    """Environment of Airflow's processes: its settings, the vendor connection, Winnow's places."""
    secret = secrets_of(home)
    airflow = home.folder / "airflow"
    connection = {
        "conn_type": "http",
        "host": "127.0.0.1",
        "port": home.vendor_port,
        "password": secret["vendor_token"],
    }
    settings = {
        "CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__EXECUTION_API_SERVER_URL": f"{home.ui}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(airflow / "passwords.json"),
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{airflow / 'airflow.db'}",
        "API__HOST": "127.0.0.1",
        "API__PORT": str(home.ui_port),
        "API__BASE_URL": home.ui,
        "API__WORKERS": "1",
        "API__SECRET_KEY": secret["session"],
        "API_AUTH__JWT_SECRET": secret["jwt"],
        # A task whose process died with the machine is noticed after a minute, not five.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "10",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
        "WORKERS__MAX_FAILED_HEARTBEATS": "30",
        "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([BUNDLE]),
        "DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(airflow / "bundles"),
        # A changed campaign is seen by its file's time, so the others need no second look.
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    own = {
        "AIRFLOW_HOME": str(airflow),
        "AIRFLOW_CONN_WINNOW_VENDOR": json.dumps(connection),
        "WINNOW_CAMPAIGNS": str(home.campaigns),
        "WINNOW_LAKE": str(home.lake),
        "WINNOW_MODELS": str(home.folder / "models"),
        "WINNOW_ENGINE_PYTHON": str(ROOT / ".venv-engine" / "bin" / "python"),
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return {**os.environ, **{f"AIRFLOW__{k}": v for k, v in settings.items()}, **own}


def simulator_environment(home: Home) -> dict[str, str]:
    """Environment of the labelling-vendor simulator, which stands for another company's service."""
    own = {"WINNOW_SIMULATOR_TOKEN": secrets_of(home)["vendor_token"], "PYTHONUNBUFFERED": "1"}
    return foreign_environment(own)


def command_environment(home: Home) -> dict[str, str]:
    """Like `environment`, for the `winnow` command: with the logins of Airflow and the vendor."""
    secret = secrets_of(home)
    return {
        **environment(home),
        "WINNOW_AIRFLOW_URL": home.ui,
        "WINNOW_AIRFLOW_USER": "admin",
        "WINNOW_AIRFLOW_PASSWORD": secret["password"],
        "WINNOW_VENDOR_TOKEN": secret["vendor_token"],
        "WINNOW_VENDOR_URL": home.vendor,
    }


def stop_leftovers(home: Home) -> int:
    """Stop what an earlier run of this home left alive; how many processes that were."""
    left = [process for process in psutil.process_iter() if _belongs(process, home)]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)
    return len(left)


def check_ports(home: Home) -> None:
    """Refuse to start on a port that is taken."""
    ports = {"WINNOW_PORT": home.ui_port, "WINNOW_VENDOR_PORT": home.vendor_port}
    for variable, port in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise StackError(
                    f"Port {port} is taken; choose another: {variable}={port + 1}"
                ) from None


def migrate(home: Home, env: dict[str, str]) -> None:
    """Make Airflow's database and what it needs to run without a click: login and GPU pool."""
    airflow = home.folder / "airflow"
    airflow.mkdir(parents=True, exist_ok=True)
    passwords = airflow / "passwords.json"
    passwords.touch(mode=0o600)
    passwords.write_text(json.dumps({"admin": secrets_of(home)["password"]}))
    _airflow(home, env, "db", "migrate")
    _airflow(home, env, "pools", "set", "gpu", "1", "Slots for generation: one a GPU")


@contextlib.contextmanager
def running(home: Home, speed: float = WORKDAY_SPEED) -> Iterator[None]:
    """Everything started and healthy inside the block, everything stopped after it.

    Simulated people work `speed` times as fast as the clock.
    """
    env = environment(home)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with simulator(home, speed):
        try:
            for component in COMPONENTS:
                extra = ["--skip-serve-logs"] if component in ("scheduler", "triggerer") else []
                command = [_bin("airflow"), component, *extra]
                processes[component] = _start(home, env, component, command)
            health = f"{home.ui}/api/v2/monitor/health"
            _await(lambda: _answers(health, PARTS), home, processes)
            yield
        finally:
            _stop(list(processes.values()))
            stop_leftovers(home)


@contextlib.contextmanager
def simulator(home: Home, speed: float = WORKDAY_SPEED) -> Iterator[None]:
    """The labelling-vendor simulator alone, on the home's books."""
    name, module = "vendor-simulator", "winnow_simulator"
    database = str(home.folder / "vendor-simulator.sqlite")
    options = ["--port", str(home.vendor_port), "--database", database, "--speed", str(speed)]
    env = simulator_environment(home)
    process = _start(home, env, name, [_bin("python"), "-m", module, *options])
    try:
        _await(lambda: _answers(f"{home.vendor}/health"), home, {name: process})
        yield
    finally:
        _stop([process])


def _start(
    home: Home, env: dict[str, str], name: str, command: list[str]
) -> subprocess.Popen[bytes]:
    logs = home.folder / "logs"
    for folder in (logs, home.run):
        folder.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            env=env,
            cwd=home.run,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _await(
    is_ready: Callable[[], bool], home: Home, processes: dict[str, subprocess.Popen[bytes]]
) -> None:
    deadline = time.monotonic() + START_LIMIT
    while not is_ready():
        for name, process in processes.items():
            if process.poll() is not None:
                raise StackError(f"{name} stopped at start; see {home.folder}/logs/{name}.log")
        if time.monotonic() > deadline:
            names = ", ".join(processes)
            raise StackError(
                f"{names}: not healthy after {START_LIMIT:.0f} s; see {home.folder}/logs"
            )
        time.sleep(0.5)


def _answers(url: str, parts: Sequence[str] = ()) -> bool:
    """Whether a page answers, and says that these parts are healthy."""
    try:
        answer = get(url, 5.0)
        states = answer.json() if parts else {}
        # On a port that was free a moment ago another service may answer.
        return answer.is_success and all(states[part]["status"] == "healthy" for part in parts)
    except (httpx.HTTPError, ValueError, LookupError, TypeError):
        return False


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)


def _belongs(process: psutil.Process, home: Home) -> bool:
    try:
        return bool(process.cwd() == str(home.run))
    except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def _airflow(home: Home, env: dict[str, str], *arguments: str) -> None:
    command = [_bin("airflow"), *arguments]
    done = subprocess.run(
        command, env=env, cwd=home.folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        log = home.folder / "logs" / "setup.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(done.stdout + done.stderr)
        raise StackError(f"airflow {' '.join(arguments[:2])} failed; see {log}")


def _bin(name: str) -> str:
    return str(ROOT / ".venv" / "bin" / name)
