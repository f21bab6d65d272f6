"""Nights that take a second: `winnow` in this process, a made-up language model, a real vendor.

The model and the vectors are those of the tests of shards: no PyTorch, no server. The gate passes
whatever it is shown, since it writes nothing and takes most of a small night.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import yaml

from winnow.batch import Manifest, read_manifest
from winnow.cli import main
from winnow.label.vendors.simulator import client
from winnow.lake import Lake, open_lake
from winnow.records import QUARANTINE
from winnow.stages import expand, generate, publish
from winnow.validate.gate import Judgement, Verdict
from winnow_simulator.assign import Staffing
from winnow_simulator.books import Books
from winnow_simulator.faults import Faults

from ..integration.simulated import TOKEN, TOKENS, Service, simulator
from ..unit.expand.conftest import TinyEngine, tiny_embed

SEED = int(os.environ.get("WINNOW_LAB_SEED", "0"))
NAME = "lab"
NIGHTS = [f"{date(2026, 3, 1) + timedelta(days=n)}" for n in range(60)]
SUBJECTS = ("tides", "bread", "bicycles", "rain", "maps", "bees", "clocks", "rivers")
CALM = "unanswered=0.2"
"""What nobody answers is bought again, in a second round."""
SPEED = 100_000.0
"""Simulated seconds in a second: people answer within a second."""
WORDS = "rain sun wind tide moon follows because the water"


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int | None
    out: str
    err: str


@dataclass(frozen=True)
class Place:
    """A lake, and the vendor where its labels are bought, with its books in `folder`."""

    campaign: Path
    folder: Path
    vendor: Service
    uri: str

    @property
    def lake(self) -> Lake:
        return open_lake(self.uri)

    def winnow(self, *command: str) -> Said:
        """A command in this process; what a person would see as a traceback is raised."""
        url = ("--vendor-url", self.vendor.url) if command[0] == "run" else ()
        return winnow(self.campaign, self.uri, *command, *url)

    def manifest(self, night: str, stage: str) -> Manifest:
        """The manifest of a stage that is done."""
        found = read_manifest(self.lake, NAME, night, stage)
        assert found is not None, f"{stage} of {night} is not done"
        return found

    def digest(self, night: str) -> str:
        """Of the version that the night published."""
        return str(self.manifest(night, "publish").figures["digest"])

    def delivered(self, night: str) -> list[Any]:
        """Every record that the vendor's books hold for a night."""
        asked = "SELECT record FROM answers JOIN batches USING (ref) WHERE batch_key IN (?, ?)"
        with contextlib.closing(sqlite3.connect(self.folder / "books.sqlite")) as books:
            found = books.execute(asked, (f"{NAME}/{night}", f"{NAME}/{night}#1"))
            return [json.loads(record) for (record,) in found]


def winnow(campaign: Path, lake: str, *command: str) -> Said:
    """A command in this process, on any lake."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*command, "--campaign", str(campaign), "--lake", lake])
    return Said(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def quick_nights() -> Iterator[None]:
    """Pools are drawn in this process, by a model that takes no time, and the gate passes."""
    passed = Judgement(Verdict("pass", []), QUARANTINE.empty_table())

    def work(command: Any, spec: generate.Spec, *_: Any) -> None:
        generate.work(spec, lambda event: None)

    with (
        patch.dict("os.environ", TOKENS),
        patch.object(publish, "judge", lambda *_: passed),
        patch.object(expand, "_run_process", work),
        patch.object(generate, "open_engine", lambda *_: TinyEngine(WORDS, 200)),
        patch.object(generate, "open_embedder", lambda *_: tiny_embed),
    ):
        yield


def write_campaign(folder: Path, nights: Mapping[str, list[str]], **label: Any) -> Path:
    """A campaign's file, with the prompts of each night beside it."""
    for night, prompts in nights.items():
        inbox = folder / "inbox" / night
        inbox.mkdir(parents=True)
        (inbox / "prompts.jsonl").write_text(
            "\n".join(json.dumps({"prompt": prompt}) for prompt in prompts)
        )
    settings = {
        "name": NAME,
        "ingest": {"sources": [str(folder / "inbox" / "{day}")]},
        "expand": {"engine": "server", "model": "tiny", "pool_size": 4, "max_tokens": 12},
        "select": {"pairs_per_prompt": 2},
        "label": {
            "budget_usd": 50.0,
            "second_vote_share": 0.5,
            "min_completion": 0.0,
            "poll_seconds": 0.05,
            "unanswered": "buy_again",
            **label,
        },
        "validation": {
            "min_agreement_block": 0.0,
            "max_side_bias_block": 0.5,
            "max_suspects_block": None,
            "max_speeding_block": None,
            "max_cost_gap_block": None,
        },
        "publish": {"dataset": NAME},
    }
    campaign = folder / "campaign.yaml"
    campaign.write_text(yaml.safe_dump(settings))
    return campaign


def write_nights(folder: Path) -> Path:
    """A campaign's file, with prompts for each of `NIGHTS`."""
    prompts = {night: [f"What is odd about {s} of {night}?" for s in SUBJECTS] for night in NIGHTS}
    return write_campaign(folder, prompts)


@contextlib.contextmanager
def vendors(faults: Mapping[Path, str]) -> Iterator[list[Service]]:
    """A vendor a folder, which is made, each with its faults."""
    with contextlib.ExitStack() as stack:
        found = []
        for folder, wrong in faults.items():
            folder.mkdir()
            options = ("--speed", f"{SPEED}", "--faults", wrong)
            found.append(stack.enter_context(simulator(folder / "books.sqlite", *options)))
        yield found


@contextlib.contextmanager
def vendor_here(database: Path, rates: Mapping[str, float]) -> Iterator[Books]:
    """The simulator in this process, whatever its address; `rates` are of its faults."""
    # Here and not above: most nights have a vendor in a process of its own.
    from starlette.testclient import TestClient

    from winnow_simulator.service import create_app

    books = Books(database, 0, 1e9, time.time, Staffing(0, faults=Faults(rates)))
    service = TestClient(create_app(books, TOKEN))

    def answer(request: httpx.Request) -> httpx.Response:
        asked = (request.method, str(request.url))
        found = service.request(*asked, content=request.content, headers=dict(request.headers))
        return httpx.Response(found.status_code, content=found.content)

    vendor = client.SimulatorVendor(
        "http://testserver", TOKEN, httpx.MockTransport(answer), lambda seconds: None
    )
    with patch.object(client, "connect", lambda account: vendor):
        yield books
    books.close()


def bought(books: Books) -> dict[str, int]:
    """How often each task was bought, by the vendor's books."""
    return {task["task_id"]: task["bought"] for task in books.per_task()}
