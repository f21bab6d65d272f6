"""Ten thousand tasks, every fault of the simulator on, the worker killed fifty times.

The simulator is a real process on loopback, and so is the worker. Minutes, so it runs with
`pytest -m kill`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from winnow.batch import Batch, open_batch, read_table
from winnow.campaign import load_campaign
from winnow.lake import FolderLake

from ..fabricated import fabricate
from .simulated import TOKENS, simulator

pytestmark = [pytest.mark.slow, pytest.mark.kill]

KEY = "2026-11-22"
N_PAIRS = 8_500
N_KILLS = 50
SPEED = 120.0


def made_batch(folder: Path) -> tuple[Batch, Path]:
    """A batch that waits to be labelled, and its campaign's file."""
    campaign = folder / "campaign.yaml"
    settings = {
        "name": "small",
        "ingest": {"sources": ["nowhere"]},
        "expand": {"model": "m"},
        "label": {
            "budget_usd": 2000,
            "second_vote_share": 0.2,
            "repeat_share": 0.02,
            "unanswered": "buy_again",
            "deadline_minutes": 4,
        },
        "publish": {"dataset": "small"},
    }
    campaign.write_text(yaml.safe_dump(settings))
    batch = open_batch(
        load_campaign(campaign), KEY, FolderLake(folder / "lake"), lambda: datetime.now(UTC)
    )
    fabricate(batch, N_PAIRS)
    return batch, campaign


def start(batch: Batch, campaign: Path, url: str) -> subprocess.Popen[bytes]:
    worker = str(Path(__file__).parent / "label_worker.py")
    command = [sys.executable, worker, batch.lake.uri, str(campaign), KEY, url]
    return subprocess.Popen(command, env={**os.environ, **TOKENS}, stdout=subprocess.DEVNULL)


def rows(batch: Batch, table: str) -> list[dict[str, Any]]:
    outputs = batch.require("label").outputs
    return list(read_table(batch.lake, outputs[table]).to_pylist())


def test_ten_thousand_tasks_under_every_fault_and_fifty_kills(tmp_path: Path) -> None:
    batch, campaign = made_batch(tmp_path)
    rng = random.Random(0)
    stood = Counter[str]()
    faulty = ("--speed", str(SPEED), "--faults", "all", "--staff", "mixed")
    with simulator(tmp_path / "books.sqlite", *faulty) as vendor:
        for _ in range(N_KILLS):
            worker = start(batch, campaign, vendor.url)
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(rng.uniform(1.0, 9.0))
            if worker.poll() is not None:
                break
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            stood[_where(batch)] += 1
        worker = start(batch, campaign, vendor.url)
        assert worker.wait(900) == 0
        books = vendor.books()
    print(f"killed {stood.total()} times: {dict(stood)}")
    assert stood.total() == N_KILLS
    assert {task["bought"] for task in books} == {1}
    tasks, annotations = rows(batch, "tasks"), rows(batch, "annotations")
    assert len(books) >= 10_000
    assert {task["task_id"] for task in books} == {task["task_id"] for task in tasks}
    answered = {task["task_id"] for task in books if task["charged"]}
    assert {row["task_id"] for row in annotations} == answered
    keys = Counter((row["annotation_id"], row["revision"]) for row in annotations)
    assert set(keys.values()) == {1}
    manifest = batch.require("label")
    assert manifest.cost == sum(task["charged"] for task in books)
    assert manifest.counts["follow_ups"] > 100
    reasons = Counter(row["reason"] for row in rows(batch, "quarantine"))
    print(f"{len(tasks)} tasks, {len(annotations)} annotations, ${manifest.cost / 1e6:,.2f}")
    print(f"quarantine: {dict(reasons)}")
    assert reasons["does_not_parse"] > 100
    assert reasons["repeated_annotator"] > 100
    inboxes = Path(batch.lake.uri).rglob("inbox/*.json")
    named = [p for p in inboxes if b"simulated-" in _opened(p)]
    assert not named


def _opened(page: Path) -> bytes:
    return b"\n".join(
        base64.b64decode(record) for record in json.loads(page.read_text())["records"]
    )


def _where(batch: Batch) -> str:
    """How far the batch has come, for the record."""
    folder = Path(batch.lake.uri) / batch.folder / "label"
    steps = {
        "collecting the follow-up": "round-1/inbox",
        "waiting for the follow-up": "round-1/submission.json",
        "buying the follow-up": "round-1/plan.json",
        "collecting": "round-0/inbox",
        "waiting": "round-0/submission.json",
        "buying": "round-0/plan.json",
    }
    found = [step for step, name in steps.items() if (folder / name).exists()]
    return found[0] if found else "planning"
