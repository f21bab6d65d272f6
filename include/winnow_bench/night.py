"""A night of any size through every real stage but generation, in seconds, memory and bytes.

Each step runs in a process of its own, as a task of Airflow's does. A small labelled night lies
before it, so that a reward model chooses. Beside each step stands the least that it has to read,
read by plain DuckDB (`ratio_to_plain`), and beside `select` the bare selector on random pools of
the same size, dimension and strategy (`ratio_to_bare`).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from winnow.batch import read_artifact
from winnow.errors import Fatal
from winnow.reward import RewardModel
from winnow.select import Rules, choose_for_pools, one_blas_thread
from winnow_bench import night_plain
from winnow_bench.document import in_a_process, machine, write_report
from winnow_bench.night_steps import (
    PAIRS,
    STEPS,
    Night,
    State,
    Used,
    World,
    make_up,
    measured,
    steps_of,
    take,
)
from winnow_bench.speed import random_head, random_pools

Row = dict[str, Any]
Say = Callable[[str], None]

_FIRST = (100, 8)
"""Prompts and pool of the night that teaches the reward model."""

_BARE_POOLS = 400
"""Pools, at most, on which the bare selector is timed."""


def run(
    prompts: Sequence[int],
    pool: int,
    out: Path,
    say: Say,
    *,
    steps: Sequence[str] = tuple(STEPS),
    kept: Path | None = None,
    processes: int = 2,
    brought: bool = False,
) -> Row:
    """Measure nights of these sizes, print a line a step, and write `out`/night.json.

    Args:
        prompts: A night for each number.
        pool: Responses a prompt.
        out: Folder of the report.
        say: Gets the lines.
        steps: Those that are taken, all before the last of them having been.
        kept: A folder that keeps each night's world, to go on from; None: it is thrown away.
        processes: That make up a night.
        brought: Whether pools come with the prompts, so that nothing of a night is left out.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for number in prompts:
        with ExitStack() as stack:
            if kept is None:
                folder = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="winnow-night-", dir=out)
                )
            else:
                name = f"{number}x{pool}{'-brought' if brought else ''}"
                folder = str(kept.resolve() / name)
            world = World(folder, processes, brought)
            for row in _night(Night(world, 1, number, pool), steps, say):
                rows.append(row)
                write_report(out, "night", {"rows": rows, "machine": machine()})
    report = {"rows": rows, "machine": machine()}
    write_report(out, "night", report)
    return report


def named(stages: str | None) -> list[str]:
    """The steps that words with commas between them name, in their own order; all for None.

    Raises:
        Fatal: There is none of a name.
    """
    words = list(STEPS) if stages is None else [word.strip() for word in stages.split(",")]
    if unknown := sorted(set(words) - set(STEPS)):
        raise Fatal(f"{', '.join(unknown)}: the stages are {', '.join(STEPS)}.")
    return [step for step in STEPS if step in words]


def _night(night: Night, steps: Sequence[str], say: Say) -> list[Row]:
    place = Path(night.world.folder) / "steps.json"
    done: State = json.loads(place.read_text()) if place.exists() else {}
    if not done:
        first = replace(night, number=0, prompts=_FIRST[0], pool=min(night.pool, _FIRST[1]))
        _whole_night(first)
        say(f"{night.prompts:,} prompts: a first night of {first.prompts} taught the reward model")
    rows: list[Row] = []
    for step in steps_of(night.world):
        if step not in steps or step in done:
            continue
        row: Row = {"prompts": night.prompts, "pool": night.pool, "stage": step}
        rows.append(row)
        started = time.perf_counter()
        try:
            make_up(night, step)
            row["made_up_seconds"] = round(time.perf_counter() - started, 1)
            state, used = in_a_process(take, night, step, done.get("state", {}))
            row |= used
            done |= {"state": state, step: used["seconds"]}
            place.write_text(json.dumps(done))
            row |= _beside(night, step, row)
        except Exception as error:  # the other steps may do, or say what they lack
            row["error"] = f"{type(error).__name__}: {error}"
        say(_line(row))
    return rows


def _beside(night: Night, step: str, row: Row) -> Row:
    """A step's speed, and how many times the least that it might have taken it took."""
    seconds, cpu = row["seconds"], row["cpu_seconds"]
    plain = night_plain.scan(night, step)
    beside = {
        "rows_per_second": row["rows"] and round(row["rows"] / seconds, 1),
        "plain_seconds": plain.seconds,
        "ratio_to_plain": round(seconds / plain.seconds, 2),
        "cpu_ratio_to_plain": round(cpu / max(plain.cpu_seconds, 0.01), 2),
    }
    if step == "select":
        strategy, n, bare = _bare(night)
        times = night.prompts / n
        beside |= {
            "strategy": strategy,
            "bare_prompts_per_second": round(n / bare.seconds, 1),
            "ratio_to_bare": round(seconds / bare.seconds / times, 2),
            "cpu_ratio_to_bare": round(cpu / max(bare.cpu_seconds, 0.01) / times, 2),
        }
    return beside


def _line(row: Row) -> str:
    told = f"{row['prompts']:,} prompts, {row['stage']}: "
    if "seconds" in row:
        told += (
            f"{row['seconds']:,.1f} s ({row['cpu_seconds']:,.1f} s of CPU), "
            f"{row['peak_mib']:,.0f} MiB, {row['bytes_read'] / 1e6:,.0f} MB read, "
            f"{row['bytes_written'] / 1e6:,.0f} MB written"
        )
    if "ratio_to_plain" in row:
        told += (
            f", {row['ratio_to_plain']:,.1f} times plain DuckDB "
            f"(CPU {row['cpu_ratio_to_plain']:,.1f})"
        )
    if "ratio_to_bare" in row:
        told += (
            f", {row['ratio_to_bare']:.1f} times the bare selector "
            f"(CPU {row['cpu_ratio_to_bare']:.1f}; {row['strategy']})"
        )
    return f"{told} {row['error']}" if "error" in row else told


def _whole_night(night: Night) -> None:
    state: State = {}
    for name in steps_of(night.world):
        make_up(night, name)
        STEPS[name].work(night, state)


def _bare(night: Night) -> tuple[str, int, Used]:
    """The night's strategy, and what it takes on so many random pools like the night's own."""
    batch = night.batch
    selected, expanded = batch.require("select"), batch.require("expand")
    model = RewardModel.from_bytes(read_artifact(batch.lake, selected.outputs["reward_model"]))
    d = model.features(np.zeros((2, model.n_columns))).shape[1]
    n = round(expanded.counts["responses"] / max(1, expanded.counts["pools"]))
    pools = list(random_pools(min(_BARE_POOLS, night.prompts), n, d))
    strategy = selected.figures["strategy"]
    rules, head = Rules(PAIRS, strategy, exploration=0.0, fresh_first=True), random_head(d)
    with one_blas_thread():
        list(choose_for_pools(pools[:2], head, rules))  # compiled
        _, used = measured(lambda: list(choose_for_pools(pools, head, rules)))
    return strategy, len(pools), used
