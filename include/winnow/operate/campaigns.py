"""Every campaign there is: of the folder and of the lake, whatever became of its file.

campaigns_of   all of them, each with the settings by which its batches are read
Open           what a campaign without a file still has running, and money waits for
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from winnow.batch import batch_folder, last_settings, open_batch
from winnow.campaign import Campaign
from winnow.campaign.folder import files_in, read
from winnow.errors import WinnowError
from winnow.lake import Lake
from winnow.money import MICROS
from winnow.operate.facts import read_batches
from winnow.operate.memory import read_memory
from winnow.stages.label.plans import read_plan
from winnow.stages.label.rounds import opened_rounds


@dataclass(frozen=True, slots=True)
class Known:
    """A campaign, and how its file is.

    Attributes:
        name: Of the file, or in the lake.
        settings: As its file is now; of one whose file is broken or gone as its newest batch was
            begun; None where it has none that can be read.
        file: `good`, `broken` or `gone`.
        fault: What is wrong with the file.
    """

    name: str
    settings: Campaign | None
    file: Literal["good", "broken", "gone"] = "good"
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Open:
    """A campaign's batches that are not through, and dollars of tasks that are not collected.

    `at_vendor` has the batches with tasks at a vendor, micro-dollars each.
    """

    keys: Sequence[str]
    at_vendor: dict[str, int]

    def __str__(self) -> str:
        n, money = len(self.keys), sum(self.at_vendor.values()) / MICROS
        waits = ", ".join(f"{key} ${price / MICROS:,.2f}" for key, price in self.at_vendor.items())
        text = f"{n} batch is open" if n == 1 else f"{n} batches are open"
        return text + (f", labels for ${money:,.2f} are not collected ({waits})" if waits else "")


def campaigns_of(lake: Lake, place: Path) -> list[Known]:
    """The campaigns of the folder by name, then those of the lake that have no file in it.

    Where the place is a single file, no other campaign is known to be gone.

    Raises:
        Fatal: The folder cannot be listed.
    """
    known = [of_file(lake, place, name) for name in files_in(place)]
    if place.is_dir():
        here = {each.name for each in known}
        gone = sorted({*lake.names("batches")} - here)
        known += [Known(name, last_settings(lake, name), "gone") for name in gone]
    return known


def of_file(lake: Lake, place: Path, name: str) -> Known:
    """A campaign that has a file, which may be broken."""
    try:
        campaign = read(place, name)
    except WinnowError as error:
        return Known(name, last_settings(lake, name), "broken", str(error))
    return Known(campaign.name, campaign)


def open_work(lake: Lake, campaign: Campaign) -> Open:
    """What of a campaign is not through.

    Raises:
        WinnowError: Its ledger cannot be read, or a plan of a purchase.
    """
    memory, _ = read_memory(lake, campaign.name)
    batches, damaged = read_batches(lake, campaign, memory.through | memory.left)
    open_ = [facts for facts in batches if facts.stage is not None]
    prices = {f.key: _at_vendor(lake, campaign, f.key) for f in open_ if f.stage == "label"}
    keys = sorted([*(facts.key for facts in open_), *(each.key for each in damaged)])
    return Open(keys, {key: price for key, price in prices.items() if price is not None})


def _at_vendor(lake: Lake, campaign: Campaign, key: str) -> int | None:
    """Micro-dollars of the tasks that the vendor has, or may have; None where it has none."""
    rounds = opened_rounds(lake, batch_folder(campaign.name, key))
    if not rounds:
        return None
    batch = open_batch(campaign, key, lake, lambda: datetime.now(UTC))
    plans = [read_plan(batch, number) for number in rounds]
    return sum(plan.totals.estimate for plan in plans if plan)
