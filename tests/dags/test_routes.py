"""Hostile requests on every route, in this process: strangers, readers, and who has no rights."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path

import httpx
import pytest

from winnow_airflow import console_access

from ..hostile import PLANTED, Asked, spoilt, verbs_on, wrongs
from .test_console_app import OPEN, Door, door, every_path  # noqa: F401

SECRET = "a-secret-of-the-connection"
SEED = 31

sizes = pytest.mark.parametrize("n", [150, pytest.param(2500, marks=pytest.mark.kill)])


@pytest.fixture(autouse=True)
def planted(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Secrets in the environment, and files beside the lake and in it that no route serves."""
    account = {"conn_type": "http", "password": SECRET}
    monkeypatch.setenv("AIRFLOW_CONN_WINNOW_VENDOR", json.dumps(account))
    lake = Path(door.world.lake.uri)
    for place in (lake.parent, lake, lake / "datasets"):
        (place / "planted.txt").write_text(PLANTED)


def _send(door: Door, requests: list[Asked]) -> list[httpx.Response]:  # noqa: F811
    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(door.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [await client.send(_built(client, asked)) for asked in requests]

    return asyncio.run(send())


def _built(client: httpx.AsyncClient, asked: Asked) -> httpx.Request:
    request = client.build_request(asked.method, "/", headers=asked.headers)
    request.url = request.url.copy_with(raw_path=asked.path.encode())
    return request


@sizes
@pytest.mark.parametrize("who", ["reader", "without rights", "stranger"])
def test_no_hostile_request_is_answered_with_more_than_it_may(
    door: Door,  # noqa: F811
    who: str,
    n: int,
) -> None:
    if who == "stranger":
        door.log_out()
    if who == "without rights":
        door.manager.denied = {("nightly.select_pairs", console_access.DagAccessEntity.RUN)}
    refused = {"stranger": 401, "without rights": 403}.get(who)
    paths = sorted(set(every_path(door.app)) - OPEN)
    requests = [*verbs_on(paths), *spoilt(paths, n, random.Random(SEED))]
    faults, seen = [], Counter[int]()
    for asked, answer in zip(requests, _send(door, requests), strict=True):
        seen[answer.status_code] += 1
        faults += wrongs(asked, answer, [SECRET])
        is_read = asked.method in ("GET", "HEAD")
        allowed = {refused} if refused else {200, 307, 404}
        if answer.status_code not in (allowed if is_read else {405}):
            faults.append(f"{asked.method} {asked.path[:100]}: {answer.status_code}")
    print(f"\n{who}: {seen.total()} requests on {len(paths)} routes, seed {SEED}: {dict(seen)}")
    assert not faults, "\n".join([f"{len(faults)} faults", *faults[:40]])
    assert seen[refused or 200] > n // 4
