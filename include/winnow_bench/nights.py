"""Nights one after another in one lake: what the tenth takes, and what the thousandth does.

One process takes every step of every night, as a worker that lives long does, so what a figure
holds is the work and no start. `winnow status` and each page are looked at after the last nights
before a mark: `page` in a server that has run since then, `first page` in one that just started.
Every figure is the median of the last five nights up to the mark, the mark's own for the first.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from winnow_bench.document import machine, write_report
from winnow_bench.night_steps import (
    NAME,
    STEPS,
    Night,
    State,
    Used,
    World,
    make_up,
    measured,
    steps_of,
)

Row = dict[str, Any]
Say = Callable[[str], None]

_LAST = 5
_SETTLES = 0.15
"""Seconds until a new prompt file rests."""
_TOLD = 20
"""Nights between two lines that say how far it is."""

_FIGURES = ("seconds", "cpu_seconds", "peak_mib", "bytes_read", "bytes_written")


def run(
    nights: int,
    prompts: int,
    pool: int,
    out: Path,
    say: Say,
    *,
    kept: Path | None = None,
    brought: bool = False,
) -> Row:
    """Measure so many nights, print a line a mark and stage, and write `out`/night.json.

    A folder `kept` keeps the lake, to go on from the night that was reached; pools are `brought`
    with the prompts, or made up.
    """
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if kept is None:
            made = tempfile.TemporaryDirectory(prefix="winnow-nights-", dir=out)
            folder = stack.enter_context(made)
        else:
            folder = str(kept.resolve() / f"nights-{prompts}x{pool}{'-brought' if brought else ''}")
        rows = _nights(World(folder, brought=brought), nights, prompts, pool, say)
    report = {"rows": rows, "machine": machine()}
    write_report(out, "night", report)
    return report


def marks_of(nights: int) -> list[int]:
    """The nights of which is told: 1, 10, 100, ... and the last.

    >>> marks_of(1000), marks_of(12)
    ([1, 10, 100, 1000], [1, 10, 12])
    """
    powers = [10**k for k in range(len(str(nights)))]
    return sorted({*(each for each in powers if each <= nights), nights})


def _nights(world: World, nights: int, prompts: int, pool: int, say: Say) -> list[Row]:
    place = Path(world.folder) / "nights.json"
    reached: Row = json.loads(place.read_text()) if place.exists() else {"night": 0, "rows": []}
    rows: list[Row] = reached["rows"]
    pages, marks = _Pages(), marks_of(nights)
    taken: dict[str, list[Row]] = defaultdict(list)
    started = time.perf_counter()
    for number in range(reached["night"] + 1, nights + 1):
        mark = next(each for each in marks if each >= number)
        night, state = Night(world, number, prompts, pool), State()
        for name in steps_of(world):
            step = STEPS[name]
            make_up(night, name)
            if name == "ingest":
                # A file that was written a moment ago is not known by its look, and read again.
                time.sleep(_SETTLES)
            _, used = measured(partial(step.work, night, state))
            taken[name].append(asdict(used))
        if mark - number <= _LAST:
            for page, used in pages.looks(night):
                taken[page].append(asdict(used))
        else:
            pages.forget()
        if number == mark:
            for name, all_used in taken.items():
                figures = {f: median(each[f] for each in all_used[-_LAST:]) for f in _FIGURES}
                row = {"prompts": prompts, "pool": pool, "stage": name, "night": number, **figures}
                rows.append(row)
                say(_line(row))
            taken.clear()
        place.write_text(json.dumps({"night": number, "rows": rows}))
        if number % _TOLD == 0:
            each = (time.perf_counter() - started) / (number - reached["night"])
            say(f"night {number:,} of {nights:,}: {each:.1f} s a night")
    return rows


def _line(row: Row) -> str:
    return (
        f"night {row['night']:,}, {row['stage']}: {row['seconds']:,.3f} s "
        f"({row['cpu_seconds']:,.2f} s of CPU), {row['peak_mib']:,.0f} MiB, "
        f"{row['bytes_read'] / 1e6:,.2f} MB read, {row['bytes_written'] / 1e6:,.2f} MB written"
    )


class _Pages:
    """`winnow status`, and the pages of a server that saw the nights before and of a new one."""

    def __init__(self) -> None:
        self._memory: Any = None

    def forget(self) -> None:
        """The server ends; the next look is a new one's."""
        self._memory = None

    def looks(self, night: Night) -> Iterator[tuple[str, Used]]:
        """What a look at each page took, and `winnow status`, after a night."""
        from winnow.console.memory import Memory
        from winnow.console.nav import NAV, UNDER

        # What may change is kept for a minute at most: a day lies between two looks.
        clock = float(night.number * 86_400)
        has_run = self._memory is not None
        self._memory = self._memory or Memory()
        self._memory.clock = lambda: clock
        for page in (*NAV, *UNDER):
            _, used = measured(partial(_page, night, page, self._memory))
            if has_run:
                yield f"page {page}", used
        for page in (*NAV, *UNDER):
            _, used = measured(partial(_page, night, page, Memory()))
            yield f"first page {page}", used
        _, used = measured(partial(_status, night))
        yield "status", used


def _page(night: Night, page: str, memory: Any) -> None:
    from winnow.console.scope import Scope
    from winnow.console.shell import Site, document
    from winnow.console.show import show

    scope = Scope({NAME: night.world.campaign(night.pool)})
    query = {"key": night.batch.day} if page == "batch" else {}
    shown = show(page, night.world.lake, scope, query, Site(night.batch.clock(), memory))
    document(shown.page, page, shown.site, shown.about)


def _status(night: Night) -> None:
    from winnow.commands.batches import status

    with _campaigns(night.world.campaigns), redirect_stdout(io.StringIO()):
        code = status(night.world.lake)
    if code:
        raise RuntimeError(f"winnow status ended with {code}")


@contextmanager
def _campaigns(folder: Path) -> Iterator[None]:
    """The folder of campaigns, as the environment says it."""
    before = os.environ.get(_SETTING)
    os.environ[_SETTING] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SETTING]
        else:
            os.environ[_SETTING] = before


_SETTING = "WINNOW_CAMPAIGNS"
