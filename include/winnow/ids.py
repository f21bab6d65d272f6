"""Content ids: the same content has the same id on any machine, in any run.

Parts are joined as canonical JSON before hashing, so `("ab", "c")` and `("a", "bc")` differ.
Ids are 32 hexadecimal digits (128 bits of SHA-256); digests of stored bytes keep all 64.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PEOPLE = "people"
"""The name of a campaign's own annotators among those that it asks."""


def digest(data: bytes) -> str:
    """SHA-256 of `data`, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def file_digest(file: Path) -> str:
    """`digest` of a file's bytes, which are read piece by piece."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """`value` as JSON with sorted keys and no spaces, UTF-8: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


_SEAL = "seal"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with a digest of itself in it, so that a digit that changes later is noticed.

    >>> unsealed(sealed({"price": 10}))
    {'price': 10}
    """
    return {**content, _SEAL: digest(canonical_json(content))}


def unsealed(content: Any) -> dict[str, Any]:
    """What `sealed` was given; objects from before there were seals have none and stay as they are.

    Raises:
        TypeError: It is no mapping.
        ValueError: It is not what was sealed.
    """
    if not isinstance(content, dict):
        raise TypeError("no object")
    bare = {name: value for name, value in content.items() if name != _SEAL}
    if _SEAL in content and content[_SEAL] != digest(canonical_json(bare)):
        raise ValueError("it was changed")
    return bare


def content_id(*parts: Any) -> str:
    """Id of a sequence of JSON-like parts, 32 hexadecimal digits.

    >>> content_id("ab", "c") == content_id("a", "bc")
    False
    """
    return digest(canonical_json(parts))[:32]


def prompt_id(messages: Sequence[dict[str, str]], tools: str | None) -> str:
    """Id of a prompt from its normalised messages and tools."""
    return content_id("prompt", [[m["role"], m["content"]] for m in messages], tools)


def response_id(prompt: str, text: str) -> str:
    """Id of a response: equal texts to one prompt are one response."""
    return content_id("response", prompt, text)


def ranking_id(responses: Sequence[str]) -> str:
    """Id of the unordered set of some response ids."""
    return content_id("ranking", sorted(responses))


def pair_id(one: str, other: str) -> str:
    """Id of the unordered pair of two response ids."""
    return content_id("pair", sorted([one, other]))


def task_id(pair: str, shown_a: str, shown_b: str, rubric: str, repetition: int) -> str:
    """Id of a comparison as one annotator sees it: sides, rubric and repetition fixed."""
    return content_id("task", pair, shown_a, shown_b, rubric, repetition)


def seed_from(*parts: Any) -> int:
    """A seed in [0, 2**31) that depends on the content of `parts` only."""
    return int(content_id("seed", *parts)[:8], 16) & 0x7FFFFFFF


def trace_id(campaign: str, key: str) -> str:
    """The trace of a batch, as W3C's trace context and OpenTelemetry write it.

    >>> trace_id("nightly", "2026-11-22")
    '87e69526fbed2dfa6254c230399cb18a'
    """
    return content_id("trace", campaign, key)


def span_id(campaign: str, key: str, *parts: Any) -> str:
    """A span in the trace of a batch, 16 hexadecimal digits; without `parts` the batch itself."""
    return content_id("span", campaign, key, *parts)[:16]
