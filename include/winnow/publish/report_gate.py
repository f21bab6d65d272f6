"""The quality report on the gate: every check with its figure and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from winnow.page.markup import folded, paragraphs
from winnow.publish.report_facts import BatchFacts
from winnow.publish.report_text import NOT_MEASURED, number, said, table

_WORST = ("error", "fail", "not_measured", "pass")
_KIND_END = (
    "What is counted on few answers is held against its limits by the end of its 95 % interval "
    "that speaks for the batch: agreement high is an upper end, side bias low a lower one."
)
_OUTCOMES = {"pass": "pass", "fail": "fail", "error": "error", "not_measured": "none"}


def gate(facts: BatchFacts) -> str:
    """Every check with its figure and limits; those of rows that found no fault are folded."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for check in facts.checks:
        grouped.setdefault((str(check["name"]), repr(check.get("value"))), []).append(check)
    checks = sorted(grouped.values(), key=lambda same: _WORST.index(_worst(same)))
    clean = [same for same in checks if _worst(same) == "pass" and _value(same[0]) == "0"]
    told = [same for same in checks if same not in clean]
    body = paragraphs([_KIND_END], "soft") + (_checks("The gate's checks", told) if told else "")
    if clean:
        title = f"{len(clean):,} more checks passed and counted no fault"
        body += folded(title, _checks("Checks without a fault", clean))
    return body


def _checks(label: str, checks: Sequence[Sequence[Mapping[str, Any]]]) -> str:
    rows = [
        (
            said(str(same[0]["name"]).replace("_", " ")),
            _chip(_worst(same)),
            escape(_value(same[0])),
            _limit(same, "warn"),
            _limit(same, "block"),
        )
        for same in checks
    ]
    heads = ["Check", "Outcome", "Figure", "Warns unless", "Blocks unless"]
    return table(label, heads, rows, ["Outcome", "Warns unless", "Blocks unless"])


def _worst(same: Sequence[Mapping[str, Any]]) -> str:
    outcomes = [str(check["outcome"]) for check in same]
    return min(outcomes, key=lambda o: _WORST.index(o) if o in _WORST else 0)


def _limit(same: Sequence[Mapping[str, Any]], severity: str) -> str:
    limits = [str(c["limit"]) for c in same if c["severity"] == severity and c.get("limit")]
    return said(", ".join(limits)) if limits else "–"


def _chip(outcome: str) -> str:
    css = _OUTCOMES.get(outcome, "none")
    return f'<span class="chip {css}">{escape(outcome.replace("_", " "))}</span>'


def _value(check: Mapping[str, Any]) -> str:
    value = check.get("value")
    if value is None:
        return NOT_MEASURED
    return number(value, 3) if isinstance(value, float) else str(value)
