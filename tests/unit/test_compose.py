"""The deployment's files, as far as they can be judged without starting anything.

That the same commands and settings make a deployment that works is shown by
tests/integration/test_gpu_hosts.py and test_outages.py, which start them without Docker.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ..compose_file import DOCKER, Service, image_environment, read, services, stages
from ..kubernetes_files import values, values_environment
from .test_docker import pins

ROOT = DOCKER.parent
TEXT = (DOCKER / "compose.yaml").read_text()
EXAMPLE = (DOCKER / ".env.example").read_text()
PROXY = (DOCKER / "haproxy.cfg").read_text()
AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer", "worker")
GIVEN: dict[str, dict[str, str]] = {
    "postgres": {"postgres_password": "the password that it asks for"},
    "redis": {"redis_password": "the password that it asks for"},
    "object-store": {"object_store": "whom it lets in"},
    "init": {
        "admin_password": "the first login, which it makes",
        "connections.json": "the connections, which it stores",
        "database_url": "the database, which it migrates",
        "fernet_key": "connections are stored under it",
        "lake_credentials": "the bucket, which it makes and tries",
    },
    "api-server": {
        "database_url": "all that Airflow knows",
        "fernet_key": "connections that tasks and people ask for",
        "jwt_secret": "tokens of tasks, of Edge workers and of people",
        "lake_credentials": "the pages show it",
        "session_key": "the login",
    },
    "scheduler": {
        "broker_url": "where it puts tasks",
        "database_url": "all that Airflow knows",
        "fernet_key": "triggers of deadlines are stored under it",
        "jwt_secret": "the token that a task goes out with",
    },
    "dag-processor": {
        "database_url": "where it writes the DAGs",
        "fernet_key": "connections of alarms, which it tells of lost tasks",
        "lake_credentials": "the lake remembers the alarms",
    },
    "triggerer": {
        "database_url": "what is waited for, and the vendors' connections",
        "fernet_key": "both are stored under it",
        "lake_credentials": "what was bought",
    },
    "worker": {
        "broker_url": "where it takes tasks from",
        "lake_credentials": "where it reads and writes",
    },
    "gpu-worker": {
        "jwt_secret": "the token that it asks for tasks with",
        "lake_credentials": "where it reads and writes",
    },
    "vendor-simulator": {"simulator_token": "whom it lets in"},
    "proxy": {"tls.pem": "what it shows itself by; /dev/null until there is one"},
    "statsd-exporter": {},
}
"""The secrets of each service, and what for."""
SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|KEY|CONN$|CONN_|BROKER|CREDENTIALS")


@pytest.fixture(scope="module")
def found() -> dict[str, Service]:
    return services({})


def example() -> dict[str, str]:
    return dict(re.findall(r"^([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE))


def test_compose_knows_every_word_of_the_file() -> None:
    schema = ["--builtin-schema", "vendor.compose-spec", str(DOCKER / "compose.yaml")]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_service_is_watched_restarted_and_bounded(found: dict[str, Service]) -> None:
    for name, service in found.items():
        assert "memory" in service.raw["deploy"]["resources"]["limits"], name
        assert service.raw["logging"]["options"]["max-size"], name
        if name == "init":
            assert service.restart == "on-failure"
            continue
        assert service.restart == "unless-stopped", name
        # The GPU worker's image brings its own.
        if name != "gpu-worker":
            assert service.raw["healthcheck"]["test"], name


def test_no_image_of_ours_is_looked_for_in_a_registry_and_the_others_are_pinned(
    found: dict[str, Service],
) -> None:
    for name, service in found.items():
        assert ("build" in service.raw) == service.image.startswith("winnow-"), name
        pinned = re.search(r":[\w.-]+@sha256:[0-9a-f]{64}$", service.image)
        assert "build" in service.raw or pinned, f"{name}: docker/renew-digests.sh pins it"


def test_what_is_waited_for_can_be_waited_for(found: dict[str, Service]) -> None:
    for name, service in found.items():
        for other, how in service.raw.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in found[other].raw, f"{name} waits for {other}"
            else:
                assert how["condition"] == "service_completed_successfully"
                assert found[other].restart != "unless-stopped"


def test_airflow_waits_for_init_and_init_for_the_stores(found: dict[str, Service]) -> None:
    for name in AIRFLOW:
        after = found[name].raw["depends_on"]["init"]
        assert after == {"condition": "service_completed_successfully"}
    assert set(found["init"].raw["depends_on"]) == {"postgres", "redis", "object-store"}


def test_an_outage_of_an_api_server_is_outlived(found: dict[str, Service]) -> None:
    assert found["api-server"].replicas == values()["apiServer"]["replicas"] == 2
    scheduled = found["scheduler"].environment
    outside = {**scheduled, **image_environment("gpu-worker.Dockerfile")}
    deployed = [found[name].environment for name in (*AIRFLOW, "gpu-worker")]
    for settings in (*deployed, values_environment(), outside):
        beats = int(settings["AIRFLOW__WORKERS__MAX_FAILED_HEARTBEATS"])
        assert beats == 30
        # Five seconds a beat: a task that still tries must not be taken for lost.
        assert int(settings["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"]) > 5 * beats
    assert values_environment()["AIRFLOW__EDGE__API_ENABLED"] == "True"
    assert scheduled["AIRFLOW__EDGE__API_ENABLED"] == "True"


def test_retries_outlast_a_quarter_of_an_hour_without_a_store() -> None:
    from winnow.errors import Retryable
    from winnow_airflow.policy import RETRY_POLICY, TASK_DEFAULTS

    given = TASK_DEFAULTS
    assert given["retry_exponential_backoff"]
    first, longest = given["retry_delay"], given["max_retry_delay"]
    pauses = [min(first * 2**i, longest).total_seconds() for i in range(given["retries"])]
    assert sum(pauses) >= 15 * 60
    assert RETRY_POLICY.evaluate(Retryable("the store is away"), 1, 6).retry_delay is None


def test_every_host_has_the_same_settings(found: dict[str, Service]) -> None:
    """Executors, heartbeats and the lake: where hosts differ, tasks are lost or read elsewhere."""
    shared = {k: v for name in AIRFLOW for k, v in found[name].environment.items()}
    own = {"FORWARDED_ALLOW_IPS", "WINNOW_ADMIN", "WINNOW_GPU_SLOTS"}
    for name in (*AIRFLOW, "init", "gpu-worker"):
        for key, value in found[name].environment.items():
            if key not in own:
                assert shared[key] == value, f"{name}: {key}"
    where = ("URL", "ENDPOINT", "CAMPAIGN", "CMD", "CREDENTIALS_FILE")
    for key, value in values_environment().items():
        if key in shared and not any(word in key for word in where):
            assert shared[key] == value, key
    assert values()["executor"] == shared["AIRFLOW__CORE__EXECUTOR"]
    left_out = shared.keys() - values_environment().keys()
    # Each pod's own, metrics, the chart's, Airflow's default, Amazon's address.
    assert {k for k in left_out if not k.endswith(("_CMD", "_FILE")) and "METRICS" not in k} == {
        "FORWARDED_ALLOW_IPS",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
        "AIRFLOW__CORE__PARALLELISM",
        "AWS_ENDPOINT_URL_S3",
    }


def test_airflow_knows_every_setting(found: dict[str, Service]) -> None:
    from airflow.configuration import conf

    known = conf.configuration_description
    names = {name for each in found.values() for name in each.environment}
    for name in sorted(names | values_environment().keys()):
        if match := re.fullmatch(r"AIRFLOW__([A-Z_]+?)__([A-Z_]+?)(_CMD)?", name):
            section, option = match[1].lower(), match[2].lower()
            # Sections of providers that this environment does not have: the cluster tests start
            # them.
            if option == "num_stuck_in_queued_retries":  # read by the scheduler, not documented
                continue
            if section in known and section not in ("celery", "edge"):
                assert option in known[section]["options"], name
                # Only what is sensitive may come from a command.
                assert not match[3] or known[section]["options"][option]["sensitive"], name


def test_the_example_explains_exactly_the_variables_that_are_read() -> None:
    read_here = dict(re.findall(r"\$\{([A-Z_0-9]+):?-([^}]*)\}", TEXT))
    assert example() == read_here
    comments = [line for line in EXAMPLE.splitlines() if line.startswith("# ")]
    assert len(comments) > len(read_here)


def test_an_empty_endpoint_leads_to_amazon_and_an_empty_bind_to_the_default() -> None:
    empty = services({"AWS_ENDPOINT_URL_S3": "", "WINNOW_LAKE": ""})["worker"].environment
    assert empty["AWS_ENDPOINT_URL_S3"] == ""
    assert empty["WINNOW_LAKE"] == "s3://lake/winnow"


def test_secrets_come_as_files_and_only_to_who_needs_them(found: dict[str, Service]) -> None:
    for name, service in found.items():
        given = set(service.raw.get("secrets", ()))
        told = " ".join([*service.command, *service.environment.values(), str(service.raw)])
        asked = set(re.findall(r"/run/secrets/([a-z_.]+)", told))
        if name == "init":
            script = (DOCKER / "init.sh").read_text()
            asked |= set(re.findall(r"\$secrets/([a-z_.]+)", script))
        if name == "proxy":
            asked |= set(re.findall(r"/run/secrets/([a-z_.]+)", PROXY))
        assert asked == given, name
        for key, value in service.environment.items():
            if SECRET.search(key):
                assert key.endswith(("_CMD", "_FILE")), f"{name}: {key}"
                assert "/run/secrets/" in value, f"{name}: {key}"
    assert not [key for key, value in example().items() if SECRET.search(key)]


def test_the_proxy_is_told_what_it_reads_and_is_the_only_door(found: dict[str, Service]) -> None:
    told = found["proxy"].environment
    assert set(re.findall(r"\$\{?(WINNOW_[A-Z_]+)", PROXY)) == told.keys()
    bound = services({"WINNOW_BIND": "0.0.0.0"})
    outside = {
        name
        for name, service in bound.items()
        for port in service.raw.get("ports", [])
        if not port.startswith("127.0.0.1:")
    }
    assert outside == {"proxy"}
    inside = {port.rsplit(":", 1)[1] for port in bound["proxy"].raw["ports"]}
    assert set(re.findall(r"bind \*:(\d+)", PROXY)) == inside


def test_a_certificate_is_mounted_and_switched_on_by_one_variable() -> None:
    given = {"WINNOW_TLS_PEM": "secrets/tls.pem"}
    assert read(given)["secrets"]["tls.pem"] == {"file": "secrets/tls.pem"}
    assert services(given)["proxy"].environment["WINNOW_TLS_PEM"] == "secrets/tls.pem"


def test_each_service_has_its_own_secrets_and_a_reason_for_each(
    found: dict[str, Service],
) -> None:
    given = {name: set(service.raw.get("secrets", ())) for name, service in found.items()}
    assert given == {name: set(reasons) for name, reasons in GIVEN.items()}
    # With these one becomes an administrator: no process that runs models or libraries of
    # selection has one, but for what asks for tasks.
    for name in ("worker", "triggerer", "dag-processor", "vendor-simulator"):
        assert not given[name] & {"jwt_secret", "session_key", "admin_password"}


def test_no_service_has_rights_that_it_does_not_need(found: dict[str, Service]) -> None:
    for name, service in found.items():
        assert service.raw["cap_drop"] == ["ALL"], name
        assert service.raw["security_opt"] == ["no-new-privileges:true"], name
        assert service.raw["read_only"] is True, name
        assert not service.raw.keys() & {
            "privileged",
            "cap_add",
            "devices",
            "network_mode",
            "pid",
        } - ({"cap_add"} if name == "object-store" else set()), name
        if service.image.startswith("winnow-"):
            # What is written where no volume is, and by whom.
            written = [each.split(":")[0] for each in service.raw.get("tmpfs", [])]
            written += [each.split(":")[-1] for each in service.raw["volumes"]]
            assert "/tmp" in written, name
            for each in service.raw.get("tmpfs", []):
                assert each == "/tmp" or "uid=50000" in each, f"{name}: {each} is root's"
            home = service.environment.get("AIRFLOW_HOME", "/home/airflow/airflow")
            assert any(home.startswith(place) for place in written), name


def test_no_secret_stands_on_a_command_line(found: dict[str, Service]) -> None:
    """Not of a service nor of a health check: everybody on the machine reads those."""
    for name, service in found.items():
        lines = " ".join(service.command).splitlines()
        for line in [*lines, *service.raw.get("healthcheck", {}).get("test", [])]:
            if "$(cat " in line:
                # An assignment before a command, or a line of its standard input.
                given = re.match(r"\s*(?:[A-Z_]+=|sh -c WINNOW_[A-Z_]+=)\$\(cat [^)]*\)", line)
                assert given or line.lstrip().startswith("requirepass "), f"{name}: {line}"


def test_init_hands_no_secret_over_on_a_command_line(tmp_path: Path) -> None:
    draw = ["sh", str(DOCKER / "make-secrets.sh"), str(tmp_path / "secrets")]
    subprocess.run(draw, check=True, capture_output=True)
    seen = tmp_path / "seen"
    (tmp_path / "bin").mkdir()
    for name in ("airflow", "python"):
        stub = tmp_path / "bin" / name
        stub.write_text(
            f'#!/bin/sh\ntr "\\0" " " < /proc/$$/cmdline >> {seen}\n'
            f"[ -t 0 ] || cat >> {tmp_path / 'input'}\n"
        )
        stub.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "WINNOW_SECRETS": str(tmp_path / "secrets"),
        "WINNOW_ADMIN": "admin",
    }
    script = ["sh", str(DOCKER / "init.sh")]
    subprocess.run(
        script, env=environment, check=True, capture_output=True, stdin=subprocess.DEVNULL
    )
    assert "db migrate" in seen.read_text() and "admin_password" in seen.read_text()
    for secret in (tmp_path / "secrets").iterdir():
        assert secret.read_text() not in seen.read_text(), secret.name
    # It makes the first login, and not by the shell.
    assert '"airflow", "users", "create"' in (tmp_path / "input").read_text()


@pytest.fixture
def deployed(tmp_path: Path) -> Path:
    """A copy of the scripts with secrets, and a `docker` that dumps what it was given."""
    for name in ("make-secrets.sh", "backup.sh", "restore.sh"):
        shutil.copy(DOCKER / name, tmp_path / name)
    (tmp_path / "bin").mkdir()
    docker = tmp_path / "bin" / "docker"
    docker.write_text(
        '#!/bin/sh\necho "$@" >> "$CALLS"\ncase "$*" in\n*pg_dump*) cat "$DATABASE" ;;\n'
        '*pg_restore*) cat > "$DATABASE" ;;\nesac\n'
    )
    docker.chmod(0o755)
    subprocess.run(["sh", "make-secrets.sh"], cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "database").write_text("all that Airflow knows")
    return tmp_path


def run_script(deployed: Path, *command: str, umask: int = 0o022) -> int:
    environment = {
        "PATH": f"{deployed / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(deployed / "calls"),
        "DATABASE": str(deployed / "database"),
    }
    script = ["sh", "-c", f'umask {umask:o}; exec sh "$@"', "sh", *command]
    return subprocess.run(script, cwd=deployed, env=environment, check=False).returncode


@pytest.mark.parametrize("place", [None, "elsewhere/deep"])
@pytest.mark.parametrize("with_settings", [True, False])
def test_a_backup_is_its_owners_alone_and_brings_everything_back(
    deployed: Path, place: str | None, with_settings: bool
) -> None:
    arguments = [] if place is None else [place]
    folder = deployed / (place or "backups")
    if with_settings:
        (deployed / ".env").write_text("WINNOW_WORKERS=2\n")
    folder.mkdir(parents=True)
    for name in ("airflow.dump", "secrets.tgz", "airflow.dump.new"):
        (folder / name).write_text("of a try before")
        (folder / name).chmod(0o644)
    assert run_script(deployed, "backup.sh", *arguments) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["airflow.dump", "secrets.tgz"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
    before = {path.name: path.read_bytes() for path in (deployed / "secrets").iterdir()}
    shutil.rmtree(deployed / "secrets")
    (deployed / "database").write_text("")
    assert run_script(deployed, "restore.sh", *arguments, umask=0o077) == 0
    assert {path.name: path.read_bytes() for path in (deployed / "secrets").iterdir()} == before
    assert (deployed / "database").read_text() == "all that Airflow knows"
    assert (deployed / ".env").exists() == with_settings
    assert stat.S_IMODE((deployed / "secrets").stat().st_mode) == 0o700
    for path in (deployed / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, "a container's user is another one"


def test_a_backup_that_fails_leaves_the_one_before(deployed: Path) -> None:
    assert run_script(deployed, "backup.sh") == 0
    before = (deployed / "backups" / "airflow.dump").read_bytes()
    (deployed / "database").unlink()
    assert run_script(deployed, "backup.sh") != 0
    assert (deployed / "backups" / "airflow.dump").read_bytes() == before


def test_make_secrets_draws_what_compose_mounts_and_never_again(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    draw = ["sh", str(DOCKER / "make-secrets.sh"), str(folder)]
    subprocess.run(draw, check=True, capture_output=True)
    files = {name: Path(secret["file"]).name for name, secret in read({})["secrets"].items()}
    # A certificate is the team's own.
    assert files.pop("tls.pem") == "null"
    wanted = set(files.values())
    drawn = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert wanted <= drawn.keys()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, "a container's user is another one"
    assert len(drawn["jwt_secret"]) >= 64 and len(drawn["session_key"]) >= 64
    assert len(set(drawn.values())) == len(drawn)
    subprocess.run(draw, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == drawn


def test_the_fernet_key_is_one(tmp_path: Path) -> None:
    from cryptography.fernet import Fernet

    draw = ["sh", str(DOCKER / "make-secrets.sh"), str(tmp_path)]
    subprocess.run(draw, check=True, capture_output=True)
    key = Fernet((tmp_path / "fernet_key").read_text())
    assert key.decrypt(key.encrypt(b"x")) == b"x"


def test_secrets_and_settings_stay_out_of_git_and_of_the_images() -> None:
    files = (".env", "secrets/jwt_secret", "gpu-worker.env", "backups/airflow.dump")
    anywhere = ("docker/secrets.tgz", "docker/airflow.dump", "secrets.tgz", "before/airflow.dump")
    for path in (*(f"docker/{name}" for name in files), *anywhere):
        ignored = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
        assert ignored.returncode == 0, path
    for name in ("airflow", "gpu-worker"):
        rules = (DOCKER / f"{name}.Dockerfile.dockerignore").read_text().splitlines()
        wanted = {"docker/secrets", "docker/.env", "docker/*.env", "docker/backups"}
        assert wanted | {"docker/*.tgz", "docker/*.dump"} <= set(rules)


def test_what_is_mounted_from_this_folder_is_there(found: dict[str, Service]) -> None:
    for service in found.values():
        for volume in service.raw.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DOCKER / source).is_file(), source
            elif source.startswith("../"):
                assert (DOCKER / source).exists(), source
            elif not source.startswith((".", "/")):
                assert source in read({})["volumes"], source


def test_the_image_is_the_gpu_workers_sibling() -> None:
    """Same Python, same Airflow, same places, so that one path means one thing on every host."""
    ours, theirs = "airflow.Dockerfile", "gpu-worker.Dockerfile"
    assert stages(ours)[0] == stages(theirs)[0]
    here, there = image_environment(ours), image_environment(theirs)
    for key in here.keys() & there.keys():
        assert here[key] == there[key], key
    lock, worker = pins(DOCKER / "airflow.lock"), pins(DOCKER / "gpu-worker-airflow.lock")
    for name in ("apache-airflow", "apache-airflow-task-sdk", "apache-airflow-providers-edge3"):
        assert lock[name] == worker[name]
    assert {"celery", "redis", "asyncpg", "psycopg2-binary", "statsd", "boto3"} <= lock.keys()
    assert not lock["celery"].startswith("5.7"), "the scheduler would not start"


def test_the_images_lock_has_the_versions_that_the_tests_run_on() -> None:
    there = pins(DOCKER / "airflow.lock")
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    for each in map(Requirement, lines):
        # One with a marker has a version for each Python.
        if each.marker is None:
            assert each.specifier.contains(there[each.name]), each


def test_a_component_forgets_the_pid_of_a_killed_one_and_names_a_file_it_cannot_read(
    tmp_path: Path,
) -> None:
    pid = tmp_path / "airflow-triggerer.pid"
    pid.write_text("7\n")
    environment = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(tmp_path)}
    entry = ["sh", str(DOCKER / "airflow.sh"), "echo", "started"]
    done = subprocess.run(entry, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "started\n" and not pid.exists()
    environment["AWS_SHARED_CREDENTIALS_FILE"] = str(tmp_path / "none")
    done = subprocess.run(entry, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "make-secrets.sh" in done.stderr
