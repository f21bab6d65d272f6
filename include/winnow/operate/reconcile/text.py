"""What a pass found, in words for a person."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from winnow.errors import Blocked, Corrupt
from winnow.operate.alarms import HEADING_OF, Alarm, alarm_kind, cause_of
from winnow.operate.reconcile.findings import Finding
from winnow.operate.reconcile.once import Report
from winnow.runbook import DEADLINE_HEADING, STUCK_HEADING, TWINS_HEADING
from winnow.text import plain_rows


def alarm_of(campaign: str, finding: Finding, now: datetime) -> Alarm | None:
    """The finding as an alarm, another one each day; None where its task has told it already."""
    if finding.kind == "failed":
        return None
    heading = {
        "unreadable": HEADING_OF[Corrupt],
        "late_answers": DEADLINE_HEADING,
        "twin_runs": TWINS_HEADING,
    }.get(finding.kind, STUCK_HEADING)
    kind = alarm_kind(f"reconcile-{finding.kind}-{finding.stage}-{now:%Y-%m-%d}")
    cause = cause_of(Blocked(finding.detail))
    return Alarm(campaign, finding.key, kind, heading, cause, finding.command)


def alarm_text(findings: Iterable[Finding]) -> str:
    """One message over all of them: what it is, and the command that mends it."""
    told = list(findings)
    batches = "1 thing needs" if len(told) == 1 else f"{len(told)} things need"
    lines = [f"{batches} a person:"]
    for finding in told:
        lines += [f"- {_place(finding)}: {finding.detail}", f"    {finding.command}"]
    return plain_rows(lines)


def report_text(report: Report) -> str:
    """Everything a pass found, a line each, and what was done."""
    lines = [line for f in report.findings for line in _lines(f)]
    return plain_rows([*lines, *report.mended]) or "Nothing is lost."


def _place(finding: Finding) -> str:
    return f"{finding.key} {finding.stage}".strip()


def _lines(finding: Finding) -> list[str]:
    told = f"{_place(finding)}: {finding.detail}"
    if finding.mend is not None:
        return [f"{told}; {'announced again' if finding.mend == 'announce' else 'mended'}"]
    return [told, f"    {finding.command}"] if finding.command else [f"{told}; left alone"]
