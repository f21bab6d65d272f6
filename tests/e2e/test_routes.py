"""Thousands of requests on every route of a real server: rights hold, and nothing leaks."""

from __future__ import annotations

import base64
import json
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest

from ..hostile import PLANTED, Asked, hooks, spoilt, verbs_on, wrongs
from .conftest import USERS, Server
from .test_console import closed_paths

pytestmark = [pytest.mark.slow, pytest.mark.kill]

LEAST, SEED = 3000, 26
DATA = 'href="batch?campaign='
"""Stands on pages that tell of batches only."""


def test_thousands_of_requests_keep_rights_and_secrets(server: Server) -> None:
    secrets, rng = _planted(server), random.Random(SEED)
    paths, faults, seen = closed_paths(), [], Counter[tuple[str, int]]()
    for who, client, asked in _everything(server, paths, rng):
        answer = client.send(_built(client, asked))
        seen[who, answer.status_code] += 1
        faults += wrongs(asked, answer, secrets)
        allowed = _allowed(who, asked)
        if answer.status_code not in allowed:
            faults.append(f"{who} {asked.method} {asked.path[:100]}: {answer.status_code}")
        if who == "nobody" and DATA in answer.text:
            faults.append(f"nobody sees data at {asked.path[:100]}")
    told = ", ".join(f"{who} {status}: {n}" for (who, status), n in sorted(seen.items()))
    print(f"\n{seen.total()} requests on {len(paths)} routes, seed {SEED}: {told}")
    assert not faults, "\n".join([f"{len(faults)} faults", *faults[:40]])
    assert seen.total() >= LEAST
    assert {who for who, _ in seen} == {"nobody", "webhook", *USERS}
    assert all(seen[user, 200] > 100 for user in USERS)


def _everything(
    server: Server, paths: list[str], rng: random.Random
) -> Iterator[tuple[str, httpx.Client, Asked]]:
    """Who asks, by which client, for what."""
    for user in USERS:
        with server.client(user) as client:
            yield from ((user, client, asked) for asked in verbs_on(paths))
            yield from ((user, client, asked) for asked in spoilt(paths, 700, rng))
    with server.client(None) as client:
        yield from (("nobody", client, asked) for asked in verbs_on(paths))
        yield from (("nobody", client, asked) for asked in spoilt(paths, 300, rng))
        hook = "/winnow/webhooks"
        yield from (("webhook", client, asked) for asked in hooks(hook, 300, rng))
        for headers in _forged(server):
            client.cookies.clear()
            for path in paths:
                yield "nobody", client, Asked("GET", path, headers)


def _allowed(who: str, asked: Asked) -> set[int]:
    """Statuses that an answer may have."""
    if who == "webhook":
        return {400, 401, 404, 405, 413, 414, 431}
    is_read = asked.method in ("GET", "HEAD")
    if who == "nobody":
        return {401, 403, 404, 431, 400} if is_read else {401, 403, 405, 400}
    return {200, 307, 400, 404, 414, 431} if is_read else {400, 405}


def _built(client: httpx.Client, asked: Asked) -> httpx.Request:
    """The request, its path and query as they are."""
    request = client.build_request(asked.method, "/", headers=asked.headers)
    request.url = request.url.copy_with(raw_path=asked.path.encode())
    return request


def _planted(server: Server) -> list[str]:
    """The home's secrets, after files were planted that no route may serve."""
    for place in (server.lake.parent, server.lake, server.lake / "datasets"):
        (place / "planted.txt").write_text(PLANTED)
    held = json.loads((server.lake.parent / "secrets.json").read_text())
    return [secret for secret in held.values() if isinstance(secret, str)]


def _forged(server: Server) -> Iterator[dict[str, str]]:
    """Headers of tokens that are none: unsigned, by another key, changed, of yesterday."""
    with server.client("viewer") as client:
        token = client.headers["Authorization"].removeprefix("Bearer ")
    head, body, signature = token.split(".")
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    key = json.loads((server.lake.parent / "secrets.json").read_text())["jwt"]
    now = datetime.now(UTC)
    old = {**claims, "iat": now - timedelta(days=3), "nbf": now - timedelta(days=3)}
    old["exp"] = now - timedelta(days=2)
    admin = _part({**claims, "sub": "admin", "role": "admin"})
    unsigned = [f"{_part({'alg': alg, 'typ': 'JWT'})}.{body}." for alg in ("none", "None", "NONE")]
    tokens = [
        *("x", "..", f"{head}.{body}", f"{head}.{body}.", f"{head}.{admin}.{signature}"),
        *unsigned,
        jwt.encode(claims, "another key " * 8, "HS512"),
        jwt.encode(old, key, jwt.get_unverified_header(token)["alg"]),
        jwt.encode({**claims, "aud": "other"}, key, jwt.get_unverified_header(token)["alg"]),
        token[:-3] + ("abc" if token[-3:] != "abc" else "xyz"),
        "a" * 8000,
    ]
    for forged in tokens:
        yield {"Authorization": f"Bearer {forged}", "accept": "text/html"}
        yield {"Cookie": f"_token={forged}", "accept": "text/html"}
    yield {"Authorization": "Basic YWRtaW46YWRtaW4=", "accept": "text/html"}
    yield {"X-Forwarded-User": "admin", "X-Remote-User": "admin", "accept": "text/html"}


def _part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
