"""Rights by campaign in a real Airflow with its FAB auth manager: roles that `access` names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from winnow.lake import FolderLake
from winnow.stages.tasks import dag_ids
from winnow_local import stack

from ..api_server import api_server
from ..console_world import World, campaign, day, settle
from .conftest import ROOT, free_port

pytestmark = pytest.mark.slow

MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
READERS = {"reader": "chat_readers", "runner": "chat_runners", "other": "maths_readers"}
USERS = {"admin": "Admin", "nobody": "people", **READERS}
"""Role of each user, by name; the password is the name. All but the admin have `people` too.

That is what FAB asks for whatever DAG it is, and gives none by itself.
"""

_SET_UP = """
import json, sys
from airflow.cli.cli_parser import get_parser
def run(*words):
    asked = get_parser().parse_args(words)
    asked.func(asked)
run("db", "migrate")
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
with get_application_builder() as builder:
    manager = builder.sm
    base = [("can_read", "Website")]
    for what in ("DAG Runs", "Task Instances"):
        base += [("can_read", what), ("can_edit", what)]
    people = manager.add_role("people")
    for action, resource in base:
        manager.add_permission_to_role(people, manager.create_permission(action, resource))
    for name, role in json.loads(sys.argv[1]).items():
        own = manager.find_role(role) or manager.add_role(role)
        roles = [own] if role in ("Admin", "people") else [own, people]
        manager.add_user(name, name, name, f"{name}@example.org", roles, name)
run("dags", "reserialize")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server works, and has its log."""
    return tmp_path_factory.mktemp("rights")


@pytest.fixture(scope="module")
def clients(folder: Path) -> Iterator[dict[str, httpx.Client]]:
    """Clients that are logged in, by user, of a server with the campaigns `chat` and `maths`."""
    chat = campaign(
        name="chat",
        access={"chat_readers": "read", "chat_runners": "run"},
        publish={"dataset": "chat"},
    )
    maths = campaign(name="maths", access={"maths_readers": "read"}, publish={"dataset": "sums"})
    settle(folder / "campaigns", chat, maths)
    home = stack.Home(folder / "home", folder / "campaigns", free_port(), free_port())
    home.folder.mkdir()
    for asked in (chat, maths):
        world = World(FolderLake(home.lake), asked)
        for number in (1, 0):
            world.make(day(number))
    env = {
        **stack.environment(home),
        "AIRFLOW__CORE__AUTH_MANAGER": MANAGER,
        "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("include", "plugins")),
    }
    command = [sys.executable, "-c", _SET_UP, json.dumps(USERS)]
    made = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-3000:]
    with api_server(home.ui, env, folder):
        yield {name: _client(home.ui, name) for name in USERS}


def _client(url: str, user: str) -> httpx.Client:
    body = {"username": user, "password": user}
    token = httpx.post(f"{url}/auth/token", json=body, timeout=60).raise_for_status().json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    return httpx.Client(base_url=url, timeout=60, headers=headers)


def test_a_role_sees_the_pages_of_its_campaign_and_nothing_of_the_other(
    clients: dict[str, httpx.Client],
) -> None:
    for user, own, other in (("reader", "chat", "maths"), ("other", "maths", "chat")):
        client = clients[user]
        for page in ("batches", "datasets", "spend", "selector", f"batch?key={day(0)}"):
            found = client.get(f"/winnow/{page}")
            assert found.status_code == 200, page
            assert f"Campaign {own}." in found.text
            assert other not in found.text, page
        for query in ("batches?campaign=", "spend?campaign=", f"batch?key={day(0)}&campaign="):
            theirs, nobodys = (client.get(f"/winnow/{query}{x}") for x in (other, "absent"))
            assert theirs.status_code == nobodys.status_code == 404
    both = clients["admin"].get("/winnow/batches").text
    assert "campaign=chat" in both
    assert "campaign=maths" in both
    assert clients["nobody"].get("/winnow/batches").status_code == 403


def test_read_runs_nothing_and_run_begins_and_clears_a_batch_of_its_campaign_alone(
    clients: dict[str, httpx.Client],
) -> None:
    def begin(user: str, dag: str) -> httpx.Response:
        body = {"logical_date": None, "partition_key": day(0)}
        return clients[user].post(f"/api/v2/dags/{dag}/dagRuns", json=body)

    def clear(user: str, dag: str, run: str) -> int:
        body = {"dry_run": False, "dag_run_id": run, "only_failed": False}
        path = f"/api/v2/dags/{dag}/clearTaskInstances"
        return clients[user].post(path, json=body).status_code

    chat, maths = dag_ids("chat")["select"], dag_ids("maths")["select"]
    theirs = begin("admin", maths).raise_for_status().json()["dag_run_id"]
    assert begin("reader", chat).status_code == 403
    begun = begin("runner", chat)
    assert begun.status_code == 200, begun.text
    run = begun.json()["dag_run_id"]
    assert begin("runner", maths).status_code == 403
    assert clear("reader", chat, run) == 403
    assert clear("runner", chat, run) == 200
    assert clear("runner", maths, theirs) == 403
    asked = {"dag": chat, "run": run}
    location = clients["reader"].get("/winnow/run", params=asked).headers["location"]
    assert location == f"batch?campaign=chat&key={day(0)}"
    for user in ("reader", "runner"):
        asked = {"dag": maths, "run": theirs}
        assert clients[user].get("/winnow/run", params=asked).status_code == 404


def test_no_log_holds_a_link_nor_who_opened_it(
    clients: dict[str, httpx.Client], folder: Path
) -> None:
    token, worker = "the-text-of-a-link", "worker-of-a-crowd"
    for path, status in {token: 404, f"{token}/answer": 303}.items():
        found = clients["nobody"].get(f"/winnow-links/{path}?PROLIFIC_PID={worker}")
        assert found.status_code == status
    log = (folder / "server.log").read_text()
    # Airflow's access log is on.
    assert "path=/winnow/batches" in log and "path=/winnow-links/..." in log
    assert token not in log and worker not in log
