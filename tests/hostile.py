"""Requests as an attacker sends them, and what no answer to any of them may hold."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx

VERBS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")
NAMES = (
    *("key", "dataset", "version", "name", "dag", "run", "page", "q", "month", "sort", "from"),
    *("to", "state", "before", "after", "with", "n", "at", "stage", "reason", "day", "n" * 300),
    *("campaign", "team"),
)
PLANTED = "planted-canary-of-the-tests"
"""Stands in files that no route serves."""
SCRIPTS = (
    "<script>alert('Z')</script>",
    "'\"><img src=x onerror=alert(1)>",
    "javascript:alert(1)//",
    "</title><svg onload=alert(1)>",
    "{{7*7}}${7*7}<%= 7*7 %>",
)
VALUES = (
    *(quote(each, safe="") for each in SCRIPTS),
    *("..%2f..%2f..%2f..%2fetc%2fpasswd", "../../../../etc/passwd", "/etc/passwd", "%2e%2e/"),
    *("....//", "README.md%00.html", "data/../README.md", "..%5c..%5cwinnow.ini", "%c0%ae%c0%ae/"),
    *("../planted.txt", "..%2fplanted.txt", "../batches", "objects/x", "manifest.json", "%25252e"),
    *("README.md%0d%0aX-Evil:%201", "%0d%0aSet-Cookie:a=b", "%00", "%ed%a0%80", "%ff%fe", "%"),
    *("-1", "0", "999999999999999999999", "1e309", "NaN", "v0", "v-1", "v1e5", "v000001%0a"),
    *("%ef%bc%91", "v" + "0" * 5000 + "1", "2026-13-45", "9999-99", "0000-00", "", "true", "[]"),
    *("{}", "%e2%80%ae", "a" * 5000, "a" * 30_000, "%f0%9f%8c%8a" * 50, "1;drop table dag", "*"),
    *("2026-11-25%00", "2026-11-25/../x", "de|x", "latest", "http://169.254.169.254/", "file:///"),
)
FORBIDDEN = (
    *(
        "<script>alert",
        "<img src=x",
        "<svg onload",
        "root:x:0:0",
        "Traceback (most recent",
        PLANTED,
    ),
)


@dataclass(frozen=True)
class Asked:
    """A request: its path and query as they go over the wire."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)


def verbs_on(paths: Sequence[str]) -> Iterator[Asked]:
    """Every verb on every path, as a page and as data."""
    for path in paths:
        for verb in VERBS:
            for accept in ("text/html", "application/json"):
                yield Asked(verb, path, {"accept": accept})


def spoilt(paths: Sequence[str], n: int, rng: random.Random) -> Iterator[Asked]:
    """`n` requests with one to three hostile parameters, often beside good ones."""
    good = {"key": "2026-11-25", "dataset": "nightly", "version": "v000001", "name": "README.md"}
    for _ in range(n):
        asked = {name: value for name, value in good.items() if rng.random() < 0.5}
        for _ in range(rng.randint(1, 3)):
            asked[rng.choice(NAMES)] = rng.choice(VALUES)
        query = "&".join(f"{name}={value}" for name, value in asked.items())
        accept = rng.choice(["text/html", "*/*"])
        yield Asked("GET", f"{rng.choice(paths)}?{query}", {"accept": accept})


def hooks(path: str, n: int, rng: random.Random) -> Iterator[Asked]:
    """`n` calls of the webhooks' route that nobody has signed."""
    for _ in range(n):
        vendor = rng.choice(["simulator", "scale", *VALUES])
        forged = {"webhook-id": "x", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
        headers = forged if rng.random() < 0.5 else {"scale-callback-auth": "x"}
        yield Asked("POST", f"{path}/{vendor}", headers)


def wrongs(asked: Asked, answer: httpx.Response, secrets: Sequence[str]) -> list[str]:
    """What of an answer must not be, whoever asked."""
    told = answer.text
    found = [f"holds {text!r}" for text in (*FORBIDDEN, *secrets) if text and text in told]
    if answer.status_code >= 500:
        found.append("is an error of the server")
    if "x-evil" in answer.headers or "a=b" in answer.headers.get("set-cookie", ""):
        found.append("has a header of the attacker's")
    if answer.headers.get("location", "").startswith(("//", "http", "javascript")):
        found.append(f"leads away, to {answer.headers['location'][:80]}")
    if "text/html" in answer.headers.get("content-type", ""):
        found += _of_a_page(answer)
    return [f"{asked.method} {asked.path[:120]}: {answer.status_code} {each}" for each in found]


def _of_a_page(answer: httpx.Response) -> Iterator[str]:
    if "default-src 'none'" not in answer.headers.get("content-security-policy", ""):
        yield "is a page without a policy"
    if answer.headers.get("x-content-type-options") != "nosniff":
        yield "is a page whose type may be guessed"
    if "no-store" not in answer.headers.get("cache-control", ""):
        yield "is a page that a cache may keep"
