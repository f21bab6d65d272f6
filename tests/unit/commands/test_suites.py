"""`winnow doctor` on a team's suites, and `winnow docs`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.batch import Batch, read_batch
from winnow.cli import main
from winnow.lake import FolderLake
from winnow.validate.verdict import Verdict

from .conftest import DAY, NOW, begun, settings

FINE = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "choice"}}


def doctors(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    main(["doctor", "--json", "--seconds", "60", *more])
    found = json.loads(capsys.readouterr().out)
    return {each["campaign"]: each for each in found if each["name"] == "suites"}


def name_suite(folder: Path, campaign: str, *expectations: Any) -> Path:
    file = folder / "suites" / f"{campaign}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"name": "x", "expectations": expectations}))
    entry = {"path": f"suites/{campaign}.json", "table": "annotations"}
    text = yaml.safe_dump(settings(campaign, validation={"suites": [entry]}))
    (folder / f"{campaign}.yaml").write_text(text)
    return file


def test_doctor_runs_each_suite_before_the_night(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctors(capsys) == {}
    name_suite(folder, "chat", FINE, FINE)
    wrong = {**FINE, "kwargs": {"column": "choise"}}
    broken = name_suite(folder, "code", FINE, wrong)
    found = doctors(capsys)
    assert found["chat"]["outcome"] == "ok"
    assert found["chat"]["measured"] == "chat on annotations, 2 expectations"
    assert found["code"]["outcome"] == "failed"
    told = found["code"]["measured"]
    assert str(broken) in told and "expectation 2" in told and "'choise'" in told
    broken.unlink()
    assert "cannot be read" in doctors(capsys, "--campaign", "code")["code"]["measured"]


@pytest.fixture
def batch(folder: Path, lake: FolderLake) -> Batch:
    begun(lake, "chat", 4)
    found = read_batch(lake, "chat", DAY, lambda: NOW)
    assert found is not None
    return found


def test_docs_are_saved_as_a_file(
    batch: Batch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "docs.html"
    asked = ["docs", DAY, "--out", str(out), "--campaign", "chat"]
    assert main(asked) == 1 and "has no Data Docs" in capsys.readouterr().err
    page = batch.write_bytes("publish", "data_docs", "html", b"<p>met</p>")
    verdict = Verdict("block", [], data_docs=asdict(page))
    batch.write_bytes("publish", "verdict", "json", verdict.to_bytes())
    assert main(asked) == 0
    assert out.read_bytes() == b"<p>met</p>"
    batch.lake.remove(page.path)
    assert main(asked) == 1 and "missing" in capsys.readouterr().err
    assert main(["docs", "2026-11-01", "--out", str(out), "--campaign", "chat"]) == 1
