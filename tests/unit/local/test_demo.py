"""The demo takes two nights through one Airflow in turn, and starts where it was stopped."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from winnow.batch import STAGES, Manifest, manifest_path, open_batch
from winnow.campaign import load_campaign
from winnow.campaigns import SHIPPED
from winnow.lake import FolderLake
from winnow.stages.tasks import dag_ids
from winnow_local import demo as demo_module
from winnow_local import stack
from winnow_local.airflow_api import Run
from winnow_local.demo import demo, last_nights

DAYS = ["2026-03-01", "2026-03-02"]
COUNTS = {"rows_in": 1, "rows_out": 1, "quarantined": 0}


@dataclass
class Airflow:
    """Stands in for Airflow: a triggered batch is published at once, with the next version."""

    lake: FolderLake
    empty: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    triggered: list[tuple[str, str]] = field(default_factory=list)
    known: list[tuple[str, Run]] = field(default_factory=list)
    starts: int = 0

    def parsed_dags(self) -> set[str]:
        return set(dag_ids("nightly").values())

    def runs(self, batch: str) -> list[Run]:
        return [run for key, run in self.known if key == batch]

    def failures(self, run: Run) -> dict[str, str]:
        return {"a_task": "it broke"}

    def trigger(self, dag: str, batch: str) -> None:
        self.triggered.append((dag, batch))
        state = "failed" if batch in self.failing else "success"
        self.known.append((batch, Run(dag, f"run-{len(self.known)}", state)))
        if batch not in self.empty | self.failing:
            self.commit(batch, STAGES)

    def commit(self, batch: str, stages: Sequence[str]) -> None:
        campaign = load_campaign(SHIPPED / "nightly.yaml")
        open_batch(campaign, batch, self.lake, lambda: datetime.now(UTC))
        published = [self.lake.exists(manifest_path("nightly", day, "publish")) for day in DAYS]
        figures = {"version": f"v{1 + sum(published):06d}"}
        for stage in stages:
            done = Manifest("nightly", batch, stage, {}, {}, "", "", COUNTS, 0, figures)
            self.lake.create(manifest_path("nightly", batch, stage), done.to_bytes())


@pytest.fixture
def home(tmp_path: Path) -> stack.Home:
    return stack.Home(tmp_path / "home", SHIPPED, 18080, 18790)


@pytest.fixture
def airflow(home: stack.Home, monkeypatch: pytest.MonkeyPatch) -> Airflow:
    made = Airflow(FolderLake(home.lake))

    @contextlib.contextmanager
    def running(*_: Any) -> Iterator[None]:
        made.starts += 1
        yield

    monkeypatch.setattr(stack, "running", running)
    monkeypatch.setattr(demo_module, "prepare", lambda *_: None)
    monkeypatch.setattr(demo_module, "AirflowApi", lambda *_: made)
    monkeypatch.setattr(demo_module, "summary", lambda batch: f"summary of {batch.key}")
    monkeypatch.setattr(demo_module, "progress", lambda *_: {})
    monkeypatch.setattr(demo_module, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(demo_module, "SETTLE_SECONDS", 0.0)
    return made


def shown(home: stack.Home, days: list[str]) -> tuple[int, str]:
    text = io.StringIO()
    return demo(home, days, Console(file=text, width=200)), text.getvalue()


def test_two_nights_run_in_one_airflow_and_the_second_one_is_told(
    home: stack.Home, airflow: Airflow
) -> None:
    code, text = shown(home, DAYS)
    assert code == 0
    assert airflow.triggered == [("nightly.ingest_prompts", day) for day in DAYS]
    assert airflow.starts == 1
    assert f"summary of {DAYS[1]}" in text and f"summary of {DAYS[0]}" not in text


def test_a_second_start_only_shows(home: stack.Home, airflow: Airflow) -> None:
    shown(home, DAYS)
    code, text = shown(home, DAYS)
    assert (code, airflow.starts, len(airflow.triggered)) == (0, 1, 2)
    assert "published already, nothing to generate" in text
    assert f"summary of {DAYS[1]}" in text


def test_one_named_day_is_one_night(home: stack.Home, airflow: Airflow) -> None:
    shown(home, DAYS)
    code, text = shown(home, ["2026-02-01"])
    assert (code, airflow.triggered[2:]) == (0, [("nightly.ingest_prompts", "2026-02-01")])
    assert "summary of 2026-02-01" in text


def test_what_was_stopped_goes_on_with_the_stage_that_is_missing(
    home: stack.Home, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow.commit(DAYS[0], STAGES)
    airflow.commit(DAYS[1], STAGES[:2])
    monkeypatch.setattr(airflow, "commit", partial(_rest, airflow.commit))
    assert shown(home, DAYS)[0] == 0
    assert airflow.triggered == [("nightly.select_pairs", DAYS[1])]


def _rest(commit: Callable[..., None], batch: str, stages: Sequence[str]) -> None:
    commit(batch, stages[2:])


def test_the_second_night_has_the_settings_of_when_it_begins(
    home: stack.Home, airflow: Airflow
) -> None:
    airflow.failing = {DAYS[0]}
    shown(home, DAYS)
    assert not airflow.lake.exists(f"batches/nightly/{DAYS[1]}/campaign.json")


def test_the_night_that_the_schedule_began_goes_first(home: stack.Home, airflow: Airflow) -> None:
    airflow.known.append((DAYS[1], Run("nightly.ingest_prompts", "scheduled", "success")))
    assert shown(home, DAYS)[0] == 0
    assert [batch for _, batch in airflow.triggered] == [DAYS[1], DAYS[0]]


def test_a_night_that_the_schedule_took_meanwhile_is_not_run_again(
    home: stack.Home, airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both(dag: str, batch: str) -> None:
        Airflow.trigger(airflow, dag, batch)
        airflow.commit(DAYS[1], STAGES)

    monkeypatch.setattr(airflow, "trigger", both)
    assert shown(home, DAYS)[0] == 0
    assert [batch for _, batch in airflow.triggered] == [DAYS[0]]


def test_a_home_of_one_published_night_gets_another_and_is_told_of_it(
    home: stack.Home, airflow: Airflow
) -> None:
    airflow.commit(DAYS[1], STAGES)
    code, text = shown(home, DAYS)
    assert (code, airflow.triggered) == (0, [("nightly.ingest_prompts", DAYS[0])])
    assert f"summary of {DAYS[0]}" in text


@pytest.mark.parametrize("empty", [0, 1])
def test_a_night_without_a_new_file_does_not_stop_the_other(
    home: stack.Home, airflow: Airflow, empty: int
) -> None:
    airflow.empty = {DAYS[empty]}
    code, text = shown(home, DAYS)
    assert code == 0
    assert "no new prompt file is there for this night" in text
    assert f"summary of {DAYS[1 - empty]}" in text


def test_nights_without_any_file_are_no_success(home: stack.Home, airflow: Airflow) -> None:
    airflow.empty = set(DAYS)
    code, text = shown(home, DAYS)
    assert code == 1 and "summary" not in text


def test_a_night_that_fails_ends_the_demo_with_its_cause(
    home: stack.Home, airflow: Airflow
) -> None:
    airflow.failing = {DAYS[0]}
    code, text = shown(home, DAYS)
    assert code == 1
    assert "ingest_prompts.a_task failed: it broke" in text
    assert [batch for _, batch in airflow.triggered] == [DAYS[0]]


def test_a_day_that_is_none_is_refused(home: stack.Home, airflow: Airflow) -> None:
    with pytest.raises(stack.StackError, match=r"'2026-2-1' is not a day"):
        shown(home, ["2026-2-1"])


def test_the_last_nights_are_the_two_before_today() -> None:
    before = datetime.now(UTC).date()
    nights = [date.fromisoformat(day) for day in last_nights()]
    assert nights[1] - nights[0] == timedelta(days=1)
    assert before - nights[1] <= timedelta(days=1) <= datetime.now(UTC).date() - nights[1]
