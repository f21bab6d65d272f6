"""The command line itself: what it takes, what it refuses, and what it loads for that."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import winnow
from winnow.cli import COMMANDS, main

from .conftest import DAY, Night

HEAVY = ("airflow", "duckdb", "great_expectations", "numpy", "pyarrow", "pydantic", "scipy")


def test_the_version_is_said_before_anything_heavy_is_loaded() -> None:
    look = (
        "import sys\nfrom winnow.cli import main\nassert main(['--version']) == 0\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", look],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [winnow.__version__, "[]"]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"Usage: {' '.join(['winnow', *command])} ")
    if not command:
        assert all(f"\n  {name} " in told for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["plan", "--gpu-usd-per-hour", "nan"], "nan is not from 0 to 1e+06"),
        (["plan", "--gpu-usd-per-hour", "inf"], "inf is not from 0 to 1e+06"),
        (["plan", "--gpu-usd-per-hour", "two"], "two is no number"),
        (["plan", "--gpu-usd-per-hour", "1", "--pool-sizes", "5,x"], "x is no whole number"),
        (["gc", "--grace-hours", "-1"], "-1 is not from 0"),
        (["status", "--last", "1.5"], "1.5 is no whole number"),
        (["status", "--frobnicate"], "--frobnicate"),
        (["select", "--pool", "x", "--out", "y", "--strategy", "best"], "best is none of"),
        (["frobnicate"], "frobnicate"),
        (["run"], "--batch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_that_means_nothing_ends_with_2_and_says_why(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = [] if arguments[0] in ("select", "frobnicate") else ["--lake", str(tmp_path / "lake")]
    assert main([*arguments, *lake]) == 2
    said = capsys.readouterr()
    assert told in said.err and not said.out
    assert not (tmp_path / "lake").exists()


def test_programs_get_rows_in_quarantine_and_versions_as_json(
    night: Callable[..., Night], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = night()
    made.run()
    campaign = tmp_path / "campaign.yaml"
    settings = made.campaign.model_dump(mode="json", exclude_unset=True)
    campaign.write_text(yaml.safe_dump(settings))
    places = ["--campaign", str(campaign), "--lake", str(made.lake.root)]
    assert main(["quarantine", "--json", *places]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["batch"], row["stage"]) for row in rows] == [(DAY, "ingest")]
    assert rows[0]["reason"] and rows[0]["file"] and rows[0]["line"]
    (row,) = made.rows("ingest", "quarantine")
    assert base64.b64decode(rows[0]["raw"], validate=True) == row["raw"] != b""
    assert main(["versions", "--json", *places]) == 0
    (version,) = json.loads(capsys.readouterr().out)
    assert (version["number"], version["batches"]) == (1, [DAY])


@pytest.mark.parametrize("name", [*COMMANDS, ""])
def test_an_argument_that_is_no_text_ends_with_2_and_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for argument in ("\udcff", "--lake=\udcff", "--\udcff"):
        assert main([*([name] if name else []), argument]) == 2
        said = capsys.readouterr()
        assert said.err == "winnow: an argument is no UTF-8\n" and not said.out
