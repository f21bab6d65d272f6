"""The label bench's tables: all results, and who is clearly better or worse than the rival.

Results have a row per strategy, a group per budget and a column per metric.

Always holds: the best mean of a budget is bold, and up or down marks say that the interval of the
difference from random pairs at the same budget and pool size lies clear of zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from winnow.page.markup import scrolling
from winnow.page.svg import mark
from winnow_bench.metrics import Metric
from winnow_bench.statistics import Comparison, Summary
from winnow_bench.verdicts import CONTROL, FEW_LABELS, MANY_LABELS, Found, name_of

_Row = tuple[str, int, int]
_CAPTION = (
    "Mean over seeds ± half of its 95 % interval. Bold: best of its budget. ▲ and ▼: better and "
    "worse than random pairs of the same pool at the same budget, the interval of the difference "
    "clear of zero."
)


def results_table(
    summaries: Sequence[Summary],
    comparisons: Iterable[Comparison],
    metrics: Sequence[Metric],
    slot: Mapping[str, str],
) -> str:
    """A scrolling table of one pool's summaries, which are of `metrics`."""
    against = {(_row(each), each.metric): each for each in comparisons if each.baseline == CONTROL}
    columns = "".join(f'<th scope="col">{escape(each.heading)}</th>' for each in metrics)
    groups = "".join(
        _group(labels, [row for row in summaries if row.labels == labels], against, metrics, slot)
        for labels in sorted({row.labels for row in summaries}, key=lambda n: (n == 0, n))
    )
    return scrolling(
        "Results",
        f"<table><caption>{_CAPTION}</caption><thead><tr><th scope=col>Strategy</th>"
        f"<th scope=col>Candidates per prompt</th>{columns}</tr></thead>{groups}</table>",
    )


def verdict_table(found: Sequence[Found]) -> str:
    """Who is better and who is worse than the rival, a row per metric; nothing for no metric."""
    if not found:
        return ""
    body = "".join(
        f'<tr><th scope="row">{escape(each.metric.title)}</th>'
        f"<td>{_names(each.better)}</td><td>{_names(each.worse)}</td></tr>"
        for each in found
    )
    return (
        f"<table><caption>With {FEW_LABELS} labels, against traditional with {MANY_LABELS}"
        "</caption><thead><tr><th scope=col>Figure</th><th scope=col>Better</th>"
        f"<th scope=col>Worse</th></tr></thead><tbody>{body}</tbody></table>"
    )


def _names(rows: Sequence[Comparison]) -> str:
    return escape(", ".join(name_of(row.strategy) for row in rows)) or '<span class="soft">–</span>'


def _row(each: Summary | Comparison) -> _Row:
    return each.strategy, each.labels, each.pool_size


def _group(
    labels: int,
    summaries: Sequence[Summary],
    against: Mapping[tuple[_Row, str], Comparison],
    metrics: Sequence[Metric],
    slot: Mapping[str, str],
) -> str:
    order = list(slot)
    rows = sorted({_row(each) for each in summaries}, key=lambda r: (order.index(r[0]), r[2]))
    cells = {(_row(each), each.metric): each for each in summaries}
    rivals = labels > 0 and len(rows) > 1
    best = {each.name: _best(each, summaries) for each in metrics} if rivals else {}
    body = ""
    for row in rows:
        values = "".join(
            _cell(each, cells.get((row, each.name)), against.get((row, each.name)), best)
            for each in metrics
        )
        body += f"<tr>{_name(row[0], slot[row[0]] if rivals else '')}<td>{row[2]}</td>{values}</tr>"
    title = f"{labels:,} labels per prompt" if labels else "No labels"
    heading = f'<th scope="colgroup" colspan="{len(metrics) + 2}">{title}</th>'
    return f"<tbody><tr>{heading}</tr>{body}</tbody>"


def _name(strategy: str, css: str) -> str:
    drawn = mark(css, 7, 7) if css else ""
    picture = f'<svg viewBox="0 0 14 14" aria-hidden="true" class="{css}">{drawn}</svg>'
    return f'<th scope="row">{picture} {escape(name_of(strategy))}</th>'


def _best(measured: Metric, summaries: Iterable[Summary]) -> float:
    means = [each.mean for each in summaries if each.metric == measured.name]
    return (max if measured.higher_is_better else min)(means, default=0.0)


def _cell(
    measured: Metric,
    row: Summary | None,
    against: Comparison | None,
    best: Mapping[str, float],
) -> str:
    if row is None:
        return "<td>–</td>"
    value = measured.bare(row.mean)
    if measured.is_quality and row.mean == best.get(measured.name):
        value = f"<b>{value}</b>"
    half = "" if row.high is None else f" <small>±{measured.bare(row.high - row.mean)}</small>"
    side = _side(measured, against)
    return f"<td{side}>{value}{half}</td>"


def _side(measured: Metric, against: Comparison | None) -> str:
    advantage = measured.advantage(against) if against and measured.is_quality else None
    if advantage is None:
        return ""
    _, low, high = advantage
    return ' class="up"' if low > 0 else ' class="down"' if high < 0 else ""
