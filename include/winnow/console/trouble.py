"""What is stuck, why, and what mends it: the command next to the problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from winnow.batch import STAGES
from winnow.campaign import Campaign
from winnow.console.clues import FailedCheck, Purchase, Said
from winnow.console.parts import Kind, age
from winnow.console.shell import Run
from winnow.console.state import ACTIVE, BatchState, Cell, needs_approval, over_budget
from winnow.dag_names import DAG_OF, clear_command
from winnow.pages.words import cut, dollars, number, percent
from winnow.stages.drop import dropped_text
from winnow.stages.trouble import Damage, whole
from winnow.validate.limits import setting_of

LATE = timedelta(hours=1)
"""A stage that has not begun this long after the one before it, or a plan not bought, is late."""

HEAVY_SHARE, HEAVY_DAYS = 0.2, 7
"""More than this share of a stage's rows in quarantine is told of for some days."""

_LONGEST_ERROR = 400
_MOST_CHECKS = 5


@dataclass(frozen=True, slots=True)
class Trouble:
    """A batch that waits for somebody: plain text, a command to copy, the run to look at.

    `answers` says that the answer is given in Airflow's Required Actions.
    """

    key: str
    stage: str
    kind: Kind
    what: str
    why: Sequence[str] = ()
    mend: str = ""
    command: str | None = None
    run: Run | None = None
    answers: bool = False
    quarantine: bool = False


def troubles_of(batch: BatchState, campaign: Campaign, now: datetime) -> list[Trouble]:
    """What is wrong with a batch, the worst first; nothing where it only takes its time."""
    found = whole(lambda: _troubles(batch, campaign, now))
    return [_damaged(batch.key, found.cause)] if isinstance(found, Damage) else found


def _troubles(batch: BatchState, campaign: Campaign, now: datetime) -> list[Trouble]:
    if batch.stages.dropped is not None:
        told = dropped_text(batch.key, batch.stages.dropped)
        return [Trouble(batch.key, "", "soft", "A person gave the batch up", [told])]
    if batch.stages.damage is not None:
        return [_damaged(batch.key, batch.stages.damage)]
    found = [] if batch.current is None else _stuck(batch, batch.current, campaign, now)
    return [*found, *_heavy(batch, now)]


def _damaged(key: str, why: str) -> Trouble:
    return Trouble(
        key,
        "",
        "bad",
        "The batch cannot be read",
        [why],
        "Restore the object from the bucket's versions or a copy of the lake, or give it up.",
        f'winnow drop {key} --reason "..."',
    )


def _stuck(batch: BatchState, cell: Cell, campaign: Campaign, now: datetime) -> list[Trouble]:
    if cell.run is not None and cell.run.waiting:
        return [_approval(batch.key, cell, campaign)]
    if cell.state in ("waiting", "blocked", "running") and batch.clues.purchase is not None:
        found = _purchase(batch, cell, batch.clues.purchase, campaign, now)
        if found is not None:
            return [found]
    if cell.state == "blocked":
        if batch.clues.said is not None and batch.clues.said.verdict == "block":
            return [_verdict(batch.key, cell, batch.clues.said)]
        return [_failed(batch.key, cell)]
    if cell.state == "idle":
        return _late(batch, cell, now)
    return []


def _verdict(key: str, cell: Cell, said: Said) -> Trouble:
    blocking = [each for each in said.failed if each.severity == "block" or each.is_error]
    settings = [setting_of(each.name, "block") for each in blocking]
    known = [f"validation.{each}" for each in settings if each]
    if any(each.is_error for each in blocking):
        mend = "A check could not be made: the log of check_labels says why. Then run it again."
    elif known and len(known) == len(blocking):
        mend = (
            f"Look at the labels. If they are good enough, move {' and '.join(known)} in the "
            "campaign's file, and run the stage again."
        )
    else:
        mend = (
            f"Rows break a rule that has no limit: `winnow quarantine --batch {key}` shows them. "
            "With `validation.row_faults: quarantine` in the campaign's file they and the votes on "
            "their pairs are set aside when the stage runs again; "
            f'`winnow drop {key} --reason "..."` gives the batch up.'
        )
    return Trouble(
        key,
        cell.stage,
        "bad",
        "The gate blocks the labels",
        [_check(each) for each in blocking[:_MOST_CHECKS]],
        mend,
        clear_command(cell.stage, key),
        cell.run,
    )


def _check(check: FailedCheck) -> str:
    name = check.name.replace("_", " ")
    for end in ("low", "high"):
        if name.endswith(f" {end}"):
            name = f"{name.removesuffix(f' {end}')}, {end} end of its interval,"
    if check.is_error:
        return f"{name}: the check failed with an error"
    value = "nothing" if check.value is None else number(check.value, 3)
    return f"{name} is {value}, the limit {check.limit}"


def _approval(key: str, cell: Cell, campaign: Campaign) -> Trouble:
    limit = campaign.label.approve_above_usd
    asked = "" if limit is None else f" It may cost more than ${limit:,.2f}."
    return Trouble(
        key,
        cell.stage,
        "warn",
        "The purchase of labels waits for a person's yes",
        [f"approve_purchase asks before anything is bought.{asked}"],
        "Answer in Airflow: Approve buys, Reject buys nothing.",
        None,
        cell.run,
        answers=True,
    )


def _purchase(
    batch: BatchState, cell: Cell, purchase: Purchase, campaign: Campaign, now: datetime
) -> Trouble | None:
    key, stage = batch.key, cell.stage
    if purchase.submitted_at is not None:
        if purchase.deadline is None or purchase.deadline > now or _has_error(cell.run):
            return None
        told = f"The deadline passed {age(purchase.deadline, now)} ago."
        mend = "The next look calls the rest off and goes on with what came. If none comes:"
        what = "The vendor has not answered in time"
        return Trouble(key, stage, "warn", what, [told], mend, clear_command(stage, key), cell.run)
    if cell.run is not None and cell.run.state in ACTIVE and not cell.run.failures:
        return None
    if _has_error(cell.run):
        return None
    if over_budget(purchase, campaign):
        told = (
            f"The first round costs about {dollars(purchase.estimate)}, the budget of a batch is "
            f"{dollars(campaign.label.budget)}."
        )
        mend = "Raise label.budget_usd in the campaign's file, and run the stage again."
        what = "The labels cost more than the budget"
        return Trouble(key, stage, "bad", what, [told], mend, clear_command(stage, key), cell.run)
    if needs_approval(purchase, campaign):
        return _approval(key, cell, campaign)
    if now - purchase.planned_at < LATE:
        return None
    told = f"The tasks were planned {age(purchase.planned_at, now)} ago; no vendor has them."
    mend = "Buying again is safe: it asks the vendor what it has, and sends only the difference."
    return Trouble(
        key,
        stage,
        "warn",
        "Nothing was bought yet",
        [told],
        mend,
        clear_command(stage, key),
        cell.run,
    )


def _has_error(run: Run | None) -> bool:
    return run is not None and bool(run.failures)


def _failed(key: str, cell: Cell) -> Trouble:
    failures = cell.run.failures if cell.run else ()
    why = [
        f"{each.task}: {cut(each.error, _LONGEST_ERROR)}"
        if each.error
        else f"{each.task} failed; its log says why."
        for each in failures[:_MOST_CHECKS]
    ]
    return Trouble(
        key,
        cell.stage,
        "bad",
        f"{DAG_OF[cell.stage]} failed",
        why or ["The run failed before a task could say why."],
        "Mend what the message names, and run the stage again: nothing is bought or made twice.",
        clear_command(cell.stage, key),
        cell.run,
    )


def _late(batch: BatchState, cell: Cell, now: datetime) -> list[Trouble]:
    if cell.stage == STAGES[0]:
        told = "Its prompt files were taken, but no manifest was written."
        return [
            Trouble(
                batch.key,
                cell.stage,
                "warn",
                "The batch was begun and not gone on with",
                [told],
                "Run the stage again.",
                clear_command(cell.stage, batch.key),
                cell.run,
            )
        ]
    before = STAGES[STAGES.index(cell.stage) - 1]
    done = batch.stages.done[before]
    if now - done.committed_at < LATE:
        return []
    told = f"{before} was done {age(done.committed_at, now)} ago, and no run has taken it up."
    mend = f"Run {DAG_OF[before]} again: it is done, returns at once, and hands its batch on."
    what = f"{DAG_OF[cell.stage]} has not begun"
    return [
        Trouble(
            batch.key,
            cell.stage,
            "warn",
            what,
            [told],
            mend,
            clear_command(before, batch.key),
            cell.run,
        )
    ]


def _heavy(batch: BatchState, now: datetime) -> list[Trouble]:
    found = []
    for stage, done in batch.stages.done.items():
        rows, kept = done.counts.get("rows_in", 0), done.counts.get("quarantined", 0)
        recent = now - done.committed_at < timedelta(days=HEAVY_DAYS)
        if recent and rows and kept / rows > HEAVY_SHARE:
            told = f"{stage} put {kept:,} of {rows:,} rows into quarantine, {percent(kept / rows)}."
            found.append(
                Trouble(
                    batch.key,
                    stage,
                    "soft",
                    "Much is in quarantine",
                    [told],
                    "The batch's page lists the reasons.",
                    quarantine=True,
                )
            )
    return found
