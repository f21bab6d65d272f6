"""The vendor simulator as a process of its own, on loopback."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from .conftest import books_at, free_port

TOKEN = "a-token-of-the-tests"
TOKENS = {"WINNOW_VENDOR_TOKEN": TOKEN, "WINNOW_SIMULATOR_TOKEN": TOKEN}


@dataclass(frozen=True)
class Service:
    """A running simulator."""

    url: str

    def books(self) -> list[dict[str, Any]]:
        """The vendor's own record of each task."""
        return books_at(self.url, TOKEN)


@contextlib.contextmanager
def simulator(database: Path, *options: str) -> Iterator[Service]:
    """The simulator with its books in `database`; `options` as on its command line."""
    port = free_port()
    module = "winnow_simulator"
    command = [sys.executable, "-m", module, "--port", str(port), "--database", str(database)]
    # Its server complains of every call that a fault cuts off.
    process = subprocess.Popen(
        [*command, *options], env={**os.environ, **TOKENS}, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"{url}/health", timeout=5, trust_env=False).raise_for_status()
                break
            assert process.poll() is None
            time.sleep(0.1)
        yield Service(url)
    finally:
        process.terminate()
        process.wait()
