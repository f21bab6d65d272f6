"""Smaller pools cut from generated ones: which prompts, which responses, in which order.

Always holds: smaller pools are nested in larger ones, and neither the order of prompts nor that of
responses changes what is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from heapq import nsmallest
from typing import TypeVar

import numpy as np

from winnow.errors import Corrupt, Fatal
from winnow.ids import content_id
from winnow.select.pool import Pool

T = TypeVar("T")


def draw_pools(pools: Iterable[Pool], size: int, seed: int, n_prompts: int) -> list[Pool]:
    """Pools of `size` responses or more, drawn by hash, their responses in a drawn order."""
    sizes: dict[str, int] = {}

    def fitting() -> Iterator[Pool]:
        for pool in pools:
            if pool.prompt_id in sizes:
                raise Corrupt(
                    f"Two pools have the prompt id {pool.prompt_id}: join the responses of each."
                )
            sizes[pool.prompt_id] = len(pool.response_ids)
            if len(pool.response_ids) >= size:
                yield pool

    drawn = nsmallest(n_prompts, fitting(), key=lambda p: content_id("plan", seed, p.prompt_id))
    if len(drawn) < 2:
        raise Fatal(
            f"{len(drawn)} of {len(sizes)} pools hold {size} responses, at least two must: "
            f"consider sizes up to {max(sizes.values(), default=0)}, the largest pool."
        )
    return [_shuffled(pool, seed) for pool in drawn]


def _shuffled(pool: Pool, seed: int) -> Pool:
    """The pool in an order drawn by response id; each copy of a text has its own place."""
    copies: Counter[str] = Counter()
    places = []
    for response_id in pool.response_ids:
        places.append(content_id("plan", seed, pool.prompt_id, response_id, copies[response_id]))
        copies[response_id] += 1
    return part_of(pool, sorted(range(len(places)), key=places.__getitem__))


def part_of(pool: Pool, rows: Sequence[int]) -> Pool:
    """The pool of these responses alone, in this order."""
    rows_n = np.array(rows, dtype=np.intp)

    def picked(facts: Sequence[T] | None) -> list[T] | None:
        return None if facts is None else [facts[row] for row in rows]

    return replace(
        pool,
        response_ids=[pool.response_ids[row] for row in rows],
        features_nd=pool.features_nd[rows_n],
        eligible_nn=None if pool.eligible_nn is None else pool.eligible_nn[np.ix_(rows_n, rows_n)],
        clusters=picked(pool.clusters),
        blocked=None if pool.blocked is None else pool.blocked[rows_n],
        n_tokens=picked(pool.n_tokens),
        response_strata=picked(pool.response_strata),
    )
