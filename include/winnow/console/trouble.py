"""What is stuck, why, and what mends it, in a page's words: the command next to the problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from winnow.batch import STAGES
from winnow.console.state import BatchState
from winnow.operate.damage import Damage, whole
from winnow.operate.standing import Facts, Kind, Run, Standing
from winnow.operate.standing import damaged as damaged_standing
from winnow.pages.words import age, cut, number, percent
from winnow.stages.tasks import dag_ids
from winnow.validate.limits import setting_of, suites_way_out
from winnow.validate.verdict import Check

HEAVY_SHARE, HEAVY_DAYS = 0.2, 7
"""More than this share of a stage's rows in quarantine is told of for some days."""

_LONGEST_ERROR = 400
_MOST_CHECKS = 5
_AGAIN = "Run the stage again: nothing is bought or made twice."

Colour = Literal["good", "warn", "bad", "soft"]
"""How bad something is: a class of the style's."""

_TITLES: Mapping[Kind, tuple[Colour, str, str]] = {
    "dropped": ("soft", "A person gave the batch up", ""),
    "damaged": (
        "bad",
        "The batch cannot be read",
        "Restore the object from the bucket's versions or a copy of the lake, or give it up.",
    ),
    "gate": ("bad", "The gate blocks the labels", ""),
    "approval": (
        "warn",
        "The purchase of labels waits for a person's yes",
        "Answer in Airflow: Approve buys, Reject buys nothing.",
    ),
    "uncollected": (
        "warn",
        "The vendor has not answered in time",
        "The next look calls the rest off and goes on with what came. If none comes:",
    ),
    "over_budget": (
        "bad",
        "The labels cost more than the budget",
        "Raise label.budget_usd in the campaign's file, and run the stage again.",
    ),
    "not_bought": (
        "warn",
        "Nothing was bought yet",
        "Buying again is safe: it asks the vendor what it has, and sends only the difference.",
    ),
    "failed": ("bad", "{dag} failed", f"Mend what the message names. {_AGAIN}"),
    "failed_run": ("bad", "{dag} failed", f"Mend what the message names. {_AGAIN}"),
    "gave_up": ("bad", "{dag} does not go on", ""),
    "hangs": ("warn", "{dag} does not go on", ""),
    "no_manifest": ("warn", "{dag} does not go on", _AGAIN),
    "quiet": ("warn", "{dag} does not go on", _AGAIN),
    "lost_event": (
        "warn",
        "{dag} has not begun",
        "Run {before} again: it is done, returns at once, and hands its batch on.",
    ),
    "paused": ("warn", "{dag} is paused", "Then reconcile announces the batch again by itself."),
    "taken_not_begun": ("warn", "The batch was begun and not gone on with", _AGAIN),
}
"""How bad a cause is, what it is called, and what mends it; of the others nothing is told."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A batch that waits for somebody: plain text, a command to copy, the run to look at.

    `answers` says that the answer is given in Airflow's Required Actions.
    """

    key: str
    stage: str
    kind: Colour
    what: str
    why: Sequence[str] = ()
    mend: str = ""
    command: str | None = None
    run: Run | None = None
    answers: bool = False
    quarantine: bool = False
    campaign: str = ""


def troubles_of(batch: BatchState, now: datetime) -> list[Trouble]:
    """What is wrong with a batch, the worst first; nothing where it only takes its time."""
    found = whole(lambda: [*_stuck(batch, now), *_heavy(batch, now)])
    if isinstance(found, Damage):
        return [
            _told(damaged_standing(batch.stages.campaign, batch.key, found.cause), [found.cause])
        ]
    return found


def _stuck(batch: BatchState, now: datetime) -> list[Trouble]:
    standing, facts = batch.standing, batch.facts
    if standing.kind not in _TITLES:
        return []
    if standing.level == "waits" and standing.kind not in ("approval", "paused"):
        return []
    return [_told(standing, _why(standing, facts, now), _gate_mend(batch))]


def _told(standing: Standing, why: Sequence[str], mend: str = "") -> Trouble:
    kind, what, usual = _TITLES[standing.kind]
    at = STAGES.index(standing.stage) if standing.stage else 0
    dags = list(dag_ids(standing.campaign).values())
    names = {"dag": dags[at], "before": dags[max(at - 1, 0)]}
    first = standing.first[:1].upper() + standing.first[1:]
    if standing.kind == "lost_event" and names["before"] not in standing.command:
        usual = _AGAIN  # it left a note, so there is a run of it
    return Trouble(
        standing.key,
        standing.stage,
        kind,
        what.format(**names),
        why,
        mend or usual.format(**names) or first,
        standing.command or None,
        standing.run,
        answers=standing.kind == "approval",
        campaign=standing.campaign,
    )


def _why(standing: Standing, facts: Facts, now: datetime) -> list[str]:
    """The cause, as the pages know more of it."""
    if standing.kind == "gate":
        return [_check(each) for each in _blocking(facts)[:_MOST_CHECKS]]
    failures = standing.run.failures if standing.run else ()
    if standing.kind == "failed_run" and failures:
        return [
            f"{each.task}: {cut(each.error, _LONGEST_ERROR)}"
            if each.error
            else f"{each.task} failed; its log says why."
            for each in failures[:_MOST_CHECKS]
        ]
    why = [standing.cause]
    if standing.kind == "uncollected" and facts.deadline is not None:
        why.append(f"The deadline passed {age(facts.deadline, now)} ago.")
    return why


def _blocking(facts: Facts) -> list[Check]:
    return [c for c in facts.checks if c.severity == "block" or c.outcome == "error"]


def _gate_mend(batch: BatchState) -> str:
    if batch.standing.kind != "gate":
        return ""
    blocking = _blocking(batch.facts)
    settings = [setting_of(each.name, "block") for each in blocking]
    known = [f"validation.{each}" for each in settings if each]
    if suites := suites_way_out(blocking):
        return f"Look at the labels. {suites[0].upper()}{suites[1:]}, and run the stage again."
    if any(each.outcome == "error" for each in blocking):
        return "A check could not be made: the log of check_labels says why. Then run it again."
    if known and len(known) == len(blocking):
        return (
            f"Look at the labels. If they are good enough, move {' and '.join(known)} in the "
            "campaign's file, and run the stage again."
        )
    name = batch.stages.campaign
    return (
        f"Rows break a rule that has no limit: `winnow quarantine --campaign {name} "
        f"--batch {batch.key}` shows them. "
        "With `validation.row_faults: quarantine` in the campaign's file they and the votes on "
        "their pairs are set aside when the stage runs again; "
        f'`winnow drop {batch.key} --campaign {name} --reason "..."` gives the batch up.'
    )


def _check(check: Check) -> str:
    name = check.name.replace("_", " ")
    for end in ("low", "high"):
        if name.endswith(f" {end}"):
            name = f"{name.removesuffix(f' {end}')}, {end} end of its interval,"
    if check.outcome == "error":
        return f"{name}: the check failed with an error"
    value = "nothing" if check.value is None else number(check.value, 3)
    return f"{name} is {value}, the limit {check.limit}"


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
                    campaign=batch.stages.campaign,
                )
            )
    return found
