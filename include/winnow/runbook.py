"""Headings of `docs/runbook.md` that more than one part of Winnow names."""

GATE_HEADING = "The gate blocked the batch"
APPROVAL_HEADING = "A purchase waits for a person"
DEADLINE_HEADING = "Labels are late"
STUCK_HEADING = "A batch does not go on"
TWINS_HEADING = "Two runs work on one batch"

APPROVAL_CLICK = "Airflow: Browse, Required Actions, approve_purchase"
"""Where a person answers whether a purchase may be made."""
