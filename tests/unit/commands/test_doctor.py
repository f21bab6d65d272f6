"""Doctor: what is broken is named with what mends it, nothing hangs, no secret is shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from winnow.batch import Manifest, manifest_path
from winnow.campaign import parse_campaign
from winnow.cli import main
from winnow.commands import connections, doctor_services, doctor_store
from winnow.commands.checks import Check, ok, run_all
from winnow.errors import Fatal
from winnow.ids import canonical_json
from winnow.ingest.ledger import ledger_path
from winnow.lake import FolderLake, Lake, Stored

from ..expand.faulty_server import faulty_server

SECRET = "hush-hush-hush-hush-hush"
CAMPAIGN: dict[str, Any] = {
    "name": "small",
    "ingest": {"sources": ["inbox/{day}"]},
    "expand": {"model": "SmolLM2-135M-Instruct"},
    "label": {"budget_usd": 5.0},
    "publish": {"dataset": "small"},
}


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting but the test's own."""
    for name in [name for name in os.environ if name.startswith(("WINNOW_", "AIRFLOW_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "no-airflow"))


@pytest.fixture
def examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, Check]]]:
    """Runs the command with `--json`: its exit code, and its checks by name."""
    (tmp_path / "campaign.yaml").write_text(json.dumps(CAMPAIGN))

    def run(*more: str, **environment: str) -> tuple[int, dict[str, Check]]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        base = ["--campaign", str(tmp_path / "campaign.yaml"), "--lake", str(tmp_path / "lake")]
        places = ["--models", str(tmp_path / "models"), "--day", "2026-11-22"]
        code = main(["doctor", "--json", *base, *places, *more])
        said = capsys.readouterr().out
        assert SECRET not in said
        return code, {each["name"]: Check(**each) for each in json.loads(said)}

    return run


def connection(url: str, token: str = SECRET) -> str:
    host, _, port = url.removeprefix("http://").partition(":")
    fields = {"conn_type": "http", "host": host, "port": int(port), "password": token}
    return json.dumps(fields)


def test_a_whole_deployment_is_well(examined: Any, start_simulator: Any, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox" / "2026-11-22"
    inbox.mkdir(parents=True)
    (inbox / "a.jsonl").write_text("{}")
    prepared = tmp_path / "models" / "SmolLM2-135M-Instruct"
    prepared.mkdir(parents=True)
    (prepared / "config.json").write_text("{}")
    simulator = start_simulator(tmp_path / "books.sqlite")
    code, checks = examined(
        WINNOW_ENGINE_PYTHON=sys.executable,
        AIRFLOW_CONN_WINNOW_VENDOR=connection(simulator.url, simulator.token),
        AIRFLOW__API_AUTH__JWT_SECRET="x" * 64,
        AIRFLOW__CORE__FERNET_KEY="x" * 44,
    )
    fine = ["campaign", "lake", "conditional writes", "clock", "sources", "versions", "model"]
    assert {checks[name].outcome for name in [*fine, "secrets", "disk", "gpu", "workers"]} == {"ok"}
    assert checks["sources"].measured == "1 files for 2026-11-22, 1 of them new: a.jsonl"
    # The test's token is short, and so is its engine: this interpreter holds no vLLM.
    assert checks["vendor"].outcome == "warning" and "characters" in checks["vendor"].measured
    assert checks["engine"].outcome == "failed" and code == 1
    assert list(tmp_path.glob("lake/doctor/**/*.*")) == []


def test_a_judge_is_well_where_its_server_has_its_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WINNOW_LAKE", str(tmp_path))
    with faulty_server() as running:
        monkeypatch.setenv("AIRFLOW_CONN_WINNOW_VENDOR", connection(running.url, ""))

        def check(model: str) -> Check:
            judged = {"vendor": "judge", "budget_usd": 1.0, "judge": {"model": model}}
            campaign = parse_campaign({**CAMPAIGN, "label": judged}, "test")
            return doctor_services.vendor(campaign.label, 5.0)

        assert check("tiny").outcome == "ok"
        assert "serves tiny, not huge" in check("huge").measured
    assert check("tiny").outcome == "failed"


def test_airflow_is_asked_where_its_tasks_find_it(
    examined: Any, start_simulator: Any, tmp_path: Path
) -> None:
    # Else it asks Airflow's command line for the vendor's connection: seconds.
    simulator = start_simulator(tmp_path / "books.sqlite")
    _, checks = examined(
        AIRFLOW_CONN_WINNOW_VENDOR=connection(simulator.url),
        AIRFLOW__CORE__EXECUTION_API_SERVER_URL="http://127.0.0.1:9/execution/",
        AIRFLOW__API__BASE_URL="http://airflow.example.org",
    )
    assert checks["airflow"].measured.startswith("http://127.0.0.1:9: ")


@pytest.mark.parametrize(("script", "outcome"), [(None, "ok"), ("exit 9", "failed")])
def test_a_driver_that_fails_is_no_host_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, outcome: str
) -> None:
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor_services.gpu().outcome == outcome


def test_pools_of_another_campaign_are_its_sources(tmp_path: Path) -> None:
    settings = {**CAMPAIGN, "name": "again", "pools_from": "small", "ingest": {}}
    settings |= {"publish": {"dataset": "again"}}
    campaign, lake = parse_campaign(settings, "test"), FolderLake(tmp_path)
    found = doctor_store.sources(campaign, lake, "2026-11-22")
    assert (found.outcome, found.measured) == ("warning", "small has no pools of 2026-11-22")


def test_what_is_broken_is_named_with_what_mends_it(
    examined: Any, start_simulator: Any, tmp_path: Path
) -> None:
    simulator = start_simulator(tmp_path / "books.sqlite")
    code, checks = examined(
        AIRFLOW_CONN_WINNOW_VENDOR=connection(simulator.url),
        AIRFLOW__API_AUTH__JWT_SECRET="short",
        AIRFLOW__API__BASE_URL="http://127.0.0.1:9",
        AIRFLOW__METRICS__STATSD_ON="False",
        WINNOW_ALARMS="slack:chat",
    )
    assert code == 1
    failed = {name for name, check in checks.items() if check.outcome == "failed"}
    assert failed == {"vendor", "engine", "airflow", "alarms"}
    assert "401" in checks["vendor"].measured
    assert checks["vendor"].mend == "correct the Airflow connection winnow_vendor"
    assert checks["airflow"].mend == "start the API server"
    assert "write slack:CONNECTION#CHANNEL" in checks["alarms"].measured
    assert checks["secrets"].measured == "api_auth.jwt_secret has 5 bytes"
    assert checks["sources"].outcome == "warning"
    assert all(check.mend for check in checks.values() if check.outcome != "ok")


def test_a_campaign_and_a_lake_that_cannot_be_read_do_not_stop_the_other_checks(
    examined: Any, tmp_path: Path
) -> None:
    code, checks = examined("--campaign", str(tmp_path / "none.yaml"), "--lake", "gopher://x")
    assert code == 1
    assert checks["campaign"].outcome == checks["lake"].outcome == "failed"
    assert {"disk", "secrets", "alarms", "versions"} <= set(checks)


def test_for_people_each_line_has_its_outcome_and_the_command_below_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--campaign", str(tmp_path / "none.yaml"), "--seconds", "5"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("FAILED  campaign")
    assert lines[1].strip().startswith("Do: ")
    assert any(
        line.startswith("FAILED  lake") and "WINNOW_LAKE is not set" in line for line in lines
    )


def test_a_check_that_hangs_fails_and_holds_up_nothing() -> None:
    never = threading.Event()

    def hang() -> Any:
        never.wait()

    def broken() -> Any:
        raise KeyError(SECRET)

    def wrong() -> Any:
        raise Fatal("the file x is wrong")

    began = time.monotonic()
    found = run_all({"a": hang, "b": lambda: ok("well"), "c": broken, "d": wrong}, 0.5)
    assert time.monotonic() - began < 5.0
    assert [(c.name, c.outcome) for c in found] == [
        ("a", "failed"),
        ("b", "ok"),
        ("c", "failed"),
        ("d", "failed"),
    ]
    assert "no answer within" in found[0].measured
    assert SECRET not in found[2].measured and "KeyError" in found[2].measured
    assert found[3].measured == "the file x is wrong"
    never.set()


def test_the_process_ends_though_a_check_hangs() -> None:
    script = (
        "import time\nfrom winnow.commands.checks import run_all\n"
        "print(run_all({'a': lambda: time.sleep(3600)}, 0.1)[0].outcome)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == "failed"


def test_a_lake_is_written_read_and_left_as_it_was(lake: Lake) -> None:
    assert doctor_store.lake(lake).outcome == "ok"
    assert doctor_store.clock(lake).outcome == "ok"
    assert lake.listing(doctor_store.FOLDER) == []


@pytest.mark.parametrize(
    ("seconds", "outcome"), [(0, "ok"), (90, "warning"), (-90, "warning"), (1000, "failed")]
)
def test_a_clock_that_is_off_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int, outcome: str
) -> None:
    store = FolderLake(tmp_path)
    at = datetime.now(UTC) + timedelta(seconds=seconds)
    monkeypatch.setattr(store, "listing", lambda folder: [Stored(f"{folder}/now", 0, at)])
    assert doctor_store.clock(store).outcome == outcome


def test_a_full_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, outcome in ((2e8, "failed"), (3e9, "warning"), (9e9, "ok")):
        monkeypatch.setattr(
            doctor_store.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free)
        )
        assert doctor_store.disk({"lake": tmp_path / "not" / "there"}).outcome == outcome


def test_batches_of_newer_code_are_told(tmp_path: Path) -> None:
    store = FolderLake(tmp_path)
    counts = {"rows_in": 0, "rows_out": 0, "quarantined": 0}
    entry = {"batch": "k", "files": {}, "outputs": {}, "counts": counts}
    store.create(ledger_path("small"), canonical_json([entry]))
    made = Manifest("small", "k", "ingest", {}, {}, "", "99.1", counts)
    store.create(manifest_path("small", "k", "ingest"), made.to_bytes())
    found = doctor_store.versions(store, parse_campaign(CAMPAIGN, "test"))
    assert (found.outcome, found.mend) == ("failed", "install winnow 99.1 here as well")


def test_workers_are_counted_by_airflows_books(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__EDGE__API_ENABLED", "True")
    rows = [
        {"worker_name": "gpu-1", "state": "idle", "queues": "['gpu']"},
        {"worker_name": "gpu-2", "state": "unknown", "queues": "['gpu']"},
        {"worker_name": "cpu-1", "state": "idle", "queues": "['default']"},
    ]
    for n_rows, outcome in ((1, "ok"), (2, "warning"), (0, "failed")):
        monkeypatch.setattr(doctor_services, "airflow_json", lambda *_, n=n_rows: rows[:n])
        assert doctor_services.workers(1.0).outcome == outcome


def test_a_connection_is_read_as_airflow_writes_it() -> None:
    uri = connections.parse_connection(f"http://me:{SECRET}@labels.example:8080/https?a=b")
    assert (uri.url, uri.login, uri.password) == ("https://labels.example:8080", "me", SECRET)
    fields = {"conn_type": "http", "host": "/srv/drop", "extra": '{"annotator_salt": "x", "y": 1}'}
    folder = connections.parse_connection(json.dumps(fields))
    assert folder.url == "/srv/drop"
    assert folder.account().extra == {"y": 1}
    assert SECRET not in repr(uri)
    with pytest.raises(ValueError, match="scheme"):
        connections.parse_connection("nonsense")


@pytest.mark.parametrize(
    "text",
    [
        '{"port": {}}',
        '{"port": 1e400}',
        '{"port": "NaN"}',
        '{"port": true}',
        '{"port": -5}',
        '{"port": 99999}',
        '{"extra": "[1]"}',
        '{"extra": "{"}',
        '{"host": "\\ud800"}',
        '{"extra":' * 50_000,
        "http://h:abc",
    ],
)
def test_a_connection_of_another_shape_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        connections.parse_connection(text)
