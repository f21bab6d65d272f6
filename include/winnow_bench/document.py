"""What benches share: reports as files, what was measured as tables, and what memory it took."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from winnow.pages.words import Table, spaced

T = TypeVar("T")

TEMPLATES = Path(__file__).with_name("templates")


def write_report(out: Path, name: str, report: Mapping[str, Any], page: str | None = None) -> None:
    """Write `out`/NAME.json, and NAME.html where there is a page."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if page is not None:
        (out / f"{name}.html").write_text(page, encoding="utf-8")


def machine() -> str:
    """What it ran on, for a report."""
    return f"{platform.machine()}, {os.cpu_count()} cores"


def in_a_process(work: Callable[..., T], *arguments: Any) -> T:
    """What `work` gives in a process of its own, so that its memory is what the work takes."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


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


def resident_mib() -> float | None:
    """Resident now, MiB; None where the kernel does not tell."""
    return _mib("VmRSS")


def peak_mib() -> float | None:
    """Most that was resident so far, MiB; None where the kernel does not tell."""
    # Not its ru_maxrss: that of a new process starts at its parent's.
    return _mib("VmHWM")


def _mib(name: str) -> float | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024.0
