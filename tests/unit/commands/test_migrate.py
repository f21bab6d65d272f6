"""After an upgrade from one campaign a deployment: the old DAGs leave Airflow, the lake decides."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from winnow.cli import main
from winnow.commands import migrate
from winnow.commands.airflow_rest import connect_airflow
from winnow.lake import FolderLake
from winnow.lake_format import FORMAT, PATH

from .conftest import DAY, begun

OLD = ("ingest_prompts", "expand_pools", "select_pairs", "label_pairs", "publish_dataset")


class FakeAirflow:
    """Airflow's REST API as far as a migration goes: DAGs with the keys of their open runs."""

    def __init__(self) -> None:
        self.dags: dict[str, list[str]] = {name: [] for name in (*OLD, "reconcile")}
        self.dags["label_pairs"] = ["2026-11-20", "2026-11-21"]
        self.active: set[str] = set()
        self.foreign: set[str] = set()
        self.failed: list[str] = []
        self.deleted: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path, params = request.url.path.removeprefix("/api/v2/dags"), request.url.params
        if not path:
            assert params["exclude_stale"] == "false"
            names = [dag for dag in self.dags if dag.startswith(params["dag_id_prefix_pattern"])]
            return httpx.Response(200, json={"dags": [self._listed(name) for name in names]})
        _, dag, *more = path.split("/")
        if request.method == "DELETE":
            if self.dags[dag]:
                return httpx.Response(409, json={"detail": "Task instances are still running"})
            self.deleted.append(dag)
            del self.dags[dag]
            return httpx.Response(204)
        if request.method == "PATCH":
            assert json.loads(request.content) == {"state": "failed"}
            self.failed.append(more[-1])
            self.dags[dag].remove(more[-1].removeprefix("manual__"))
            return httpx.Response(200, json={"dag_run_id": more[-1]})
        assert params.get_list("state") == ["running", "queued"]
        # One a page: a migration that takes the first page alone leaves a run behind.
        keys = self.dags[dag][int(params["offset"]) :][:1]
        runs = [{"dag_run_id": f"manual__{key}", "partition_key": key} for key in keys]
        return httpx.Response(200, json={"dag_runs": runs})

    def _listed(self, name: str) -> dict[str, Any]:
        tag = "etl" if name in self.foreign else "winnow"
        tags = [{"name": tag, "dag_id": name}]
        return {"dag_id": name, "is_stale": name not in self.active, "tags": tags, "x": 1}


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> FakeAirflow:
    fake = FakeAirflow()
    monkeypatch.setenv("WINNOW_AIRFLOW_URL", "http://airflow")
    monkeypatch.setenv("WINNOW_AIRFLOW_TOKEN", "a-token")
    transport = httpx.MockTransport(fake)
    monkeypatch.setattr(migrate, "connect_airflow", lambda: connect_airflow(transport))
    return fake


@pytest.fixture
def moved(
    airflow: FakeAirflow,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    def run(*arguments: str) -> tuple[int, str]:
        code = main(["migrate", *arguments])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def test_frozen_runs_are_failed_and_the_old_dags_deleted_once(
    airflow: FakeAirflow,
    moved: Callable[..., tuple[int, str]],
    lake: FolderLake,
) -> None:
    begun(lake, "chat", 3)
    code, told = moved()
    assert code == 0 and airflow.failed == ["manual__2026-11-20", "manual__2026-11-21"]
    assert sorted(airflow.deleted) == sorted((*OLD, "reconcile")) and not airflow.dags
    assert "label_pairs: stale, 2 frozen runs (2026-11-20, 2026-11-21), marked as failed" in told
    assert f"Their open batches of chat: {DAY}. chat.reconcile takes them up" in told
    code, told = moved()
    assert code == 0 and "nothing is left to do" in told and len(airflow.failed) == 2


def test_a_check_only_says(airflow: FakeAirflow, moved: Callable[..., tuple[int, str]]) -> None:
    code, told = moved("--check")
    assert code == 0 and "label_pairs: stale, 2 frozen runs" in told
    assert "chat: it has no batch there" in told
    assert "Nothing was changed" in told and not airflow.failed and not airflow.deleted


def test_a_check_says_what_an_upgrade_changes(
    airflow: FakeAirflow, moved: Callable[..., tuple[int, str]], lake: FolderLake
) -> None:
    begun(lake, "chat", 3)
    lake.remove(PATH)
    before = sorted(lake.tags(""))
    code, told = moved("--check")
    assert code == 0
    assert f"format {FORMAT} of winnow" in told and "nothing is rewritten" in told
    assert "chat: it has no reward model yet." in told
    assert "code: it has no batch there" in told and "chat: it has no batch" not in told
    assert "chat: 1 batch is open" in told and "nothing is bought again." in told
    assert sorted(lake.tags("")) == before


def test_a_check_needs_no_airflow(
    moved: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, lake: FolderLake
) -> None:
    begun(lake, "chat", 3)
    monkeypatch.setattr(migrate, "connect_airflow", connect_airflow)
    monkeypatch.delenv("WINNOW_AIRFLOW_URL")
    code, told = moved("--check")
    assert code == 0
    assert f"format {FORMAT} of winnow" in told and "as it is now" in told
    assert "Airflow was not asked" in told and "WINNOW_AIRFLOW_URL" in told


def test_where_the_version_before_still_runs_nothing_is_touched(
    airflow: FakeAirflow, moved: Callable[..., tuple[int, str]]
) -> None:
    airflow.active = {"publish_dataset"}
    code, told = moved()
    assert code == 1 and "publish_dataset of http://airflow are not stale" in told
    assert not airflow.failed and not airflow.deleted


def test_a_dag_of_that_name_that_is_not_winnows_is_left_alone(
    airflow: FakeAirflow, moved: Callable[..., tuple[int, str]]
) -> None:
    airflow.foreign, airflow.active = {"reconcile"}, {"reconcile"}
    code, told = moved()
    assert code == 0 and "left alone: reconcile" in told
    assert list(airflow.dags) == ["reconcile"]


def test_one_that_has_a_name_beginning_alike_is_another(
    airflow: FakeAirflow, moved: Callable[..., tuple[int, str]]
) -> None:
    airflow.dags = {"label_pairs_of_finance": [], "reconcile.nightly": []}
    code, told = moved()
    assert code == 0 and "nothing is left to do" in told and len(airflow.dags) == 2


def test_a_campaign_without_a_file_is_told_to_be_drained(
    airflow: FakeAirflow,
    moved: Callable[..., tuple[int, str]],
    lake: FolderLake,
) -> None:
    begun(lake, "safety", 3)
    _, told = moved()
    assert "It has no file: winnow migrate safety" in told
