"""A real S3 server for tests: SeaweedFS on loopback, on free ports, in a folder to forget."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from .conftest import free_port

BUCKET = "lake"
START_SECONDS = 60.0
_KEYS = {"AWS_ACCESS_KEY_ID": "winnow", "AWS_SECRET_ACCESS_KEY": "only-for-tests"}
_SERVICES = ("master", "volume", "filer", "s3", "admin")


@dataclass(frozen=True)
class S3Server:
    """A running server; `environment` leads any S3 client to it."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        """What the client of `open_lake` reads."""
        return {**_KEYS, "AWS_ENDPOINT_URL_S3": self.url, "AWS_DEFAULT_REGION": "us-east-1"}


def program() -> str | None:
    """The server's program: beside this Python, or on the path."""
    beside = shutil.which("weed", path=str(Path(sys.executable).parent))
    return beside or shutil.which("weed")


@contextmanager
def running(folder: Path) -> Iterator[S3Server]:
    """A server with an empty bucket, which ends with the context."""
    ports = {
        f"{service}.port{kind}": free_port() for service in _SERVICES for kind in ("", ".grpc")
    }
    options = {"dir": folder, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "bucket": BUCKET, **ports}
    services = ("s3.port.iceberg=0", "s3.port.lance=0", "webdav=false", "admin.ui=false")
    given = [f"{name}={value}" for name, value in options.items()]
    found = program()
    assert found is not None
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [found, "mini", *(f"-{o}" for o in (*given, *services, "master.telemetry=false"))],
            env={**os.environ, **_KEYS},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        server = S3Server(f"http://127.0.0.1:{ports['s3.port']}", process)
        _wait(server, folder)
        yield server
    finally:
        process.kill()
        process.wait()
        for port in ports.values():
            for socket in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink()


def _wait(server: S3Server, folder: Path) -> None:
    """Until the bucket answers, if only that it wants to know who asks."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.process.poll() is None:
        try:
            if httpx.head(f"{server.url}/{BUCKET}", timeout=5).status_code == 403:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    log = (folder / "server.log").read_text(errors="replace")
    raise AssertionError(f"SeaweedFS did not start:\n{log[-3000:]}")
