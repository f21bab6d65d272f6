"""Alarms go out through Airflow's providers, to real servers on loopback, once."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from winnow.errors import Blocked, Fatal, Retryable
from winnow.lake import FolderLake
from winnow.operate.alarms import Alarm
from winnow.operate.memory import read_memory
from winnow.operate.reconcile.findings import Finding
from winnow.operate.reconcile.once import alarm_of
from winnow.operate.telling import FORMS, told
from winnow_airflow import alarms, channels, deadline, policy, reconcile

from .listeners import Heard, body_of, http_server, mail_server, silent_server

CAUSE = "it broke <!channel> & <b>{{ 7 * 7 }}</b>"
ALARM = Alarm("small", "2026-11-22", "failed-x", "A limit said no", CAUSE, "airflow dags clear x")
CAMPAIGN = """
name: small
ingest: {sources: [inbox]}
expand: {model: tiny}
label: {budget_usd: 5}
publish: {dataset: small}
"""


def test_every_way_to_tell_is_one_that_is_sent() -> None:
    assert set(channels._SENDERS) == set(FORMS)


@pytest.fixture
def lake(tmp_path: Path) -> FolderLake:
    return FolderLake(tmp_path / "lake")


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Names an Airflow connection in the environment."""

    def name(conn_id: str, **fields: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return name


@pytest.fixture
def mail(connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """A mail server that the alarms go to."""
    with mail_server() as heard:
        to_mail(connection, monkeypatch, heard.port)
        yield heard


def to_mail(connection: Callable[..., None], monkeypatch: Any, port: int, **login: str) -> None:
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "w@x.org", "retry_limit": 0}
    connection("mail", conn_type="smtp", host="127.0.0.1", port=port, extra=extra, **login)
    monkeypatch.setenv("WINNOW_ALARMS", "smtp:mail#team@example.org")


def test_a_mail_is_short_escaped_and_sent_once(lake: FolderLake, mail: Heard) -> None:
    assert alarms.tell(lake, ALARM)
    assert not alarms.tell(lake, ALARM)
    [(to, message)] = mail.items
    assert to == "team@example.org"
    assert message["Subject"] == "Winnow small 2026-11-22: A limit said no"
    body = body_of(message)
    # A template would have said 49.
    assert "&lt;b&gt;{{ 7 * 7 }}&lt;/b&gt;" in body and "<b>" not in body
    assert "Do: airflow dags clear x" in body


def to_slack(connection: Callable[..., None], monkeypatch: Any, port: int) -> None:
    """Both of Slack's ways, each with a token."""
    base = f"http://127.0.0.1:{port}"
    connection("chat", conn_type="slack", password="xoxb-hush", extra={"base_url": f"{base}/"})
    connection("hook", conn_type="slackwebhook", host=f"{base}/hook", password="T0/B0/hush")
    monkeypatch.setenv("WINNOW_ALARMS", "slack:chat#data-alarms, slack-webhook:hook")


def test_slack_gets_one_message_that_calls_nobody(
    lake: FolderLake, connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("airflow.providers.slack")
    with http_server() as heard:
        to_slack(connection, monkeypatch, heard.port)
        alarms.tell(lake, ALARM)
        alarms.tell(lake, ALARM)
    by_path = dict(heard.items)
    assert len(heard.items) == 2
    message = by_path["/chat.postMessage"]
    [hook] = [body for path, body in heard.items if path.startswith("/hook")]
    assert message["channel"] == "#data-alarms"
    for text in (message["text"], hook["text"]):
        assert "&lt;!channel&gt; &amp; &lt;b&gt;{{ 7 * 7 }}" in text
        assert text.startswith("*Winnow small 2026-11-22: A limit said no*")


@pytest.mark.parametrize("seconds", [1, 60])
def test_slack_that_is_busy_is_asked_again_when_it_says(
    seconds: int,
    lake: FolderLake,
    connection: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("airflow.providers.slack")
    from slack_sdk.http_retry import builtin_handlers

    slept: list[float] = []
    monkeypatch.setattr(builtin_handlers, "time", SimpleNamespace(sleep=slept.append))
    with http_server([429, 200, 429] if seconds == 1 else [429, 429], seconds) as heard:
        to_slack(connection, monkeypatch, heard.port)
        if seconds == 60:
            # Too long for a task to wait: neither is asked a second time.
            with pytest.raises(Retryable) as refused:
                alarms.tell(lake, ALARM)
            assert len(heard.items) == 2 and slept == []
            assert "hush" not in str(refused.value)
        assert alarms.tell(lake, ALARM)
        assert not alarms.tell(lake, ALARM)
    assert len(heard.items) == 4
    assert all(wait >= seconds for wait in slept) and len(slept) == (2 if seconds == 1 else 0)
    assert "hush" not in caplog.text


def test_apprise_gets_it_and_a_refusal_is_tried_again(
    lake: FolderLake, connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("airflow.providers.apprise")
    with http_server([500]) as heard:
        config = {"path": f"json://127.0.0.1:{heard.port}/in", "tag": "alerts"}
        connection("pager", conn_type="apprise", extra={"config": config})
        monkeypatch.setenv("WINNOW_ALARMS", "apprise:pager#alerts")
        with pytest.raises(Retryable, match="refused the alarm"):
            alarms.tell(lake, ALARM)
        assert alarms.tell(lake, ALARM)
        assert not alarms.tell(lake, ALARM)
    assert len(heard.items) == 2
    [_, (_, said)] = heard.items
    assert (said["title"], said["type"]) == (ALARM.subject, "warning")
    assert "{{ 7 * 7 }}" in said["message"]


def test_a_server_that_hangs_does_not_hold_up_the_task(
    lake: FolderLake, connection: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "SECONDS", 0.0)
    with silent_server() as port:
        to_mail(connection, monkeypatch, port)
        began = time.monotonic()
        with pytest.raises(Retryable, match="TimeoutError"):
            alarms.tell(lake, ALARM)
        assert time.monotonic() - began < 10.0


def test_a_provider_that_is_not_installed_is_named(
    lake: FolderLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.slack.notifications.slack", None)
    monkeypatch.setenv("WINNOW_ALARMS", "slack:chat#x")
    with pytest.raises(Retryable, match=r"apache-airflow-providers-slack.*extra `alarms`"):
        alarms.tell(lake, ALARM)


def test_nothing_configured_is_the_log_alone(
    lake: FolderLake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WINNOW_ALARMS", raising=False)
    assert alarms.tell(lake, ALARM)
    assert "ALARM Winnow small 2026-11-22: A limit said no" in caplog.text
    assert [note["reached"] for note in told(lake, "small", "2026-11-22")] == [["log"]]


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderLake:
    """A deployment's settings, and its lake."""
    campaign = tmp_path / "campaign.yaml"
    campaign.write_text(CAMPAIGN)
    monkeypatch.setenv("WINNOW_CAMPAIGN", str(campaign))
    monkeypatch.setenv("WINNOW_LAKE", str(tmp_path / "lake"))
    return FolderLake(tmp_path / "lake")


def failed_task(error: Any, key: str | None = "2026-11-22", n_tries: int = 1) -> dict[str, Any]:
    ti = SimpleNamespace(
        dag_id="small.label_pairs",
        task_id="collect_annotations",
        run_id="manual__1",
        map_index=-1,
        try_number=n_tries,
    )
    run = SimpleNamespace(partition_key=key, conf={}, run_id="manual__1")
    return {"ti": ti, "dag_run": run, "exception": error}


def test_a_task_that_failed_is_told_once_however_often_it_runs(
    deployed: FolderLake, mail: Heard
) -> None:
    for n_came in (3, 4):
        policy.task_failed(failed_task(Blocked(f"{n_came} of 10 tasks were answered")))
    [(_, message)] = mail.items
    assert "3 of 10 tasks were answered" in body_of(message)
    policy.task_failed(failed_task(Fatal("no such setting")))
    assert len(mail.items) == 2


def test_a_task_that_was_killed_is_told_by_its_run_and_one_that_told_is_not(
    deployed: FolderLake, mail: Heard
) -> None:
    policy.task_failed(failed_task(Blocked("no"), n_tries=4))
    policy.run_failed(failed_task(None, n_tries=4))
    assert len(mail.items) == 1
    # Cleared and killed: no callback of the task ever ran.
    policy.run_failed(failed_task(None, n_tries=5))
    assert mail.items[1][1]["Subject"] == "Winnow small 2026-11-22: A task's process died"
    policy.run_failed({"dag": None, "run_id": "x", "reason": "all_tasks_deadlocked"})
    assert len(mail.items) == 2


def test_what_a_worker_without_channels_could_only_log_is_sent_by_the_run(
    deployed: FolderLake, mail: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = os.environ["WINNOW_ALARMS"]
    monkeypatch.delenv("WINNOW_ALARMS")
    policy.task_failed(failed_task(Blocked("3 of 10 came")))
    assert mail.items == []
    monkeypatch.setenv("WINNOW_ALARMS", setting)
    for _ in range(2):
        policy.run_failed(failed_task(None))
    [(_, message)] = mail.items
    assert "3 of 10 came" in body_of(message)


def test_a_task_is_told_though_campaign_and_lake_are_broken(
    mail: Heard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WINNOW_CAMPAIGN", str(tmp_path / "gone.yaml"))
    monkeypatch.delenv("WINNOW_LAKE", raising=False)
    policy.task_failed(failed_task(None, key=None))
    [(_, message)] = mail.items
    assert message["Subject"] == "Winnow small: A task's process died"


def test_what_fails_after_a_task_is_logged_and_goes_no_further(
    deployed: FolderLake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WINNOW_ALARMS", "pigeon:x")
    policy.task_failed(failed_task(Blocked("no")))
    assert "write slack:CONNECTION#CHANNEL" in caplog.text
    assert "ALARM Winnow small 2026-11-22: A limit said no" in caplog.text
    # A setting that was mended has the alarm told after all.
    [note] = told(deployed, "small", "2026-11-22")
    assert note["state"] == "unsent"


def test_servers_that_are_down_stop_no_task_and_are_told_when_they_are_back(
    deployed: FolderLake,
    connection: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("airflow.providers.slack")
    with mail_server() as mail, http_server() as chat:
        ports = mail.port, chat.port
    to_slack(connection, monkeypatch, ports[1])
    slack = os.environ["WINNOW_ALARMS"]
    to_mail(connection, monkeypatch, ports[0], login="winnow", password="mail-hush")
    monkeypatch.setenv("WINNOW_ALARMS", f"{os.environ['WINNOW_ALARMS']}, {slack}")
    policy.task_failed(failed_task(Blocked("no")))
    assert "After the task, the alarm failed: An alarm did not arrive everywhere" in caplog.text
    for name in ("smtp:mail", "slack:chat", "slack-webhook:hook"):
        assert name in caplog.text
    with mail_server() as mail, http_server() as chat:
        to_slack(connection, monkeypatch, chat.port)
        to_mail(connection, monkeypatch, mail.port)
        monkeypatch.setenv("WINNOW_ALARMS", f"{os.environ['WINNOW_ALARMS']}, {slack}")
        for _ in range(2):
            policy.run_failed(failed_task(None))
        assert (len(mail.items), len(chat.items)) == (1, 2)
    assert "hush" not in caplog.text


def test_a_mail_server_that_takes_no_password_is_not_told_it_in_the_log(
    deployed: FolderLake,
    connection: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with mail_server() as heard:
        to_mail(connection, monkeypatch, heard.port, login="winnow", password="mail-hush")
        policy.task_failed(failed_task(Blocked("no")))
    assert heard.items == []
    assert "After the task, the alarm failed" in caplog.text
    assert "hush" not in caplog.text


def test_what_reconcile_cannot_mend_is_sent_thing_by_thing_and_fails_its_task_once(
    deployed: FolderLake, mail: Heard
) -> None:
    at = datetime(2026, 11, 25, tzinfo=UTC)
    twins = Finding("twin_runs", "2026-11-22", "label", "2 runs", command="mark one as failed")
    known = Finding("failed", "2026-11-22", "label", "Blocked: no", command="airflow dags clear")
    found = [alarm_of("small", finding, at) for finding in (twins, known)]
    plan = {
        "campaign": "small",
        "alarms": [asdict(alarm) for alarm in found if alarm],
        "names": [twins.name, known.name],
        "told": "2 things",
    }
    for _ in range(2):
        with pytest.raises(Blocked, match="2 things"):
            reconcile.tell(plan)
    [(_, message)] = mail.items
    assert message["Subject"] == "Winnow small 2026-11-22: Two runs work on one batch"
    assert "Do: mark one as failed" in body_of(message)
    assert set(read_memory(deployed, "small")[0].told) == {twins.name, known.name}
    again = alarm_of("small", twins, at + timedelta(days=7))
    assert again is not None
    assert alarms.tell(deployed, again)


def test_an_alarm_that_a_channel_refuses_does_not_silence_the_next_one(
    deployed: FolderLake, mail: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_ALARMS", f"{os.environ['WINNOW_ALARMS']}, apprise:not_there")
    two = [ALARM, replace(ALARM, kind="failed-y")]
    with pytest.raises(Retryable):
        alarms.tell_all(deployed, two)
    assert len(mail.items) == 2


def test_a_pass_of_reconcile_that_cannot_read_the_lake_is_told_once_a_day(
    deployed: FolderLake, mail: Heard
) -> None:
    for _ in range(2):
        policy.task_failed(failed_task(Fatal("no such bucket"), key=None))
    [(_, message)] = mail.items
    assert message["Subject"].startswith("Winnow small: A setting, a file")


def test_late_labels_are_told_once_for_all_runs_of_the_batch(
    deployed: FolderLake, mail: Heard
) -> None:
    for run_id in ("one", "two"):
        run = {"dag_id": "small.label_pairs", "dag_run_id": run_id}
        run |= {"partition_key": "2026-11-22", "state": "running"}
        context = {"dag_run": run, "deadline": {"deadline_time": "2026-11-29T08:30:15.5+00:00"}}
        said = asyncio.run(deadline.warn(context=context))
    [(_, message)] = mail.items
    assert message["Subject"] == "Winnow small 2026-11-22: Labels are late"
    assert "past its deadline 2026-11-29 08:30 UTC." in body_of(message)
    assert "2026-11-29" in said
