"""Plan the work of generation: prompts into groups, groups into shards.

A group is the unit of resume: its prompts are generated in one engine call whose composition never
depends on what was done before, because the arithmetic of a batch depends on its composition. A
shard is what one GPU task works through. The plan depends on the set of prompts and on the
settings, never on the order in which prompts came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from winnow.campaign import Expand
from winnow.ids import content_id


@dataclass(frozen=True, slots=True)
class Shard:
    """Groups of prompt ids in the order they are generated; the id is a hash of them."""

    shard_id: str
    groups: tuple[tuple[str, ...], ...]


def plan_shards(prompts: Iterable[Mapping[str, Any]], settings: Expand) -> list[Shard]:
    """Shards over rows with `prompt_id` and `messages`; each prompt is in exactly one group.

    Neighbours by length share a group, so that they finish together. A shard holds at most
    `prompts_per_shard` prompts; groups are dealt to shards like cards, there and back, so that
    every shard gets short and long prompts.
    """
    ordered = sorted((_n_chars(p), p["prompt_id"]) for p in prompts)
    ids = [prompt_id for _, prompt_id in ordered]
    per_group = min(settings.prompts_per_group, settings.prompts_per_shard)
    groups = [tuple(ids[i : i + per_group]) for i in range(0, len(ids), per_group)]
    n_shards = -(-len(groups) // (settings.prompts_per_shard // per_group))
    hands: list[list[tuple[str, ...]]] = [[] for _ in range(n_shards)]
    for i, group in enumerate(groups):
        round_, place = divmod(i, n_shards)
        hands[place if round_ % 2 == 0 else n_shards - 1 - place].append(group)
    return [Shard(content_id("shard", hand), tuple(hand)) for hand in hands]


def _n_chars(prompt: Mapping[str, Any]) -> int:
    return sum(len(m["content"]) for m in prompt["messages"])
