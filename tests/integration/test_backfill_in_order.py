"""Days backfilled in order: a night chooses with a model that has learnt from all before it.

Killed in the middle of writing, again and again, and begun anew, it ends the same. `make kill`
takes ten days and kills, `make test` four days.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import STAGES, Manifest, read_manifest, read_table
from winnow.lake import FolderLake
from winnow.publish.versions import newest
from winnow.stages.tasks import dag_ids

from ..sampling import ALL
from .many_campaigns import KILLED, KILLS_AT, run_act, settings_of, write_campaign
from .simulated import simulator

# The stages alone, each night after another: `tests/unit/stages/test_turn.py`.
pytestmark = [pytest.mark.slow, pytest.mark.sampled, pytest.mark.kill]

DAYS = [f"2027-03-{day:02}" for day in range(1, 11 if ALL else 5)]
LIVES = 8 if ALL else 3
"""Processes that are killed before one is left alone."""


class Nights:
    """The lake and Airflow's runs after the backfill."""

    def __init__(self, folder: Path, books: list[dict[str, Any]], lives: list[int]) -> None:
        self.lake, self.books, self.lives = FolderLake(folder / "lake"), books, lives
        self.runs = json.loads((folder / "outcome.json").read_text())["runs"]

    def manifest(self, day: str, stage: str) -> Manifest:
        manifest = read_manifest(self.lake, "guided", day, stage)
        assert manifest is not None, f"{stage} of {day} is not done"
        return manifest

    def votes(self, day: str) -> int:
        """Votes that the vendor's people gave on a night's pairs."""
        table = self.manifest(day, "label").outputs["preferences"]
        return sum(row["votes"] for row in read_table(self.lake, table).to_pylist())

    def outcome(self) -> Any:
        """What must not depend on a kill."""
        version = newest(self.lake, "guided")
        assert version is not None
        stages = [
            (day, stage, {name: each.sha256 for name, each in made.outputs.items()}, made.cost)
            for day in DAYS
            for stage in STAGES[:3]
            for made in [self.manifest(day, stage)]
        ]
        bought = sorted((task["task_id"], task["bought"], task["charged"]) for task in self.books)
        return version.number, version.digest, stages, bought


@pytest.fixture(scope="module")
def backfilled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Nights]:
    """Runs the backfill with so many kills; all read one inbox."""
    inbox = tmp_path_factory.mktemp("inbox")

    def run(kills: int) -> Nights:
        folder = tmp_path_factory.mktemp("backfill")
        chance, lives = random.Random(kills), list[int]()
        guided = settings_of(
            folder,
            "guided",
            schedule={"cron": "30 2 * * *", "timezone": "Europe/Berlin"},
            select={"pairs_per_prompt": 3},
            label={"budget_usd": 50.0},
            ingest={"sources": [str(inbox / "guided" / "{day}")]},
        )
        write_campaign(folder, guided)
        script = {"days": [DAYS[0], DAYS[-1]], "inbox": str(inbox), "prompts": 10}
        (folder / "script.json").write_text(json.dumps(script))
        # Noon of the day after the last one, whose tick is the schedule's last.
        noon = date.fromisoformat(DAYS[-1]) + timedelta(days=1)
        (folder / "clock").write_text(f"{noon}T12:00:00+00:00")
        with simulator(folder / "books.sqlite", "--speed", "1e9") as service:
            while not (folder / "outcome.json").exists():
                at = {KILLS_AT: str(chance.randint(20, 150))} if len(lives) < kills else {}
                lives.append(run_act("backfill", folder, service.url, **at))
            return Nights(folder, service.books(), lives)

    return run


@pytest.fixture(scope="module")
def whole(backfilled: Callable[[int], Nights]) -> Nights:
    return backfilled(0)


def test_each_night_has_learnt_from_every_night_before_it(whole: Nights) -> None:
    before = 0
    for day in DAYS:
        figures = whole.manifest(day, "select").figures
        assert figures["posterior_labels"] == before, day
        before += whole.votes(day)
        assert whole.manifest(day, "publish").figures["posterior_labels"] == before
    assert [whole.manifest(day, "publish").figures["version"] for day in DAYS] == [
        f"v{number:06}" for number in range(1, len(DAYS) + 1)
    ]
    assert not whole.manifest(DAYS[-1], "select").figures["fallback"].startswith("the reward model")


def test_each_day_has_one_run_of_each_stage(whole: Nights) -> None:
    dags = dag_ids("guided").values()
    runs = Counter((r["dag_id"], r["partition_key"]) for r in whole.runs if r["dag_id"] in dags)
    assert runs == Counter((dag, day) for dag in dags for day in DAYS)


@pytest.mark.kill
def test_killed_in_the_middle_it_ends_the_same(
    whole: Nights, backfilled: Callable[[int], Nights]
) -> None:
    killed = backfilled(LIVES)
    assert killed.lives == [KILLED] * LIVES + [0]
    assert killed.outcome() == whole.outcome()
    assert {task["bought"] for task in killed.books} == {1}
