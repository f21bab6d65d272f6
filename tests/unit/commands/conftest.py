"""A folder of two campaigns, a lake, and batches of any of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.batch import STAGES, Manifest, manifest_path, open_batch
from winnow.campaign import parse_campaign
from winnow.ingest.ledger import Entry, append, read_ledger
from winnow.lake import FolderLake

NOW = datetime(2026, 11, 23, tzinfo=UTC)
COUNTS = {"rows_in": 3, "rows_out": 3, "quarantined": 0, "responses": 9, "comparisons": 4}
FIGURES = {"strategy": "diversity", "version": "v000001", "verdict": "pass"}
DAY = "2026-11-22"


def settings(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "ingest": {"sources": [f"inbox-{name}"]},
        "expand": {"model": "tiny"},
        "label": {"budget_usd": 5.0},
        "publish": {"dataset": name},
    } | more


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two campaigns, chat and code, and what the environment says of them."""
    place = tmp_path / "campaigns"
    place.mkdir()
    for name in ("chat", "code"):
        (place / f"{name}.yaml").write_text(yaml.safe_dump(settings(name)))
    monkeypatch.setenv("WINNOW_CAMPAIGNS", str(place))
    monkeypatch.setenv("WINNOW_LAKE", str(tmp_path / "lake"))
    monkeypatch.delenv("WINNOW_VENDOR_TOKEN", raising=False)
    return place


@pytest.fixture
def lake(tmp_path: Path) -> FolderLake:
    return FolderLake(tmp_path / "lake")


def begun(lake: FolderLake, name: str, n_done: int, key: str = DAY, **more: Any) -> None:
    """A batch of a campaign, as frozen then, of which so many stages are done."""
    campaign = parse_campaign(settings(name, **more), "test")
    assert append(lake, name, read_ledger(lake, name), Entry(key, {}, {}, COUNTS))
    open_batch(campaign, key, lake, lambda: NOW)
    for stage in STAGES[:n_done]:
        at = f"{key}T12:00:00+00:00"
        made = Manifest(name, key, stage, {}, {}, "", "0.1.0", COUNTS, 0, FIGURES, committed_at=at)
        lake.create(manifest_path(name, key, stage), made.to_bytes())
