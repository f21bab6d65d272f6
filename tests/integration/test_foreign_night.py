"""`winnow run` on what people bring: odd rows, odd files, an odd server, a lake in an odd place.

Its environment is full of secrets, as that of an Airflow worker may be: none is seen again.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from winnow.batch import read_manifest, read_table
from winnow.lake import FolderLake
from winnow.publish.versions import newest

from .. import foreign
from .cluster import wait
from .conftest import ROOT, books_at, free_port

pytestmark = pytest.mark.slow

TOKEN = "canary-of-the-vendor"
NEEDED = {
    "AWS_SECRET_ACCESS_KEY": "canary-of-the-lake",
    "HTTPS_PROXY": "http://user:canary-of-the-proxy@127.0.0.1:9",
    "WINNOW_SERVER_KEY": "canary-of-the-server",
}
"""Secrets that the generation process may have."""
KEPT = {
    "AIRFLOW__API_AUTH__JWT_SECRET": "canary-of-the-tokens",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://u:canary-of-the-database@db/airflow",
    "AIRFLOW_CONN_SMTP_DEFAULT": "smtp://u:canary-of-the-mail@smtp:25",
    "HF_TOKEN": "canary-of-the-hub",
    "WINNOW_SIMULATOR_TOKEN": "canary-of-the-simulator",
    "WINNOW_VENDOR_TOKEN": TOKEN,
}
"""Secrets that it may not have, here where no model is to be downloaded."""
CANARY = b"canary-of-"
CODE = "What does this print?\nfor i in range(3):\n    if i:\n        print(i)\n"
CALL = {"function": {"name": "rain", "arguments": {"city": "Oslo"}}}
TALK = [
    {"role": "user", "content": "Rain?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "no"},
]
GOOD = [
    {"prompt": "How do tides work?", "language": "fr"},
    {"prompt": f"{CODE}    print('x')", "language": "it"},
    {"prompt": f"{CODE}print('x')", "language": "de"},
    {"prompt": "Why is bread soft?", "messages": None, "tools": [], "tags": None, "language": "en"},
    {"messages": TALK, "language": "no"},
]
SAME = [
    {"prompt": "How do ti\u00addes work?\u200b"},
    {"conversations": [{"from": "human", "value": "Why is bread soft?"}]},
    {"prompt": "  Why is  bread soft? "},
]
BAD = [
    b'{"prompt": "x", "n": %s}' % (b"9" * 5_000),
    b'{"prompt": "x", "tools": "%s"}' % (b"[" * 500),
    rb'{"prompt": "x", "source": "\ud83d"}',
    b'{"prompt": "\xff"}',
    b'{"prompt": "\xe2\x80\x8b"}',
    b'{"prompt": "x", "prompt": "y"}',
    b'{"prompt": "x", "language": NaN}',
    b'{"prompt": "x", "received_at": "9999-12-31T23:59:59-05:00"}',
    b"{",
    b"[]",
]
MISANSWERED = "Why is the server odd?"
GOLD = [
    {"messages": None, "prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
    {"prompt": "x", "chosen": [{"role": "user", "content": "no answer"}], "rejected": "y"},
]


class Odd(BaseHTTPRequestHandler):
    """An OpenAI-compatible server whose answers hold what text should not."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self._send({"data": [{"id": "odd", "max_model_len": 4096}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if MISANSWERED in json.dumps(asked["messages"]):
            self._send(["no", "completion"])
            return
        seed = asked["seed"]
        words = ["moon", "water", "yeast", "because", "slowly", "never"]
        text = " ".join(words[seed // k % 6] for k in (1, 2, 3, 5, 7, 11, 13))
        message: dict[str, Any] = {"content": text}
        if seed % 4 == 1:
            message = {"content": f"{text} \ud83d"}
        if seed % 4 == 2:
            function = {"name": "f", "arguments": "[" * 1_200 + str(seed)}
            message = {"content": None, "tool_calls": [{"function": function}]}
        logprobs = {"content": [{"logprob": -0.5}] * 9}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": logprobs}
        self._send({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 9}})


class Server(ThreadingHTTPServer):
    request_queue_size = 64


@contextmanager
def server() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Odd) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@contextmanager
def vendor(folder: Path) -> Iterator[str]:
    port = free_port()
    service = [sys.executable, "-m", "winnow_simulator", "--port", str(port)]
    service += ["--database", str(folder / "books.sqlite")]
    running = subprocess.Popen(service, env={**os.environ, "WINNOW_SIMULATOR_TOKEN": TOKEN})
    url = f"http://127.0.0.1:{port}"
    try:
        wait(lambda: httpx.get(f"{url}/health").is_success, "the simulator answers", 60)
        yield url
    finally:
        running.kill()
        running.wait()


def write_sources(folder: Path) -> None:
    (folder / "deep").mkdir(parents=True)
    lines = b"\n".join([*(json.dumps(row).encode() for row in GOOD[:2]), *BAD])
    (folder / "a.JSONL.gz").write_bytes(gzip.compress(lines))
    rest = [*GOOD[2:], *SAME, {"prompt": MISANSWERED}]
    (folder / "deep" / "b.json").write_text(json.dumps(rest))
    (folder / "c.parquet").write_bytes(b"PAR1 cut off")
    (folder / ".Trash").mkdir()
    (folder / ".Trash" / "d.jsonl").write_text('{"prompt": "thrown away"}')
    (folder / "notes.txt").write_text("x")
    os.mkfifo(folder / "pipe.jsonl")


@dataclass
class Seen:
    """What any user of the machine, and what the same user, could read of our processes."""

    command_lines: set[bytes] = field(default_factory=set)
    generating: set[bytes] = field(default_factory=set)

    def look(self) -> None:
        for child in psutil.Process().children(recursive=True):
            with suppress(OSError):
                about = Path("/proc") / str(child.pid)
                line = (about / "cmdline").read_bytes()
                self.command_lines.add(line)
                if b"winnow.stages.generate" in line:
                    self.generating.add((about / "environ").read_bytes())


@contextmanager
def watched() -> Iterator[Seen]:
    """Looks at this process's children, and theirs, for as long as the block takes."""
    seen, over = Seen(), threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            seen.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def content(path: Path) -> bytes:
    """What a file says, tables read."""
    data = path.read_bytes()
    if not data.startswith(b"PAR1"):
        return data
    table = pq.read_table(BytesIO(data))
    return json.dumps(table.to_pylist(), default=str).encode()


def test_a_night_of_what_people_bring(tmp_path: Path, models: Path) -> None:
    inbox = tmp_path / "in box#1"
    write_sources(inbox / "2026-03-01")
    (tmp_path / "gold.ndjson").write_bytes(foreign.json_file(GOLD))
    (tmp_path / "held-out.json").write_text('[{"question_id": 81, "turns": ["What is held out?"]}]')
    campaign = tmp_path / "campaign.yaml"
    settings: dict[str, Any] = {
        "name": "odd",
        "ingest": {"sources": [f"{inbox}/{{day}}"]},
        "expand": {"engine": "server", "model": "odd", "pool_size": 6, "server": {"attempts": 3}},
        "select": {"pairs_per_prompt": 2},
        "label": {"budget_usd": 20, "poll_seconds": 1, "gold": "gold.ndjson", "gold_share": 0.1},
        "validation": {
            "evaluation_prompts": "held-out.json",
            "min_agreement_block": None,
            "max_side_bias_block": None,
            "min_gold_accuracy_block": None,
            "max_tie_rate_block": None,
        },
        "publish": {"dataset": "odd"},
    }
    campaign.write_text(yaml.safe_dump(settings))
    lake = FolderLake(tmp_path / "language=xx" / "kind=preference" / "status=[1]*" / "lake")

    def winnow(*asked: str, url: str = "", model: str = "") -> str:
        engine = str(ROOT / ".venv-engine" / "bin" / "python")
        command = [sys.executable, "-m", "winnow", *asked, "--campaign", str(campaign)]
        command += ["--lake", str(lake.root)]
        if asked[0] == "run":
            command += ["--vendor-url", url, "--server-url", model, "--engine-python", engine]
            command += ["--models", str(models)]
        env = {**os.environ, **NEEDED, **KEPT, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert CANARY.decode() not in done.stdout + done.stderr
        return done.stdout

    def rows(day: str, stage: str, name: str) -> list[dict[str, Any]]:
        manifest = read_manifest(lake, "odd", day, stage)
        assert manifest is not None
        return list(read_table(lake, manifest.outputs[name]).to_pylist())

    with server() as model, vendor(tmp_path) as url, watched() as seen:
        winnow("run", "--batch", "2026-03-01", url=url, model=model)
        bought = books_at(url, TOKEN)
        # The same rows in other files, the next night: every one is a duplicate.
        (inbox / "2026-03-02").mkdir()
        again = [{k: v for k, v in row.items() if k != "messages"} for row in GOOD[:4]]
        (inbox / "2026-03-02" / "e.parquet").write_bytes(foreign.parquet_file(again))
        told = winnow("run", "--batch", "2026-03-02", url=url, model=model)
        winnow("run", "--batch", "2026-03-01", url=url, model=model)
        after = books_at(url, TOKEN)

    assert not [line for line in seen.command_lines if CANARY in line]
    assert seen.generating, "no generation process was seen"
    for environment in seen.generating:
        assert not [name for name, secret in KEPT.items() if secret.encode() in environment]
        assert {name for name, secret in NEEDED.items() if secret.encode() in environment} == {
            *NEEDED
        }
    stored = [path for path in lake.root.rglob("*") if path.is_file()]
    assert len(stored) > 20
    assert not [path for path in stored if CANARY in content(path)]

    assert [task["bought"] for task in bought] == [1] * len(bought)
    assert after == bought
    assert "No response could be generated" in told
    assert {row["reason"] for row in rows("2026-03-02", "ingest", "quarantine")} == {"duplicate"}

    ingested = read_manifest(lake, "odd", "2026-03-01", "ingest")
    assert ingested is not None
    n_bad = len(BAD) + len(SAME) + 1
    assert ingested.counts == {"rows_in": 6 + n_bad, "rows_out": 6, "quarantined": n_bad}
    prompts = rows("2026-03-01", "ingest", "prompts")
    assert [
        row["messages"][0]["content"] for row in prompts if row["language"] in ("it", "de")
    ] == [
        f"{CODE}    print('x')",
        f"{CODE}print('x')",
    ]
    misanswered = rows("2026-03-01", "expand", "quarantine")
    assert [row["reason"] for row in misanswered] == ["server_misanswered"]
    assert any("\ufffd" in row["message"] for row in rows("2026-03-01", "expand", "responses"))
    assert [row["reason"] for row in rows("2026-03-01", "label", "quarantine")] == [
        "last_turn_not_assistant"
    ]

    version = newest(lake, "odd")
    assert version is not None
    assert version.batches == ("2026-03-01",) or list(version.batches) == ["2026-03-01"]
    status = winnow("status")
    assert "notes.txt (the ending .txt is not read)" in status
    assert "pipe.jsonl (no regular file)" in status
    assert "1 hidden" in status
    published = [
        row
        for name, artifact in version.files.items()
        if name.startswith("data/prompts/")
        for row in read_table(lake, artifact).to_pylist()
    ]
    told_of = {row["prompt"][0]["content"]: row["language"] for row in published}
    assert told_of["How do tides work?"] == "fr", "a path says nothing of a row"
