"""The generation process as tests start it: a few questions in a lake of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from winnow.batch import Artifact, table_bytes
from winnow.campaign import Expand, Select
from winnow.expand.engine import Sampling
from winnow.expand.models import INSTRUCT_MODEL
from winnow.expand.shard import plan_shards
from winnow.ids import digest, prompt_id
from winnow.lake import FolderLake
from winnow.records import PROMPTS, to_table
from winnow.stages.generate import Spec

QUESTIONS = ["What is rain?", "Name three fruits.", "Schreibe einen Satz.", "为什么天是蓝的?"]
SAMPLING = Sampling(max_tokens=12, temperature=1.0, top_p=0.95)
N = 4


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def settings_of(engine: str, **changes) -> Expand:
    asked = {
        "engine": engine,
        "model": INSTRUCT_MODEL,
        "pool_size": N,
        "max_tokens": SAMPLING.max_tokens,
        "max_model_len": 512,
        "responses_per_call": 2 * N,
    }
    return Expand(**{**asked, **changes})


def spec_of(root: Path, models: Path, settings: Expand, questions=QUESTIONS) -> Spec:
    """The questions in a lake of their own."""
    chats = [chat(question) for question in questions]
    rows = [{"prompt_id": prompt_id(c, None), "messages": c, "file": "f"} for c in chats]
    data = table_bytes(to_table(rows, PROMPTS))
    FolderLake(root).create("prompts.parquet", data)
    (shard,) = plan_shards(rows, settings)
    return Spec(
        lake=str(root),
        folder="expand",
        campaign="nightly",
        settings=settings,
        select=Select(),
        label_price=100_000,
        reward_model=None,
        prompts=Artifact("prompts.parquet", digest(data), len(rows), len(data)),
        shard=shard,
        models=str(models),
        threads=2,
    )


def start(spec: Spec) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-m", "winnow.stages.generate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    process.stdin.write(spec.model_dump_json().encode() + b"\n")
    process.stdin.flush()
    return process


def events_of(process: subprocess.Popen[bytes]):
    return (json.loads(line) for line in process.stdout)
