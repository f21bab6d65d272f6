"""The package alone: what it needs is enough for the commands that need no service."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest

import winnow

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "tests" / "unit" / "stages" / "stored" / "lake-0.2.tar.gz"
RUN = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"not installed: {name}", name=name)

REFUSED = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[2])
sys.argv = ["winnow", *sys.argv[3:]]
from winnow.cli import command
command()
"""


def needed(name: str, found: set[str]) -> set[str]:
    """A distribution and what it needs, without extras."""
    key = re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", name.strip(), maxsplit=1)[0]).lower()
    if key in found:
        return found
    found.add(key)
    try:
        listed = requires(key) or []
    except PackageNotFoundError:
        return found
    for each in listed:
        if "extra ==" not in each:
            needed(each, found)
    return found


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built of the sdist, as pip would lay it out."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    kept = shutil.ignore_patterns("__pycache__", "*.egg-info", "campaigns")
    shutil.copytree(ROOT / "include", source / "include", ignore=kept)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    pack = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", pack], cwd=source, check=True, capture_output=True)
    (sdist,) = folder.glob("*.tar.gz")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "-w", str(folder), str(sdist)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.startswith(f"winnow-{winnow.__version__}-")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def alone(unpacked: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command of the wheel where nothing is installed but what it needs."""
    metadata = next(unpacked.glob("*.dist-info")) / "METADATA"
    listed = re.findall(r"^Requires-Dist: ([^;\n]+)$", metadata.read_text(), re.MULTILINE)
    assert "pyarrow" in listed
    found: set[str] = set()
    for each in listed:
        needed(each, found)
    refused = [
        module
        for module, owners in packages_distributions().items()
        if module != "winnow"
        and not found & {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
    ]
    assert {"airflow", "boto3", "great_expectations"} <= set(refused)

    def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", RUN, ",".join(refused), unpacked, *arguments]
        return subprocess.run([str(word) for word in words], capture_output=True, text=True)

    return run


def test_pairs_are_chosen_without_airflow(
    alone: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    rows = [{"prompt": f"Why {n % 3}?", "response": f"rain {n}"} for n in range(9)]
    pool, out = tmp_path / "pool.jsonl", tmp_path / "out.jsonl"
    pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = alone("select", "--pool", pool, "--out", out, "--labels", 1)
    assert done.returncode == 0, done.stderr
    assert len(out.read_text().splitlines()) == 3


def test_versions_are_pulled_and_compared_without_airflow(
    alone: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    with tarfile.open(STORED) as packed:
        packed.extractall(tmp_path, filter="data")
    lake = ["--lake", tmp_path / "night"]
    pulled = alone("pull", "small@v1", "--out", tmp_path / "v1", *lake)
    assert pulled.returncode == 0, pulled.stderr
    assert list((tmp_path / "v1").rglob("*.parquet"))
    compared = alone("diff", "small@v1", "small@latest", *lake)
    assert compared.returncode == 0, compared.stderr


def test_a_bucket_says_what_it_needs(
    alone: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = alone("pull", "small@v1", "--out", tmp_path / "v1", "--lake", "s3://bucket/lake")
    assert done.returncode != 0
    assert "pip install 'winnow[s3]'" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
