"""Means over seeds, and differences paired by seed, with 95 % t intervals.

A bench runs each cell (pool, strategy, labels, pool size, metric) once per seed. The seeds are the
sample: a mean's interval speaks about other seeds of the same bench, not about other prompts or
other judges. Strategies that share a seed share its prompts and its label noise, so a difference is
taken seed by seed, which removes what the seed itself does to both.

Always holds: the order of the rows changes nothing, and what cannot be computed is None, never NaN.
With m seeds, mean x and standard deviation s (m - 1 in the denominator) the interval is
x ± t(0.975, m - 1) s / √m. The intervals are not corrected for how many of them are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from scipy.special import stdtr, stdtrit

from winnow.errors import Corrupt, Fatal

Rows = Iterable[Mapping[str, Any]]

COLUMNS = ("pool", "strategy", "labels", "pool_size", "seed", "metric", "value")
"""Columns of a table of results, one row per measured value."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean of one metric over `n_seeds` seeds; no interval from fewer than two.

    `labels` is per prompt, 0 for a reference that buys none, and `pool_size` counts responses.
    """

    pool: str
    strategy: str
    labels: int
    pool_size: int
    metric: str
    mean: float
    low: float | None
    high: float | None
    n_seeds: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Mean of (strategy - baseline) over the `n_seeds` seeds that both have.

    No difference without a common seed; no interval and no p-value (two-sided, paired t test) from
    fewer than two.
    """

    pool: str
    metric: str
    strategy: str
    labels: int
    pool_size: int
    baseline: str
    difference: float | None
    low: float | None
    high: float | None
    n_seeds: int
    p_value: float | None


class _Cell(NamedTuple):
    pool: str
    strategy: str
    labels: int
    pool_size: int
    metric: str


_Cells = dict[_Cell, dict[int, float]]


def summarise(table: pa.Table | Rows) -> list[Summary]:
    """Mean and interval of each cell, in the order of its names and numbers.

    Args:
        table: Rows with the columns `COLUMNS`; a null value was not measured and is left out.

    Raises:
        Corrupt: A column is missing, a value is not finite, or a seed occurs twice in a cell.
    """
    return [
        Summary(*cell, *interval(list(values.values())), len(values))
        for cell, values in _cells(table).items()
    ]


def compare(table: pa.Table | Rows, baselines: Sequence[str]) -> list[Comparison]:
    """Differences of every other cell from each baseline of its pool and metric.

    "traditional-4" names the strategy "traditional" at 4 labels, whatever its pool size; a name
    without a number ("random") means that strategy at the labels and pool size of the other side.
    A pool without the baseline has no rows for it.

    Raises:
        Corrupt: As `summarise`.
        Fatal: A baseline is in no pool, or stands for several pool sizes of one pool.
    """
    cells = _cells(table)
    differences = [
        _comparison(cell, cells[cell], name, cells[other])
        for name in baselines
        for cell, other in _against(cells, name)
    ]
    order = attrgetter("pool", "metric", "baseline", "strategy", "labels", "pool_size")
    return sorted(differences, key=order)


def _cells(table: pa.Table | Rows) -> _Cells:
    """Values of each cell by seed, cells and seeds sorted."""
    rows = table.to_pylist() if isinstance(table, pa.Table) else table
    cells: _Cells = {}
    for row in rows:
        missing = [column for column in COLUMNS if column not in row]
        if missing:
            raise Corrupt(f"A row of results lacks {', '.join(missing)}: run the bench again.")
        if row["value"] is None:
            continue
        cell = _Cell(*(row[name] for name in _Cell._fields))
        seed, value = row["seed"], float(row["value"])
        if not math.isfinite(value):
            raise Corrupt(f"{cell} has the value {value} at seed {seed}: not measured is null.")
        if seed in cells.setdefault(cell, {}):
            raise Corrupt(f"{cell} has seed {seed} twice: each cell runs once per seed.")
        cells[cell][seed] = value
    return {cell: dict(sorted(cells[cell].items())) for cell in sorted(cells)}


def _against(cells: _Cells, name: str) -> Iterator[tuple[_Cell, _Cell]]:
    """Every cell with the cell that the baseline `name` means for it."""
    strategy, _, number = name.rpartition("-")
    is_numbered = bool(strategy) and number.isdecimal()
    strategy, labels = (strategy, int(number)) if is_numbered else (name, None)
    baselines: dict[tuple[Any, ...], _Cell] = {}
    for cell in cells:
        if cell.strategy == strategy and labels in (None, cell.labels):
            other = baselines.setdefault(_match(cell, labels), cell)
            if other != cell:
                raise Fatal(
                    f"Baseline {name} has pool sizes {other.pool_size} and {cell.pool_size} in "
                    f"{cell.pool}: keep one of them."
                )
    if not baselines:
        raise Fatal(f"Baseline {name} is in no pool of the results: run it, or leave it out.")
    for cell in cells:
        match = baselines.get(_match(cell, labels))
        if match is not None and match != cell:
            yield cell, match


def _match(cell: _Cell, labels: int | None) -> tuple[Any, ...]:
    """What a cell shares with its baseline: the budget too, unless the baseline names its own."""
    scope = (cell.pool, cell.metric)
    return scope if labels is not None else (*scope, cell.labels, cell.pool_size)


def _comparison(
    cell: _Cell, values: dict[int, float], baseline: str, others: dict[int, float]
) -> Comparison:
    differences = [value - others[seed] for seed, value in values.items() if seed in others]
    n_seeds = len(differences)
    mean, low, high = interval(differences) if differences else (None, None, None)
    return Comparison(
        **cell._asdict(),
        baseline=baseline,
        difference=mean,
        low=low,
        high=high,
        n_seeds=n_seeds,
        p_value=_p_value(differences) if n_seeds > 1 else None,
    )


def interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean and the ends of its 95 % t interval, which fewer than two values do not have."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    half = float(stdtrit(len(values) - 1, 0.975)) * _standard_error(values)
    return mean, mean - half, mean + half


def _p_value(differences: Sequence[float]) -> float:
    mean, error = float(np.mean(differences)), _standard_error(differences)
    if not error:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(stdtr(len(differences) - 1, -abs(mean) / error))


def _standard_error(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))
