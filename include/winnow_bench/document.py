"""What the pages of the benches share: their templates, and whatever was measured as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from winnow.pages.words import Table, spaced

TEMPLATES = Path(__file__).with_name("templates")


def definitions(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values; a mapping or a list among the values is written on one line."""
    return [(spaced(name), _inline(value)) for name, value in facts.items()]


def plain_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows as they are, a column per key."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_said(row.get(name)) for name in names] for row in rows]
    return Table(title, [spaced(name) for name in names], cells)


def _said(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{spaced(k)}: {_inline(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_inline(each) for each in value)
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


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
