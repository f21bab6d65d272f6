"""The alert of late labels takes the campaign's deadline, however the file looks."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from winnow.campaign import Label
from winnow_airflow import deadline


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("label: {deadline_minutes: 90}", 90.0),
        ("label: {deadline_minutes: '90'}", 90.0),
        ("label: {}", deadline.DEFAULT_MINUTES),
        ("label:", deadline.DEFAULT_MINUTES),
        ("label: {deadline_minutes: -1}", deadline.DEFAULT_MINUTES),
        ("label: {deadline_minutes: .inf}", deadline.DEFAULT_MINUTES),
        ("label: {deadline_minutes: soon}", deadline.DEFAULT_MINUTES),
        ("[", deadline.DEFAULT_MINUTES),
    ],
)
def test_the_deadline_is_the_campaigns(tmp_path: Path, text: str, minutes: float) -> None:
    campaign = tmp_path / "campaign.yaml"
    campaign.write_text(text)
    assert deadline.deadline_minutes(campaign) == minutes


def test_a_campaign_that_is_not_there_has_the_usual_deadline(tmp_path: Path) -> None:
    assert deadline.deadline_minutes(tmp_path / "none.yaml") == deadline.DEFAULT_MINUTES


def test_the_usual_deadline_is_the_one_of_a_campaign() -> None:
    assert Label(budget_usd=1.0).deadline_minutes == deadline.DEFAULT_MINUTES


def test_the_alert_is_of_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    campaign = tmp_path / "campaign.yaml"
    campaign.write_text("label: {deadline_minutes: 90}")
    monkeypatch.setenv("WINNOW_CAMPAIGN", str(campaign))
    alert = deadline.labels_are_late()
    assert alert.interval == timedelta(minutes=90)
    assert alert.callback.path == "winnow_airflow.deadline.warn"
