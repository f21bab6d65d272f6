"""With --json a command prints a list of objects and nothing else; bars are drawn elsewhere."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from winnow.batch import open_batch
from winnow.campaign import load_campaign
from winnow.cli import main
from winnow.commands import operate
from winnow.commands.say import progress_bar
from winnow.ingest.ledger import Entry, append, read_ledger
from winnow.lake import FolderLake

DAY = "2026-03-01"
COUNTS = {"rows_in": 1, "rows_out": 1, "quarantined": 0}
CAMPAIGN = {
    "name": "small",
    "ingest": {"sources": ["inbox/{day}"]},
    "expand": {"model": "tiny"},
    "label": {"budget_usd": 5.0},
    "publish": {"dataset": "small"},
}


@pytest.fixture
def store(tmp_path: Path) -> FolderLake:
    """A lake with a batch that was ingested long ago."""
    (tmp_path / "campaign.yaml").write_text(json.dumps(CAMPAIGN))
    lake, campaign = FolderLake(tmp_path / "lake"), load_campaign(tmp_path / "campaign.yaml")
    assert append(lake, "small", read_ledger(lake, "small"), Entry(DAY, {}, {}, COUNTS))
    batch = open_batch(campaign, DAY, lake, begun)
    batch.commit("ingest", inputs=[], outputs={}, counts=COUNTS)
    return lake


def begun() -> datetime:
    return datetime(2026, 3, 1, 6, tzinfo=UTC)


@pytest.fixture
def rows(
    store: FolderLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """What a command prints with --json."""

    def run(*arguments: str) -> Any:
        places = ["--lake", store.uri, "--campaign", str(tmp_path / "campaign.yaml")]
        assert main([*arguments, *places, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_late_answers(rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    said = dict.fromkeys(operate.LATE_COLUMNS, "x") | {"price": 100_000}
    monkeypatch.setenv("WINNOW_VENDOR_TOKEN", "token")
    monkeypatch.setattr(operate, "late_answers", lambda *_: [SimpleNamespace(**said)])
    assert rows("late", "--batch", DAY) == [{"campaign": "small", "batch": DAY, **said}]


def test_what_reconcile_leaves_to_a_person(rows: Callable[..., Any]) -> None:
    (unfinished,) = [row for row in rows("reconcile") if row["kind"] == "unfinished"]
    assert (unfinished["batch"], unfinished["stage"]) == (DAY, "expand")
    assert unfinished["cause"] and unfinished["since"].startswith("2026-03-01T06:00")
    assert rows("reconcile", "--leave", DAY) == [
        {"campaign": "small", "kind": "left_alone", "batch": DAY}
    ]
    assert rows("reconcile", "--again", DAY) == [
        {"campaign": "small", "kind": "started_again", "batch": DAY}
    ]


def test_garbage(rows: Callable[..., Any], store: FolderLake) -> None:
    assert rows("gc") == []
    torn = store.root / "datasets/small" / f".a.{'0' * 32}"
    torn.parent.mkdir(parents=True)
    torn.touch()
    os.utime(torn, (0, 0))
    (row,) = rows("gc", "--grace-hours", "0", "--delete")
    assert row["path"].endswith(torn.name) and row["unfinished"] and row["removed"]
    assert not torn.exists()


def test_a_plan_has_a_row_for_each_design(rows: Callable[..., Any]) -> None:
    prices = ["--gpu-usd-per-hour", "2", "--tokens-per-second", "1000", "--pool-sizes", "5,10"]
    designs = rows("plan", *prices, "--prompts", "10", "--max-labels", "2")
    assert {(row["pool_size"], row["labels"]) for row in designs} == {
        *((5, 1), (5, 2), (10, 1), (10, 2))
    }
    assert all(row["point"] is None and not row["best"] for row in designs)
    hours = rows("plan", *prices, "--sizing")
    assert {tuple(row) for row in hours} == {("prompts", "pool_size", "gpu_hours")}


class Airflow:
    url = "http://airflow"

    def days_to_run(self, body: Any) -> list[str]:
        return [DAY]

    def paused(self, dags: list[str]) -> list[str]:
        return []

    def create_backfill(self, body: Any) -> int:
        return 7


def test_a_backfill_has_a_row_for_each_day(
    rows: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate, "connect_airflow", Airflow)
    days = ["backfill", "--from", "2026-02-28", "--to", DAY]
    new, begun = rows(*days)
    assert (new["day"], new["state"], new["starts"], new["backfill"]) == (
        *("2026-02-28", "new", False, None),
    )
    assert (begun["state"], begun["stage"], begun["buys"], begun["backfill"]) == (
        *("begun", "expand", True, 7),
    )
    assert rows(*days, "--dry-run")[1]["backfill"] is None


class Screen(io.StringIO):
    """Stands for the standard error; a terminal or not."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_drawn_on_a_terminal_only(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen(is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar("Files", 2) as advance:
        advance()
        advance()
    assert bool(screen.getvalue()) == is_terminal
    assert capsys.readouterr().out == ""
