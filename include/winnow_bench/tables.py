"""The label bench's table of results, and who is clearly better or worse than the rival.

Results have a row per strategy, a group per budget and a column per metric.

Always holds: the best mean of a budget is bold, and up or down marks say that the interval of the
difference from random pairs at the same budget and pool size lies clear of zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from winnow_bench.metrics import Metric
from winnow_bench.statistics import Comparison, Summary
from winnow_bench.verdicts import CONTROL, name_of

_Key = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Cell:
    """A mean and half of its interval in words; which side of random pairs it lies on."""

    mean: str
    half: str = ""
    is_best: bool = False
    side: Literal["", "up", "down"] = ""


@dataclass(frozen=True, slots=True)
class Result:
    """A strategy's row; without a colour class where nothing is to be told apart."""

    name: str
    slot: str
    pool_size: int
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Results:
    """Headings of the metrics, and the rows by budget."""

    heads: Sequence[str]
    groups: Sequence[tuple[str, Sequence[Result]]]


def results(
    summaries: Sequence[Summary],
    comparisons: Iterable[Comparison],
    metrics: Sequence[Metric],
    slot: Mapping[str, str],
) -> Results:
    """One pool's summaries, which are of `metrics`."""
    against = {(_key(each), each.metric): each for each in comparisons if each.baseline == CONTROL}
    groups = [
        (
            f"{labels:,} labels per prompt" if labels else "No labels",
            _group([row for row in summaries if row.labels == labels], against, metrics, slot),
        )
        for labels in sorted({row.labels for row in summaries}, key=lambda n: (n == 0, n))
    ]
    return Results([each.heading for each in metrics], groups)


def _key(each: Summary | Comparison) -> _Key:
    return each.strategy, each.labels, each.pool_size


def _group(
    summaries: Sequence[Summary],
    against: Mapping[tuple[_Key, str], Comparison],
    metrics: Sequence[Metric],
    slot: Mapping[str, str],
) -> list[Result]:
    order = list(slot)
    keys = sorted({_key(each) for each in summaries}, key=lambda r: (order.index(r[0]), r[2]))
    summary_of = {(_key(each), each.metric): each for each in summaries}
    rivals = keys[0][1] > 0 and len(keys) > 1
    best = {each.name: _best(each, summaries) for each in metrics} if rivals else {}
    return [
        Result(
            name_of(key[0]),
            slot[key[0]] if rivals else "",
            key[2],
            [
                _cell(each, summary_of.get((key, each.name)), against.get((key, each.name)), best)
                for each in metrics
            ],
        )
        for key in keys
    ]


def _best(measured: Metric, summaries: Iterable[Summary]) -> float:
    means = [each.mean for each in summaries if each.metric == measured.name]
    return (max if measured.higher_is_better else min)(means, default=0.0)


def _cell(
    measured: Metric,
    row: Summary | None,
    against: Comparison | None,
    best: Mapping[str, float],
) -> Cell:
    if row is None:
        return Cell("–")
    half = "" if row.high is None else f"±{measured.bare(row.high - row.mean)}"
    is_best = measured.is_quality and row.mean == best.get(measured.name)
    return Cell(measured.bare(row.mean), half, is_best, _side(measured, against))


def _side(measured: Metric, against: Comparison | None) -> Literal["", "up", "down"]:
    advantage = measured.advantage(against) if against and measured.is_quality else None
    if advantage is None:
        return ""
    _, low, high = advantage
    return "up" if low > 0 else "down" if high < 0 else ""
