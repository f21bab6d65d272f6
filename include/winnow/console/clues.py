"""What a stage that is not done has left in the lake, in a few small facts.

Read are only small objects that never change: the verdict, the notes of a purchase, the settings
that the batch was started with. The plan of a purchase may be gigabytes and is never opened.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from winnow.batch import batch_folder
from winnow.campaign import Campaign
from winnow.console.memory import Memory
from winnow.console.stages import Stages
from winnow.lake import Lake
from winnow.records import MICROS
from winnow.stages.approvals import approved
from winnow.stages.label_rounds import ROUNDS
from winnow.validate.verdict import Severity

_MOST_CHECKS = 20


@dataclass(frozen=True, slots=True)
class FailedCheck:
    """A check of the gate that did not pass; `is_error` where it could not be made."""

    name: str
    severity: Severity
    is_error: bool
    value: float | None
    limit: str


@dataclass(frozen=True, slots=True)
class Said:
    """The newest verdict on a batch that is not published: pass, warn or block."""

    verdict: str
    failed: Sequence[FailedCheck]


@dataclass(frozen=True, slots=True)
class Purchase:
    """How far the purchase of labels is; its times are those of the last round that was bought.

    `estimate` is about what the first round costs, micro-dollars, from the pairs and the settings;
    the exact figure stands in the plan. `most` adds what follow-ups may cost; `approved` is what a
    person allowed, 0 if nobody did.
    """

    planned_at: datetime
    estimate: int
    most: int
    approved: int
    submitted_at: datetime | None
    deadline: datetime | None
    pages: int


@dataclass(frozen=True, slots=True)
class Clues:
    """What is known of the stage that is not done; nothing where nothing of it has begun."""

    shards: int = 0
    purchase: Purchase | None = None
    said: Said | None = None
    latest: datetime | None = None


def clues_of(lake: Lake, campaign: Campaign, stages: Stages, memory: Memory) -> Clues:
    """The clues of a batch's first stage that is not done."""
    if not stages.left:
        return Clues()
    latest = max(each.modified for each in stages.left)
    if stages.next == "expand":
        return Clues(shards=len(stages.left), latest=latest)
    if stages.next == "label":
        return Clues(purchase=_purchase(lake, campaign, stages, memory), latest=latest)
    return Clues(said=_said(lake, campaign, stages, memory), latest=latest)


def parse_said(data: bytes) -> Said:
    """The checks of a verdict that did not pass, blocking ones first, not more than a page of."""
    content = json.loads(data)
    bad = [each for each in content["checks"] if each["outcome"] in ("fail", "error")]
    bad.sort(key=lambda each: (each["severity"] != "block", each["outcome"] != "error"))
    failed = [
        FailedCheck(
            str(c["name"])[:200],
            c["severity"],
            c["outcome"] == "error",
            c["value"],
            str(c["limit"])[:200],
        )
        for c in bad[:_MOST_CHECKS]
    ]
    return Said(content["verdict"], failed)


def parse_note(data: bytes) -> dict[str, Any]:
    """A small note of the lake as it is."""
    found: dict[str, Any] = json.loads(data)
    return found


def parse_label_settings(data: bytes) -> dict[str, Any]:
    """Settings under `label` that a batch was started with."""
    found: dict[str, Any] = json.loads(data)["label"]
    return found


def _said(lake: Lake, campaign: Campaign, stages: Stages, memory: Memory) -> Said | None:
    verdicts = [each for each in stages.left if each.name.startswith("publish/verdict-")]
    if not verdicts:
        return None
    newest = max(verdicts, key=lambda each: (each.modified, each.name))
    return memory.once(lake, f"{batch_folder(campaign.name, stages.key)}/{newest.name}", parse_said)


def _purchase(lake: Lake, campaign: Campaign, stages: Stages, memory: Memory) -> Purchase | None:
    found = {each.name.removeprefix("label/"): each for each in stages.left}
    plan = found.get("round-0/plan.json")
    if plan is None:
        return None
    folder = batch_folder(campaign.name, stages.key)
    note: dict[str, Any] = {}
    bought = [name for n in ROUNDS if (name := f"round-{n}/submission.json") in found]
    if bought:
        note = memory.once(lake, f"{folder}/label/{bought[-1]}", parse_note) or {}
    estimate, most = estimate_of(lake, campaign.name, stages, memory)
    return Purchase(
        planned_at=plan.modified,
        estimate=estimate,
        most=most,
        approved=approved(lake, folder) if "approval.json" in found else 0,
        submitted_at=_time(note.get("submitted_at")),
        deadline=_time(note.get("deadline")),
        pages=sum("/inbox/" in name for name in found),
    )


def estimate_of(lake: Lake, campaign: str, stages: Stages, memory: Memory) -> tuple[int, int]:
    """About what the first round costs, and with follow-ups at most, micro-dollars."""
    path = f"{batch_folder(campaign, stages.key)}/campaign.json"
    settings = memory.once(lake, path, parse_label_settings) or {}
    return _estimate(settings, stages.n("select", "comparisons") or 0)


def _estimate(settings: dict[str, Any], pairs: int) -> tuple[int, int]:
    price = round(settings.get("price_usd", 0.0) * MICROS)
    second = pairs * settings.get("second_vote_share", 0.0)
    again = pairs * settings.get("repeat_share", 0.0)
    gold = pairs * settings.get("gold_share", 0.0) if settings.get("gold") else 0.0
    tasks = pairs + second + again + gold
    third = second if settings.get("third_votes") else 0.0
    rebought = pairs + second if settings.get("unanswered") == "buy_again" else 0.0
    return round(price * tasks), round(price * (tasks + third + rebought))


def _time(said: str | None) -> datetime | None:
    return datetime.fromisoformat(said) if said else None
