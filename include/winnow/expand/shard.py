"""Plan the work of generation: prompts into groups, groups into shards, a round into calls.

A shard is what one GPU task works through: a slice of the prompts, for one of the models that a
pool mixes. Shards are cut by estimated tokens, so that they take about as long. A group is a run
of prompts of like length; each round of its pools is one call of the engine, or more where it is
large. What shares a call depends on the plan and on the pools alone, never on what was done before
a kill, because the arithmetic of a call depends on its composition.

A large batch is cut into parts first, each of which becomes one file of the pool tables.

Always holds: the plan depends on the set of prompts and on the settings, not on their order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from winnow.campaign import Expand
from winnow.expand.samplers import models_of, samplers_of, shares
from winnow.ids import content_id

_BYTES_PER_TOKEN = 4
"""UTF-8 bytes of a prompt that make about one token, in most scripts and tokenizers."""


PART_RESPONSES = 32_000
"""Responses, at most, of one part of the pool tables: what later stages hold at once."""


PART_BYTES = 256 << 20
"""Bytes of the texts that are brought, at most, of one part, but for a pool that alone has more."""


MOST_SHARDS = 1_000
"""Airflow maps a task over 1,024 things at most, unless its `core.max_map_length` says more."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Groups of prompt ids for one model; the id is a hash of both.

    `slice_` numbers the slice: shards of one slice have the same prompts and different models.
    `part` numbers the part of the pool tables that holds them.
    """

    shard_id: str
    slice_: int
    model: str
    groups: tuple[tuple[str, ...], ...]
    part: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """Responses `first` to `last` - 1 of the pools of `prompts`, generated together."""

    prompts: tuple[str, ...]
    first: int
    last: int


def round_ends(settings: Expand) -> list[int]:
    """Pool sizes at the end of each round: the full size alone, or doubling up to it."""
    sizes = [settings.pool_size]
    if settings.first_round is not None:
        sizes, size = [], settings.first_round
        while size < settings.pool_size:
            sizes.append(size)
            size *= 2
        sizes.append(settings.pool_size)
    return sizes


def n_parts(n_prompts: int, settings: Expand) -> int:
    """How many parts the pool tables of so many prompts are cut into, one at least."""
    return max(-(-n_prompts * settings.pool_size // PART_RESPONSES), 1)


def plan_shards(
    prompts: Iterable[Mapping[str, Any]], settings: Expand, *, parts: bool = True
) -> list[Shard]:
    """Shards over rows with `prompt_id` and `messages`; see `shards_of_sizes`."""
    n_bytes_of = {
        row["prompt_id"]: sum(len(message["content"].encode()) for message in row["messages"])
        for row in prompts
    }
    return shards_of_sizes(n_bytes_of, settings, parts=parts)


def shards_of_sizes(
    n_bytes_of: Mapping[str, int], settings: Expand, *, parts: bool = True
) -> list[Shard]:
    """Shards over prompts by their length in UTF-8, part by part, slice by slice, by model.

    A part is a run of prompts in order of their ids, all parts of about one size; `parts` False
    makes one of all, as before 0.5. Within one, groups go, largest first, to the slice that has
    least to do, so that slices finish together. Where there would be more than `MOST_SHARDS`,
    shards are larger than asked for.
    """
    tokens_of = {p: _estimated_tokens(n_bytes, settings) for p, n_bytes in n_bytes_of.items()}
    ids = sorted(tokens_of)
    n = n_parts(len(ids), settings) if parts else 1
    most = max(MOST_SHARDS // (n * len(models_of(settings))), 1) if parts else len(ids)
    shards: list[Shard] = []
    for part in range(n):
        own = ids[len(ids) * part // n : len(ids) * (part + 1) // n]
        first = shards[-1].slice_ + 1 if shards else 0
        shards += _shards_of_part({i: tokens_of[i] for i in own}, settings, part, first, most)
    return shards


def _shards_of_part(
    tokens_of: Mapping[str, int], settings: Expand, part: int, first: int, most: int
) -> list[Shard]:
    """The shards of a part, in `most` slices at most, which are numbered from `first`."""
    ordered = sorted(tokens_of, key=lambda prompt: (tokens_of[prompt], prompt))
    groups = list(_groups(ordered, tokens_of, settings))
    n_slices = -(-sum(tokens_of.values()) // settings.tokens_per_shard)
    slices: list[list[tuple[str, ...]]] = [[] for _ in range(min(n_slices, len(groups), most))]
    busy = [(0, k) for k in range(len(slices))]
    for group in reversed(groups):
        tokens, k = heapq.heappop(busy)
        slices[k].append(group)
        heapq.heappush(busy, (tokens + sum(tokens_of[prompt] for prompt in group), k))
    return [
        Shard(content_id("shard", model, groups), k, model, tuple(groups), part)
        for k, groups in enumerate(slices, first)
        for model in models_of(settings)
    ]


def calls_of(
    prompts: Sequence[str], first: int, last: int, model: str, settings: Expand
) -> Iterator[Call]:
    """The calls of a round of a group's pools; a round that the model has no part in has none."""
    if settings.is_brought:
        yield Call(tuple(prompts), first, last)
        return
    per_prompt = part_of_round(first, last, model, settings)
    if per_prompt:
        size = max(settings.responses_per_call // per_prompt, 1)
        for start in range(0, len(prompts), size):
            yield Call(tuple(prompts[start : start + size]), first, last)


def part_of_round(first: int, last: int, model: str, settings: Expand) -> int:
    """Responses that a model draws among those from `first` to `last` - 1 of a pool."""
    samplers = samplers_of(settings)
    spans = zip(samplers, shares(samplers, first), shares(samplers, last), strict=True)
    return sum(end - start for sampler, start, end in spans if sampler.model == model)


def brought_shards(
    pools: Iterable[tuple[str, int, int]], model: str, settings: Expand
) -> list[Shard]:
    """Shards over pools that were brought: one a part, each group one call.

    `pools` has id, part and responses of each, part by part.
    """
    shards: list[Shard] = []
    for part, of_part in groupby(pools, key=lambda pool: pool[1]):
        groups: list[tuple[str, ...]] = []
        group: list[str] = []
        n_responses = 0
        for prompt, _, n in of_part:
            if group and n_responses + n > settings.responses_per_call:
                groups.append(tuple(group))
                group, n_responses = [], 0
            group.append(prompt)
            n_responses += n
        groups.append(tuple(group))
        shards.append(Shard(content_id("shard", model, groups), part, model, tuple(groups), part))
    return shards


def _groups(
    ordered: Sequence[str], tokens_of: Mapping[str, int], settings: Expand
) -> Iterator[tuple[str, ...]]:
    """Runs of prompts that fill one call in the first round; none alone fills a shard."""
    # A server answers response by response: what one call has in common there is only its end.
    per_group = max(settings.responses_per_call // round_ends(settings)[0], 1)
    per_group = 1 if settings.engine == "server" else per_group
    group: list[str] = []
    tokens = 0
    for prompt in ordered:
        full = tokens + tokens_of[prompt] > settings.tokens_per_shard
        if group and (len(group) == per_group or full):
            yield tuple(group)
            group, tokens = [], 0
        group.append(prompt)
        tokens += tokens_of[prompt]
    if group:
        yield tuple(group)


def _estimated_tokens(n_bytes: int, settings: Expand) -> int:
    """Tokens of a whole pool at most: each response at its limit, and the prompt once."""
    return n_bytes // _BYTES_PER_TOKEN + settings.pool_size * settings.max_tokens
