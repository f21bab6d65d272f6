"""A tiny engine and what a shard needs around it; no PyTorch."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from winnow.campaign import Expand
from winnow.expand.engine import GeneratedResponse, Refusal, in_turn
from winnow.ids import prompt_id, seed_from

TINY_COLUMNS = 8


class TinyEngine:
    """Writes words drawn with each response's seed; `calls` remembers what was asked of it.

    Like a real engine its text depends on the draws that share the call. A prompt has one token a
    word; a prompt that says `refuse` is refused, one that says `silent` has empty responses, and
    one that says `short` one-word responses.
    """

    name, version = "tiny", "1"

    def __init__(self, words: str = "rain sun wind", max_model_len: int = 32) -> None:
        self.words, self.max_model_len = words.split(), max_model_len
        self.calls: list[list[str]] = []

    def generate(self, draws):
        texts = [draw.messages[-1]["content"] for draw in draws]
        self.calls.append(texts)
        return [self._drawn(texts, draw) for draw in draws]

    def generate_each(self, calls):
        return in_turn(self.generate, calls)

    def _drawn(self, texts, draw):
        text = draw.messages[-1]["content"]
        if "refuse" in text:
            return Refusal("chat_template_refused", "roles must alternate")
        room = self.max_model_len - draw.sampling.max_tokens
        if len(text.split()) > room:
            return Refusal("prompt_too_long", f"{len(text.split())} tokens; {room} fit")
        return [self._response(texts, draw, draw.seed + k) for k in range(draw.n)]

    def _response(self, texts, draw, seed) -> GeneratedResponse:
        question = draw.messages[-1]["content"]
        chance = random.Random(seed_from(texts, seed, draw.sampling.temperature))
        longest = 1 if "short" in question else draw.sampling.max_tokens
        words = chance.choices(self.words, k=chance.randint(1, longest))
        text = "" if "silent" in question else " ".join(words)
        return GeneratedResponse(f" {text}\n", "stop", len(words), -float(len(words)), seed)


def tiny_embed(prompts, texts):
    """Unit rows that depend on the text alone."""
    rows = [np.random.default_rng(seed_from(t)).normal(size=TINY_COLUMNS) for t in texts]
    return np.array([row / np.linalg.norm(row) for row in rows], np.float32)


def prompt_row(text: str, line: int = 1) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {
        "prompt_id": prompt_id(messages, None),
        "messages": messages,
        "tools": None,
        "language": "en",
        "file": "prompts.jsonl",
        "line": line,
    }


@pytest.fixture
def prompts():
    """Ten prompts of different lengths."""
    return [prompt_row("why " * (i + 1) + f"number {i}", line=i + 1) for i in range(10)]


@pytest.fixture
def settings() -> Expand:
    """Small pools: calls of 3 prompts, everything in one shard."""
    return Expand(
        model="tiny-model", pool_size=6, max_tokens=2, max_model_len=32, responses_per_call=18
    )
