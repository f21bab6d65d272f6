"""Both images as `make images` built them of this checkout, on a root that cannot be written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import winnow

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {"airflow": ["airflow"], "gpu-worker": ["gpu-worker-airflow", "gpu-worker-engine"]}
PLACES = {"engine": "/opt/winnow/engine", "airflow": "/opt/winnow/airflow"}
pytestmark = pytest.mark.slow

READS_DAGS = """
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
from winnow_airflow.bundle import CampaignBundle
bundle = CampaignBundle(name="winnow")
bundle.base_dir = Path("/tmp/bundle")
bundle.initialize()
bag = DagBag(str(bundle.path), bundle_path=bundle.path, bundle_name="winnow")
assert not bag.import_errors, bag.import_errors
print(*sorted(bag.dags))
"""
COMPILES = """
import vllm
from pathlib import Path
from triton.runtime.build import _build
source = Path("/tmp/launcher.c")
source.write_text("#include <Python.h>\\nPyObject *PyInit_launcher(void) { return NULL; }")
print(_build("launcher", str(source), "/tmp", [], [], [], []), vllm.__version__)
"""
LISTS_PACKAGES = """
import importlib.metadata, json, re
print(json.dumps({re.sub("[-_.]+", "-", each.name).lower(): each.version
                  for each in importlib.metadata.distributions()}))
"""


@cache
def engine() -> str | None:
    """Docker where one answers, else Podman."""
    if shutil.which("docker"):
        asked = subprocess.run(["docker", "info"], capture_output=True, check=False)
        if asked.returncode == 0:
            return "docker"
    return shutil.which("podman")


def revision() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude", "*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module", params=list(LOCKS))
def name(request: pytest.FixtureRequest) -> str:
    """An image that was built of what is checked out; skips where there is none."""
    if engine() is None:
        pytest.skip("no Docker engine answers and there is no podman")
    found = inspected(request.param)
    if found is None:
        pytest.skip(f"{tag(request.param)} is not built; `make images` does it")
    if (built := labels(found).get("revision")) != revision():
        pytest.skip(f"{tag(request.param)} is of {built}; `make images` builds it anew")
    return str(request.param)


def tag(name: str) -> str:
    return f"winnow-{name}:{winnow.__version__}"


def inspected(name: str) -> dict[str, Any] | None:
    command = [str(engine()), "image", "inspect", tag(name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout)[0]) if done.returncode == 0 else None


def labels(image: dict[str, Any]) -> dict[str, str]:
    prefix = "org.opencontainers.image."
    given = image["Config"]["Labels"] or {}
    return {k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)}


def run(name: str, *command: str, user: str | None = None) -> str:
    """What a command prints that has what compose.yaml leaves a container, and no network."""
    confined = ["--rm", "--network=none", "--read-only", "--cap-drop=ALL"]
    confined += ["--security-opt=no-new-privileges", "--tmpfs=/tmp:mode=1777"]
    confined += ["--tmpfs=/home/airflow:mode=1777", "--entrypoint="]
    confined += ["--env=WINNOW_CAMPAIGNS=/opt/winnow/project/include/campaigns"]
    whole = [str(engine()), "run", *confined, *([f"--user={user}"] if user else [])]
    whole += [tag(name), *command]
    done = subprocess.run(whole, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / "docker" / f"{lock}.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines)


def test_it_says_what_it_is_and_how_it_is_asked_for_its_health(name: str) -> None:
    image = inspected(name)
    assert image is not None
    assert labels(image)["title"] == f"winnow-{name}"
    assert labels(image)["version"] == winnow.__version__
    assert image["Config"]["User"] == "50000"
    # Docker tells it within the configuration, Podman beside it.
    health = image["Config"].get("Healthcheck") or image["Healthcheck"]
    assert health["Test"]


def test_its_commands_answer(name: str) -> None:
    airflow = pins(LOCKS[name][0])["apache-airflow"]
    assert run(name, "airflow", "version").split()[-1] == airflow
    if name == "airflow":
        assert run(name, "winnow", "--version").strip() == winnow.__version__


def test_it_reads_the_dags(name: str) -> None:
    read = run(name, "python", "-c", READS_DAGS).splitlines()[-1].split()
    for stage in ("ingest_prompts", "expand_pools", "label_pairs"):
        assert any(dag.endswith(f".{stage}") for dag in read), read


def test_the_engine_is_imported_and_triton_finds_what_it_compiles_with(name: str) -> None:
    if name == "airflow":
        pytest.skip("no engine is in this image")
    told = run(name, "/opt/winnow/engine/bin/python", "-c", COMPILES).splitlines()[-1].split()
    assert told[0].startswith("/tmp/launcher.") and told[1] == pins(LOCKS[name][1])["vllm"]


def test_its_packages_are_those_of_the_lock_and_of_the_sbom(name: str) -> None:
    for lock in LOCKS[name]:
        place = PLACES["engine" if lock.endswith("engine") else "airflow"]
        # Without PYTHONPATH, on which another distribution could lie.
        listed = run(name, f"{place}/bin/python", "-I", "-c", LISTS_PACKAGES)
        assert json.loads(listed) == pins(lock)
        told = json.loads(run(name, "cat", f"/opt/winnow/{lock}.cdx.json"))
        assert {each["name"]: each["version"] for each in told["components"]} == pins(lock)


def test_no_tool_of_the_build_and_no_cache_stays(name: str) -> None:
    tools = {"uv", "uvx", "make", "g++", "rustc"}
    if name == "airflow":
        tools |= {"gcc", "cc1", "ld", "as"}
    places = ["/usr", "/opt", "/root", "/var/lib/apt", "/home"]
    # As root, whom the capabilities that are gone would let past others' files only.
    for path in run(name, "find", *places, "-type", "f", user="0").splitlines():
        assert Path(path).name not in tools, path
        assert "/.cache/" not in path and "/apt/lists/" not in path, path


def test_of_the_folder_with_the_secrets_only_scripts_are_in_it(name: str) -> None:
    files = run(name, "find", "/opt/winnow", "-path", "*/site-packages", "-prune", "-o", "-print")
    assert not [
        path for path in files.splitlines() if re.search("secret|[.]env|[.]dump|[.]tgz", path)
    ]
    scripts = {Path(path).name for path in files.splitlines() if path.endswith(".sh")}
    assert (
        scripts
        == {
            "airflow": {"airflow.sh", "healthy.sh", "init.sh"},
            "gpu-worker": {"gpu-worker.sh"},
        }[name]
    )
