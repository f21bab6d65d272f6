"""The page of the label bench: verdicts in words, curves, differences, tables, limits.

Every sentence and every mark is computed from the rows; the limits and the way to reproduce come
from the facts. The page is one file without scripts, and its text is escaped, since names of pools
and strategies come from whoever ran the bench.

A strategy with no labels, or with more than `LARGEST_BUDGET` per prompt, is a reference: a level to
hold the others against, not a budget that anybody would choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from winnow.errors import Corrupt
from winnow.page.markup import bullets, definitions, figure, folded, paragraphs, section
from winnow.page.reliability import reliability_svg
from winnow.page.svg import mark
from winnow_bench.charts import Estimate, Line, curves_svg, forest_svg, near
from winnow_bench.document import document, slots
from winnow_bench.metrics import METRICS, Metric, metric
from winnow_bench.statistics import Comparison, Summary
from winnow_bench.tables import results_table, verdict_table
from winnow_bench.verdicts import (
    CONTROL,
    FEW_LABELS,
    MANY_LABELS,
    RIVAL,
    against_rival,
    flagship_against_control,
    gap,
    name_of,
    pool_sentences,
    usual_size,
)

LARGEST_BUDGET = 64

_CURVES = (
    "Each metric against labels per prompt, which double from tick to tick. Bands are 95 % "
    "intervals of the mean over seeds; differences between strategies are paired and known better "
    "than the bands suggest. Where a strategy ran on several pool sizes, the commonest is drawn."
)

Slots = Mapping[str, str]
_SHOWN_APART = frozenset({"command", "limits", "reliability", "about"})


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
    pools = sorted({row.pool for row in summaries})
    body = _verdicts(pools, summaries, comparisons) + _legend(summaries, slot)
    for pool in pools:
        own = [row for row in summaries if row.pool == pool]
        against = [row for row in comparisons if row.pool == pool]
        about = paragraphs([facts["about"][pool]]) if pool in facts.get("about", {}) else ""
        body += section(f"Pool: {pool}", about + _pool(own, against, slot))
    return document("What each label bought", body + _back_matter(summaries, facts))


def _verdicts(
    pools: Sequence[str], summaries: Sequence[Summary], comparisons: Sequence[Comparison]
) -> str:
    cards, n_looked_at = "", 0
    for pool in pools:
        own = [row for row in comparisons if row.pool == pool]
        first, *others = pool_sentences([row for row in summaries if row.pool == pool], own)
        found = against_rival(own) + flagship_against_control(own)
        n_looked_at += sum(each.n_looked_at for each in found)
        lead = f'<p class="lead">{escape(first)}</p>'
        table = verdict_table(against_rival(own))
        cards += f'<div class="card"><h3>{escape(pool)}</h3>{lead}{table}{bullets(others)}</div>'
    note = (
        "Better and worse mean that the 95 % t interval of the difference, paired by seed, lies "
        "clear of zero. The intervals are not corrected for their number: the verdicts read "
        f"{n_looked_at} of them, of which about {n_looked_at / 20:.0f} would lie clear of zero by "
        "chance alone if no strategy differed from another."
    )
    return f'<div class="cards">{cards}</div>' + paragraphs([note], "soft")


def _legend(summaries: Sequence[Summary], slot: Slots) -> str:
    present = {row.strategy for row in summaries if _has_budget(row)}
    entries = "".join(
        f'<label class="{css}"><input type="checkbox" id="show-{css}" checked>'
        f'<svg viewBox="0 0 14 14" aria-hidden="true">{mark(css, 7, 7)}</svg>'
        f"{escape(name_of(name))}</label>"
        for name, css in slot.items()
        if name in present
    )
    return f'<fieldset class="legend"><legend>Shown in the curves</legend>{entries}</fieldset>'


def _pool(summaries: Sequence[Summary], comparisons: Sequence[Comparison], slot: Slots) -> str:
    metrics = _metrics(summaries)
    quality = [each for each in metrics if each.is_quality]
    curves = "".join(_curves(each, summaries, slot) for each in quality)
    forests = [_forests(each, comparisons, slot) for each in quality]
    main = [r for r in summaries if r.labels in (FEW_LABELS, MANY_LABELS) or not _has_budget(r)]
    rest = [row for row in summaries if row not in main]
    body = (
        "<h3>Budget curves</h3>"
        + paragraphs([_CURVES], "soft")
        + f'<div class="plots curves">{curves}</div>'
    )
    body += f"<h3>With {FEW_LABELS} labels per prompt</h3>" + "".join(forests[:1])
    if any(forests[1:]):
        body += folded("The same for every other metric", "".join(forests[1:]))
    body += "<h3>All figures</h3>" + results_table(main, comparisons, metrics, slot)
    if rest:
        body += folded("Other budgets", results_table(rest, comparisons, metrics, slot))
    return body


def _metrics(rows: Iterable[Summary]) -> list[Metric]:
    """Metrics that the rows have, in their usual order."""
    present = {metric(row.metric).name for row in rows}
    return [each for each in METRICS.values() if each.name in present]


def _has_budget(row: Summary) -> bool:
    return 0 < row.labels <= LARGEST_BUDGET


def _curves(measured: Metric, summaries: Sequence[Summary], slot: Slots) -> str:
    rows = [row for row in summaries if row.metric == measured.name]
    lines = [
        Line(name_of(strategy), slot[strategy], points)
        for strategy, points in _points([row for row in rows if _has_budget(row)])
    ]
    if not lines:
        return ""
    levels = sorted((r for r in rows if not _has_budget(r)), key=lambda r: (r.mean, r.strategy))
    shown = near(lines, levels)
    beyond = [
        f"{name_of(row.strategy)} {measured.write(row.mean)}" for row in levels if row not in shown
    ]
    note = f"off the scale: {', '.join(beyond)}" if beyond else ""
    return figure(measured.heading, note, curves_svg(measured, lines, shown))


def _points(rows: Sequence[Summary]) -> list[tuple[str, list[Summary]]]:
    """Each strategy's row per budget: of the usual pool size, else of its largest."""
    usual = usual_size(rows) if rows else 0
    best = {}
    for row in sorted(rows, key=lambda r: (r.pool_size == usual, r.pool_size)):
        best[row.strategy, row.labels] = row
    ordered = sorted(best.values(), key=lambda r: (r.strategy, r.labels))
    return [(name, list(points)) for name, points in groupby(ordered, lambda r: r.strategy)]


def _forests(measured: Metric, comparisons: Sequence[Comparison], slot: Slots) -> str:
    pictures = ""
    for baseline, words in (
        (RIVAL, f"traditional with {MANY_LABELS} labels"),
        (CONTROL, f"random pairs of the same pool with {FEW_LABELS} labels"),
    ):
        estimates = _estimates(measured, baseline, comparisons, slot)
        if estimates:
            title = f"{measured.title} against {words}, {measured.difference_unit}"
            note = "hollow: the interval holds zero; in brackets: candidates per prompt"
            pictures += figure(title, note, forest_svg(measured, estimates, title))
    return f'<div class="plots wide">{pictures}</div>' if pictures else ""


def _estimates(
    measured: Metric, baseline: str, comparisons: Sequence[Comparison], slot: Slots
) -> list[Estimate]:
    rows = [
        row
        for row in comparisons
        if (row.metric, row.baseline, row.labels) == (measured.name, baseline, FEW_LABELS)
    ]
    several = len({row.pool_size for row in rows}) > 1
    found = []
    for row in rows:
        advantage = measured.advantage(row)
        if advantage is not None:
            name = name_of(row.strategy) + (f" ({row.pool_size})" if several else "")
            words = gap(measured, row).replace(f" {measured.difference_unit}", "")
            found.append(Estimate(name, slot[row.strategy], *advantage, words))
    return sorted(found, key=lambda each: (-each.mean, each.name))


def _back_matter(summaries: Sequence[Summary], facts: Mapping[str, Any]) -> str:
    meanings = {each.title: each.meaning for each in _metrics(summaries)}
    body = section("What the figures mean", definitions(meanings))
    reliability = "".join(
        figure(name, "", reliability_svg(bins))
        for name, bins in facts.get("reliability", {}).items()
    )
    if reliability:
        body += section("Calibration", f'<div class="plots">{reliability}</div>')
    body += section("What this bench cannot show", bullets(facts.get("limits", ())))
    command = f"<pre><code>{escape(facts['command'])}</code></pre>" if "command" in facts else ""
    others = {name: value for name, value in facts.items() if name not in _SHOWN_APART}
    return body + section("How to reproduce", command + definitions(others))
