"""The webhook route: who may enter, what the answers say, and that a refusal changes nothing."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import AirflowNotFoundException
from standardwebhooks import Webhook as Signer

from winnow.campaign import Label
from winnow.label.webhooks import MAX_BYTES, Refused
from winnow.lake import FolderLake
from winnow_airflow import webhook_app

ROOT = Path(__file__).parents[2]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = json.dumps({"type": "batch.complete", "ref": "sim-1"}).encode()


def signed(body: bytes = BODY, event: str = "msg_1", age: float = 0.0) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=age)
    return {
        "webhook-id": event,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Signer(SECRET).sign(event, at, body.decode()),
    }


class Door:
    """The route over a lake of its own."""

    def __init__(self, lake: FolderLake) -> None:
        self.lake = lake

    def post(self, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(webhook_app.create_app())
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.post(path, content=body, headers=headers)

        return asyncio.run(send())

    def refused(self, path: str, body: Any, headers: dict[str, str]) -> int:
        """The status of a refusal that says nothing and changes nothing."""
        before = self.lake.tags("")
        answer = self.post(path, body, headers)
        assert self.lake.tags("") == before
        assert answer.content in (b"", b'{"detail":"Not Found"}')
        return answer.status_code


@pytest.fixture
def extra() -> dict[str, Any]:
    """The extra of the vendor's connection."""
    return {"webhook_secret": SECRET}


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, extra: dict[str, Any]) -> Iterator[Door]:
    lake = FolderLake(tmp_path / "lake")
    label = Label(budget_usd=1.0)
    monkeypatch.setattr(webhook_app, "all_campaigns", lambda: [SimpleNamespace(label=label)])
    monkeypatch.setattr(webhook_app, "the_lake", lambda: lake)
    monkeypatch.setattr(webhook_app, "batch_of_event", lambda _, body: json.loads(body).get("ref"))
    monkeypatch.setattr(
        webhook_app.BaseHook, "get_connection", lambda _: SimpleNamespace(extra_dejson=extra)
    )
    return Door(lake)


URL = "/webhooks/simulator"


def test_an_event_is_taken_fast_and_once(door: Door) -> None:
    assert door.post(URL, BODY, signed()).status_code == 202
    assert sorted({path.split("/")[0] for path in door.lake.tags("")}) == ["nudges", "webhooks"]
    assert door.refused(URL, BODY, signed()) == 409


def test_forged_stale_and_malformed_events_are_refused(door: Door) -> None:
    assert door.refused(URL, BODY, {}) == 400
    assert door.refused(URL, BODY, {**signed(), "webhook-signature": "v1,AAAA"}) == 401
    assert door.refused(URL, BODY + b" ", signed()) == 401
    assert door.refused(URL, BODY, signed(age=3600)) == 400
    assert door.refused(URL, b"[1]", signed(b"[1]")) == 400


def test_nobody_else_is_let_in(door: Door, extra: dict[str, Any]) -> None:
    for path in ("/webhooks/scale", "/webhooks/nobody", "/webhooks/..%2f", "/", "/docs"):
        assert door.refused(path, BODY, signed()) == 404
    extra.clear()
    assert door.refused(URL, BODY, signed()) == 404


def test_a_connection_that_is_not_there_is_not_found(door: Door, monkeypatch) -> None:
    def missing(_: str) -> Any:
        raise AirflowNotFoundException("The conn_id `winnow_vendor` isn't defined")

    monkeypatch.setattr(webhook_app.BaseHook, "get_connection", missing)
    assert door.refused(URL, BODY, signed()) == 404


def test_a_secret_that_cannot_be_one_is_our_fault_and_not_told(door: Door, extra) -> None:
    extra["webhook_secret"] = "whsec_"
    assert door.refused(URL, BODY, signed()) == 503


def test_a_long_body_is_refused_before_it_is_read(door: Door) -> None:
    body = b'{"t": "' + b"x" * MAX_BYTES + b'"}'
    assert door.refused(URL, body, signed(body)) == 413

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65536

    assert door.refused(URL, endless(), signed()) == 413
    assert door.refused(URL, endless(), {**signed(), "content-length": "10"}) == 413


def test_a_body_that_dawdles_is_given_up(door: Door, monkeypatch) -> None:
    async def never(*_: Any) -> bytes:
        await asyncio.sleep(3600)
        return b""

    monkeypatch.setattr(webhook_app, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(webhook_app, "read_limited", never)
    assert door.refused(URL, BODY, signed()) == 408


def test_no_more_than_the_limit_is_ever_held() -> None:
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 10
            yield b"x" * 10

    with pytest.raises(Refused):
        asyncio.run(webhook_app.read_limited(chunks(), None, limit=95))
    assert read == 100
    read = 0
    for lie in ("96", "9" * 400):
        with pytest.raises(Refused):
            asyncio.run(webhook_app.read_limited(chunks(), lie, limit=95))
    assert read == 0
    for odd in ("", "-1", "²", "ten"):
        with pytest.raises(Refused):
            asyncio.run(webhook_app.read_limited(chunks(), odd, limit=95))


def test_the_plugin_is_light_and_opens_one_route() -> None:
    script = (
        "import sys, time, airflow.plugins_manager, airflow.timetables.trigger\n"
        "before = set(sys.modules)\n"
        "start = time.process_time()\nimport winnow_plugin\n"
        "print(time.process_time() - start)\n"
        "new = set(sys.modules) - before\n"
        "print(sorted({m if m.startswith('winnow.') else m.split('.')[0] for m in new}))\n"
        "print([(a['url_prefix']) for a in winnow_plugin.WinnowPlugin.fastapi_apps])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT / "plugins")},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, modules, prefixes = done.stdout.strip().splitlines()[-3:]
    assert float(seconds) < 0.1
    # Airflow's local settings have brought `winnow.keys` before.
    ours = ["winnow.console", "winnow.console.nav", "winnow_airflow", "winnow_plugin"]
    assert [name for name in ast.literal_eval(modules) if name.startswith("winnow")] == ours
    assert prefixes == "['/winnow', '/winnow-links']"
    routes = [getattr(route, "path", "") for route in webhook_app.create_app().routes]
    assert routes == ["/webhooks/{vendor}"]
