"""Alarms: what a person must hear of a batch; `telling` tells each once.

    failure_of, late, budget, gate, agreement, reward   facts to alarms; they compute only
    found       what a task that is done gives to tell; reads manifests

An alarm says which batch, what happened in one line, and the command that mends it. It holds no
text of models, prompts and annotators, no answer of a foreign service, and no secret: an error that
Winnow did not raise itself is named by its kind and place alone. Headings are `docs/runbook.md`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from traceback import extract_tb
from typing import Any

from winnow.batch import batch_folder, read_manifest
from winnow.campaign import Campaign
from winnow.errors import Ambiguous, Blocked, Corrupt, Fatal, Retryable, WinnowError
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.publish.versions import newest
from winnow.runbook import APPROVAL_CLICK, APPROVAL_HEADING, DEADLINE_HEADING, GATE_HEADING
from winnow.stages.label import is_dear
from winnow.stages.tasks import STAGE_OF, TASKS, AlarmKind, Done, clear_command, dag_id
from winnow.stored import parsed
from winnow.text import plain_line
from winnow.validate.verdict import Verdict

BUDGET_SHARE = 0.8
MISCALIBRATED, LEAST_JUDGED = 0.1, 300
"""Calibration error whose whole interval misleads the choice of pairs, and from how many labels on.

On few labels the error of a good model looks as large by chance: of calibrated models more than
half would be told at 100 labels, one in 30 at 200, none of 60 at 300.
"""

BUDGET_HEADING = "The budget is nearly spent"
AGREEMENT_HEADING = "Annotators agree less than before"
CLOSED_HEADING = "The selection gate is closed"
CALIBRATION_HEADING = "The reward model is miscalibrated"
DIED_HEADING = "A task's process died"
OTHER_HEADING = "An error that Winnow does not know"

HEADING_OF: Mapping[type[WinnowError], str] = {
    Retryable: "Something outside did not answer",
    Fatal: "A setting, a file or a credential is wrong",
    Blocked: "A limit said no",
    Ambiguous: "Money may have moved",
    Corrupt: "Stored data is damaged",
}
"""The runbook's heading of each group of errors."""

_KIND = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
# What follows these words in an error is a foreign service's own text.
_FOREIGN = re.compile(r"(HTTP \d{3}|what Winnow asks for)(: | \().*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Alarm:
    """One message. `kind` is what it is told once of for a batch; all texts are one plain line.

    `batch` is empty where it is about the campaign as a whole.
    """

    campaign: str
    batch: str
    kind: str
    heading: str
    cause: str
    mend: str

    @property
    def subject(self) -> str:
        """A short line: which batch, and what happened."""
        about = f"{self.campaign} {self.batch}".strip()
        return plain_line(f"Winnow {about}: {self.heading}", 120)

    @property
    def body(self) -> str:
        """What happened and what to do, a line each."""
        return f"{self.cause}\nDo: {self.mend}\nRunbook: docs/runbook.md, “{self.heading}”"

    @property
    def path(self) -> str:
        """Where the lake remembers that it was told."""
        return f"{alarm_folder(self.campaign, self.batch)}/{self.kind}.json"


def failure_of(
    campaign: str, batch: str, dag: str, task: str, error: BaseException | str | None
) -> Alarm:
    """A task that failed for good; told once per batch, task and group of errors.

    `error` is a text or None where the process died and somebody else noticed.
    """
    stage = STAGE_OF.get(task)
    again = (
        clear_command(campaign, stage, batch, only_failed=True)
        if stage
        else f"clear {task} of {dag}"
    )
    if task == "publish_version" and isinstance(error, Blocked):
        return _gate(campaign, batch, cause_of(error))
    group = next((kind for kind in HEADING_OF if isinstance(error, kind)), None)
    if group is not None:
        heading, name = HEADING_OF[group], group.__name__.lower()
    elif isinstance(error, BaseException):
        heading, name = OTHER_HEADING, "other"
    else:
        heading, name = DIED_HEADING, "died"
    cause = plain_line(f"{dag}.{task}: {cause_of(error)}")
    return Alarm(campaign, batch, alarm_kind(f"failed-{task}-{name}"), heading, cause, again)


def cause_of(error: BaseException | str | None) -> str:
    """One line on an error that may be shown to anybody."""
    if isinstance(error, WinnowError):
        return plain_line(_FOREIGN.sub(r"\1", str(error)))
    if isinstance(error, BaseException):
        frames = extract_tb(error.__traceback__)
        own = [frame for frame in frames if "winnow" in PurePath(frame.filename).parts] or frames
        place = f" at {PurePath(own[-1].filename).name}:{own[-1].lineno}" if own else ""
        return f"{type(error).__name__}{place}; the task's log has the whole of it"
    return "its process ended without a word (killed, out of memory, or its host was lost)"


def late(campaign: str, batch: str, run_state: str, deadline: str) -> Alarm:
    """The labels of a batch are not in at the campaign's deadline."""
    return Alarm(
        campaign,
        batch,
        "late",
        DEADLINE_HEADING,
        plain_line(f"{dag_id(campaign, 'label')} is {run_state} past its deadline {deadline}."),
        f"winnow status --campaign {campaign} --batch {batch}",
    )


def approval(campaign: str, batch: str, most_usd: float) -> Alarm:
    """A purchase that is not sent before a person has said yes."""
    return Alarm(
        campaign,
        batch,
        "approval",
        APPROVAL_HEADING,
        f"A person must approve the purchase of up to about ${most_usd:,.2f}.",
        APPROVAL_CLICK,
    )


def budget(campaign: str, batch: str, spent: int, limit: int) -> Alarm | None:
    """A batch whose tasks cost at least `BUDGET_SHARE` of its budget; both in micro-dollars."""
    if limit <= 0 or spent < BUDGET_SHARE * limit:
        return None
    return Alarm(
        campaign,
        batch,
        "budget",
        BUDGET_HEADING,
        f"The tasks of this batch cost ${spent / MICROS:,.2f}, {spent / limit:.0%} of its budget "
        f"of ${limit / MICROS:,.2f}; nothing beyond it is bought.",
        "raise label.budget_usd in the campaign, or leave it",
    )


def gate(campaign: str, batch: str, verdict: Verdict) -> Alarm | None:
    """A verdict that blocks: which check, its value and its limit."""
    if verdict.verdict != "block":
        return None
    reasons = [line for line in verdict.reasons() if line.startswith("block")]
    reasons = reasons or verdict.reasons()
    more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    return _gate(campaign, batch, f"{reasons[0].partition(': ')[2]}{more}")


def agreement(
    campaign: str, batch: str, figures: Mapping[str, Any], history: Sequence[float]
) -> Alarm | None:
    """Agreement whose whole 95 % interval lies below the mean of the last versions' batches."""
    high = figures.get("agreement_high")
    if high is None or not history:
        return None
    mean = sum(history) / len(history)
    if high >= mean:
        return None
    return Alarm(
        campaign,
        batch,
        "agreement",
        AGREEMENT_HEADING,
        f"Two annotators agree on {figures['agreement']:.0%} of pairs (95 % interval "
        f"{figures['agreement_low']:.0%} to {high:.0%}), on {mean:.0%} in the last "
        f"{len(history)} version{'s' if len(history) > 1 else ''}.",
        f"winnow status --campaign {campaign} --batch {batch}, then read the suspects in the "
        "quality report",
    )


def reward(campaign: str, batch: str, figures: Mapping[str, Any]) -> list[Alarm]:
    """What a publish manifest's `figures` say against the reward model."""
    alarms = []
    judged = figures.get("gate") or {}
    if judged.get("state") == "closed":
        figured = (
            f"log-loss {judged['log_loss']:.3f} on {judged['n']} exploration labels; "
            f"length alone has {judged['length_log_loss']:.3f}, a coin 0.693"
        )
        mend = "nothing at once: the next batch chooses by diversity"
        cause = f"The model was shown to predict worse than a dull rival: {figured}."
        alarms.append(Alarm(campaign, batch, "gate-closed", CLOSED_HEADING, cause, mend))
    low = figures.get("ece_low")
    if low is not None and low > MISCALIBRATED and judged.get("n", 0) >= LEAST_JUDGED:
        cause = (
            f"Calibration error {figures['ece']:.2f} (95 % interval {low:.2f} to "
            f"{figures['ece_high']:.2f}), above {MISCALIBRATED:.2f} for sure, "
            f"on {judged['n']} exploration labels."
        )
        mend = "read the calibration chart of the quality report"
        alarms.append(Alarm(campaign, batch, "miscalibrated", CALIBRATION_HEADING, cause, mend))
    return alarms


def found(done: Done) -> list[Alarm]:
    """What there is to tell of a task of a batch that is done."""
    kinds = TASKS[done.task].alarms
    return [alarm for kind in kinds for alarm in _AFTER[kind](done) if alarm is not None]


def _budget_after(done: Done) -> Iterator[Alarm | None]:
    """Of a plan what it would cost, of a purchase what it may cost yet, at the end the bill."""
    usd = done.returned("committed_usd") or done.returned("estimate_usd")
    labelled = done.manifest("label") if usd is None else None
    spent = labelled.cost if labelled else round((usd or 0.0) * MICROS)
    yield budget(done.campaign.name, done.key, spent, done.campaign.label.budget)


def _approval_after(done: Done) -> Iterator[Alarm | None]:
    if is_dear(done.result, done.campaign.label):
        yield approval(done.campaign.name, done.key, done.result["most_usd"])


def _gate_after(done: Done) -> Iterator[Alarm | None]:
    verdict = parsed(done.lake, str(done.result), Verdict.from_bytes)
    yield gate(done.campaign.name, done.key, verdict)


def _agreement_after(done: Done) -> Iterator[Alarm | None]:
    labelled = done.manifest("label")
    if labelled is not None:
        history = agreements(done.lake, done.campaign, done.key)
        yield agreement(done.campaign.name, done.key, labelled.figures, history)


def _reward_after(done: Done) -> Iterator[Alarm | None]:
    published = done.manifest("publish")
    if published is not None:
        yield from reward(done.campaign.name, done.key, published.figures)


_AFTER: Mapping[AlarmKind, Callable[[Done], Iterator[Alarm | None]]] = {
    "budget": _budget_after,
    "approval": _approval_after,
    "gate": _gate_after,
    "agreement": _agreement_after,
    "reward": _reward_after,
}


def agreements(lake: Lake, campaign: Campaign, key: str) -> list[float]:
    """Agreement of the batches published last, as far as it was measured; `key` is left out."""
    version = newest(lake, campaign.publish.dataset)
    before = [batch for batch in version.batches if batch != key] if version else []
    last = before[-campaign.validation.history_versions :]
    manifests = [read_manifest(lake, campaign.name, batch, "label") for batch in last]
    measured = [manifest.figures.get("agreement") for manifest in manifests if manifest]
    return [value for value in measured if value is not None]


def _gate(campaign: str, batch: str, cause: str) -> Alarm:
    mend = (
        f"winnow quarantine --campaign {campaign} --batch {batch}; move the limit under "
        "validation: (for rows that break a rule row_faults: quarantine), then "
        f"{clear_command(campaign, 'publish', batch)}; or winnow drop"
    )
    return Alarm(campaign, batch, "gate-blocked", GATE_HEADING, plain_line(cause), mend)


def alarm_kind(name: str) -> str:
    """`name` as a path may hold it."""
    plain = re.sub(r"[^a-z0-9_.-]", "_", name.lower())[:100]
    return plain if _KIND.fullmatch(plain) else f"x{plain[:99]}"


def alarm_folder(campaign: str, batch: str) -> str:
    """Where a batch's alarms lie in the lake; the campaign's own where `batch` is empty."""
    return f"{batch_folder(campaign, batch) if batch else f'campaigns/{campaign}'}/alarms"
