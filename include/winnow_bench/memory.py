"""What this process has in memory, by the kernel's own figures."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")


def resident_mib() -> float | None:
    """Resident now, MiB; None where the kernel does not tell."""
    return _mib("VmRSS")


def peak_mib() -> float | None:
    """Most that was resident so far, MiB; None where the kernel does not tell."""
    # Not its ru_maxrss: that of a new process starts at its parent's.
    return _mib("VmHWM")


def _mib(name: str) -> float | None:
    if not _STATUS.exists():
        return None
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024.0
