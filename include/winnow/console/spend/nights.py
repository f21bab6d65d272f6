"""The money of batches, read from their manifests, frozen settings and open purchases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime

from winnow.batch import batch_folder, manifest_path
from winnow.campaign import Campaign
from winnow.console.clues import estimate_of
from winnow.console.memory import Memory, at_once
from winnow.console.spend.figures import Night, day_of
from winnow.console.stages import Done, Stages, parse_done, stages_of, taken_of
from winnow.ingest.ledger import Dropped
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.operate.damage import Damage, whole
from winnow.stages.label.plans import estimate_in
from winnow.stages.label.rounds import ALL_ROUNDS

MOST_PLAN_BYTES = 16_000_000
"""Of a larger plan, which may be gigabytes, the price is estimated."""


@dataclass(frozen=True, slots=True)
class OpenPurchase:
    """Prices of what is with the vendor, and of what is planned only; whether by estimate."""

    committed: int = 0
    planned: int = 0
    estimated: bool = False


def days_of(
    lake: Lake, campaign: str, keys: Sequence[str], memory: Memory
) -> dict[str, date | None]:
    """The day of each batch; only where a key holds none, the label stage is asked."""
    days = {key: day_of(key) for key in keys}
    undated = [key for key, day in days.items() if day is None]
    for key, done in labels_of(lake, campaign, undated, memory).items():
        days[key] = done.committed_at.date() if done is not None else None
    return days


def labels_of(
    lake: Lake, campaign: str, keys: Sequence[str], memory: Memory
) -> dict[str, Done | None]:
    """The label stage of each batch; None where it is not done."""
    dropped = taken_of(lake, campaign, memory).dropped

    def look(key: str) -> Done | None:
        path = manifest_path(campaign, key, "label")
        read = whole(lambda: memory.once(lake, path, parse_done))
        found = None if isinstance(read, Damage) else read
        return _dropped(dropped[key]) if found is None and key in dropped else found

    found = {
        key: memory.known(lake, manifest_path(campaign, key, "label"), parse_done) for key in keys
    }
    missing = [key for key, done in found.items() if done is None]
    return found | at_once(
        lambda key: memory.watched(lake, ("label", campaign, key), lambda: look(key)), missing
    )


def nights_of(
    lake: Lake,
    campaign: Campaign,
    keys: Sequence[str],
    days: Mapping[str, date | None],
    memory: Memory,
) -> list[Night]:
    """Everything told of each batch, in the order of `keys`."""
    stages = stages_of(lake, campaign.name, keys, memory)
    nights = at_once(
        lambda key: whole(lambda: _night(lake, campaign, stages[key], days[key], memory)), keys
    )
    return [
        Night(key, days[key], stages[key].cost or None) if isinstance(night, Damage) else night
        for key, night in nights.items()
    ]


def _night(
    lake: Lake,
    campaign: Campaign,
    own: Stages,
    day: date | None,
    memory: Memory,
) -> Night:
    budget = memory.once(lake, _settings_path(campaign.name, own.key), parse_budget)
    prompts, pairs = own.n("ingest", "rows_out"), own.n("select", "comparisons")
    night = Night(own.key, day, None, budget=budget, prompts=prompts, pairs=pairs)
    label = own.done.get("label")
    if label is not None:
        return replace(
            night,
            spent=label.cost,
            # What it was bought under, which may have been raised since it began.
            budget=max(budget or 0, label.cost) or None,
            preferences=label.counts.get("rows_out"),
            votes=int(label.figures.get("n_annotations", label.counts.get("annotations", 0))),
            taken_over=label.counts.get("taken_over", 0),
        )
    if own.damage is not None:
        return night
    if own.dropped is not None and own.dropped.charged is not None:
        return replace(night, spent=own.dropped.charged)
    if own.ended:
        return replace(night, spent=0, pairs=pairs or 0, preferences=0, votes=0)
    ordered = open_purchase(lake, campaign.name, own, memory)
    return replace(night, budget=campaign.label.budget, **asdict(ordered))


def open_purchase(lake: Lake, campaign: str, own: Stages, memory: Memory) -> OpenPurchase:
    """What a batch whose labels are not in has ordered, by what its label stage has left so far."""
    left = {each.name: each for each in own.left}
    committed = planned = 0
    estimated = False
    for number in ALL_ROUNDS:
        plan = left.get(f"label/round-{number}/plan.json")
        if plan is None:
            continue
        is_large = plan.n_bytes > MOST_PLAN_BYTES
        price = (_estimate if is_large else _price)(lake, campaign, own, number, memory)
        estimated |= is_large
        if f"label/round-{number}/submission.json" in left:
            committed += price
        else:
            planned += price
    return OpenPurchase(committed, planned, estimated)


def _dropped(dropped: Dropped) -> Done | None:
    """What a batch that was given up cost, as its label stage would tell it."""
    if not dropped.charged:
        return None
    return Done("label", {}, dropped.charged, {}, datetime.fromisoformat(dropped.at), {})


def _price(lake: Lake, campaign: str, own: Stages, number: int, memory: Memory) -> int:
    """What a round costs at most, by its plan, which is read once."""
    path = f"{batch_folder(campaign, own.key)}/label/round-{number}/plan.json"
    return memory.once(lake, path, parse_price) or 0


def _estimate(lake: Lake, campaign: str, own: Stages, number: int, memory: Memory) -> int:
    """About what a round costs, by the batch's pairs and settings."""
    first, most = estimate_of(lake, campaign, own, memory)
    return most - first if number else first


def parse_price(data: bytes) -> int:
    """The price of a round's tasks, from its plan."""
    return estimate_in(json.loads(data))


def parse_budget(data: bytes) -> int | None:
    """The budget in a batch's frozen settings."""
    budget = json.loads(data).get("label", {}).get("budget_usd")
    return round(budget * MICROS) if isinstance(budget, int | float) else None


def _settings_path(campaign: str, key: str) -> str:
    return f"{batch_folder(campaign, key)}/campaign.json"
