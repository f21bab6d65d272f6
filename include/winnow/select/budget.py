"""How many pairs a night buys, and how many its prompts can give.

A batch is streamed, so later prompts are unseen when earlier ones are chosen from. A cheap first
pass counts what they can give (`count_capacity` reads neither features nor a reward model), and
budget and floors are spread over the shards by those counts.

Always holds: counts add up over pools, in any order. They are exact for complete pools; a cap on
pairs per response or near-duplicate clusters may leave a greedy choice with fewer pairs than
counted, which then go to later prompts.

Shapes: e packed pairs, k floors, m distinct responses.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from winnow.arrays import BoolArray, IndexArray
from winnow.errors import Fatal
from winnow.select.coverage import CONTESTED, Supply, floor_members
from winnow.select.packing import matched_pairs, packed_pairs
from winnow.select.pool import Pool
from winnow.select.rules import Rules


@dataclass(frozen=True, slots=True)
class NightRules:
    """How a night's batch is spread over its prompts.

    Attributes:
        pool_rules: How pairs are chosen from one pool; its budget is the average per prompt.
        min_pairs_per_prompt: Pairs that every prompt gets, as far as it has them.
        max_pairs_per_prompt: Pairs that no prompt exceeds.
        total_pairs: Pairs of the batch at most; None: the average times the number of prompts.
        floors: Least number of pairs of a stratum, such as {"language:de": 200}.
        shard_size: Prompts chosen from together, on one belief.

    Raises:
        Fatal: The numbers contradict each other.
    """

    pool_rules: Rules
    min_pairs_per_prompt: int
    max_pairs_per_prompt: int
    total_pairs: int | None = None
    floors: Mapping[str, int] = field(default_factory=dict)
    shard_size: int = 64

    def __post_init__(self) -> None:
        least, most = self.min_pairs_per_prompt, self.max_pairs_per_prompt
        if not 0 <= least <= self.pool_rules.budget <= most:
            raise Fatal(
                f"Pairs per prompt are at least {least}, on average {self.pool_rules.budget} and "
                f"at most {most}: set them in rising order from 0."
            )
        if self.shard_size < 1 or (self.total_pairs or 0) < 0:
            raise Fatal(
                f"shard_size is {self.shard_size} and total_pairs {self.total_pairs}: set "
                "shard_size to at least 1, total_pairs to at least 0 or none."
            )
        below = [stratum for stratum, wanted in self.floors.items() if wanted < 0]
        if below:
            raise Fatal(f"The floors of {', '.join(below)} are below 0: set them to at least 0.")

    @property
    def strata(self) -> list[str]:
        """The floors' strata, sorted: the order of every array over floors."""
        return sorted(self.floors)

    @property
    def are_alike(self) -> bool:
        """Whether every prompt gets the same number of pairs, whatever the others are worth."""
        limits = (self.min_pairs_per_prompt, self.max_pairs_per_prompt)
        is_fixed = limits == (self.pool_rules.budget,) * 2
        return is_fixed and self.total_pairs is None and not self.floors

    @property
    def promised_per_prompt(self) -> int:
        """Pairs that a prompt may take before any is shared out, by minimum or exploration."""
        explored = math.ceil(self.pool_rules.exploration * self.pool_rules.budget)
        return max(self.min_pairs_per_prompt, explored)


@dataclass(frozen=True, slots=True, eq=False)
class Capacity:
    """What a set of prompts can give; those without a pair count, too.

    Attributes:
        promised: Pairs that they may take before any is shared out.
        most: Pairs that they can give.
        floors: Pairs of each floor's stratum, in order of `NightRules.strata`.
    """

    n_prompts: int
    promised: int
    most: int
    floors: Supply

    def plus(self, other: Capacity, sign: int = 1) -> Capacity:
        """Both together, or with sign -1 what is left of this one without the other."""
        return Capacity(
            self.n_prompts + sign * other.n_prompts,
            self.promised + sign * other.promised,
            self.most + sign * other.most,
            Supply(
                self.floors.least_k + sign * other.floors.least_k,
                self.floors.most_k + sign * other.floors.most_k,
            ),
        )


def count_capacity(pools: Iterable[Pool], rules: NightRules) -> Capacity:
    """What pools can give, counted in one pass.

    Only ids, masks and strata are read: features of no columns, shape (n, 0), are enough.
    """
    none_k = np.zeros(len(rules.floors), dtype=np.int64)
    total = Capacity(0, 0, 0, Supply(none_k, none_k))
    plain: list[Pool] = []
    for pool in pools:
        if rules.floors or pool.eligible_nn is not None:
            total = total.plus(_pool_capacity(pool, rules))
        else:
            plain.append(pool)
    return total.plus(_capacity_without_floors(plain, rules)) if plain else total


def capacity_of_rows(
    pool_r: IndexArray, cluster_r: IndexArray, blocked_r: BoolArray, rules: NightRules
) -> Capacity:
    """What many pools can give where there are no floors, from a row a distinct response.

    Args:
        pool_r: Number of each response's pool, from 0, every number up to the highest.
        cluster_r: Number of its near-duplicate cluster in the pool.
        blocked_r: Whether it is part of no pair.
        rules: Without floors.
    """
    n = int(pool_r.max(initial=-1)) + 1
    cluster_r = pool_r * (int(cluster_r.max(initial=0)) + 1) + cluster_r
    open_r = ~blocked_r
    size_k = np.bincount(cluster_r[open_r], minlength=int(cluster_r.max(initial=-1)) + 1)
    open_p = np.bincount(pool_r[open_r], minlength=n)
    partners_r = np.where(open_r, open_p[pool_r] - size_k[cluster_r], 0)
    # Weighed sums of whole numbers below 2^53: exact.
    pairs_p = np.bincount(pool_r, partners_r, n).astype(np.int64) // 2
    cap = rules.pool_rules.max_pairs_per_response
    at_most_p = pairs_p
    if cap is not None:
        at_most_p = np.bincount(pool_r, np.minimum(partners_r, cap), n).astype(np.int64) // 2
    promised_p = np.minimum(rules.promised_per_prompt, pairs_p)
    room_p = np.minimum(rules.max_pairs_per_prompt, at_most_p)
    most = int(np.maximum(room_p, promised_p).sum())
    none_k = np.zeros(0, dtype=np.int64)
    return Capacity(n, int(promised_p.sum()), most, Supply(none_k, none_k))


def _pool_capacity(pool: Pool, rules: NightRules) -> Capacity:
    order_m = pool.distinct()
    first_e, second_e = packed_pairs(len(order_m))
    open_e = pool.open_pairs(order_m)
    member_ke = floor_members(pool, order_m[first_e], order_m[second_e], rules.strata)
    cap = rules.pool_rules.max_pairs_per_response
    left_m = np.full(len(order_m), len(order_m) if cap is None else cap, dtype=np.intp)

    def at_most(among_e: BoolArray) -> int:
        return int(matched_pairs(first_e, second_e, among_e, left_m))

    # Exploration ignores the cap on pairs per response, so what is promised does too.
    promised = min(rules.promised_per_prompt, int(np.count_nonzero(open_e)))
    room = min(rules.max_pairs_per_prompt, at_most(open_e))
    minimum = min(rules.min_pairs_per_prompt, room)
    least_k, most_k = np.zeros((2, len(member_ke)), dtype=np.int64)
    for k, stratum in enumerate(rules.strata):
        if stratum.startswith(CONTESTED):
            most_k[k] = room
        else:
            most_k[k] = min(room, at_most(open_e & member_ke[k]))
            least_k[k] = max(0, minimum - at_most(open_e & ~member_ke[k]))
    return Capacity(1, promised, max(room, promised), Supply(least_k, most_k))


def _capacity_without_floors(pools: Sequence[Pool], rules: NightRules) -> Capacity:
    """The same from the sizes of the clusters alone: every two of different ones may be paired."""
    clusters, blocked, sizes = [], [], []
    for pool in pools:
        order_m = pool.distinct()
        m = len(order_m)
        sizes.append(m)
        cluster_m = np.arange(m)
        if pool.clusters is not None:
            cluster_m = np.asarray(pool.clusters, dtype=np.intp)[order_m]
        if m and (cluster_m.min() < 0 or cluster_m.max() >= 4 * m):
            cluster_m = np.unique(cluster_m, return_inverse=True)[1]
        clusters.append(cluster_m)
        blocked_n = pool.blocked
        blocked.append(np.zeros(m, np.bool_) if blocked_n is None else blocked_n[order_m])
    pool_r = np.repeat(np.arange(len(sizes)), sizes)
    counted = capacity_of_rows(pool_r, np.concatenate(clusters), np.concatenate(blocked), rules)
    return replace(counted, n_prompts=len(sizes))
