"""A night's batch: which pairs of which prompts, chosen shard by shard as pools stream past.

    count_capacity(pools) ─▶ choose_night(pools) ─▶ (pool, choices), ... and a NightReport

Each shard draws its exploration pairs, gives every prompt its minimum and water-fills the rest of
its share of the budget (`winnow.select.filling`). Before the next shard the heads take what these
labels are expected to teach, so that a night does not ask one thing a thousand times. What a shard
cannot spend goes to the later ones; what a floor wants is spread over shards by what their prompts
can give (`winnow.select.coverage`).

Always holds: never more pairs than the budget; spent + unspent = budget; memory grows with a shard,
not with the number of prompts; with minimum, average and maximum alike and no floors, each prompt
gets what `choose_pairs` gives it; every floor is reported with the pairs that it wanted and got.

Shapes: k floors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from winnow.errors import Corrupt, Fatal
from winnow.reward.posterior import Head
from winnow.select.blas import one_blas_thread
from winnow.select.budget import Capacity, NightRules, count_capacity
from winnow.select.coverage import shard_quota
from winnow.select.filling import fill, reserve
from winnow.select.greedy import Heads, by_dimension, observe
from winnow.select.night_pool import NightPool, total_supply
from winnow.select.night_report import NightReport, Tally, floor_counts
from winnow.select.pool import Pool
from winnow.select.reservations import Reservations
from winnow.select.rules import Choice

Chosen = list[tuple[Pool, list[Choice]]]


class Night(Iterator[tuple[Pool, list[Choice]]]):
    """A night under way: iterating over it chooses, once.

    Attributes:
        heads: The heads, by dimension, expected after the labels of the shards so far.
    """

    heads: dict[str, Head]

    def __init__(
        self, pools: Iterable[Pool], heads: Heads, rules: NightRules, capacity: Capacity
    ) -> None:
        self.heads = dict(by_dimension(heads))
        self._rules, self._left = rules, capacity
        self._budget = _budget(rules, capacity)
        self._tally = Tally(rules.strata)
        self._chosen = self._shards(iter(pools))

    def __next__(self) -> tuple[Pool, list[Choice]]:
        return next(self._chosen)

    def report(self) -> NightReport:
        """What the shards so far did."""
        return self._tally.report(self._budget, self._rules.floors)

    def _shards(self, pools: Iterator[Pool]) -> Iterator[tuple[Pool, list[Choice]]]:
        last_id = ""
        while shard := list(islice(pools, self._rules.shard_size)):
            for pool in shard:
                _check_order(last_id, pool.prompt_id)
                last_id = pool.prompt_id
            yield from self._choose(shard)
        if self._left.n_prompts:
            raise Corrupt(
                f"{self._left.n_prompts} of the prompts counted did not come: count the capacity "
                "of the very pools that are chosen from."
            )

    def _choose(self, shard: Sequence[Pool]) -> Chosen:
        """Chooses from a shard and keeps the books: heads, totals and what is left to come."""
        later = self._left.plus(count_capacity(shard, self._rules), sign=-1)
        if later.n_prompts < 0:
            raise Corrupt(
                f"{-later.n_prompts} more prompts come than were counted: count the capacity of "
                "the very pools that are chosen from."
            )
        with one_blas_thread():
            asked = [_asked(pool, self.heads) for pool in shard]
            explored = [
                NightPool(pool, heads, self._rules)
                for pool, heads in zip(shard, asked, strict=True)
            ]
            chosen = [(p, each.chooser.choices) for p, each in zip(shard, explored, strict=True)]
            plan = self._plan(explored, chosen, later)
            left_over = fill(explored, plan, self._rules.strata)
            names_of = [tuple(heads) for heads in asked]
            for names in sorted(set(names_of)):
                taught = [c for c, own in zip(chosen, names_of, strict=True) if own == names]
                before = {name: self.heads[name] for name in names}
                self.heads |= observe(before, taught, self._rules.pool_rules.residual_sd)
        self._tally.add(chosen)
        self._tally.carried += left_over if later.n_prompts else 0
        self._left = later
        return chosen

    def _plan(self, pools: Sequence[NightPool], explored: Chosen, later: Capacity) -> Reservations:
        """The shard's share of the budget, and the part of it that floors want.

        The share is in proportion to prompts, but at least what minimums and floors need here and
        what later prompts cannot take, and at most what those do not need.
        """
        rules, unspent = self._rules, self._budget - self._tally.spent
        got_k = self._tally.got_k + sum(floor_counts(p, c, rules.strata) for p, c in explored)
        wanted_k = np.array([rules.floors[stratum] for stratum in rules.strata], dtype=np.int64)
        here = total_supply(pools, len(wanted_k))
        quota_k, later_k = shard_quota(np.maximum(wanted_k - got_k, 0), here, later.floors)
        n_explored = sum(len(choices) for _, choices in explored)
        most = unspent - n_explored - later.promised
        plan = reserve(pools, quota_k, most)
        even = unspent * len(pools) // (len(pools) + later.n_prompts) - n_explored
        surplus = unspent - n_explored - later.most
        slots = max(plan.need, surplus, min(even, most - int(later_k.sum())))
        return replace(plan, slots=min(slots, most))


def _asked(pool: Pool, heads: Mapping[str, Head]) -> dict[str, Head]:
    """The heads that labels of this pool teach.

    Raises:
        Fatal: The pool asks for a dimension without a head.
    """
    if pool.asked is None:
        return dict(heads)
    if pool.asked not in heads:
        raise Fatal(
            f"Prompt {pool.prompt_id} asks for {pool.asked}, and heads are {', '.join(heads)}: "
            "give that dimension a prior."
        )
    return {pool.asked: heads[pool.asked]}


def choose_night(
    pools: Iterable[Pool], heads: Heads, rules: NightRules, capacity: Capacity
) -> Night:
    """The pairs of a night's batch, pool by pool in the order in which they come.

    Args:
        pools: In rising order of prompt id, one for each prompt; read a shard at a time.
        heads: What is believed before the night, by dimension.
        rules: Budget, floors and how to choose.
        capacity: What the very same pools can give (`count_capacity`).

    Returns:
        An iterator over (pool, choices), every pool included, whose `report` says how it went.

    Raises:
        Fatal: The budget is less than what prompts are promised.
        Corrupt: While iterating: prompt ids do not rise, or the pools are not those counted.
    """
    return Night(pools, heads, rules, capacity)


def _budget(rules: NightRules, capacity: Capacity) -> int:
    average = rules.pool_rules.budget * capacity.n_prompts
    budget = average if rules.total_pairs is None else rules.total_pairs
    if budget < capacity.promised:
        raise Fatal(
            f"The batch may hold {budget} pairs, but {capacity.n_prompts} prompts are promised "
            f"{capacity.promised} by minimum and exploration: raise total_pairs, or lower "
            "min_pairs_per_prompt or exploration."
        )
    return budget


def _check_order(before: str, prompt_id: str) -> None:
    if prompt_id == before:
        raise Corrupt(
            f"Two pools have the same prompt id {prompt_id}: join the responses of each prompt."
        )
    if prompt_id < before:
        raise Corrupt(
            f"The pool of prompt {prompt_id} comes after {before}: pass pools in order of prompt "
            "id, so that their order cannot change what is chosen."
        )
