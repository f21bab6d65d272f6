"""The alert of late labels takes the campaign's deadline."""

from __future__ import annotations

from datetime import timedelta

from winnow_airflow import deadline

from ..console_world import campaign


def test_the_alert_is_of_the_run_and_at_the_campaigns_deadline() -> None:
    asked = campaign()
    label = asked.label.model_copy(update={"deadline_minutes": 90.0})
    alert = deadline.labels_are_late(asked.model_copy(update={"label": label}))
    assert alert.interval == timedelta(minutes=90)
    assert alert.callback.path == "winnow_airflow.deadline.warn"
