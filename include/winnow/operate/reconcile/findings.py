"""What is wrong with the batches of a lake, and what mends it. Computes only.

A batch goes from stage to stage by Airflow's asset events. An event may be lost, a run may end
without having done its work, and nothing in Airflow would start it again. Every stage may be run
again at any time, so the one cure is to announce the stage before once more: the same work goes on
where it stopped, and what was bought is not bought again.

How often that is tried is bounded, and what needs a person is told once, not every 15 minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from winnow.batch import STAGES
from winnow.ids import content_id
from winnow.operate.standing import (
    ACTIVE,
    GRACE,
    PAUSES,
    Facts,
    Mended,
    Run,
    mend_name,
    standing_of,
)

TELL_AGAIN = timedelta(days=7)

Kind = Literal[
    "lost_event",
    "failed_run",
    "no_manifest",
    "paused",
    "twin_runs",
    "stuck",
    "gave_up",
    "failed",
    "night_failed",
    "taken_not_begun",
    "half_published",
    "late_answers",
    "unreadable",
]
Mend = Literal["announce", "commit_ingest", "finish_version"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be.

    Attributes:
        kind: What it is.
        key: The batch, or the version's name.
        stage: The stage that does not go on.
        detail: What it is in words, one line, plain text.
        mend: What is done about it; None: a person is told, or nothing is to be done.
        command: What a person does about it.
        occasion: Tells two findings of one kind about the same stage of a batch apart: Winnow's
            own word, never one of a server or of a person.
    """

    kind: Kind
    key: str
    stage: str
    detail: str
    mend: Mend | None = None
    command: str = ""
    occasion: str = ""

    @property
    def name(self) -> str:
        """Says whether two findings are the same one; the detail may differ at every look."""
        return f"{self.kind} {self.key} {self.stage} {self.occasion}".rstrip()

    @property
    def sentence(self) -> str:
        """Of which batch and stage it is, and what it is."""
        return f"{f'{self.key} {self.stage}'.strip()}: {self.detail}"

    @property
    def is_alarm(self) -> bool:
        """Whether a person has to hear of it."""
        return self.mend is None and bool(self.command)


def find(
    batches: Iterable[Facts],
    runs: Iterable[Run],
    paused: Iterable[str],
    mends: Mapping[str, Mended],
    now: datetime,
    through: Iterable[str] = (),
) -> list[Finding]:
    """What is wrong with the batches.

    Args:
        batches: Those that are not through; all that the ledger knows.
        runs: Every run of them that Airflow knows, in any order.
        paused: Stages whose DAG is paused.
        mends: What was announced again before, by `mend_name`.
        now: With its zone.
        through: Batches that are published or over.
    """
    of_batch: dict[str, list[Run]] = {}
    for run in runs:
        of_batch.setdefault(run.key, []).append(run)
    batches, stopped = list(batches), frozenset(paused)
    findings = [
        finding
        for batch in batches
        if batch.stage is not None
        for finding in _of_batch(
            batch, batch.stage, of_batch.get(batch.key, []), stopped, mends, now
        )
    ]
    first = STAGES[0]
    for key in sorted(of_batch.keys() - {*through, *(batch.key for batch in batches)}):
        nights = [run for run in of_batch[key] if run.stage == first]
        if nights and all(run.state == "failed" for run in nights):
            detail = f"its run of {nights[0].dag} failed before a file was taken"
            command = (
                "read its log, mend what it says, then "
                f"winnow backfill --campaign {nights[0].campaign} --from {key} --to {key} --failed"
            )
            findings.append(Finding("night_failed", key, first, detail, command=command))
    return findings


def _of_batch(
    batch: Facts,
    stage: str,
    runs: Sequence[Run],
    paused: frozenset[str],
    mends: Mapping[str, Mended],
    now: datetime,
) -> Iterator[Finding]:
    active = [run for run in runs if run.stage == stage and run.state in ACTIVE]
    if len(active) > 1:
        ids = ", ".join(sorted(run.run_id for run in active))
        detail = f"{len(active)} runs of {active[0].dag} work on it: {ids}"
        command = (
            "nothing is bought or published twice; to save the work, mark all but one as failed in "
            "Airflow"
        )
        yield Finding("twin_runs", batch.key, stage, detail, command=command)
    mended = mends.get(mend_name(batch.key, stage))
    standing = standing_of(batch, now, runs, paused, mended)
    kind = _KINDS.get(standing.kind)
    if stage == STAGES[0] and not active:
        yield Finding("taken_not_begun", batch.key, stage, standing.cause, mend="commit_ingest")
    elif kind in ("lost_event", "failed_run", "no_manifest"):
        # Airflow had its time, and no mend was tried just now.
        had_time = standing.since is None or now - standing.since >= GRACE
        pause = PAUSES[min(mended.n if mended else 0, len(PAUSES) - 1)]
        if had_time and (mended is None or now - mended.at >= pause):
            yield Finding(kind, batch.key, stage, standing.cause, mend="announce")
    elif kind == "paused":
        yield Finding(kind, batch.key, stage, standing.cause)
    elif kind is not None:
        failure, occasion = batch.failures.get(stage), ""
        if kind == "failed" and failure is not None:
            occasion = content_id(failure.run_id, failure.at)[:12]
        yield Finding(kind, batch.key, stage, standing.cause, None, standing.mend, occasion)


_KINDS: Mapping[str, Kind] = {
    "lost_event": "lost_event",
    "failed_run": "failed_run",
    "no_manifest": "no_manifest",
    "paused": "paused",
    "failed": "failed",
    "gate": "failed",
    "gave_up": "gave_up",
    "hangs": "stuck",
    "uncollected": "stuck",
}
"""Under which name a cause is told and remembered; of the others nobody is told."""
