"""The quality report of a version: one HTML file that tells what was bought and how good it is.

Figures are of the newest batch, and totals of all; every one was measured, and those that were not
say so. Texts of prompts, models and annotators are shown as plain text (see `report_text`), and the
page forbids itself every script and address (see `report_style`).

Always holds: the same batch on the same parent gives the same bytes; there is no clock in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from winnow.page.markup import paragraphs
from winnow.publish import report_bought, report_gate, report_labels, report_pool
from winnow.publish.report_facts import BatchFacts, History
from winnow.publish.report_style import document
from winnow.publish.report_text import (
    between,
    count,
    dollars,
    number,
    percent,
    ratio,
    said,
    table,
)
from winnow.publish.versions import Version
from winnow.publish.views import VIEWS

_VERDICTS = {"pass": "passed the gate", "warn": "passed with warnings"}

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
    parts = [
        (
            "What was bought, and why",
            report_bought.funnel(facts, version) + report_bought.why(facts),
        ),
        ("Gain against rank", report_bought.gains(facts)),
        ("Agreement", report_labels.agreement(facts)),
        ("Annotators", report_labels.annotators(facts)),
        ("Calibration", report_labels.calibration(facts)),
        ("Cost", report_bought.cost(facts, history)),
        ("The gate", report_gate.gate(facts)),
        ("The pools", report_pool.audit(facts)),
        ("From pool to chosen", report_pool.shifts(facts)),
        ("Quarantine", report_pool.quarantine(facts)),
        ("Pairs to look at", report_pool.pairs(facts)),
        ("Since the last version", _changes(version, facts, history)),
    ]
    body = "".join(_section(i, title, part) for i, (title, part) in enumerate(parts))
    head = _head(version, facts) + _tiles(version, facts) + _contents([name for name, _ in parts])
    title = f"Quality of {version.dataset} {version.name}"
    return document(title, head + body + _foot(version, facts))


def _head(version: Version, facts: BatchFacts) -> str:
    said_of_it = str(facts.verdict["verdict"])
    words = _VERDICTS.get(said_of_it, said_of_it)
    css = said_of_it if said_of_it in _VERDICTS else "block"
    chip = f'<span class="chip {css}">{escape(words)}</span>'
    note = facts.vendor_note.replace("*", "")
    notice = f'<div class="notice"><p>{said(note, 400)}</p></div>' if note else ""
    return (
        f'<p class="kicker">Quality report · batch {said(facts.batch)}</p>'
        f"<h1>{said(version.dataset)} {version.name} {chip}</h1>"
        f'<p class="lead">{escape(_lead(version, facts))}</p>{notice}'
        f"{_failed(facts)}"
    )


def _failed(facts: BatchFacts) -> str:
    """The checks that did not pass, since nobody should have to look for them."""
    failed = [
        f"<li>{said(str(c['name']).replace('_', ' '))}: {said(str(c.get('value')))}, limit "
        f"{said(str(c.get('limit')))}</li>"
        for c in facts.checks
        if c["outcome"] in ("fail", "error")
    ]
    if not failed:
        return ""
    return f'<div class="notice"><p>The gate warns:</p><ul>{"".join(failed)}</ul></div>'


def _lead(version: Version, facts: BatchFacts) -> str:
    bought, scored = facts.n("select", "comparisons"), facts.n("select", "pairs_scored")
    found = facts.manifests["label"].figures
    told = (
        f"{count(bought)} pairs of {count(scored)} were put before annotators for "
        f"{dollars(facts.paid)}, and {count(_rows(version, facts))} became preferences."
    )
    if found.get("agreement") is not None:
        interval = between(found.get("agreement_low"), found.get("agreement_high"))
        told += (
            f" Where two annotators named a side of one pair, {percent(found['agreement'])} "
            f"{interval} named the same one."
        )
    return told


def _tiles(version: Version, facts: BatchFacts) -> str:
    rows = _rows(version, facts)
    prompts = facts.n("ingest", "rows_out")
    alpha = facts.figure("label", "alpha")
    tiles = [
        (count(rows), "preferences", f"{count(version.n_rows('reward'))} in the whole version"),
        (dollars(ratio(facts.paid, prompts)), "paid per prompt", f"{count(prompts)} prompts"),
        (
            percent(facts.figure("label", "agreement")),
            "agreement",
            f"on {count(facts.figure('label', 'n_agreement'))} pairs of votes",
        ),
        (number(alpha), "alpha", "0 is chance, 1 perfect"),
        (count(facts.figure("label", "n_annotators")), "annotators", _busiest(facts)),
    ]
    body = "".join(
        f"<li><b>{escape(value)}</b><span>{escape(name)}</span><small>{escape(note)}</small></li>"
        for value, name, note in tiles
    )
    return f'<ul class="tiles">{body}</ul>'


def _busiest(facts: BatchFacts) -> str:
    share = facts.figure("label", "largest_annotator_share")
    return "" if share is None else f"the busiest gave {percent(share)} of the votes"


def _contents(titles: Sequence[str]) -> str:
    links = "".join(f'<li><a href="#s{i}">{escape(t)}</a></li>' for i, t in enumerate(titles))
    return f'<nav aria-label="Contents"><ul class="contents">{links}</ul></nav>'


def _section(i: int, title: str, body: str) -> str:
    return f'<section id="s{i}"><h2>{escape(title)}</h2>{body}</section>\n'


def _changes(version: Version, facts: BatchFacts, history: History) -> str:
    parent = history.parent
    if parent is None:
        return paragraphs(["This is the first version."])
    views = [
        (
            f"rows of <code>{escape(view)}</code>",
            count(parent.n_rows(view)),
            count(version.n_rows(view)),
        )
        for view in VIEWS
        if version.n_rows(view) or parent.n_rows(view)
    ]
    compared = [(name, parent.figures.get(name), version.figures.get(name)) for name in _COMPARED]
    measured = [
        (escape(name.replace("_", " ")), _COMPARED[name](old), _COMPARED[name](new))
        for name, old, new in compared
        if old is not None or new is not None
    ]
    added = [batch for batch in version.batches if batch not in parent.batches]
    told = f"{version.name} adds batch {', '.join(added)} to {parent.name}."
    before = f"{parent.name}, batch {parent.batches[-1]}"
    now = f"{version.name}, batch {facts.batch}"
    return (
        f"<p>{said(told, 300)}</p>"
        + table("Changes", ["Total", parent.name, version.name], views)
        + table("Newest batches", ["Newest batch", before, now], measured)
    )


def _rows(version: Version, facts: BatchFacts) -> int:
    return report_bought.n_rows_of(version, "reward", facts.batch)


def _foot(version: Version, facts: BatchFacts) -> str:
    code = facts.manifests["label"].code_version
    told = (
        f"Batches in this version: {len(version.batches):,}; the figures are those of the newest. "
        f"Data digest {version.digest}. Written by winnow {code}; it loads nothing and runs no "
        "script."
    )
    return f"<footer><p>{escape(told)}</p></footer>"
