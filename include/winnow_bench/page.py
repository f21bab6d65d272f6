"""The page of the label bench: verdicts in words, curves, differences, tables, limits.

Every sentence and every mark is computed from the rows; the limits and the way to reproduce come
from the facts. The page is one file without scripts.

A strategy with no labels, or with more than `LARGEST_BUDGET` per prompt, is a reference: a level to
hold the others against, not a budget that anybody would choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from winnow.errors import Corrupt
from winnow.pages.charts import Chart, Row
from winnow.pages.render import render
from winnow.publish.reliability import reliability
from winnow_bench.charts import Line, curves, forest, near, slots
from winnow_bench.document import TEMPLATES, definitions
from winnow_bench.metrics import METRICS, Metric, metric
from winnow_bench.peers import PEERS
from winnow_bench.statistics import Comparison, Summary
from winnow_bench.verdicts import (
    CONTROL,
    FEW_LABELS,
    MANY_LABELS,
    RIVAL,
    against_peers,
    against_rival,
    flagship_against_control,
    gap,
    name_of,
    pool_sentences,
    usual_size,
)

LARGEST_BUDGET = 64

Picture = tuple[str, str, Chart]
"""A chart with its title and a note."""

Slots = Mapping[str, str]
_SHOWN_APART = frozenset({"command", "limits", "reliability", "about"})


@dataclass(frozen=True, slots=True)
class Pool:
    """What was found on one pool; `verdicts` are metrics with who is better and who is worse."""

    name: str
    sentences: Sequence[str]
    verdicts: Sequence[tuple[str, str, str]]
    n_looked_at: int
    curves: Sequence[Picture]
    forests: Sequence[Sequence[Picture]]
    main: Mapping[str, Any]
    rest: Mapping[str, Any] | None


def labels_page(
    summary_rows: Sequence[Mapping[str, Any]],
    comparison_rows: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> str:
    """The page as HTML.

    Args:
        summary_rows: Fields of `Summary`.
        comparison_rows: Fields of `Comparison`, with the baselines "traditional-8" and "random".
        facts: "limits" (sentences), "command" (how to run it again), and anything else worth
            telling; "about" may describe pools by name, "reliability" may hold bins by name.

    Raises:
        Corrupt: There is nothing to show.
        Fatal: A metric is unknown.
    """
    if not summary_rows:
        raise Corrupt("The bench has no results to show: run it again.")
    summaries = [Summary(**row) for row in summary_rows]
    comparisons = [Comparison(**row) for row in comparison_rows]
    slot = slots(row.strategy for row in summaries)
    drawn = {row.strategy for row in summaries if _has_curve(row)}
    pools = [
        _pool(
            name,
            [row for row in summaries if row.pool == name],
            [row for row in comparisons if row.pool == name],
            slot,
        )
        for name in sorted({row.pool for row in summaries})
    ]
    return render(
        "labels.html",
        TEMPLATES,
        pools=pools,
        n_looked_at=sum(pool.n_looked_at for pool in pools),
        legend=[(name_of(name), css) for name, css in slot.items() if name in drawn],
        about=facts.get("about", {}),
        meanings=[(each.title, each.meaning) for each in _metrics(summaries)],
        reliability={n: reliability(b) for n, b in facts.get("reliability", {}).items()},
        limits=facts.get("limits", ()),
        command=facts.get("command"),
        others=definitions({k: v for k, v in facts.items() if k not in _SHOWN_APART}),
        few=FEW_LABELS,
        many=MANY_LABELS,
    )


def _pool(
    name: str, summaries: Sequence[Summary], comparisons: Sequence[Comparison], slot: Slots
) -> Pool:
    against = against_rival(comparisons)
    metrics = _metrics(summaries)
    quality = [each for each in metrics if each.is_quality]
    n_looked_at = sum(f.n_looked_at for f in against + flagship_against_control(comparisons))
    main = [r for r in summaries if r.labels in (FEW_LABELS, MANY_LABELS) or not _has_budget(r)]
    rest = [row for row in summaries if row not in main]
    return Pool(
        name=name,
        sentences=pool_sentences(summaries, comparisons),
        verdicts=[(each.metric.title, _names(each.better), _names(each.worse)) for each in against],
        n_looked_at=n_looked_at + len(against_peers(comparisons)),
        curves=[drawn for each in quality if (drawn := _curves(each, summaries, slot))],
        forests=[both for each in quality if (both := _forests(each, comparisons, slot))],
        main=results(main, comparisons, metrics, slot),
        rest=results(rest, comparisons, metrics, slot) if rest else None,
    )


def _names(rows: Sequence[Comparison]) -> str:
    return ", ".join(name_of(row.strategy) for row in rows)


def _metrics(rows: Iterable[Summary]) -> list[Metric]:
    """Metrics that the rows have, in their usual order."""
    present = {metric(row.metric).name for row in rows}
    return [each for each in METRICS.values() if each.name in present]


def _has_budget(row: Summary) -> bool:
    return 0 < row.labels <= LARGEST_BUDGET


def _has_curve(row: Summary) -> bool:
    """Whether it has a budget among others; peers' rules run at one."""
    return _has_budget(row) and row.strategy not in PEERS


def _curves(measured: Metric, summaries: Sequence[Summary], slot: Slots) -> Picture | None:
    """The curves of a metric; None where they would be a single dot."""
    rows = [row for row in summaries if row.metric == measured.name]
    lines = [
        Line(name_of(strategy), slot[strategy], points)
        for strategy, points in _points([row for row in rows if _has_curve(row)])
    ]
    if sum(len(line.points) for line in lines) < 2:
        return None
    levels = sorted((r for r in rows if not _has_budget(r)), key=lambda r: (r.mean, r.strategy))
    shown = near(lines, levels)
    beyond = [
        f"{name_of(row.strategy)} {measured.write(row.mean)}" for row in levels if row not in shown
    ]
    note = f"off the scale: {', '.join(beyond)}" if beyond else ""
    return measured.heading, note, curves(measured, lines, shown)


def _points(rows: Sequence[Summary]) -> list[tuple[str, list[Summary]]]:
    """Each strategy's row per budget: of the usual pool size, else of its largest."""
    usual = usual_size(rows) if rows else 0
    best = {}
    for row in sorted(rows, key=lambda r: (r.pool_size == usual, r.pool_size)):
        best[row.strategy, row.labels] = row
    ordered = sorted(best.values(), key=lambda r: (r.strategy, r.labels))
    return [(name, list(points)) for name, points in groupby(ordered, lambda r: r.strategy)]


def _forests(measured: Metric, comparisons: Sequence[Comparison], slot: Slots) -> list[Picture]:
    note = "hollow: the interval holds zero; in brackets: candidates per prompt"
    pictures = []
    for baseline, words in (
        (RIVAL, f"traditional with {MANY_LABELS} labels"),
        (CONTROL, f"random pairs of the same pool with {FEW_LABELS} labels"),
    ):
        rows = _estimates(measured, baseline, comparisons, slot)
        if rows:
            title = f"{measured.title} against {words}, {measured.difference_unit}"
            pictures.append((title, note, forest(measured, rows, title)))
    return pictures


def _estimates(
    measured: Metric, baseline: str, comparisons: Sequence[Comparison], slot: Slots
) -> list[Row]:
    rows = [
        row
        for row in comparisons
        if (row.metric, row.baseline, row.labels) == (measured.name, baseline, FEW_LABELS)
    ]
    several = len({row.pool_size for row in rows}) > 1
    estimates = []
    for row in rows:
        advantage = measured.advantage(row)
        if advantage is not None:
            name = name_of(row.strategy) + (f" ({row.pool_size})" if several else "")
            words = gap(measured, row).replace(f" {measured.difference_unit}", "")
            mean, low, high = advantage
            estimates.append(Row(name, mean, words, low, high, slot[row.strategy]))
    return sorted(estimates, key=lambda each: (-each.value, each.name))


class Cell(NamedTuple):
    """A mean and half of its interval in words; which side of random pairs it lies on."""

    mean: str
    half: str = ""
    is_best: bool = False
    side: str = ""


def results(
    summaries: Sequence[Summary],
    comparisons: Iterable[Comparison],
    metrics: Sequence[Metric],
    slot: Slots,
) -> dict[str, Any]:
    """One pool's table: headings of the metrics, and by budget a row of cells for each strategy.

    The best mean of a budget is bold, and up or down marks say that the interval of the difference
    from random pairs at the same budget and pool size lies clear of zero.
    """
    place = attrgetter("strategy", "labels", "pool_size", "metric")
    of = {place(each): each for each in summaries}
    against = {place(each): each for each in comparisons if each.baseline == CONTROL}
    order, groups = list(slot), []
    for labels in sorted({row.labels for row in summaries}, key=lambda n: (n == 0, n)):
        own = [row for row in summaries if row.labels == labels]
        keys = sorted(
            {place(each)[:3] for each in own}, key=lambda key: (order.index(key[0]), key[2])
        )
        rivals = labels > 0 and len(keys) > 1
        best = {each.name: _best(each, own) for each in metrics} if rivals else {}
        rows = [
            {
                "name": name_of(key[0]),
                "slot": slot[key[0]] if rivals else "",
                "pool_size": key[2],
                "cells": [
                    _cell(m, of.get((*key, m.name)), against.get((*key, m.name)), best)
                    for m in metrics
                ],
            }
            for key in keys
        ]
        groups.append((f"{labels:,} labels per prompt" if labels else "No labels", rows))
    return {"heads": [each.heading for each in metrics], "groups": groups}


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
    advantage = measured.advantage(against) if against and measured.is_quality else None
    _, low, high = advantage or (0.0, 0.0, 0.0)
    return Cell(
        measured.bare(row.mean), half, is_best, "up" if low > 0 else "down" if high < 0 else ""
    )
