"""A real Airflow API server in a process of its own, for tests that ask it as people do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from winnow_local import stack


@contextmanager
def api_server(url: str, env: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Runs inside the block, and answers at `url`; its log is `folder/server.log`."""
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "api-server"],
            env=env,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait(url, process, folder)
        yield
    finally:
        # It has nothing to finish, and would take its time.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + stack.START_LIMIT
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/api/v2/monitor/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.25)
    raise AssertionError((folder / "server.log").read_text(errors="replace")[-3000:])
