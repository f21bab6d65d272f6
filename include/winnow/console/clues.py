"""What the lake says of a batch, as the pages read it: small objects, most of them once.

The facts are those of `winnow.operate.facts`. But the plan of a purchase may be gigabytes and is
never opened: what it costs is estimated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from winnow.batch import batch_folder
from winnow.campaign import Campaign, Judge, Label
from winnow.console.memory import Memory
from winnow.console.stages import Left, Stages
from winnow.ids import PEOPLE
from winnow.ingest.ledger import BACKFILL
from winnow.label.purchases import over_month
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.operate.facts import is_verdict
from winnow.operate.standing import Facts
from winnow.stages.label.approvals import approved
from winnow.stages.label.drop import dropped_text
from winnow.stages.label.rounds import ROUNDS
from winnow.stages.turn import Turn, places_of, turn_of, waits_at_once
from winnow.validate.verdict import Check, Verdict

PLACES_SECONDS = 30.0
_MOST_CHECKS = 20


@dataclass(frozen=True, slots=True)
class Said:
    """The newest verdict on a batch that is not published, and its checks that did not pass."""

    verdict: str
    failed: Sequence[Check]


def facts_of(lake: Lake, campaign: Campaign, stages: Stages, memory: Memory) -> tuple[Facts, str]:
    """What the lake says of a batch; and in a few words what its stage has left so far."""
    facts = Facts(
        campaign.name,
        stages.key,
        {stage: done.committed_at for stage, done in stages.done.items()},
        ended=stages.ended,
        failures={stages.next: stages.failure} if stages.next and stages.failure else {},
        touched=max((each.modified for each in stages.left), default=None),
        damage=stages.damage or "",
        dropped=dropped_text(stages.key, stages.dropped) if stages.dropped else "",
    )
    if stages.next == "expand" and stages.left:
        n = len(stages.left)
        return facts, f"{n:,} shard{'s' if n > 1 else ''} generated"
    if stages.next == "select":
        facts = replace(facts, turn=_turn(lake, campaign.name, stages, memory))
        return facts, ""
    if stages.next == "label":
        return _purchase(facts, lake, campaign, stages, memory)
    said = _said(lake, campaign, stages, memory) if stages.next == "publish" else None
    if said is None:
        return facts, ""
    checks = tuple(said.failed) if said.verdict == "block" else ()
    return replace(facts, checks=checks), f"verdict: {said.verdict}"


def parse_said(data: bytes) -> Said:
    """The checks of a verdict that did not pass, blocking ones first, not more than a page of."""
    verdict = Verdict.from_bytes(data)
    failed = [
        replace(check, name=check.name[:200], limit=str(check.limit)[:200])
        for check in verdict.failed()[:_MOST_CHECKS]
    ]
    return Said(verdict.verdict, failed)


def parse_note(data: bytes) -> dict[str, Any]:
    """A small note of the lake as it is."""
    found: dict[str, Any] = json.loads(data)
    return found


def parse_select_settings(data: bytes) -> dict[str, Any]:
    """Settings under `select` that a batch was started with."""
    content: dict[str, Any] = json.loads(data)["select"]
    return content


def parse_label_settings(data: bytes) -> dict[str, Any]:
    """Settings under `label` that a batch was started with."""
    found: dict[str, Any] = json.loads(data)["label"]
    if found.get("vendor") == "judge" and found.get("judge"):
        found["price_usd"] = Judge.model_validate(found["judge"]).usual_price / MICROS
    if found.get("sources"):
        asked = Label.model_validate(found).asked.items()
        found["prices_of_sources"] = {name: own.price for name, own in asked if name != PEOPLE}
    return found


def _turn(lake: Lake, campaign: str, stages: Stages, memory: Memory) -> Turn | None:
    path = f"{batch_folder(campaign, stages.key)}/campaign.json"
    select = memory.once(lake, path, parse_select_settings) or {}
    rule = (select.get("strategy", ""), select.get("wait_for", ""))
    if waits_at_once(*rule, stages.figure("ingest", BACKFILL)) is None:
        return None
    name = ("places", campaign)
    before = memory.last(lake, name)
    places = memory.lately(lake, name, partial(places_of, lake, campaign, before), PLACES_SECONDS)
    return turn_of(places, stages.key)


def _said(lake: Lake, campaign: Campaign, stages: Stages, memory: Memory) -> Said | None:
    verdicts = [each for each in stages.left if is_verdict(each.name)]
    if not verdicts:
        return None
    newest = max(verdicts, key=lambda each: (each.modified, each.name))
    return memory.once(lake, f"{batch_folder(campaign.name, stages.key)}/{newest.name}", parse_said)


def _purchase(
    facts: Facts, lake: Lake, campaign: Campaign, stages: Stages, memory: Memory
) -> tuple[Facts, str]:
    found: Mapping[str, Left] = {each.name.removeprefix("label/"): each for each in stages.left}
    plan = found.get("round-0/plan.json")
    if plan is None:
        return facts, ""
    folder = batch_folder(campaign.name, stages.key)
    bought = [name for n in ROUNDS if (name := f"round-{n}/submission.json") in found]
    if bought:
        note = memory.once(lake, f"{folder}/label/{bought[-1]}", parse_note) or {}
        until = datetime.fromisoformat(note["deadline"])
        return replace(facts, deadline=until, planned_at=plan.modified), "with the vendor"
    estimate, most = estimate_of(lake, campaign.name, stages, memory)
    budget, limit = campaign.label.budget, campaign.label.approve_above_usd
    allowed = approved(lake, folder) if "approval.json" in found else 0
    most = min(most, budget)
    asks = limit is not None and most > max(limit * MICROS, allowed)
    # How many votes are taken over, and not bought, stands in the plan alone.
    over = not campaign.vote_campaigns and estimate > budget
    facts = replace(
        facts,
        planned_at=plan.modified,
        approval_usd=most / MICROS if asks else None,
        over_usd=(estimate / MICROS, budget / MICROS) if over else None,
        over_month=over_month(lake, folder) if "over_month.json" in found else None,
    )
    return facts, "planned, not bought"


def estimate_of(lake: Lake, campaign: str, stages: Stages, memory: Memory) -> tuple[int, int]:
    """About what the first round costs, and with follow-ups at most, micro-dollars."""
    path = f"{batch_folder(campaign, stages.key)}/campaign.json"
    settings = memory.once(lake, path, parse_label_settings) or {}
    pairs, size = stages.n("select", "comparisons") or 0, settings.get("size")
    # Where others are asked too people are asked some of them.
    pairs = stages.n("select", f"asked_{PEOPLE}") or pairs
    beside = sum(
        price * (stages.n("select", f"asked_{name}") or 0)
        for name, price in settings.get("prices_of_sources", {}).items()
    )
    # All pairs of a ranking are one task.
    first, most = _estimate(settings, 2 * pairs / (size * (size - 1)) if size else pairs)
    return first + beside, most + beside


def _estimate(settings: dict[str, Any], pairs: float) -> tuple[int, int]:
    price = round(settings.get("price_usd", 0.0) * MICROS)
    second = pairs * settings.get("second_vote_share", 0.0)
    again = pairs * settings.get("repeat_share", 0.0)
    gold = pairs * settings.get("gold_share", 0.0) if settings.get("gold") else 0.0
    tasks = pairs + second + again + gold
    third = second if settings.get("third_votes") else 0.0
    rebought = pairs + second if settings.get("unanswered") == "buy_again" else 0.0
    return round(price * tasks), round(price * (tasks + third + rebought))
