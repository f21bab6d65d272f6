"""A real Airflow API server over a lake of some batches, and a headless browser if there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from winnow.lake import FolderLake
from winnow.stages.tasks import dag_ids
from winnow_local import stack
from winnow_local.setup import BROWSERS

from ..api_server import api_server
from ..conftest import lacking
from ..console_world import campaign, day, many
from ..integration.conftest import free_port

ROOT = Path(__file__).parents[2]
USERS = {"admin": "admin", "operator": "op", "viewer": "viewer"}
"""Role of each user of the tests, by name; the password is the name."""

BLOCKED = day(2)
DAGS = tuple(dag_ids("nightly").values())


_SET_UP = """
from airflow.cli.cli_parser import get_parser
for words in (["db", "migrate"], ["dags", "reserialize"]):
    asked = get_parser().parse_args(words)
    asked.func(asked)
"""
"""Database and DAGs in one process: most of either is the import of Airflow."""


@dataclass(frozen=True)
class Server:
    """A running API server."""

    url: str
    lake: Path

    def client(self, user: str | None) -> httpx.Client:
        """A client that is logged in as `user`, or not at all."""
        client = httpx.Client(base_url=self.url, timeout=30)
        if user is not None:
            body = {"username": user, "password": user}
            token = client.post("/auth/token", json=body).raise_for_status().json()
            client = httpx.Client(base_url=self.url, timeout=30)
            client.headers["Authorization"] = f"Bearer {token['access_token']}"
        return client

    def run(self, dag: str, key: str, state: str | None = None) -> str:
        """Make a run of a batch, in a state of its own if asked; its id."""
        with self.client("admin") as client:
            body = {"logical_date": None, "partition_key": key}
            path = f"/api/v2/dags/{dag}/dagRuns"
            made = client.post(path, json=body).raise_for_status().json()["dag_run_id"]
            if state is not None:
                told = client.patch(f"{path}/{made}", json={"state": state})
                told.raise_for_status()
        return str(made)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An API server of its own, with every DAG known and one batch that failed."""
    folder = tmp_path_factory.mktemp("console")
    settings = folder / "campaign.yaml"
    settings.write_text(yaml.safe_dump(campaign().model_dump(mode="json")))
    home = stack.Home(folder / "home", settings, free_port(), free_port())
    home.folder.mkdir()
    world = many(FolderLake(home.lake), 8)
    for number in range(8, 60):
        world.take(world.batch(day(number)))
    env = {
        **stack.environment(home),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{u}:{r}" for u, r in USERS.items()),
        "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("include", "plugins")),
    }
    (home.folder / "airflow").mkdir()
    passwords = home.folder / "airflow" / "passwords.json"
    passwords.write_text(json.dumps({user: user for user in USERS}))
    subprocess.run([sys.executable, "-c", _SET_UP], env=env, check=True, capture_output=True)
    with api_server(home.ui, env, folder):
        made = Server(home.ui, home.lake)
        for dag in DAGS[:4]:
            made.run(dag, BLOCKED, "success")
        made.run(DAGS[4], BLOCKED, "failed")
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser of this machine; without one the tests of the pages are skipped.

    It is closed after its module: while it is open, no other test can run an event loop.
    """
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        lacking(f"no browser here: none of {', '.join(BROWSERS)} is on the path")
    if find_spec("playwright") is None:
        lacking("playwright is not installed; `make test` does it")
    api = import_module("playwright.sync_api")
    with api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()
