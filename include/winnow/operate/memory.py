"""What was mended and told before, so that neither is done every 15 minutes.

    campaigns/nightly/reconcile.json    one pointer, moved by compare-and-swap

A pass writes down what it is about to do before it does it. Killed in between it has used up one
try, and the next pass tries again; two passes at once never do the same thing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from winnow.lake import Lake
from winnow.operate.standing import Mended
from winnow.stored import as_json, parsed, reader, sealed_json


@dataclass(frozen=True, slots=True)
class Looked:
    """What the vendor said of a batch that is collected, and when it was asked."""

    n_answered: int
    charged: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Memory:
    """What a campaign's reconciliation knows from before.

    Attributes:
        mends: By `standing.mend_name`.
        told: When a finding was told to a person, by its name.
        looked: By batch.
        through: Batches that are published or over; they are not read again.
        closed: Those of them about which the vendor is not asked any more.
        left: Batches that a person said to leave alone.
        finished: Every version up to this number has its folder and the pointer.
    """

    mends: Mapping[str, Mended] = field(default_factory=dict)
    told: Mapping[str, datetime] = field(default_factory=dict)
    looked: Mapping[str, Looked] = field(default_factory=dict)
    through: frozenset[str] = frozenset()
    closed: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    finished: int = 0


def memory_path(campaign: str) -> str:
    """Where a campaign's memory lies in the lake."""
    return f"campaigns/{campaign}/reconcile.json"


def read_memory(lake: Lake, campaign: str) -> tuple[Memory, str | None]:
    """The memory as it is now, and the tag to swap against; empty before the first pass."""
    path = memory_path(campaign)
    data, tag = lake.read_tagged(path)
    if data is None:
        return Memory(), tag
    memory = parsed(lake, path, reader(Memory), data)
    return replace(memory, told={_name(name): at for name, at in memory.told.items()}), tag


def _name(name: str) -> str:
    """The name of a finding; an earlier Winnow put what was found behind kind, batch and stage."""
    kind, key, *stage = name.split(" ")[:3]
    return name if kind == "failed" else " ".join([kind, key, *stage]).rstrip()


def write_memory(lake: Lake, campaign: str, memory: Memory, tag: str | None) -> bool:
    """Put `memory` in the place of the one with `tag`; False if another pass was first."""
    return lake.swap(memory_path(campaign), sealed_json(as_json(memory)), tag)
