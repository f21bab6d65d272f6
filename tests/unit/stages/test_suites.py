"""A team's suite through the stage: what it stops, what a batch keeps of it, and how it goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import read_artifact
from winnow.campaign.sections import Suite, Validate
from winnow.errors import Blocked, Fatal, Retryable
from winnow.operate.alarms import gate as gate_alarm
from winnow.operate.data_docs import data_docs_of
from winnow.operate.facts import facts_of
from winnow.publish.versions import read_version
from winnow.stages import publish
from winnow.stages.publish.suites import keep_suites, suites_of
from winnow.validate import gate
from winnow.validate.verdict import Check, Verdict

from .conftest import Night

CHECK = "speed: active_seconds values to be between"


def suite_text(most: float, severity: str = "critical") -> str:
    expectation = {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "active_seconds", "max_value": most},
        "severity": severity,
    }
    return json.dumps({"name": "theirs", "expectations": [expectation]})


class Checked:
    """A night whose labels are home, and the team's file that they are held against."""

    def __init__(self, night: Night, file: Path) -> None:
        self.night, self.file = night, file
        night.choose(night.batch())
        night.buy(night.batch())
        self.say(0.0)

    def say(self, most: float, name: str = "speed") -> Path:
        """Let the file say that no answer took longer."""
        file = self.file.with_name(f"{name}.json")
        file.write_text(suite_text(most))
        return file

    def ask(self, severity: Any = None, file: Path | None = None, **limits: Any) -> None:
        """Let the campaign name the file, and other limits."""
        entry = Suite(path=str(file or self.file), table="annotations", severity=severity)
        validation = Validate(suites=[entry], max_tie_rate_warn=None, **limits)
        self.night.campaign = self.night.campaign.model_copy(update={"validation": validation})

    def check(self) -> tuple[str, Verdict]:
        path = publish.check(self.night.batch())
        return path, Verdict.from_bytes(self.night.lake.read(path))


@pytest.fixture
def checked(
    night: Callable[..., Night], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Checked:
    monkeypatch.setattr(publish, "judge", gate.judge)
    made = Checked(night(), tmp_path / "speed.json")
    made.ask()
    return made


def test_a_suite_stops_a_batch_and_is_named_wherever_a_block_is_told(checked: Checked) -> None:
    path, verdict = checked.check()
    batch = checked.night.batch()
    with pytest.raises(Blocked) as stop:
        publish.version(batch, path)
    assert f"block: {CHECK} = " in str(stop.value)
    assert "write `severity: warn` beside its path under `validation.suites`" in str(stop.value)
    alarm = gate_alarm("small", batch.key, verdict)
    assert alarm is not None and CHECK in alarm.cause
    facts = facts_of(batch.lake, batch.campaign, batch.key)
    assert [check.suite for check in facts.checks if check.name == CHECK] == ["speed"]


def test_a_batch_keeps_what_it_was_checked_by(checked: Checked) -> None:
    first = checked.check()
    checked.say(1e6)
    assert checked.check() == first
    checked.file.unlink()
    assert checked.check() == first


@pytest.mark.parametrize("way", ["severity", "another name", "none"])
def test_the_campaigns_file_lets_a_batch_go_on(checked: Checked, way: str) -> None:
    _, verdict = checked.check()
    assert verdict.verdict == "block"
    if way == "severity":
        checked.ask("warn")
    elif way == "another name":
        checked.ask(file=checked.say(1e6, "speed-2"))
    else:
        checked.night.campaign = checked.night.campaign.model_copy(
            update={"validation": Validate(max_tie_rate_warn=None)}
        )
    path, verdict = checked.check()
    assert verdict.verdict == ("warn" if way == "severity" else "pass"), verdict.reasons()
    assert publish.version(checked.night.batch(), path) == 1


def test_its_rows_are_set_aside_where_the_campaign_says_so(checked: Checked) -> None:
    seconds = sorted(row["active_seconds"] for row in checked.night.rows("label", "annotations"))
    checked.say(seconds[-2])
    checked.ask(row_faults="quarantine")
    path, verdict = checked.check()
    batch = checked.night.batch()
    assert verdict.set_aside is not None and verdict.set_aside["checks"] == {CHECK: 1}
    manifest = publish.refit(batch, publish.version(batch, path))
    assert manifest.counts["quarantined"] == 1
    report = read_version(batch.lake, "small", 1).files["quality/report.html"]
    assert "speed: active seconds values to be between" in batch.lake.read(report.path).decode()


def test_a_suite_that_cannot_run_stops_the_check_until_it_is_mended(checked: Checked) -> None:
    for text, why in [
        ("{}", "has no expectations"),
        (suite_text(1).replace("active_seconds", "seconds"), "names the column 'seconds'"),
        (suite_text(1).replace("active_seconds", "choice"), "errs"),
    ]:
        checked.file.write_text(text)
        with pytest.raises(Fatal, match=rf"{checked.file}.*{why}"):
            checked.check()
    checked.say(1e6)
    assert checked.check()[1].verdict == "pass"


def test_of_two_who_check_by_different_texts_the_first_one_counts(checked: Checked) -> None:
    batch = checked.night.batch()
    mine = suites_of(batch)
    checked.say(1e6)
    keep_suites(batch, suites_of(batch), Verdict("pass", []))
    with pytest.raises(Retryable, match="another text of"):
        keep_suites(batch, mine, Verdict("pass", []))
    assert checked.check()[1].verdict == "pass"


def test_a_suite_that_erred_is_read_anew(checked: Checked) -> None:
    batch = checked.night.batch()
    erred = Check(CHECK, "warn", "error", None, "", "speed")
    keep_suites(batch, suites_of(batch), Verdict("block", [erred]))
    checked.say(1e6)
    assert checked.check()[1].verdict == "pass"


def test_what_no_row_breaks_is_told_in_the_report_and_is_no_quarantine(checked: Checked) -> None:
    text = suite_text(0.0, "info").replace("values", "mean")
    checked.file.write_text(text)
    path, verdict = checked.check()
    batch = checked.night.batch()
    publish.version(batch, path)
    report = read_version(batch.lake, "small", 1).files["quality/report.html"]
    page = batch.lake.read(report.path).decode()
    [check] = verdict.failed()
    assert check.name == "speed: active_seconds mean to be between"
    # In what the gate warns of, and in the table of its checks.
    assert len(re.findall("speed: active.seconds mean to be between", page)) == 2


def test_data_docs_lie_with_the_batch_before_and_after_it_is_published(checked: Checked) -> None:
    batch = checked.night.batch()
    assert data_docs_of(batch.lake, "small", batch.key) is None
    checked.check()
    blocked = data_docs_of(batch.lake, "small", batch.key)
    assert blocked is not None
    page = read_artifact(batch.lake, blocked).decode()
    assert "speed, on annotations" in page and "unexpected values found" in page
    checked.ask("warn")
    path, _ = checked.check()
    batch = checked.night.batch()
    manifest = publish.refit(batch, publish.version(batch, path))
    assert data_docs_of(batch.lake, "small", batch.key) == manifest.outputs["data_docs"]


def test_without_data_docs_none_are_made(checked: Checked) -> None:
    checked.ask("warn", data_docs=False)
    path, verdict = checked.check()
    assert verdict.data_docs is None
    batch = checked.night.batch()
    assert "data_docs" not in publish.refit(batch, publish.version(batch, path)).outputs
    assert data_docs_of(batch.lake, "small", batch.key) is None
