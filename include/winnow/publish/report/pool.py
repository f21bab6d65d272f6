"""The quality report on the responses: the pools' audit, shifts and lengths, quarantine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from winnow.campaign import AuditLimits
from winnow.pages import charts
from winnow.pages.charts import Axis, Chart, Point, Series
from winnow.pages.words import Chip, Table, count, line, number, percent, spaced
from winnow.publish.report.facts import BatchFacts
from winnow.publish.report.figures import Lengths
from winnow.publish.report.shares import Step

GROUPS = {"pool": "k2", "bought": "k0", "chosen": "k1"}
"""Colour of each group of responses."""

_FOLDERS = re.compile(r"(?:\w+:/)?/(?:[^\s/]+/)+")

_NAMES = {
    **{name: setting.description for name, setting in AuditLimits.model_fields.items()},
    "distinct_1": "Distinct words",
    "distinct_2": "Distinct pairs of words",
    "distinct_3": "Distinct triples of words",
}


def audit(facts: BatchFacts) -> tuple[Sequence[str], Table] | None:
    """How diverse and how sound the pools are: advice and figures; None where nobody looked."""
    found = facts.figure("expand", "audit")
    if not found:
        return None
    beyond = {warning["figure"]: warning["advice"] for warning in found["warnings"]}
    rows = [
        (
            _words(name),
            number(each["mean"]),
            _range(each),
            "–" if each["limit"] is None else number(each["limit"]),
            "–" if each["limit"] is None else count(each["n_beyond"]),
            Chip("warn", "warn") if name in beyond else "",
        )
        for name in [*_NAMES, *sorted(found["figures"].keys() - _NAMES)]
        if (each := found["figures"].get(name)) is not None
    ]
    heads = ["Figure", "Mean over prompts", "95 % interval", "Limit", "Prompts beyond", "Verdict"]
    advice = [f"{_words(name)}: beyond the limit; {mend}." for name, mend in beyond.items()]
    return advice, Table("Audit of the pools", heads, rows)


def _words(figure: str) -> str:
    return _NAMES.get(figure) or spaced(figure)


def shifts(facts: BatchFacts) -> tuple[Table, Chart | None, Mapping[str, str]] | None:
    """Shares of languages and faults from the pool to the chosen side, and lengths."""
    if not facts.traits:
        return None
    rows = [
        (line(trait.name), *(_step(step) for step in (trait.pool, trait.bought, trait.chosen)))
        for trait in facts.traits
    ]
    first = facts.traits[0]
    groups = {"Pool": first.pool, "Bought": first.bought, "Chosen": first.chosen}
    heads = ["Share of responses", *(f"{name}, {step.n:,}" for name, step in groups.items())]
    drawn = None if facts.lengths is None else _lengths(facts.lengths)
    return Table("Shifts", heads, rows), drawn, GROUPS


def quarantine(facts: BatchFacts) -> Table | None:
    """What went no further, by stage and reason."""
    rows = [
        (
            line(each.stage),
            line(each.reason),
            count(each.n),
            line(without_folders(each.detail), 160),
        )
        for each in facts.refused
    ]
    heads = ["Stage", "Reason", "Rows", "For instance"]
    return Table("Quarantine", heads, rows, ["Reason", "For instance"]) if rows else None


def without_folders(detail: str) -> str:
    """A published page names files and not where they lay."""
    return _FOLDERS.sub("", detail)


def _range(figure: Mapping[str, Any]) -> str:
    if figure["low"] is None or figure["high"] is None:
        return "–"
    return f"{number(figure['low'])} to {number(figure['high'])}"


def _step(step: Step) -> str:
    moved = {"up": " ▲ more", "down": " ▼ fewer"}
    return f"{percent(step.share)} ({step.hits:,}){moved.get(step.shift, '')}"


def _lengths(lengths: Lengths) -> Chart:
    """Deciles of the length of responses, a line per group."""
    groups = {"pool": lengths.pool, "bought": lengths.bought, "chosen": lengths.chosen}
    series = [
        Series(
            GROUPS[name],
            [
                Point(k, v, f"{name}: {10 * k} % are at most {v:,.0f} characters", size=3.5)
                for k, v in enumerate(values, start=1)
            ],
            joined=True,
        )
        for name, values in groups.items()
    ]
    names = [(k, f"{10 * k}") for k in range(1, 10)]
    return charts.plane(
        "Length of responses, characters",
        Axis(0.5, 9.5, names, "% of responses are at most this long"),
        charts.value_axis(
            [0.0, *(v for each in groups.values() for v in each)], lambda t, _: count(t)
        ),
        series,
    )
