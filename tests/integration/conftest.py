"""A local Winnow for tests: real Airflow processes, a real model, the vendor simulator."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from winnow.batch import Manifest, read_manifest, read_table
from winnow.lake import FolderLake
from winnow_local import stack

# Not read for doctests: it imports Airflow, which must find the settings of its own process.
collect_ignore = ["airflow_in_process.py"]

ROOT = Path(__file__).parents[2]
CAMPAIGN = {
    "name": "nightly",
    "description": "A small campaign of the tests.",
    "expand": {
        "model": "SmolLM2-135M-Instruct",
        "pool_size": 4,
        "max_tokens": 16,
        "tokens_per_shard": 300,
        "responses_per_call": 8,
    },
    "select": {"pairs_per_prompt": 2},
    "label": {"budget_usd": 5.0, "second_vote_share": 0.5, "poll_seconds": 1},
    "validation": {"min_agreement_block": 0.0, "max_side_bias_block": 0.5},
    "publish": {"dataset": "nightly"},
}


@dataclass(frozen=True)
class LocalWinnow:
    """A home of its own in a temporary folder, on free ports."""

    home: stack.Home

    def command(self, *arguments: str) -> list[str]:
        """The demo's command line, as `make` runs it."""
        return [sys.executable, "-m", "winnow_local", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """What tells the demo about this home."""
        return {
            **os.environ,
            "WINNOW_HOME": str(self.home.folder),
            "WINNOW_CAMPAIGNS": str(self.home.campaigns),
            "WINNOW_PORT": str(self.home.ui_port),
            "WINNOW_VENDOR_PORT": str(self.home.vendor_port),
        }

    def demo(self, day: str) -> str:
        """Run the demo for a day to its end; what it printed."""
        done = subprocess.run(
            self.command("demo", day),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def lake(self) -> FolderLake:
        """The home's lake."""
        return FolderLake(self.home.lake)

    def manifest(self, day: str, stage: str) -> Manifest:
        """The manifest of a stage that is done."""
        manifest = read_manifest(self.lake, "nightly", day, stage)
        assert manifest is not None, f"{stage} of {day} is not done"
        return manifest

    def rows(self, day: str, stage: str, table: str) -> list[dict[str, Any]]:
        """A table of a stage."""
        return list(read_table(self.lake, self.manifest(day, stage).outputs[table]).to_pylist())

    def books(self) -> list[dict[str, Any]]:
        """The vendor's own record of each task; the simulator must be running."""
        return books_at(self.home.vendor, stack.secrets_of(self.home)["vendor_token"])


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, prepared by `make test` or here."""
    folder = Path(os.environ.get("WINNOW_HOME", ROOT / ".winnow")) / "models"
    if not folder.exists():
        pytest.skip("the model is not prepared; `make test` does it")
    return folder


@pytest.fixture(scope="session")
def new_winnow(
    tmp_path_factory: pytest.TempPathFactory, models: Path
) -> Iterator[Callable[..., LocalWinnow]]:
    """Makes a home whose inbox holds prompts by day; `changed` are parts of the campaign."""
    made: list[LocalWinnow] = []

    def make(prompts: dict[str, list[dict[str, Any]]], **changed: Any) -> LocalWinnow:
        folder = tmp_path_factory.mktemp("winnow")
        for day, rows in prompts.items():
            inbox = folder / "inbox" / day
            inbox.mkdir(parents=True)
            lines = [json.dumps(row, ensure_ascii=False) for row in rows]
            (inbox / "prompts.jsonl").write_text("\n".join(lines))
        ingest = {"sources": [str(folder / "inbox" / "{day}")]}
        campaign = folder / "campaign.yaml"
        campaign.write_text(yaml.safe_dump({**CAMPAIGN, **changed, "ingest": ingest}))
        home = stack.Home(folder / "home", campaign, free_port(), free_port())
        home.folder.mkdir()
        (home.folder / "models").symlink_to(models)
        made.append(LocalWinnow(home))
        return made[-1]

    yield make
    for local in made:
        stack.stop_leftovers(local.home)


def books_at(url: str, token: str) -> list[dict[str, Any]]:
    """A simulator's own record of each task."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.get(f"{url}/books", headers=headers, timeout=120, trust_env=False)
    return list(answer.raise_for_status().json()["tasks"])


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(
    is_so: Callable[[], bool], pause: float = 1.0, progress: Callable[[], object] = lambda: None
) -> float:
    """Seconds until it was so.

    It ends what hangs: ten minutes without another `progress`, which no slow machine reaches.
    """
    began = moved = time.monotonic()
    last = progress()
    while not is_so():
        current = progress()
        if current != last:
            last, moved = current, time.monotonic()
        assert time.monotonic() - moved < 600.0, "nothing moved for ten minutes"
        time.sleep(pause)
    return time.monotonic() - began
