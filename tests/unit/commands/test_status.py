"""Status: the last batches, what is stuck, and the next command; quick for a lake of many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from winnow.batch import STAGES, Manifest, manifest_path
from winnow.cli import main
from winnow.ids import canonical_json
from winnow.ingest.ledger import ledger_path
from winnow.lake import FolderLake
from winnow.lake_format import PATH

CAMPAIGN: dict[str, Any] = {
    "name": "small",
    "ingest": {"sources": ["inbox"]},
    "expand": {"model": "tiny"},
    "label": {"budget_usd": 5.0},
    "publish": {"dataset": "small"},
}
COUNTS = {"rows_in": 3, "rows_out": 3, "quarantined": 0, "responses": 9, "comparisons": 4}
FIGURES = {"strategy": "diversity", "version": "v000001", "verdict": "pass"}
DAYS = [f"2025-01-{day:02}" for day in range(1, 26)]


@pytest.fixture
def lake(tmp_path: Path) -> FolderLake:
    """25 batches, a year old; the last one has no labels."""
    (tmp_path / "campaign.yaml").write_text(json.dumps(CAMPAIGN))
    store = FolderLake(tmp_path / "lake")
    entries = [{"batch": day, "files": {}, "outputs": {}, "counts": COUNTS} for day in DAYS]
    store.create(ledger_path("small"), canonical_json(entries))
    for day in DAYS:
        store.create(f"batches/small/{day}/campaign.json", canonical_json(CAMPAIGN))
        for stage in STAGES if day != DAYS[-1] else STAGES[:3]:
            at = f"{day}T12:00:00+00:00"
            made = Manifest(
                "small", day, stage, {}, {}, "", "0.1.0", COUNTS, 0, FIGURES, committed_at=at
            )
            store.create(manifest_path("small", day, stage), made.to_bytes())
    return store


@pytest.fixture
def said(lake: FolderLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """What `winnow status` prints."""

    def run(*more: str) -> str:
        places = ["--campaign", str(tmp_path / "campaign.yaml"), "--lake", lake.uri]
        assert main(["status", *places, *more]) == 0
        return capsys.readouterr().out

    return run


def test_the_last_twenty_are_shown_unless_more_are_wanted(said: Any) -> None:
    lines = said().splitlines()
    assert lines[0] == "The last 20 of 25 batches; --all shows every one."
    assert [line for line in lines[1:] if not line.startswith(" ")] == DAYS[-20:]
    assert [line for line in said("--all").splitlines() if not line.startswith(" ")] == DAYS
    assert [each["batch"] for each in json.loads(said("--json", "--last", "2"))] == DAYS[-2:]


def test_what_is_stuck_stands_with_the_next_command(said: Any) -> None:
    lines = said("--batch", DAYS[-1]).splitlines()
    assert lines[-2].startswith("  stuck    Stage label is not done ")
    assert (
        lines[-1].strip()
        == f"Do: airflow dags clear small.select_pairs --partition-key {DAYS[-1]} -y"
    )
    whole, stuck = json.loads(said("--json"))[-2:]
    assert whole["trouble"] is None and set(whole["stages"]) == set(STAGES)
    assert {len(whole["trace"]), len(stuck["trace"])} == {32} and whole["trace"] != stuck["trace"]
    assert stuck["trouble"]["heading"] == "A batch does not go on"
    assert stuck["trouble"]["since"] == f"{DAYS[-1]}T12:00:00+00:00"


def test_of_a_published_batch_only_its_manifests_are_read(
    said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read = FolderLake.read
    monkeypatch.setattr(FolderLake, "read", lambda self, p: asked.append(p) or read(self, p))
    said("--last", "20")
    # What is open is opened, which asks for the lake's format.
    published = [path for path in asked if DAYS[-1] not in path and path != PATH]
    assert len(published) == 19 * len(STAGES) + 2
    assert all(path.endswith((".json",)) for path in asked)
