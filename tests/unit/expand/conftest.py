"""A tiny engine and what a shard needs around it; no PyTorch."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from winnow.campaign import Expand
from winnow.expand.engine import GeneratedResponse
from winnow.expand.features import EMBEDDING_DIM
from winnow.ids import prompt_id, seed_from


class TinyEngine:
    """Writes words drawn with each response's seed; `calls` remembers what was asked of it.

    Like a real engine its text depends on the prompts that share the call. A prompt has one token
    a word; a prompt that says `refuse` is refused, one that says `silent` has empty responses.
    """

    name, version = "tiny", "1"

    def __init__(self, words: str = "rain sun wind") -> None:
        self.words = words.split()
        self.calls: list[list[str]] = []

    def n_prompt_tokens(self, prompt) -> int:
        text = prompt.messages[-1]["content"]
        if "refuse" in text:
            raise ValueError("roles must alternate")
        return len(text.split())

    def generate(self, prompts, sampling) -> list[list[GeneratedResponse]]:
        texts = [p.messages[-1]["content"] for p in prompts]
        self.calls.append(texts)
        return [
            [self._response(texts, p, p.seed + i, sampling) for i in range(sampling.n)]
            for p in prompts
        ]

    def _response(self, texts, prompt, seed, sampling) -> GeneratedResponse:
        chance = random.Random(seed_from(texts, seed))
        words = chance.choices(self.words, k=chance.randint(1, sampling.max_tokens))
        text = "" if "silent" in prompt.messages[-1]["content"] else " ".join(words)
        return GeneratedResponse(f" {text}\n", "stop", len(words), -float(len(words)), seed)


def tiny_embed(texts):
    """Rows that depend on the text alone."""
    rows = [np.random.default_rng(seed_from(t)).normal(size=EMBEDDING_DIM) for t in texts]
    return np.array(rows, np.float32)


def prompt_row(text: str, line: int = 1) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {
        "prompt_id": prompt_id(messages, None),
        "messages": messages,
        "tools": None,
        "file": "prompts.jsonl",
        "line": line,
    }


@pytest.fixture
def prompts():
    """Ten prompts of different lengths."""
    return [prompt_row("why " * (i + 1) + f"number {i}", line=i + 1) for i in range(10)]


@pytest.fixture
def settings() -> Expand:
    """Small pools: groups of 3 prompts, everything in one shard."""
    return Expand(
        model="tiny-model",
        pool_size=6,
        max_tokens=2,
        max_model_len=32,
        prompts_per_shard=64,
        prompts_per_group=3,
    )
