"""`winnow backfill` says what it will do and cost, and what Airflow refuses, before it starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from winnow.batch import STAGES, open_batch
from winnow.campaign import Campaign, load_campaign
from winnow.cli import main
from winnow.commands import operate
from winnow.commands.airflow_rest import connect_airflow
from winnow.commands.operate import days_between
from winnow.errors import Fatal
from winnow.ingest.ledger import Entry, append, read_ledger
from winnow.lake import FolderLake

NOW = datetime(2026, 3, 9, tzinfo=UTC)
COUNTS = {"rows_in": 1, "rows_out": 1, "quarantined": 0}
DAYS = ["2026-03-01", "2026-03-02", "2026-03-03", "2026-03-04"]
RANGE = ["--from", DAYS[0], "--to", DAYS[-1]]


class FakeAirflow:
    """Airflow's REST API as far as a backfill goes; it has runs of the days in `has`."""

    def __init__(self) -> None:
        self.has: list[str] = []
        self.paused: list[str] = []
        self.answer: tuple[int, Any] | None = None
        self.created: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/auth/token":
            known = json.loads(request.content)["password"] == "right"
            return httpx.Response(201 if known else 401, json={"access_token": "a-token"})
        assert request.headers["Authorization"] == "Bearer a-token"
        if path.startswith("/api/v2/dags/"):
            return httpx.Response(200, json={"is_paused": path.split("/")[-1] in self.paused})
        body = json.loads(request.content)
        if path.endswith("/dry_run"):
            days = days_between(body["from_date"][:10], body["to_date"][:10], date(2027, 1, 1))
            keys = [{"partition_key": day} for day in days if day not in self.has]
            return httpx.Response(200, json={"backfills": keys})
        if self.answer is not None:
            return httpx.Response(self.answer[0], json=self.answer[1])
        self.created.append(body)
        return httpx.Response(200, json={"id": 7})


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> FakeAirflow:
    fake = FakeAirflow()
    for name, value in (("URL", "http://airflow"), ("USER", "ann"), ("PASSWORD", "right")):
        monkeypatch.setenv(f"WINNOW_AIRFLOW_{name}", value)
    monkeypatch.delenv("WINNOW_AIRFLOW_TOKEN", raising=False)
    transport = httpx.MockTransport(fake)
    monkeypatch.setattr(operate, "connect_airflow", lambda: connect_airflow(transport))
    return fake


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """Four days of prompts but for the third one."""
    for day in (*DAYS[:2], DAYS[3]):
        (tmp_path / "inbox" / day).mkdir(parents=True)
        (tmp_path / "inbox" / day / "a.jsonl").write_text('{"prompt": "Why?"}')
    settings = {
        "name": "small",
        "ingest": {"sources": [str(tmp_path / "inbox" / "{day}")]},
        "expand": {"model": "tiny"},
        "label": {"budget_usd": 5.0},
        "publish": {"dataset": "small"},
    }
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(settings))
    return load_campaign(tmp_path / "campaign.yaml")


@pytest.fixture
def backfill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command; its exit code and everything that it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        places = ["--lake", str(tmp_path / "lake"), "--campaign", str(tmp_path / "campaign.yaml")]
        code = main(["backfill", *(arguments or RANGE), *places])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def batch_up_to(tmp_path: Path, campaign: Campaign, day: str, stage: str | None, cost: int) -> None:
    lake = FolderLake(tmp_path / "lake")
    assert append(lake, "small", read_ledger(lake, "small"), Entry(day, {}, {}, COUNTS))
    batch = open_batch(campaign, day, lake, lambda: NOW)
    for name in STAGES[: STAGES.index(stage) if stage else None]:
        spent = cost if name == "label" else 0
        batch.commit(name, inputs=[], outputs={}, counts=COUNTS, cost=spent)


def test_a_backfill_is_told_and_started(
    airflow: FakeAirflow, campaign: Campaign, backfill: Callable[..., tuple[int, str]]
) -> None:
    code, told = backfill()
    assert code == 0
    assert "2026-03-01 to 2026-03-04: 4 days" in told
    assert "1 of them have no new prompt file" in told
    assert "not known before the first batch is collected" in told
    assert "$15.00, by label.budget_usd" in told
    assert "Backfill 7 of 4 batches is started" in told
    [body] = airflow.created
    assert (body["dag_id"], body["reprocess_behavior"]) == ("small.ingest_prompts", "none")
    assert (body["from_date"][:10], body["to_date"][:10]) == (DAYS[0], DAYS[-1])


@pytest.mark.parametrize(
    ("strategy", "asked", "order", "conf", "side_by_side"),
    [
        ("decision_gain", None, "by day: each batch chooses once those before", None, 1),
        ("decision_gain", 1, "by day: each batch chooses once those before", {"at_once": 1}, 1),
        ("decision_gain", 4, "4 at once: a batch chooses though 3 before", {"at_once": 4}, 4),
        ("random", None, "none: random reads no model", None, 2),
        ("diversity", 4, "none: diversity reads no model", {"at_once": 4}, 4),
    ],
)
def test_it_says_whether_batches_learn_from_one_another_and_tells_airflow(
    tmp_path: Path,
    airflow: FakeAirflow,
    campaign: Campaign,
    backfill: Callable[..., tuple[int, str]],
    strategy: str,
    asked: int | None,
    order: str,
    conf: dict[str, int] | None,
    side_by_side: int,
) -> None:
    settings = yaml.safe_load((tmp_path / "campaign.yaml").read_text())
    settings["select"] = {"strategy": strategy}
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(settings))
    _, told = backfill(*RANGE, *(["--at-once", str(asked)] if asked else []))
    assert f"  order      {order}" in told
    [body] = airflow.created
    assert (body["dag_run_conf"], body["max_active_runs"]) == (conf, side_by_side)


def test_a_backfill_over_the_pools_of_another_campaign_is_priced(
    tmp_path: Path,
    airflow: FakeAirflow,
    campaign: Campaign,
    backfill: Callable[..., tuple[int, str]],
) -> None:
    batch_up_to(tmp_path, campaign, DAYS[0], "select", 0)
    settings = yaml.safe_load((tmp_path / "campaign.yaml").read_text())
    settings |= {"name": "again", "pools_from": "small", "ingest": {}}
    settings |= {"publish": {"dataset": "again"}}
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(settings))
    _, told = backfill(*RANGE, "--dry-run")
    assert "3 of them have no pools of small and will fail" in told
    assert "$5.00, by label.budget_usd" in told


def test_a_dry_run_counts_what_is_done_and_starts_nothing(
    tmp_path: Path,
    airflow: FakeAirflow,
    campaign: Campaign,
    backfill: Callable[..., tuple[int, str]],
) -> None:
    batch_up_to(tmp_path, campaign, DAYS[0], None, 2_000_000)
    batch_up_to(tmp_path, campaign, DAYS[1], "label", 0)
    airflow.has, airflow.paused = DAYS[:2], ["small.label_pairs"]
    code, told = backfill(*RANGE, "--dry-run")
    assert code == 0 and not airflow.created
    assert "published  1" in told and "begun      1 in label" in told
    assert "to start   2; 2 have a run in Airflow already" in told
    assert "$2.00: 1 batches at $2.00, the mean of the last 1" in told
    assert "paused     small.label_pairs" in told


def test_days_whose_run_failed_are_taken_again_where_asked(
    airflow: FakeAirflow, campaign: Campaign, backfill: Callable[..., tuple[int, str]]
) -> None:
    backfill(*RANGE, "--failed")
    assert airflow.created[0]["reprocess_behavior"] == "failed"


def test_where_every_day_has_a_run_nothing_is_started(
    airflow: FakeAirflow, campaign: Campaign, backfill: Callable[..., tuple[int, str]]
) -> None:
    airflow.has = DAYS
    code, told = backfill()
    assert code == 0 and not airflow.created
    assert "Nothing was started." in told


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((409, {"detail": "x"}), "runs a backfill of small.ingest_prompts already"),
        ((503, {"detail": "x"}), "SQLite database is locked"),
        ((422, {"detail": "odd\x1b[31m dates"}), "HTTP 422: odd[31m dates"),
        ((403, {"detail": "Forbidden"}), "refuses the token"),
    ],
)
def test_what_airflow_refuses_is_one_plain_line(
    airflow: FakeAirflow,
    campaign: Campaign,
    backfill: Callable[..., tuple[int, str]],
    answer: tuple[int, Any],
    told: str,
) -> None:
    airflow.answer = answer
    code, printed = backfill()
    assert code == 1
    assert told in printed.splitlines()[-1]


def test_a_wrong_login_and_a_missing_one_say_what_to_set(
    airflow: FakeAirflow,
    campaign: Campaign,
    backfill: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WINNOW_AIRFLOW_PASSWORD", "wrong")
    assert "check WINNOW_AIRFLOW_USER" in backfill()[1]
    monkeypatch.delenv("WINNOW_AIRFLOW_PASSWORD")
    assert "make winnow CMD=" in backfill()[1]


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        ("2026-03-04", "2026-03-01", "is after"),
        ("2026-03-01", "2026-03-09", "Use --to 2026-03-08"),
        ("2020-01-01", "2026-03-01", "take them in parts"),
        ("yesterday", "2026-03-01", "write days like"),
    ],
)
def test_days_that_cannot_be_are_refused(first: str, last: str, told: str) -> None:
    with pytest.raises(Fatal, match=told):
        days_between(first, last, NOW.date())


GOOD = {
    "/auth/token": {"access_token": "a-token"},
    "/api/v2/backfills/dry_run": {"backfills": [{"partition_key": DAYS[0]}]},
    "/api/v2/backfills": {"id": 7},
    "/api/v2/dags/small.ingest_prompts": {"is_paused": False},
}


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"backfills": [5], "access_token": 5, "is_paused": "no", "id": NaN}',
        b'{"backfills": null, "access_token": null, "is_paused": null, "id": null}',
        b'{"backfills": [{"partition_key": null}], "access_token": ["SECRET77"], "id": 1e400}',
        b'{"backfills": [{"partition_key": "elsewhere"}], "access_token": "SECRET77\xc3\xa9"}',
    ],
)
def test_an_answer_of_another_shape_says_what_to_correct(
    airflow: FakeAirflow,
    campaign: Campaign,
    backfill: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    answer: bytes,
) -> None:
    def other(request: httpx.Request) -> httpx.Response:
        asked = request.url.path
        if asked == path:
            return httpx.Response(200, content=answer)
        is_dag = asked.startswith("/api/v2/dags/")
        return httpx.Response(200, json={"is_paused": False} if is_dag else GOOD[asked])

    transport = httpx.MockTransport(other)
    monkeypatch.setattr(operate, "connect_airflow", lambda: connect_airflow(transport))
    code, printed = backfill()
    assert code == 1
    last = printed.splitlines()[-1]
    assert "WINNOW_AIRFLOW_" in last or "Winnow's own DAG" in last
    assert "SECRET77" not in printed


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("URL", "http://127.0.0.1:abc"),
        ("URL", "http://[::1"),
        ("URL", "http://"),
        ("URL", "http://\x1b[31m"),
        ("URL", "http://airflow/\udcff"),
        ("TOKEN", "SECRET77\u00e9"),
        ("TOKEN", "SECRET77\udcff"),
        ("TOKEN", "SECRET77\nX: y"),
    ],
)
def test_an_address_or_a_token_that_cannot_be_used_names_its_variable(
    airflow: FakeAirflow,
    campaign: Campaign,
    backfill: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    value: str,
) -> None:
    monkeypatch.setenv("WINNOW_AIRFLOW_TOKEN", "SECRET77")
    monkeypatch.setenv(f"WINNOW_AIRFLOW_{setting}", value)
    code, printed = backfill()
    assert (code, printed.count("\n")) == (1, 1)
    assert f"WINNOW_AIRFLOW_{setting}" in printed and "SECRET77" not in printed


@pytest.mark.parametrize("key", ["0001-01-01", "0001-01-01T00", "1969-12-31"])
def test_days_before_there_were_any_are_refused(
    campaign: Campaign, backfill: Callable[..., tuple[int, str]], key: str
) -> None:
    code, told = backfill("--from", key, "--to", "2026-03-01")
    assert code == 1 and "1970 to 9998" in told


def change(tmp_path: Path, **schedule: Any) -> None:
    settings = yaml.safe_load((tmp_path / "campaign.yaml").read_text())
    (tmp_path / "campaign.yaml").write_text(yaml.safe_dump(settings | {"schedule": schedule}))


class ByHand:
    """Airflow as far as runs of a DAG without a cron go; a backfill connects to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, has: list[str]) -> None:
        self.has, self.begun = has, list[str]()
        transport = httpx.MockTransport(self)
        monkeypatch.setattr(operate, "connect_airflow", lambda: connect_airflow(transport))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "a-token"})
        if not request.url.path.endswith("/small.ingest_prompts/dagRuns"):
            return httpx.Response(200, json={"is_paused": False})
        if request.method == "GET":
            prefix = request.url.params["partition_key_prefix_pattern"]
            keys = [key for key in self.has if key.startswith(prefix)]
            runs = [{"dag_run_id": f"run {key}", "partition_key": key} for key in keys]
            return httpx.Response(200, json={"dag_runs": runs})
        body = json.loads(request.content)
        assert body.pop("logical_date") is None
        assert body["conf"] == {"at_once": 1}, "each learns from those before"
        self.begun.append(body["partition_key"])
        return httpx.Response(200, json={"dag_run_id": f"r{len(self.begun)}"})


def test_without_a_cron_each_day_gets_a_run_in_order_unless_it_has_one(
    tmp_path: Path,
    airflow: FakeAirflow,
    campaign: Campaign,
    backfill: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change(tmp_path, cron=None)
    batch_up_to(tmp_path, campaign, DAYS[1], "label", 0)
    by_hand = ByHand(monkeypatch, [DAYS[0], f"{DAYS[2]}.2"])
    assert backfill(*RANGE, "--dry-run")[0] == 0 and not by_hand.begun
    code, told = backfill()
    assert code == 0 and "A run each of 2 batches is started" in told
    assert "to start   2; 2 have a run in Airflow already" in told
    assert by_hand.begun == [DAYS[2], DAYS[3]]
    code, told = backfill(*RANGE, "--failed")
    assert code == 1 and "has no cron" in told


def test_without_a_cron_batches_are_named_as_the_campaign_names_them(
    tmp_path: Path,
    airflow: FakeAirflow,
    campaign: Campaign,
    backfill: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_hand = ByHand(monkeypatch, [])
    change(tmp_path, cron=None, key="hour")
    assert backfill("--from", DAYS[0], "--to", DAYS[0])[0] == 0
    assert by_hand.begun == [f"{DAYS[0]}T{hour:02}" for hour in range(24)]
    change(tmp_path, cron=None, key="minute")
    for bounds in ((DAYS[0], DAYS[0]), (f"{DAYS[0]}T0600", f"{DAYS[0]}T0640")):
        code, told = backfill("--from", bounds[0], "--to", bounds[1])
        assert code == 1 and "names its batches by minutes" in told


def test_an_hourly_campaign_is_backfilled_by_hours_and_whole_days(
    tmp_path: Path,
    airflow: FakeAirflow,
    campaign: Campaign,
    backfill: Callable[..., tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change(tmp_path, cron="0 * * * *")
    wanted = [f"{DAYS[0]}T{hour:02}" for hour in (6, 7, 8)]
    bodies: list[dict[str, Any]] = []

    def answered(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/api/v2/dags/"):
            return httpx.Response(200, json={"is_paused": False})
        if request.url.path == "/auth/token":
            return httpx.Response(201, json={"access_token": "a-token"})
        bodies.append(json.loads(request.content))
        keys = [{"partition_key": key} for key in wanted[1:]]
        return httpx.Response(200, json={"backfills": keys, "id": 7})

    transport = httpx.MockTransport(answered)
    monkeypatch.setattr(operate, "connect_airflow", lambda: connect_airflow(transport))
    code, told = backfill("--from", wanted[0], "--to", wanted[-1])
    assert code == 0 and "3 batches" in told and "to start   2; 1 have a run" in told
    # Midnight as the last bound would take its whole day in.
    assert (bodies[0]["from_date"], bodies[0]["to_date"]) == (
        *(f"{DAYS[0]}T06:00:00+00:00", f"{DAYS[0]}T08:00:01+00:00"),
    )
    backfill("--from", DAYS[0], "--to", DAYS[0], "--dry-run")
    assert bodies[-1]["to_date"] == f"{DAYS[0]}T23:00:01+00:00"
    for first, last in ((f"{DAYS[0]}T0630", f"{DAYS[0]}T08"), ("2026-03-1", f"{DAYS[0]}T08")):
        code, told = backfill("--from", first, "--to", last)
        assert code == 1 and "write days like" in told


def test_a_range_without_a_tick_is_said(
    tmp_path: Path,
    airflow: FakeAirflow,
    campaign: Campaign,
    backfill: Callable[..., tuple[int, str]],
) -> None:
    change(tmp_path, cron="0 5 * * 3")
    code, told = backfill("--from", "2026-03-06", "--to", "2026-03-08")
    assert code == 1 and "no batch from 2026-03-06" in told


@pytest.mark.parametrize("day", ["20260301", "2026-3-01", "2026-02-29"])
def test_a_day_that_is_written_otherwise_is_refused(
    airflow: FakeAirflow, campaign: Campaign, backfill: Callable[..., tuple[int, str]], day: str
) -> None:
    code, told = backfill("--from", day, "--to", "2026-03-04")
    assert code == 1 and "write days like" in told
