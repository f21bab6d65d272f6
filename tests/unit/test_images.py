"""Both images, as far as they can be judged without building them, and the scripts that build them.

What they hold once built is shown by tests/integration/test_images.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import winnow

from ..compose_file import DOCKER, image_environment, stages
from .test_docker import pins

ROOT = DOCKER.parent
LOCKS = {"airflow": ["airflow"], "gpu-worker": ["gpu-worker-airflow", "gpu-worker-engine"]}
# Triton compiles with gcc where a kernel first runs.
PACKAGES = {"airflow": {"tini"}, "gpu-worker": {"gcc", "libc6-dev", "tini"}}
SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|KEY|CONN$|CONN_|BROKER|CREDENTIALS")
IMAGES = pytest.mark.parametrize("name", list(LOCKS))


def dockerfile(name: str) -> list[list[str]]:
    return stages(f"{name}.Dockerfile")


def whole(name: str) -> list[str]:
    return [line for stage in dockerfile(name) for line in stage]


def copied(name: str) -> list[str]:
    """The paths that COPY takes from the checkout."""
    copies = [line.split()[1:-1] for line in whole(name) if line.startswith("COPY ")]
    here = [words for words in copies if not words[0].startswith("--from=")]
    return [word for words in here for word in words if not word.startswith("--")]


@IMAGES
def test_it_starts_from_the_python_that_the_locks_are_for(name: str) -> None:
    before, *built = dockerfile(name)
    base, uv = before
    python = re.fullmatch(r"ARG PYTHON=python:(3\.\d+)\.\d+-slim-bookworm@sha256:\w{64}", base)
    assert re.fullmatch(r"ARG UV=ghcr\.io/astral-sh/uv:[\d.]+@sha256:\w{64}", uv)
    line = re.search(r"^LOCK_GPU = (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert python and line and f"--python-version {python[1]} " in line[1]
    assert built[-1][0] == "FROM ${PYTHON}"
    assert not any("uv python" in each for each in whole(name)), "an interpreter of another origin"
    environments = [each for each in whole(name) if "uv venv" in each]
    for each in environments:
        assert f"uv venv --python /usr/local/bin/python{python[1]} " in each


@IMAGES
def test_its_packages_are_wheels_by_lock_each_with_its_sbom(name: str) -> None:
    synced = [each for each in whole(name) if "uv pip" in each]
    assert len(synced) == len(LOCKS[name])
    for lock in LOCKS[name]:
        assert f"docker/{lock}.lock" in copied(name)
        (line,) = [each for each in synced if f"/opt/winnow/{lock}.lock" in each]
        assert "uv pip sync --no-build " in line
    kept = "COPY --from=sbom /opt/winnow/*.lock /opt/winnow/*.cdx.json /opt/winnow/"
    assert kept in dockerfile(name)[-1]


@IMAGES
def test_a_new_version_installs_no_package_again(name: str) -> None:
    """What a stage that installs has from the checkout is its lock."""
    for stage in dockerfile(name)[1:-1]:
        if any("uv pip" in line for line in stage):
            here = [line for line in stage if line.startswith(("COPY docker", "COPY include"))]
            (lock,) = here
            assert re.fullmatch(r"COPY docker/[a-z-]+\.lock /opt/winnow/", lock)


@IMAGES
def test_nothing_that_only_builds_is_in_the_last_stage(name: str) -> None:
    last = dockerfile(name)[-1]
    assert not [line for line in last if re.search(r"\b(uv|pip|wget|curl|git)\b", line)]
    (line,) = [line for line in last if "apt-get" in line]
    found = re.search(r"install -y --no-install-recommends ([^&]+)", line)
    assert found and set(found[1].split()) == PACKAGES[name]
    assert "rm -rf /var/lib/apt/lists/*" in line


@IMAGES
def test_it_runs_as_a_user_by_number_and_says_how_it_is_watched(name: str) -> None:
    last = dockerfile(name)[-1]
    assert [line for line in last if line.startswith("USER ")] == ["USER 50000"]
    writes = [i for i, line in enumerate(last) if line.startswith(("RUN ", "COPY ", "ADD "))]
    assert last.index("USER 50000") > max(writes)
    assert len([line for line in last if line.startswith("HEALTHCHECK ")]) == 1
    assert any(line.startswith('ENTRYPOINT ["/usr/bin/tini"') for line in last)


@IMAGES
def test_its_labels_name_it_and_leave_the_version_to_who_builds(name: str) -> None:
    (line,) = [line for line in dockerfile(name)[-1] if line.startswith("LABEL ")]
    label = dict(re.findall(r"org\.opencontainers\.image\.(\w+)=(\S+)", line))
    assert label["title"] == f"winnow-{name}"
    assert not label.keys() & {"version", "revision"}, "they would be those of the checkout"


@IMAGES
def test_no_layer_holds_a_secret(name: str) -> None:
    assert not [key for key in image_environment(f"{name}.Dockerfile") if SECRET.search(key)]
    for line in whole(name):
        assert not line.startswith("ARG ") or not SECRET.search(line), line


@IMAGES
def test_what_it_copies_is_there_and_in_git(name: str) -> None:
    paths = copied(name)
    assert {"dags", "plugins", "include"} <= set(paths)
    for path in paths:
        assert (ROOT / path).exists(), path
    # In the index or new, and not ignored: what is ignored here is missing in a fresh clone.
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    files = done.stdout.splitlines()
    for path in paths:
        assert any(file == path or file.startswith(f"{path}/") for file in files), path


@IMAGES
def test_the_build_context_holds_what_is_copied_and_no_environment_or_secret(name: str) -> None:
    lines = (DOCKER / f"{name}.Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert let_in == {path.split("/")[0] for path in copied(name)}


def sbom(lock: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DOCKER / "sbom.py"), str(lock)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "include")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("lock", [lock for locks in LOCKS.values() for lock in locks])
def test_the_sbom_lists_what_the_lock_pins(lock: str) -> None:
    path = DOCKER / f"{lock}.lock"
    made = sbom(path)
    told = json.loads(made.stdout)
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    assert told["metadata"]["component"]["version"] == winnow.__version__
    assert {each["name"]: each["version"] for each in told["components"]} == pins(path)
    for each in told["components"]:
        assert each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}"
    references = [each["bom-ref"] for each in told["components"]]
    assert len(set(references)) == len(references)
    assert sbom(path).stdout == made.stdout


def test_the_sbom_takes_a_marker_and_no_open_version(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text('torch==2.13.0+cpu ; sys_platform == "linux"\n')
    (torch,) = json.loads(sbom(lock).stdout)["components"]
    assert (torch["version"], torch["purl"]) == ("2.13.0+cpu", "pkg:pypi/torch@2.13.0%2Bcpu")
    lock.write_text("torch>=2\n")
    done = sbom(lock)
    assert done.returncode and not done.stdout
    assert "torch>=2 is no exact pin" in done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the scripts read and write, with nothing on PATH but tools and stubs."""
    for path in ("include/winnow/__init__.py", "docker/build.sh", "docker/renew-digests.sh"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    for file in ("compose.yaml", "airflow.Dockerfile", "gpu-worker.Dockerfile", "healthy.sh"):
        shutil.copy(DOCKER / file, tmp_path / "docker" / file)
    (tmp_path / "bin").mkdir()
    for tool in ("dirname", "expr", "git", "hostname", "mktemp", "rm", "sed", "sh", "sort", "tr"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def stub(checkout: Path, name: str, script: str) -> None:
    path = checkout / "bin" / name
    path.write_text(f'#!/bin/sh\n{script}\necho "{name} $*" >> {checkout / "calls"}\n')
    path.chmod(0o755)


def start(checkout: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(checkout / "docker" / script), *arguments]
    environment = {"PATH": str(checkout / "bin"), "GIT_CEILING_DIRECTORIES": str(checkout.parent)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def calls(checkout: Path) -> list[str]:
    path = checkout / "calls"
    return path.read_text().splitlines() if path.exists() else []


def committed(checkout: Path) -> str:
    """Make the checkout a repository; its one commit."""
    name = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "docker", "include"], [*name, "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=checkout, check=True)
    asked = ["git", "rev-parse", "HEAD"]
    return subprocess.run(
        asked, cwd=checkout, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_a_build_says_version_and_revision(checkout: Path) -> None:
    revision = committed(checkout)
    stub(checkout, "docker", "")
    assert start(checkout, "build.sh").returncode == 0
    _, airflow, gpu = calls(checkout)
    for name, call in (("airflow", airflow), ("gpu-worker", gpu)):
        assert f"-f docker/{name}.Dockerfile -t winnow-{name}:{winnow.__version__}" in call
        assert f"--label org.opencontainers.image.version={winnow.__version__} " in call
        assert f"--label org.opencontainers.image.revision={revision} ." in call
    (checkout / "docker" / "compose.yaml").write_text("changed")
    assert start(checkout, "build.sh", "airflow").returncode == 0
    assert f".revision={revision}-dirty ." in calls(checkout)[-1]
    assert "airflow.Dockerfile" in calls(checkout)[-1]


def test_podman_builds_where_no_docker_answers_and_keeps_the_health_check(checkout: Path) -> None:
    committed(checkout)
    stub(checkout, "docker", "exit 1")
    done = start(checkout, "build.sh", "airflow")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    stub(checkout, "podman", "")
    assert start(checkout, "build.sh", "airflow").returncode == 0
    (call,) = calls(checkout)
    assert call.startswith("podman build --format docker ")
    assert "--ignorefile docker/airflow.Dockerfile.dockerignore " in call


def test_digests_are_renewed_and_nothing_else_changes(checkout: Path) -> None:
    files = [checkout / "docker" / f"{name}.Dockerfile" for name in LOCKS]
    files.append(checkout / "docker" / "compose.yaml")
    pinned = re.compile(r"@sha256:[0-9a-f]{64}")
    before = [pinned.sub("", path.read_text()) for path in files]
    for digit in "ab":
        stub(checkout, "docker", f"[ $2 = version ] || echo sha256:{digit * 64}")
        done = start(checkout, "renew-digests.sh")
        assert done.returncode == 0, done.stderr
        after = [path.read_text() for path in files]
        assert [re.sub(rf"@sha256:{digit}{{64}}", "", text) for text in after] == before
        for text in after:
            for reference in re.findall(r"^(?: *image: |ARG \w+=)(\S+)", text, re.M):
                built = reference.startswith("$") or ":" not in reference
                assert built or reference.endswith(f"@sha256:{digit * 64}"), reference
    asked = {call.split()[-1] for call in calls(checkout) if "inspect" in call}
    assert {"postgres:18.6", "ghcr.io/astral-sh/uv:0.13.0"} <= asked
    assert not [image for image in asked if "winnow" in image or "@" in image]


def test_an_answer_that_is_no_digest_changes_nothing(checkout: Path) -> None:
    files = [checkout / "docker" / name for name in ("compose.yaml", "airflow.Dockerfile")]
    before = [path.read_text() for path in files]
    stub(checkout, "docker", "[ $2 = version ] || echo not found")
    done = start(checkout, "renew-digests.sh")
    assert done.returncode and "has no digest: not found" in done.stderr
    # Without buildx, skopeo is asked.
    stub(checkout, "docker", "exit 1")
    stub(checkout, "skopeo", "exit 1")
    assert start(checkout, "renew-digests.sh").returncode
    assert [path.read_text() for path in files] == before


@pytest.mark.parametrize(
    ("component", "asked"),
    [
        ("api-server", "http://localhost:8080/api/v2/version"),
        ("scheduler", "http://localhost:8974/health"),
        ("dag-processor", "airflow jobs check --local --job-type DagProcessorJob"),
        ("triggerer", "airflow jobs check --local --job-type TriggererJob"),
        ("worker", "inspect ping --destination celery@"),
        ("simulator", "http://localhost:8790/health"),
    ],
)
def test_each_component_is_asked_for_its_health(checkout: Path, component: str, asked: str) -> None:
    for name in ("airflow", "celery", "python"):
        stub(checkout, name, "")
    assert start(checkout, "healthy.sh", component).returncode == 0
    (call,) = calls(checkout)
    assert asked in call
    for name in ("airflow", "celery", "python"):
        stub(checkout, name, "exit 1")
    assert start(checkout, "healthy.sh", component).returncode == 1


def test_no_other_component_is_well(checkout: Path) -> None:
    done = start(checkout, "healthy.sh", "shceduler")
    assert done.returncode == 2 and "shceduler" in done.stderr
