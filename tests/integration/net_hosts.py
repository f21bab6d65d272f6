"""Hosts that are network namespaces: an address, names for the others, and processes to kill.

All of them hang on a switch that lies in a namespace of its own, so that nothing of the machine's
own network is touched but one cable to it. Addresses are of 198.51.100.0/24, which is kept for
documentation and belongs to nobody.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

NET = "198.51.100"
_SWITCH, _CABLE = "winnow-switch", "winnow-cable"
_NAMES = Path("/etc/netns")


@dataclass(frozen=True)
class Host:
    """A host: its name, which is its hostname too, and its address."""

    name: str
    address: str

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return f"winnow-{self.name}"

    def command(self, words: list[str]) -> list[str]:
        """A command that runs on this host and becomes what `words` say."""
        inside = ["unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', self.name, *words]
        return ["ip", "netns", "exec", self.namespace, *inside]

    def pids(self) -> list[int]:
        """Every process that runs on it."""
        done = subprocess.run(
            ["ip", "netns", "pids", self.namespace], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in done.stdout.split()]

    def talks_to(self) -> set[tuple[str, int]]:
        """Address and port of everything outside that it has a connection with now."""
        words = ["ip", "netns", "exec", self.namespace, "ss", "-H", "-t", "-n"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        peers = [line.split()[4].rsplit(":", 1) for line in done.stdout.splitlines()]
        found = {(name.strip("[]").removeprefix("::ffff:"), int(port)) for name, port in peers}
        return {(name, port) for name, port in found if name not in ("127.0.0.1", self.address)}

    def kill(self) -> int:
        """SIGKILL to everything on it, as when the power goes; how many processes that were."""
        killed = set[int]()
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            killed |= set(pids)
            time.sleep(0.02)
        return len(killed)


def lack() -> str | None:
    """What this machine lacks to have such hosts; None where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "unshare", "setpriv") if not shutil.which(name)]
    return f"{', '.join(missing)}: not installed" if missing else None


@contextlib.contextmanager
def network(names: Mapping[str, list[str]]) -> Iterator[dict[str, Host]]:
    """A host for each name, which knows the others by the names in the list."""
    _remove()
    hosts = {name: Host(name, f"{NET}.{10 + i}") for i, name in enumerate(names)}
    known = [f"{hosts[name].address} {' '.join(names[name])}" for name in names]
    try:
        _ip(f"netns add {_SWITCH}")
        _ip(f"-n {_SWITCH} link add br0 type bridge")
        _ip(f"-n {_SWITCH} link set br0 up")
        _plug(_CABLE, None, f"{NET}.1", "machine")
        for i, host in enumerate(hosts.values()):
            (_NAMES / host.namespace).mkdir(parents=True, exist_ok=True)
            lines = ["127.0.0.1 localhost", f"{host.address} {host.name}", *known]
            (_NAMES / host.namespace / "hosts").write_text("\n".join(lines) + "\n")
            _ip(f"netns add {host.namespace}")
            _ip(f"-n {host.namespace} link set lo up")
            _plug("eth0", host.namespace, host.address, f"port{i}")
        yield hosts
    finally:
        for host in hosts.values():
            host.kill()
        _remove()


def _plug(device: str, namespace: str | None, address: str, port: str) -> None:
    there = f"-n {namespace}" if namespace else ""
    peer = f"netns {namespace}" if namespace else f"netns {os.getpid()}"
    _ip(f"-n {_SWITCH} link add {port} type veth peer name {device} {peer}")
    _ip(f"-n {_SWITCH} link set {port} master br0")
    _ip(f"-n {_SWITCH} link set {port} up")
    _ip(f"{there} addr add {address}/24 dev {device}")
    _ip(f"{there} link set {device} up")


def _remove() -> None:
    """Whatever this or an earlier run, which may have been killed, left behind."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False)
    for line in listed.stdout.splitlines():
        name = line.split()[0] if line.split() else ""
        if name.startswith("winnow-"):
            Host(name.removeprefix("winnow-"), "").kill()
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
            shutil.rmtree(_NAMES / name, ignore_errors=True)
    subprocess.run(["ip", "link", "del", _CABLE], check=False, capture_output=True)


def _ip(arguments: str) -> None:
    done = subprocess.run(["ip", *arguments.split()], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {arguments}: {done.stderr.strip()}")
