"""Commands about generation: what the expand stage keeps of vLLM's speed, what pools save."""

from __future__ import annotations

import argparse
from pathlib import Path

import winnow
from winnow.commands.say import say_text

SHIPPED_PROMPTS = Path(winnow.__file__).parents[1] / "campaigns" / "nightly" / "prompts"


def bench_expand(asked: argparse.Namespace) -> None:
    """The expand stage beside bare vLLM: tokens per second and memory, expand.json."""
    from winnow_bench import expand

    files = asked.prompts or sorted(SHIPPED_PROMPTS.glob("*.jsonl"))
    expand.run(files, asked.models, asked.out, say_text, quick=asked.quick)


def bench_growth(asked: argparse.Namespace) -> None:
    """What adaptive pools save at equal gain, replayed on pools drawn in full: growth.json."""
    from winnow_bench import growth

    growth.run(asked.pool, asked.out, asked.repetitions, say_text)
