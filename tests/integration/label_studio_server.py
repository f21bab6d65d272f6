"""A real Label Studio for tests: its own environment, a port of its own, a folder to forget."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx

from ..label_studio_world import TOKEN
from .conftest import free_port

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".venv-label-studio" / "bin" / "label-studio"
OWNER, PASSWORD = "owner@example.com", "only-for-tests"
START_SECONDS = 240.0

SETTINGS = {
    "LABEL_STUDIO_USERNAME": OWNER,
    "LABEL_STUDIO_PASSWORD": PASSWORD,
    "LABEL_STUDIO_USER_TOKEN": TOKEN,
    "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "DEBUG": "false",
    "SSRF_PROTECTION_ENABLED": "false",
}
"""Nobody signs up, nothing is sent home; webhooks may go to loopback, where the tests listen."""


@dataclass
class LabelStudio:
    """A running server and what is needed to talk to it."""

    url: str
    folder: Path
    process: subprocess.Popen[bytes]

    def join(self, email: str) -> str:
        """Somebody signs up by the owner's invitation; the token of their own."""
        owner = {"Authorization": f"Token {TOKEN}"}
        invited = httpx.get(f"{self.url}/api/invite", headers=owner, timeout=60).raise_for_status()
        page = str(invited.json()["invite_url"])
        with httpx.Client(base_url=self.url, headers={"Referer": self.url + page}) as http:
            http.get(page).raise_for_status()
            proof = http.cookies["csrftoken"]
            form = {"email": email, "password": PASSWORD, "csrfmiddlewaretoken": proof}
            assert http.post(page, data=form, timeout=60).is_redirect
            return str(http.get("/api/current-user/token").raise_for_status().json()["token"])

    def count_held(self, task_id: str) -> int:
        """How often a task is in a project, by the server's own table."""
        database = f"file:{self.folder / 'label_studio.sqlite3'}?mode=ro"
        with closing(sqlite3.connect(database, uri=True, timeout=30)) as db:
            (found,) = db.execute(
                "SELECT count(*) FROM task WHERE project_id IS NOT NULL"
                " AND json_extract(meta, '$.winnow.task_id') = ?",
                (task_id,),
            ).fetchone()
        return int(found)

    def clear(self) -> None:
        """Remove every project."""
        headers = {"Authorization": f"Token {TOKEN}"}
        with httpx.Client(base_url=self.url, headers=headers, timeout=60) as http:
            found = http.get("/api/projects/", params={"include": "id", "page_size": 1000})
            for project in found.raise_for_status().json()["results"]:
                http.delete(f"/api/projects/{project['id']}/").raise_for_status()


def start(folder: Path) -> LabelStudio:
    """Start a server with an empty data folder; its first start takes half a minute."""
    port = free_port()
    command = [str(PROGRAM), "start", "--no-browser", "--internal-host", "127.0.0.1"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-p", str(port), "--data-dir", str(folder)],
            env={**os.environ, **SETTINGS},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    server = LabelStudio(f"http://127.0.0.1:{port}", folder, process)
    try:
        _wait(server)
    except BaseException:
        stop(server)
        raise
    return server


def stop(server: LabelStudio) -> None:
    """End the server."""
    server.process.terminate()
    try:
        server.process.wait(20)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


def _wait(server: LabelStudio) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.process.poll() is None:
        try:
            if httpx.get(f"{server.url}/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    log = (server.folder / "server.log").read_text(errors="replace")
    raise AssertionError(f"Label Studio did not start:\n{log[-3000:]}")
