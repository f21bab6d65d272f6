"""SIGKILL in the middle of each stage: the next start finishes with the same dataset and bill.

Minutes each, so they run with `pytest -m kill` and not by default.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from winnow.publish.versions import read_version
from winnow_local import stack

from .conftest import LocalWinnow

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.kill]

DAY = "2026-03-01"
SUBJECTS = ("tides", "bread", "bicycles", "rain", "maps", "bees")
PROMPTS: list[dict[str, Any]] = [{"prompt": f"Tell me about {s}."} for s in SUBJECTS]

Made = Callable[..., LocalWinnow]


def is_in(local: LocalWinnow, stage: str) -> bool:
    """Whether the stage has begun its work and not committed it."""
    folder = local.home.lake / "batches" / "nightly" / DAY
    logs = local.home.folder / "airflow" / "logs"
    begun = {
        "ingest": lambda: any(logs.glob("dag_id=ingest_prompts/*/*/attempt=1.log")),
        "expand": lambda: any(folder.glob("expand/calls/*/manifest.json")),
        "select": lambda: any(logs.glob("dag_id=select_pairs/*/*/attempt=1.log")),
        "label": lambda: (folder / "label" / "round-0" / "submission.json").exists(),
        "publish": lambda: any(folder.glob("publish/verdict-*.json")),
    }[stage]
    return begun() and not (folder / stage / "manifest.json").exists()


def demo_killed_in(local: LocalWinnow, stage: str) -> None:
    """Start the demo and kill it as soon as it is in `stage`; what it started lives on."""
    demo = subprocess.Popen(
        local.command("demo", DAY), env=local.environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 400
    while not is_in(local, stage):
        assert demo.poll() is None, f"the demo ended before {stage}"
        assert time.monotonic() < deadline, f"{stage} was not reached"
        time.sleep(0.005)
    demo.send_signal(signal.SIGKILL)
    demo.wait()
    assert stack.stop_leftovers(local.home) > 0
    assert is_in(local, stage), f"{stage} was over before the kill"


def outcome(local: LocalWinnow) -> tuple[str, list[tuple[str, int, int]]]:
    """The version's digest, and each task with how often it was bought and what it cost."""
    version = read_version(local.lake, "nightly", 1)
    assert not local.lake.exists("datasets/nightly/versions/v000002.json")
    with stack.simulator(local.home):
        books = local.books()
    return version.digest, sorted((t["task_id"], t["bought"], t["charged"]) for t in books)


@pytest.fixture(scope="module")
def undisturbed(new_winnow: Made) -> LocalWinnow:
    local = new_winnow({DAY: PROMPTS})
    local.demo(DAY)
    return local


@pytest.mark.parametrize("stage", ["ingest", "expand", "select", "label", "publish"])
def test_a_kill_in_a_stage_changes_nothing(
    undisturbed: LocalWinnow, new_winnow: Made, stage: str
) -> None:
    local = new_winnow({DAY: PROMPTS})
    stack.secrets_of(undisturbed.home)
    shutil.copy(undisturbed.home.folder / "secrets.json", local.home.folder)
    demo_killed_in(local, stage)
    local.demo(DAY)
    digest, books = outcome(local)
    assert (digest, books) == outcome(undisturbed)
    assert {bought for _, bought, _ in books} == {1}
