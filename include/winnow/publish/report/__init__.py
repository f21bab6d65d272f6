"""The quality report of a version: one HTML file that tells what was bought and how good it is.

Figures are of the newest batch, and totals of all; every one was measured, and those that were not
say so. The words stand in `templates/report.html`; here is what they are about, as plain data.

Always holds: the same batch on the same parent gives the same bytes; there is no clock in it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from winnow.pages.render import render
from winnow.pages.words import Table, count, dollars, line, number, percent, spaced
from winnow.publish.reliability import reliability
from winnow.publish.report import bought as report_bought
from winnow.publish.report import labels as report_labels
from winnow.publish.report import pool as report_pool
from winnow.publish.report.facts import BatchFacts, History
from winnow.publish.report.gate import gate
from winnow.publish.report.labels import certainty_told
from winnow.publish.versions import Version
from winnow.publish.views import VIEWS

TEMPLATES = Path(__file__).parents[1] / "templates"

_COMPARED: dict[str, Callable[[Any], str]] = {
    "agreement": percent,
    "alpha": number,
    "gold_accuracy": percent,
    "tie_rate": percent,
    "side_bias": percent,
    "mean_info_gain": lambda value: number(value, 3),
    "cost": dollars,
}


def quality_report(version: Version, facts: BatchFacts, history: History) -> str:
    """The report of `version`, whose newest batch is the one of `facts`, as HTML."""
    labels = facts.manifests["label"].figures
    intervals = report_labels.agreement_intervals(labels)
    return render(
        "report.html",
        TEMPLATES,
        version=version,
        facts=facts,
        history=history,
        rows=version.n_new_rows("reward"),
        failed=[check for check in facts.checks if check["outcome"] in ("fail", "error")],
        funnel=report_bought.funnel(facts, version),
        floors=report_bought.floors(facts),
        gains=report_bought.gains(facts),
        cost=report_bought.cost(facts),
        intervals=intervals,
        agreement=report_labels.agreement_chart(intervals) if len(intervals) > 1 else None,
        unmeasured=report_labels.unmeasured(labels),
        certainty=certainty_told(labels),
        annotators=report_labels.annotators(facts),
        suspects=report_labels.suspects(facts),
        sources=report_labels.sources(facts),
        judges=report_labels.judges(facts),
        brought=report_labels.brought_told(facts.figure("select", "brought_labels")),
        sessions=report_labels.sessions(facts),
        calibration=report_labels.calibration(facts),
        reliability=reliability(facts.calibration.bins) if facts.calibration else None,
        gate=gate(facts),
        audit=report_pool.audit(facts),
        shifts=report_pool.shifts(facts),
        quarantine=report_pool.quarantine(facts),
        changes=_changes(version, facts, history.parent),
    )


def _changes(version: Version, facts: BatchFacts, parent: Version | None) -> list[Table]:
    """What became of the parent's totals, and the newest batches side by side."""
    if parent is None:
        return []
    totals = [
        (f"rows of {view}", count(parent.n_rows(view)), count(version.n_rows(view)))
        for view in VIEWS
        if version.n_rows(view) or parent.n_rows(view)
    ]
    figures = [(name, parent.figures.get(name), version.figures.get(name)) for name in _COMPARED]
    measured = [
        (spaced(name), _COMPARED[name](old), _COMPARED[name](new))
        for name, old, new in figures
        if old is not None or new is not None
    ]
    before = f"{parent.name}, batch {line(parent.batches[-1])}"
    now = f"{version.name}, batch {line(facts.batch)}"
    return [
        Table("Changes", ["Total", parent.name, version.name], totals),
        Table("Newest batches", ["Newest batch", before, now], measured),
    ]
