"""Label: buy the batch's annotations once, and bring all of them home.

`submit` may be run again at any time: it reconciles with the vendor's books and sends only what is
missing. `collect` closes the stage: whatever the vendor sent is in the lake, as an annotation or in
quarantine, and the cost is what the vendor charged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from winnow.batch import Batch, Manifest, quarantine_table, read_table
from winnow.errors import Blocked, Fatal, Retryable
from winnow.ids import canonical_json
from winnow.label.aggregate import Preference, aggregate, estimate_error_rate
from winnow.label.collect import collect_annotations
from winnow.label.submit import submit_tasks
from winnow.label.tasks import BuiltTasks, build_tasks
from winnow.label.vendor import BatchStatus, LabelVendor
from winnow.records import ANNOTATIONS, MICROS, PREFERENCES, TASKS, Quarantined, to_table
from winnow.validate.metrics import label_figures

STAGE = "label"

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SubmissionRecord:
    """When the batch's tasks were first with the vendor, and until when to wait (UTC, ISO 8601)."""

    ref: str
    submitted_at: str
    deadline: str


def submit(batch: Batch, vendor: LabelVendor) -> dict[str, Any]:
    """Bring the vendor to hold the batch's tasks, within the budget; what was sent and what not."""
    if batch.manifest(STAGE) is not None:
        return {"ref": read_submission(batch).ref, "sent": 0}
    built = _build(batch)
    sent = submit_tasks(
        vendor, f"{batch.campaign.name}/{batch.key}", built.requests, batch.campaign.label.budget
    )
    now = batch.clock()
    deadline = now + timedelta(minutes=batch.campaign.label.deadline_minutes)
    record = SubmissionRecord(sent.ref, now.isoformat(), deadline.isoformat())
    batch.lake.create(_submission_path(batch), canonical_json(asdict(record)))
    return {
        "ref": sent.ref,
        "tasks": sent.n_tasks,
        "sent": sent.n_sent,
        "already_there": sent.n_already,
        "estimate_usd": sent.estimate / MICROS,
    }


def read_submission(batch: Batch) -> SubmissionRecord:
    """The batch's submission.

    Raises:
        Fatal: Nothing was submitted yet.
    """
    try:
        return SubmissionRecord(**json.loads(batch.lake.read(_submission_path(batch))))
    except FileNotFoundError as error:
        raise Fatal(f"Batch {batch.key} was not submitted; run submit_tasks first.") from error


def is_submitted(batch: Batch) -> bool:
    """Whether the vendor has the batch's tasks."""
    return batch.lake.exists(_submission_path(batch))


def progress(batch: Batch, vendor: LabelVendor | None) -> str:
    """How far the vendor is, as far as it can be asked."""
    try:
        status = vendor.status(read_submission(batch).ref) if vendor else None
    except Retryable:
        status = None
    if status is None:
        return "tasks are with the vendor"
    return f"{status.n_answered} of {status.n_tasks} tasks answered"


def collect(batch: Batch, vendor: LabelVendor, salt: bytes) -> Manifest:
    """Bring home every annotation and commit the stage.

    Raises:
        Retryable: The vendor is not done and the deadline has not passed.
        Blocked: Fewer tasks were answered than the campaign's `min_completion`.
    """
    done = batch.manifest(STAGE)
    if done is not None:
        return done
    submission = read_submission(batch)
    status = _close(batch, vendor, submission)
    built, selected = _build(batch), batch.require("select")
    tasks = [
        {
            **asdict(task),
            "vendor_ref": submission.ref,
            "submitted_at": _time(submission.submitted_at),
        }
        for task in built.tasks
    ]
    comparisons = read_table(batch.lake, selected.outputs["comparisons"]).to_pylist()
    found = collect_annotations(vendor, submission.ref, tasks, comparisons, salt)
    annotations = to_table(found.annotations, ANNOTATIONS)
    figures = label_figures(annotations, len(tasks))
    error_rate = estimate_error_rate(figures.n_agreed, figures.n_agreement)
    preferences = aggregate(annotations.to_pylist(), comparisons, error_rate)
    asked = {task.pair_id for task in built.tasks}
    silent = _without_vote([row for row in comparisons if row["pair_id"] in asked], preferences)
    quarantined = [*built.quarantined, *found.quarantined, *silent]
    return batch.commit(
        STAGE,
        inputs=[selected],
        outputs={
            "annotations": batch.write_table(STAGE, "annotations", annotations),
            "preferences": batch.write_table(
                STAGE, "preferences", to_table(preferences, PREFERENCES)
            ),
            "tasks": batch.write_table(STAGE, "tasks", to_table(tasks, TASKS)),
            "quarantine": batch.write_table(STAGE, "quarantine", quarantine_table(quarantined)),
        },
        counts={
            "rows_in": len(comparisons),
            "rows_out": len(preferences),
            "quarantined": len(silent) + len(built.quarantined),
            "tasks": len(tasks),
            "unanswered": status.n_tasks - status.n_answered,
            "annotations": annotations.num_rows,
            "annotations_quarantined": len(found.quarantined),
        },
        cost=status.charged,
        figures=figures.as_dict(),
    )


def _close(batch: Batch, vendor: LabelVendor, submission: SubmissionRecord) -> BatchStatus:
    """The vendor's last word: it is done, or the deadline passed and the rest is called off."""
    status = vendor.status(submission.ref)
    if not status.is_final:
        if batch.clock() < _time(submission.deadline):
            raise Retryable(
                f"Vendor batch {submission.ref} is still open; wait_for_vendor waits for it."
            )
        status = vendor.cancel(submission.ref, "deadline passed")
    needed = batch.campaign.label.min_completion
    if status.n_answered < needed * status.n_tasks:
        raise Blocked(
            f"Batch {batch.key}: {status.n_answered} of {status.n_tasks} tasks were answered, the "
            f"campaign asks for {needed:.0%}. Lower label.min_completion or ask the vendor."
        )
    return status


def _build(batch: Batch) -> BuiltTasks:
    ingested, expanded, selected = (batch.require(s) for s in ("ingest", "expand", "select"))
    return build_tasks(
        read_table(batch.lake, selected.outputs["comparisons"]).to_pylist(),
        read_table(batch.lake, expanded.outputs["responses"]).to_pylist(),
        read_table(batch.lake, ingested.outputs["prompts"]).to_pylist(),
        batch.campaign.label,
        batch.campaign.select.seed,
    )


def _without_vote(comparisons: list[Row], preferences: list[Preference]) -> list[Quarantined]:
    """The asked pairs that nobody decided on: expired, skipped, or retracted."""
    voted = {preference.pair_id for preference in preferences}
    detail = "no annotation of this pair counts: unanswered, skipped or retracted"
    return [
        Quarantined(STAGE, "no_vote", detail, record_id=row["pair_id"])
        for row in comparisons
        if row["pair_id"] not in voted
    ]


def _submission_path(batch: Batch) -> str:
    return f"{batch.folder}/{STAGE}/submission.json"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
