"""Answers that come after a batch was collected: kept, counted, priced, told once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.batch import Batch
from winnow.cli import main
from winnow.errors import Fatal
from winnow.label.vendor import AnnotationPage, BatchStatus
from winnow.operate.memory import read_memory
from winnow.operate.reconcile.once import Report, note_told, reconcile
from winnow.stages import label, publish
from winnow.stages.label.late import collected_bill, late_answers

from .conftest import DAY, SALT, Night

SLOW = {"second_vote_share": 0.0, "gold_share": 0.0}


class Withholding:
    """The vendor, which knows nothing yet of its last `n` answers."""

    def __init__(self, real: Any, n: int) -> None:
        self._real, self._n = real, n
        self.n_asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def status(self, ref: str) -> BatchStatus:
        self.n_asked += 1
        told = self._real.status(ref)
        price = told.charged // max(told.n_answered, 1)
        left = told.n_answered - self._n
        return replace(
            told, n_answered=left, n_expired=told.n_expired + self._n, charged=left * price
        )

    def fetch(self, ref: str, cursor: str | None) -> AnnotationPage:
        page = self._real.fetch(ref, cursor)
        if page.next_cursor is not None:
            return page
        return replace(page, records=page.records[: len(page.records) - self._n])


class Forgetful(Withholding):
    """The vendor, where somebody has deleted the batch."""

    def status(self, ref: str) -> BatchStatus:
        self.n_asked += 1
        raise Fatal("no such batch")


@pytest.fixture
def closed(night: Callable[..., Night]) -> Night:
    """A night that was published while two answers were still missing."""
    made = night("late", **SLOW)
    batch = made.batch()
    vendor = Withholding(made.simulator.connect(), 2)
    made.choose(batch)
    label.submit(batch, vendor)
    made.simulator.finish()
    label.follow_up(batch, vendor, SALT)
    label.collect(batch, vendor, SALT)
    publish.refit(batch, publish.version(batch, publish.check(batch)))
    return made


def passed(night: Night, vendor: Any, **later: float) -> Report:
    now = night.time + timedelta(**later)
    report = reconcile(night.lake, night.campaign, None, now, vendor, SALT)
    note_told(night.lake, night.campaign.name, [finding.name for finding in report.tell], now)
    return report


def test_late_answers_are_kept_priced_and_told_once(closed: Night) -> None:
    vendor = closed.simulator.connect()
    dataset = closed.lake.tags("datasets")
    assert not passed(closed, vendor).tell, "the first pass learns that the batch is through"
    [finding] = passed(closed, vendor, hours=1).tell
    assert (finding.kind, finding.key) == ("late_answers", DAY)
    assert finding.detail.startswith("2 answers came after it was collected, $0.20 charged")
    assert finding.command == f"winnow late --campaign small --batch {DAY}"
    answers = late_answers(closed.batch(), vendor)
    held = {row["annotation_id"] for row in closed.rows("label", "annotations")}
    assert len(answers) == 2 and not held & {each.annotation_id for each in answers}
    pages = closed.lake.tags("batches/small/2026-11-22/label")
    assert not passed(closed, vendor, hours=8).tell
    assert closed.lake.tags("batches/small/2026-11-22/label") == pages, "an equal bill is not news"
    assert closed.lake.tags("datasets") == dataset


def test_where_nothing_came_late_nothing_is_fetched(closed: Night) -> None:
    honest = Withholding(closed.simulator.connect(), 2)
    passed(closed, honest)
    pages = closed.lake.tags("batches/small/2026-11-22/label")
    assert passed(closed, honest, hours=1).findings == []
    assert closed.lake.tags("batches/small/2026-11-22/label") == pages


def test_the_vendor_is_asked_every_few_hours_and_not_for_ever(closed: Night) -> None:
    vendor = Withholding(closed.simulator.connect(), 0)
    passed(closed, vendor)
    passed(closed, vendor, hours=1)
    assert vendor.n_asked == 1
    passed(closed, vendor, hours=1.25)
    assert vendor.n_asked == 1
    passed(closed, vendor, hours=7)
    assert vendor.n_asked == 2
    passed(closed, vendor, days=31)
    assert read_memory(closed.lake, "small")[0].closed == {DAY}


def test_a_vendor_that_has_forgotten_a_batch_is_asked_again_hours_later(closed: Night) -> None:
    vendor = Forgetful(closed.simulator.connect(), 0)
    passed(closed, vendor)
    [finding] = passed(closed, vendor, hours=1).tell
    assert "cannot be asked about it" in finding.detail
    passed(closed, vendor, hours=2)
    assert vendor.n_asked == 1


def test_votes_that_were_taken_over_are_no_answers_of_the_vendor(
    closed: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = collected_bill(closed.batch()).n_answered
    held = closed.batch().require("label")
    counts = {**held.counts, "tasks": held.counts["tasks"] + 100, "taken_over": 100}
    monkeypatch.setattr(Batch, "require", lambda *_: replace(held, counts=counts))
    assert collected_bill(closed.batch()).n_answered == before


def test_the_commands_show_what_came_late_and_what_is_left_alone(
    closed: Night, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = Path(closed.lake.uri).parent / "campaign.yaml"
    campaign.write_text(yaml.safe_dump(closed.campaign.model_dump(mode="json")))
    monkeypatch.setenv("WINNOW_VENDOR_TOKEN", closed.simulator.token)

    def winnow(*arguments: str, vendor: bool = True) -> str:
        places = ["--lake", closed.lake.uri, "--campaign", str(campaign)]
        where = ["--vendor-url", closed.simulator.url] if vendor else []
        assert main([*arguments, *places, *where]) == 0
        return capsys.readouterr().out

    places = ["--lake", closed.lake.uri, "--campaign", str(campaign)]
    assert main(["late", "--batch", "2027-01-01", *places]) == 1
    assert "has no batch 2027-01-01" in capsys.readouterr().err
    assert not list(closed.lake.tags("batches/small/2027-01-01"))
    assert "came after it was collected: none." in winnow("late", "--batch", DAY)
    assert winnow("reconcile").strip() == "Nothing is lost."
    assert f"winnow late --campaign small --batch {DAY}" in winnow("reconcile")
    told = winnow("late", "--batch", DAY)
    assert told.count("$0.10") == 2
    assert "2; kept in the lake, in no dataset" in told
    assert "is left alone" in winnow("reconcile", "--leave", DAY)
    assert read_memory(closed.lake, "small")[0].left == {DAY}
    winnow("reconcile", "--again", DAY)
    assert read_memory(closed.lake, "small")[0].left == set()
