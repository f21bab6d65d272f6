"""The quality report on the gate: every check with its figure and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.pages.words import NOT_MEASURED, Chip, Table, line, number, spaced
from winnow.publish.report.facts import BatchFacts

_WORST = ("error", "fail", "not_measured", "pass")
_Same = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Gate:
    """Checks to look at, the names of those without a figure, and those that found no fault."""

    told: Table
    unmeasured: Sequence[str]
    clean: Table


def gate(facts: BatchFacts) -> Gate:
    """The gate's checks, the worst first; a check with two limits is one row."""
    grouped: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for check in facts.checks:
        grouped.setdefault((str(check["name"]), repr(check.get("value"))), []).append(check)
    checks = sorted(grouped.values(), key=lambda same: _WORST.index(_worst(same)))
    unmeasured = [same for same in checks if _worst(same) == "not_measured"]
    clean = [same for same in checks if _worst(same) == "pass" and _value(same[0]) == "0"]
    looked_at = [same for same in checks if same not in clean and same not in unmeasured]
    names = [line(spaced(same[0]["name"])) for same in unmeasured]
    return Gate(
        _table("The gate's checks", looked_at), names, _table("Checks without a fault", clean)
    )


def _table(label: str, checks: Sequence[_Same]) -> Table:
    rows = [
        (
            line(spaced(same[0]["name"])),
            Chip(_worst(same), _worst(same)),
            line(_value(same[0])),
            _limit(same, "warn"),
            _limit(same, "block"),
        )
        for same in checks
    ]
    heads = ["Check", "Outcome", "Figure", "Warns unless", "Blocks unless"]
    return Table(label, heads, rows, ["Outcome", "Warns unless", "Blocks unless"])


def _worst(same: _Same) -> str:
    """The worst outcome; one that nobody knows is an error."""
    outcomes = [str(check["outcome"]) for check in same]
    return min((o if o in _WORST else "error" for o in outcomes), key=_WORST.index)


def _limit(same: _Same, severity: str) -> str:
    limits = [str(c["limit"]) for c in same if c["severity"] == severity and c.get("limit")]
    return line(", ".join(limits)) if limits else "–"


def _value(check: Mapping[str, Any]) -> str:
    value = check.get("value")
    if value is None:
        return NOT_MEASURED
    return number(value, 3) if isinstance(value, float) else str(value)
