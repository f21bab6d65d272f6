"""Two past days, backfilled from Airflow's command line, through all five DAGs on real parts.

Airflow's four components run as in production, a real model generates, the vendor simulator
labels, and a trainer's own libraries read what is published.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from winnow.publish.versions import read_version
from winnow.stages.tasks import dag_ids
from winnow_local import stack
from winnow_local.airflow_api import AirflowApi

from .conftest import ROOT, LocalWinnow, wait_for

# What hangs is ended by `wait_for`, which looks at what moves.
pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(0)]

DAYS = ["2026-03-01", "2026-03-02"]
SUBJECTS = ["tides", "bread", "bicycles", "rain", "maps", "bees", "glass", "chess", "tea", "rust"]


def prompts_of(place: int) -> list[dict[str, Any]]:
    subjects = SUBJECTS[3 * place : 3 * place + 3]
    good = [{"prompt": f"Tell me one fact about {subject}."} for subject in subjects]
    talk = [
        {"role": "user", "content": f"I like {subjects[0]}."},
        {"role": "assistant", "content": "So do I!"},
        {"role": "user", "content": "¿Por qué?"},
    ]
    return [*good, {"messages": talk, "language": "es"}, {"messages": 42}]


@pytest.fixture(scope="module")
def winnow(new_winnow: Callable[..., LocalWinnow]) -> Iterator[LocalWinnow]:
    """A local Winnow that has taken the days through the chain, and still runs."""
    local = new_winnow({day: prompts_of(place) for place, day in enumerate(DAYS)})
    env = stack.environment(local.home)
    stack.migrate(local.home, env)
    with stack.running(local.home, speed=100_000.0):
        api = AirflowApi(local.home.ui, stack.secrets_of(local.home)["password"])
        wait_for(lambda: set(dag_ids("nightly").values()) <= api.parsed_dags())
        backfill(env)
        published = [f"batches/nightly/{day}/publish/manifest.json" for day in DAYS]
        wait_for(
            lambda: all(local.lake.exists(path) for path in published),
            progress=lambda: [stored.path for stored in local.lake.listing("")],
        )
        yield local


def backfill(env: dict[str, str]) -> None:
    airflow = str(ROOT / ".venv" / "bin" / "airflow")
    days = ["--from-date", DAYS[0], "--to-date", DAYS[-1]]
    subprocess.run(
        [airflow, "backfill", "create", "--dag-id", "nightly.ingest_prompts", *days],
        env=env,
        check=True,
        capture_output=True,
    )


def test_each_day_is_one_version_that_holds_the_days_before(winnow: LocalWinnow) -> None:
    versions = [read_version(winnow.lake, "nightly", number) for number in (1, 2)]
    assert [len(version.batches) for version in versions] == [1, 2]
    assert sorted(versions[-1].batches) == DAYS
    assert not winnow.lake.exists("datasets/nightly/versions/v000003.json")
    assert (winnow.home.lake / "datasets/nightly/v000002/manifest.json").exists()


def test_good_rows_go_through_and_the_bad_one_is_in_quarantine(winnow: LocalWinnow) -> None:
    for day in DAYS:
        counts = winnow.manifest(day, "ingest").counts
        assert (counts["rows_in"], counts["rows_out"], counts["quarantined"]) == (5, 4, 1)
        [row] = winnow.rows(day, "ingest", "quarantine")
        assert (row["line"], row["reason"]) == (5, "wrong_type")
        assert row["file"].endswith(f"{day}/prompts.jsonl")


def test_pools_come_from_the_real_model(winnow: LocalWinnow) -> None:
    for day in DAYS:
        manifest = winnow.manifest(day, "expand")
        assert manifest.counts["sampled"] == 16
        assert manifest.figures["engine"].startswith("vllm")
        rows = winnow.rows(day, "expand", "responses")
        assert sum(row["duplicates"] for row in rows) == manifest.counts["rows_out"]
        assert all(row["logprob"] < 0 for row in rows)


def test_the_vendor_was_asked_each_task_once_and_paid_what_is_booked(winnow: LocalWinnow) -> None:
    books = winnow.books()
    tasks = [row for day in DAYS for row in winnow.rows(day, "label", "tasks")]
    assert {task["task_id"] for task in books} == {task["task_id"] for task in tasks}
    assert {task["bought"] for task in books} == {1}
    booked = sum(winnow.manifest(day, "label").cost for day in DAYS)
    assert booked == sum(task["charged"] for task in books)


def test_labels_teach_the_next_batch(winnow: LocalWinnow) -> None:
    labels = [winnow.manifest(day, "publish").figures["posterior_labels"] for day in DAYS]
    assert len(set(labels)) == 2
    votes = sum(winnow.manifest(day, "label").counts["annotations"] for day in DAYS)
    assert 0 < max(labels) <= votes


def test_a_second_run_of_a_day_changes_nothing(winnow: LocalWinnow) -> None:
    # The last task of a day notes that its metrics are out once it is done.
    noted = [f"batches/nightly/{day}/emitted/refit_posterior" for day in DAYS]
    wait_for(lambda: all(map(winnow.lake.exists, noted)))
    before = stored_of(winnow, DAYS)
    api = AirflowApi(winnow.home.ui, stack.secrets_of(winnow.home)["password"])
    api.trigger("nightly.label_pairs", DAYS[0])
    wait_for(
        lambda: (
            [r.state for r in api.runs(DAYS[0]) if r.dag == "nightly.label_pairs"]
            == ["success", "success"]
        )
    )
    assert stored_of(winnow, DAYS) == before
    assert {task["bought"] for task in winnow.books()} == {1}


def stored_of(winnow: LocalWinnow, days: list[str]) -> dict[str, bytes]:
    """What the lake holds of some days; last night's own run is about its own."""
    folders = [f"batches/nightly/{day}" for day in days]
    return {path: winnow.lake.read(path) for of in folders for path in winnow.lake.tags(of)}


def test_a_trainer_loads_the_folder_without_winnow(winnow: LocalWinnow, tmp_path: Path) -> None:
    trainer = ROOT / ".venv-trainer" / "bin" / "python"
    if not trainer.exists():
        pytest.skip("the trainer's environment is not installed; `make test` does it")
    script = Path(__file__).with_name("trainer.py")
    folder = winnow.home.lake / "datasets/nightly/v000002"
    env = {**os.environ, "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [trainer, script, folder], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    views = {
        view: read_version(winnow.lake, "nightly", 2).n_rows(f"{view}/train")
        for view in ("reward", "kto")
    }
    assert f"reward {views['reward']} conversational" in done.stdout
    assert f"kto {views['kto']} conversational" in done.stdout
