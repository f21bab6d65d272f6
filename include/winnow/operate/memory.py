"""What was mended and told before, so that neither is done every 15 minutes.

    campaigns/nightly/reconcile.json    one pointer, moved by compare-and-swap

A pass writes down what it is about to do before it does it. Killed in between it has used up one
try, and the next pass tries again; two passes at once never do the same thing twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from winnow.lake import Lake
from winnow.operate.standing import Mended
from winnow.stored import parsed, read_sealed, sealed_json


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
    data, tag = lake.read_tagged(memory_path(campaign))
    if data is None:
        return Memory(), tag
    return parsed(lake, memory_path(campaign), _memory, data), tag


def _memory(data: bytes) -> Memory:
    content = read_sealed(data)
    at = datetime.fromisoformat
    return Memory(
        mends={n: Mended(m["n"], at(m["at"])) for n, m in content["mends"].items()},
        told={_told(name): at(when) for name, when in content["told"].items()},
        looked={
            key: Looked(seen["n_answered"], seen["charged"], at(seen["at"]))
            for key, seen in content["looked"].items()
        },
        through=frozenset(content["through"]),
        closed=frozenset(content["closed"]),
        left=frozenset(content["left"]),
        finished=content["finished"],
    )


def _told(name: str) -> str:
    """The name of a finding; an earlier Winnow put what was found behind kind, batch and stage."""
    kind, key, *stage = name.split(" ")[:3]
    return name if kind == "failed" else " ".join([kind, key, *stage]).rstrip()


def write_memory(lake: Lake, campaign: str, memory: Memory, tag: str | None) -> bool:
    """Put `memory` in the place of the one with `tag`; False if another pass was first."""
    content = {
        "mends": {n: {"n": m.n, "at": m.at.isoformat()} for n, m in memory.mends.items()},
        "told": {name: when.isoformat() for name, when in memory.told.items()},
        "looked": {
            key: {**asdict(seen), "at": seen.at.isoformat()} for key, seen in memory.looked.items()
        },
        "through": sorted(memory.through),
        "closed": sorted(memory.closed),
        "left": sorted(memory.left),
        "finished": memory.finished,
    }
    return lake.swap(memory_path(campaign), sealed_json(content), tag)
