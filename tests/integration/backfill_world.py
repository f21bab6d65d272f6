"""A long backfill on real Airflow: a tiny campaign, a kept-warm `vllm serve`, the simulator.

What is recorded while it runs is the health page, every few seconds, and at the end what each part
of Airflow used of the processor.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from winnow_local import stack

from .conftest import LocalWinnow

FIRST_DAY = date(2026, 8, 1)
PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
HEALTH_SECONDS = 5.0
# fmt: off
SUBJECTS = [
    "tides", "bread", "bicycles", "rain", "maps", "bees", "glass", "chess", "tea", "rust", "rope",
    "salt", "kites", "snails", "bridges", "clocks", "wool", "moss", "ferns", "drums", "ink", "soap",
    "paper", "owls", "plums", "canals", "lamps",
]
# fmt: on
WAYS = (
    "What is odd about {}?",
    "Tell me one fact about {}.",
    "Who first wrote about {}?",
    "How would you draw {}?",
    "Why do people like {}?",
    "Name a song about {}.",
    "What are {} made of?",
    "Describe {} to a child.",
    "Where are {} found?",
    "Give me a riddle about {}.",
    "What would change without {}?",
)
PROMPTS_A_DAY = 3
CAMPAIGN: dict[str, Any] = {
    "expand": {
        "engine": "server",
        "model": "SmolLM2-135M-Instruct",
        "max_model_len": 512,
        "pool_size": 3,
        "max_tokens": 12,
        "responses_per_call": 64,
        "server": {"connection": "winnow_server", "concurrency": 8, "responses_per_request": 3},
    },
    "select": {"pairs_per_prompt": 1},
    "label": {
        "budget_usd": 5.0,
        "second_vote_share": 0.5,
        "poll_seconds": 1,
        "min_completion": 0.5,
    },
}


def days_of(n: int) -> list[str]:
    """The first `n` days."""
    return [(FIRST_DAY + timedelta(days=i)).isoformat() for i in range(n)]


def prompts_of(n_days: int) -> dict[str, list[dict[str, Any]]]:
    """Prompts by day, none of them twice."""
    texts = [way.format(subject) for way in WAYS for subject in SUBJECTS]
    assert n_days * PROMPTS_A_DAY <= len(texts)
    return {
        day: [{"prompt": texts[PROMPTS_A_DAY * place + i]} for i in range(PROMPTS_A_DAY)]
        for place, day in enumerate(days_of(n_days))
    }


@contextmanager
def environment_with_server(local: LocalWinnow, url: str, parallelism: int) -> Iterator[None]:
    """Airflow knows the server, and runs so many tasks at a time."""
    parts = httpx.URL(url)
    server = {"conn_type": "http", "host": parts.host, "port": parts.port}
    env = {
        **stack.command_environment(local.home),
        "AIRFLOW_CONN_WINNOW_SERVER": json.dumps(server),
        "AIRFLOW__CORE__PARALLELISM": str(parallelism),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "environment", lambda _: env)
        yield


@dataclass
class Health:
    """The health page over time: a row a look, with what did not say `healthy`.

    Each row is appended to `log` at once, for runs that do not come to their end.
    """

    url: str
    log: Path | None = None
    looks: list[dict[str, Any]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look every few seconds while the block runs."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def unhealthy(self) -> list[dict[str, Any]]:
        """Looks at which a part said that it was not healthy."""
        return [look for look in self.looks if look["unhealthy"]]

    def silent_seconds(self) -> float:
        """The longest stretch without an answer."""
        longest, last = 0.0, self.looks[0]["at"]
        for look in self.looks:
            if look["seconds"] is not None:
                longest, last = max(longest, look["at"] - last), look["at"]
        return max(longest, self.looks[-1]["at"] - last)

    def _watch(self) -> None:
        with httpx.Client(trust_env=False, timeout=20) as http:
            while not self._stop.wait(HEALTH_SECONDS):
                self.looks.append(self._look(http))
                if self.log is not None:
                    with self.log.open("a") as log:
                        log.write(json.dumps(self.looks[-1]) + "\n")

    def _look(self, http: httpx.Client) -> dict[str, Any]:
        began = time.time()
        try:
            parts = http.get(self.url).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            return {"at": began, "seconds": None, "unhealthy": [], "error": type(error).__name__}
        sick = [name for name in PARTS if parts[name]["status"] != "healthy"]
        return {"at": began, "seconds": time.time() - began, "unhealthy": sick}


def processor_seconds(home: stack.Home) -> dict[str, float]:
    """Seconds of processor that each part of the home used so far, its ended children included."""
    used: dict[str, float] = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd() != str(home.run):
                continue
            times = process.cpu_times()
            seconds = times.user + times.system + times.children_user + times.children_system
            part = _part(process)
            used[part] = used.get(part, 0.0) + seconds
    return used


def _part(process: psutil.Process) -> str:
    """The process of a session that was started by `stack` gives it its name."""
    while (parent := process.parent()) is not None and parent.pid != os.getpid():
        process = parent
    words = " ".join(process.cmdline())
    names = {"api": "api-server", "dag-processor": "dag-processor", "triggerer": "triggerer"}
    names |= {"scheduler": "scheduler and tasks", "simulator": "vendor-simulator"}
    return next((told for word, told in names.items() if word in words), "other")


def run_alone(local: LocalWinnow, day: str, url: str) -> tuple[float, float]:
    """Take a day through the five stages without Airflow; seconds of wall and of processor."""
    secret = stack.secrets_of(local.home)["vendor_token"]
    env = {**stack.environment(local.home), "WINNOW_VENDOR_TOKEN": secret}
    command = [
        *(str(stack.ROOT / ".venv" / "bin" / "python"), "-m", "winnow", "run", "--batch", day),
        *("--campaign", str(local.home.campaigns), "--lake", str(local.home.lake)),
        *("--server-url", url, "--vendor-url", local.home.vendor),
    ]
    began = time.monotonic()
    before = _children()
    subprocess.run(command, env=env, check=True, capture_output=True, timeout=600)
    return time.monotonic() - began, _children() - before


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def seconds_between(start: str, end: str) -> float:
    """Between two times of Airflow's API."""
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
