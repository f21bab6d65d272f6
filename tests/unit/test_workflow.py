"""The workflow of a public forge runs what `.ci/run` runs, and may do nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / ".github" / "workflows" / "tests.yaml"


def test_it_is_one_that_a_forge_reads() -> None:
    schema = ["--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *schema, str(FILE)], capture_output=True
    )
    assert done.returncode == 0, done.stdout


def test_each_night_it_runs_what_ci_runs_with_the_right_to_read() -> None:
    workflow = yaml.load(FILE.read_text(), Loader=yaml.BaseLoader)
    assert workflow["on"]["schedule"] and "push" in workflow["on"]
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    *before, last = [step["run"] for step in job["steps"] if "run" in step]
    assert last == ".ci/run"
    # What set-up installs as root, and a forge's runner is not.
    assert all(each.startswith("sudo apt-get install ") for each in before)
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
