"""How much of bare vLLM's speed the expand stage keeps, and whether its memory stays level.

Both sides have one engine, already loaded, the same prompts, sampling and seeds. The bare side is
one `LLM.generate` over everything; the stage is `run_shard`: prompts encoded, calls, features,
flags, Parquet, and every manifest written to a lake on disk. They run in turn, each the same number
of times, and the ratio is that of their tokens per second over all turns.

Memory is that of this process, sampled at every call of one long shard with small pools.

Runs in the generation environment: `.venv-engine/bin/winnow bench expand`.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from winnow.campaign import Expand
from winnow.errors import Fatal
from winnow.expand.calls import draws_of
from winnow.expand.embedders import open_embedder
from winnow.expand.engine import Engine
from winnow.expand.engines import open_engine
from winnow.expand.features import Embed
from winnow.expand.models import INSTRUCT_MODEL, prepare_model
from winnow.expand.runner import run_shard
from winnow.expand.shard import Call, plan_shards
from winnow.ids import prompt_id
from winnow.ingest.prompts import parse_prompt
from winnow.ingest.readers import read_rows
from winnow.ingest.values import Unreadable
from winnow.lake import FolderLake
from winnow.stages.generate import environment
from winnow_bench.document import machine, resident_mib, write_report

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """What to measure: prompts, responses to each, tokens of each, and how often."""

    prompts: int
    pool: int
    max_tokens: int
    turns: int
    memory_prompts: int


FULL = Size(prompts=15, pool=50, max_tokens=32, turns=2, memory_prompts=2000)
QUICK = Size(prompts=4, pool=4, max_tokens=8, turns=1, memory_prompts=12)
LONGEST_CHARS = 600
"""Longer prompts are left out: the bench measures generation, not one long context."""


def run(
    prompts: Sequence[Path],
    models: Path,
    out: Path,
    say: Callable[[str], None],
    *,
    quick: bool = False,
    model: str = INSTRUCT_MODEL,
) -> Row:
    """Measure, print, and write `out`/expand.json; `say` gets a line of progress.

    `prompts` are files of prompts, JSON Lines or Parquet, `models` the folder of prepared models.

    Raises:
        Fatal: vLLM is not installed here, or no prompt was found.
    """
    size = QUICK if quick else FULL
    settings = Expand(
        engine="vllm",
        model=model,
        pool_size=size.pool,
        max_tokens=size.max_tokens,
        max_model_len=1024,
        responses_per_call=256,
        tokens_per_shard=10**12,
    )
    os.environ.update(environment(os.cpu_count() or 1, model, settings.embedding_model))
    engine = open_engine(settings, prepare_model(model, models), None, lambda event: None)
    embed = open_embedder(settings, models)
    rows = read_prompts(prompts)
    if not rows:
        raise Fatal("No prompt was found: name files of prompts, a row a prompt.")
    report = {
        "model": model,
        "engine": f"{engine.name} {engine.version}",
        "size": asdict(size),
        "speed": compare(engine, embed, _first(rows, size.prompts), settings, size.turns, say),
        "memory": memory(engine, embed, _first(rows, size.memory_prompts), settings, say),
        "machine": machine(),
    }
    write_report(out, "expand", report)
    say(summary(report))
    return report


def read_prompts(files: Sequence[Path]) -> list[Row]:
    """Rows of the prompts of `files` that are not too long, each once, in order of their ids."""
    rows: dict[str, Row] = {}
    for file in files:
        for raw in read_rows(file.name, file):
            try:
                prompt = parse_prompt(raw.value, raw.file, raw.line, LONGEST_CHARS)
            except Unreadable:
                continue
            row = {"prompt_id": prompt.prompt_id, "messages": prompt.messages, "tools": None}
            rows[prompt.prompt_id] = row
    return [rows[prompt] for prompt in sorted(rows)]


def _first(rows: Sequence[Row], n: int) -> list[Row]:
    """`n` prompts: those there are, and then again with a number, so that they differ."""

    def numbered(row: Row, again: int) -> Row:
        *before, last = row["messages"]
        messages = [*before, {**last, "content": f"{last['content']} ({again})"}]
        return {**row, "messages": messages, "prompt_id": prompt_id(messages, None)}

    rounds = -(-n // len(rows))
    return [numbered(row, again) if again else row for again in range(rounds) for row in rows][:n]


def compare(
    engine: Engine,
    embed: Embed,
    rows: Sequence[Row],
    settings: Expand,
    turns: int,
    say: Callable[[str], None],
) -> Row:
    """Tokens per second of the stage and of bare `LLM.generate`, measured in turn."""
    _bare(engine, rows[:2], settings)
    _stage(engine, embed, rows[:2], settings)
    took = []
    for turn in range(turns):
        both = _bare(engine, rows, settings), _stage(engine, embed, rows, settings)
        took.append(both)
        speeds = " and ".join(f"{tokens / seconds:.1f}" for tokens, seconds in both)
        say(f"turn {turn + 1} of {turns}, bare and stage: {speeds} tokens/s")
    (bare_tokens, bare_seconds), (tokens, seconds) = np.sum(took, axis=0).tolist()
    bare, stage = bare_tokens / bare_seconds, tokens / seconds
    return {"bare": bare, "stage": stage, "ratio": stage / bare, "tokens": int(bare_tokens)}


def _bare(engine: Any, rows: Sequence[Row], settings: Expand) -> tuple[int, float]:
    from winnow.expand.chat import chat_ids
    from winnow.expand.vllm_engine import sampling_params

    tokenizer = engine.llm.get_tokenizer()
    call = Call(tuple(row["prompt_id"] for row in rows), 0, settings.pool_size)
    by_id = {row["prompt_id"]: row for row in rows}
    asked = draws_of(call, by_id, settings.model, "bench", settings)
    ids = [chat_ids(tokenizer, each.draw.messages, None) for each in asked]
    parameters = [sampling_params(each.draw) for each in asked]
    engine.llm.reset_prefix_cache()
    started = time.perf_counter()
    outputs = engine.llm.generate(
        [{"prompt_token_ids": i} for i in ids], parameters, use_tqdm=False
    )
    seconds = time.perf_counter() - started
    return sum(len(drawn.token_ids) for output in outputs for drawn in output.outputs), seconds


def _stage(
    engine: Engine,
    embed: Embed,
    rows: Sequence[Row],
    settings: Expand,
    report: Callable[[Mapping[str, Any]], None] = lambda event: None,
) -> tuple[int, float]:
    (shard,) = plan_shards(rows, settings)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        done = run_shard(
            shard,
            rows,
            settings,
            engine,
            embed,
            FolderLake(Path(folder)),
            report,
            campaign="bench",
            folder="expand",
        )
        seconds = time.perf_counter() - started
    return sum(call.tokens for call in done.calls), seconds


def memory(
    engine: Engine,
    embed: Embed,
    rows: Sequence[Row],
    settings: Expand,
    say: Callable[[str], None],
) -> list[Row]:
    """Resident memory, MiB, as the prompts of one shard are done: two short responses to each."""
    small = settings.model_copy(update={"pool_size": 2, "max_tokens": 8, "responses_per_call": 100})
    seen: list[Row] = []
    step = max(len(rows) // 10, 1)
    done = 0

    def watch(event: Mapping[str, Any]) -> None:
        nonlocal done
        if event["event"] != "call":
            return
        done += event["prompts"]
        if not seen or done - seen[-1]["prompts"] >= step or done == len(rows):
            seen.append({"prompts": done, "mib": resident_mib() or 0.0})
            say(f"{done} of {len(rows)} prompts: {seen[-1]['mib']:.0f} MiB")

    _stage(engine, embed, rows, small, watch)
    return seen


def summary(report: Row) -> str:
    """The report in two sentences."""
    speed, seen = report["speed"], report["memory"]
    return (
        f"The expand stage makes {speed['stage']:.1f} tokens a second, bare LLM.generate "
        f"{speed['bare']:.1f}: {speed['ratio']:.1%} ({report['model']}, {report['engine']}). "
        f"Memory is {seen[0]['mib']:.0f} MiB after {seen[0]['prompts']} prompts and "
        f"{seen[-1]['mib']:.0f} MiB after {seen[-1]['prompts']}."
    )
