"""A night's batch: which pairs of which prompts, chosen shard by shard as pools stream past.

    count_capacity(pools) ─▶ Night(pools) ─▶ (pool, choices), ... and a NightReport

Each shard draws its exploration pairs, gives every prompt its minimum and water-fills the rest of
its share of the budget (`winnow.select.filling`). What a shard cannot spend goes to the later ones;
what a floor wants is spread over shards by what their prompts can give (`winnow.select.coverage`).

Always holds: never more pairs than the budget; spent + unspent = budget; memory grows with a shard,
not with the number of prompts; with minimum, average and maximum alike and no floors, each prompt
gets what `choose_pairs` gives it; every floor is reported with the pairs that it wanted and got.

Shapes: k floors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from winnow.arrays import IntArray
from winnow.errors import Corrupt, Fatal
from winnow.reward.posterior import Head
from winnow.select.blas import one_blas_thread
from winnow.select.budget import Capacity, NightRules, count_capacity
from winnow.select.coverage import CONTESTED, floor_members, shard_quota
from winnow.select.filling import fill, reserve
from winnow.select.greedy import Compared, Heads, by_dimension, compared_in, taught
from winnow.select.night_pool import NightPool, total_supply
from winnow.select.pool import Pool
from winnow.select.reservations import Reservations, Slots
from winnow.select.rules import Choice


def in_shards(pools: Iterable[Pool], size: int) -> Iterator[list[Pool]]:
    """The pools, so many at a time.

    Raises:
        Corrupt: They are not one a prompt in order of prompt id.
    """
    pools = iter(pools)
    last_id = ""
    while shard := list(islice(pools, size)):
        for pool in shard:
            if pool.prompt_id == last_id:
                raise Corrupt(
                    f"Two pools have the same prompt id {last_id}: join the responses of each "
                    "prompt."
                )
            if pool.prompt_id < last_id:
                raise Corrupt(
                    f"The pool of prompt {pool.prompt_id} comes after {last_id}: pass pools in "
                    "order of prompt id, so that their order cannot change what is chosen."
                )
            last_id = pool.prompt_id
        yield shard


@dataclass(frozen=True, slots=True)
class Floor:
    """What became of one floor."""

    stratum: str
    wanted: int
    got: int

    @property
    def met(self) -> bool:
        """Whether the batch holds as many of its pairs as wanted."""
        return self.got >= self.wanted


@dataclass(slots=True, eq=False)
class NightReport:
    """What a night did, so far.

    Attributes:
        budget: Pairs that it may take.
        wanted: Pairs that each floor wants, by stratum, sorted.
        got_k: Pairs that it got.
        spent: Pairs that it took.
        carried: Pairs that shards could not give and left to later ones.
        explored: Pairs of the exploration arm.
        without_pairs: Prompts from which nothing was chosen.
        info_gain: Of all pairs, nats.
        decision_gain: Squared logits, of the pairs for which the strategy works it out.
        n_decision: How many those are.
    """

    budget: int
    wanted: Mapping[str, int]
    got_k: IntArray
    spent: int = 0
    carried: int = 0
    explored: int = 0
    without_pairs: int = 0
    info_gain: float = 0.0
    decision_gain: float = 0.0
    n_decision: int = 0

    @property
    def unspent(self) -> int:
        """Pairs that no prompt could give."""
        return self.budget - self.spent

    @property
    def mean_info_gain(self) -> float | None:
        """Nats; None without pairs."""
        return self.info_gain / self.spent if self.spent else None

    @property
    def mean_decision_gain(self) -> float | None:
        """Squared logits; None where the strategy does not work it out."""
        return self.decision_gain / self.n_decision if self.n_decision else None

    @property
    def floors(self) -> tuple[Floor, ...]:
        """Every floor with the pairs that it wanted and got."""
        wanted = self.wanted.items()
        return tuple(
            Floor(*each, got) for each, got in zip(wanted, self.got_k.tolist(), strict=True)
        )

    @property
    def unmet(self) -> tuple[Floor, ...]:
        """The floors that the batch does not reach."""
        return tuple(floor for floor in self.floors if not floor.met)

    def add(self, chosen: Iterable[tuple[Pool, Sequence[Choice]]]) -> None:
        """Count the choices of some pools."""
        for pool, choices in chosen:
            if self.wanted:
                self.got_k = self.got_k + floor_counts(pool, choices, list(self.wanted))
            self.spent += len(choices)
            self.without_pairs += not choices
            for choice in choices:
                self.explored += choice.arm == "explore"
                self.info_gain += choice.info_gain
                self.decision_gain += choice.decision_gain or 0.0
                self.n_decision += choice.decision_gain is not None


def floor_counts(pool: Pool, choices: Sequence[Choice], strata: Sequence[str]) -> IntArray:
    """How many of a pool's choices count for each stratum (k,)."""
    i_e = np.array([choice.i for choice in choices], dtype=np.intp)
    j_e = np.array([choice.j for choice in choices], dtype=np.intp)
    count_k: IntArray = floor_members(pool, i_e, j_e, strata).sum(axis=1, dtype=np.int64)
    for k, stratum in enumerate(strata):
        if stratum.startswith(CONTESTED):
            count_k[k] = sum(CONTESTED + choice.contested == stratum for choice in choices)
    return count_k


Chosen = list[tuple[Pool, list[Choice]]]


class Night(Iterator[tuple[Pool, list[Choice]]]):
    """The pairs of a night's batch: iterating over it chooses, once, pool by pool as they come.

    It gives (pool, choices), every pool included.

    Args:
        pools: In rising order of prompt id, one for each prompt; read a shard at a time.
        heads: What is believed before the night, by dimension.
        rules: Budget, floors and how to choose.
        capacity: What the very same pools can give (`count_capacity`).

    Attributes:
        heads: The heads, by dimension, expected after the labels of the shards so far.
        report: What the shards so far did.

    Raises:
        Fatal: The budget is less than what prompts are promised.
        Corrupt: While iterating: prompt ids do not rise, or the pools are not those counted.
    """

    heads: dict[str, Head]
    report: NightReport

    def __init__(
        self, pools: Iterable[Pool], heads: Heads, rules: NightRules, capacity: Capacity
    ) -> None:
        self.heads = dict(by_dimension(heads))
        self._rules, self._left = rules, capacity
        wanted = {stratum: rules.floors[stratum] for stratum in rules.strata}
        nothing_k = np.zeros(len(wanted), dtype=np.int64)
        self.report = NightReport(_budget(rules, capacity), wanted, nothing_k)
        self._chosen = self._shards(iter(pools))

    def __next__(self) -> tuple[Pool, list[Choice]]:
        return next(self._chosen)

    def _shards(self, pools: Iterator[Pool]) -> Iterator[tuple[Pool, list[Choice]]]:
        for shard in in_shards(pools, self._rules.shard_size):
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
            asked = [asked_heads(pool, self.heads) for pool in shard]
            choose = self._one_by_one if self._rules.are_alike else self._together
            compared, left_over = choose(shard, asked, later)
            names_of = [tuple(heads) for heads in asked]
            for names in sorted(set(names_of)):
                teaching = [
                    each
                    for each, own in zip(compared, names_of, strict=True)
                    if own == names and each.choices
                ]
                before = {name: self.heads[name] for name in names}
                self.heads |= taught(before, teaching, self._rules.pool_rules.residual_sd)
        chosen = [(pool, each.choices) for pool, each in zip(shard, compared, strict=True)]
        self.report.add(chosen)
        self.report.carried += left_over if later.n_prompts else 0
        self._left = later
        return chosen

    def _one_by_one(
        self, shard: Sequence[Pool], asked: Sequence[Mapping[str, Head]], later: Capacity
    ) -> tuple[list[Compared], int]:
        """What was chosen, where no pool's pairs depend on another's, and the pairs left over.

        As `_together` would, but of one pool after another, which the processor's cache holds.
        """
        compared = [
            compared_in(pool, heads, self._rules.pool_rules, reason="minimum")
            for pool, heads in zip(shard, asked, strict=True)
        ]
        n_chosen = sum(len(each.choices) for each in compared)
        return compared, self._share(len(shard), later) - n_chosen

    def _together(
        self, shard: Sequence[Pool], asked: Sequence[Mapping[str, Head]], later: Capacity
    ) -> tuple[list[Compared], int]:
        """What was chosen, where the pools share slots, and the pairs left over."""
        explored = [
            NightPool(pool, heads, self._rules) for pool, heads in zip(shard, asked, strict=True)
        ]
        chosen = [(p, each.chooser.choices) for p, each in zip(shard, explored, strict=True)]
        left_over = fill(explored, self._plan(explored, chosen, later), self._rules.strata)
        return [each.chooser.compared() for each in explored], left_over

    def _share(self, n_pools: int, later: Capacity, need: int = 0, kept: int = 0) -> int:
        """A shard's share of the budget, explored pairs included.

        It is in proportion to prompts, but at least what minimums and floors need here and what
        later prompts cannot take, and at most what those do not need; `kept` for their floors.
        """
        unspent = self.report.unspent
        most, surplus = unspent - later.promised, unspent - later.most
        even = unspent * n_pools // (n_pools + later.n_prompts)
        return min(max(need, surplus, min(even, most - kept)), most)

    def _plan(
        self, pools: Sequence[NightPool], explored: Chosen, later: Capacity
    ) -> Reservations | Slots:
        """The shard's share of the budget, and the part of it that floors want."""
        rules, got_k = self._rules, self.report.got_k
        for pool, choices in explored if rules.strata else ():
            got_k = got_k + floor_counts(pool, choices, rules.strata)
        wanted_k = np.array(list(self.report.wanted.values()), dtype=np.int64)
        here = total_supply(pools, len(wanted_k))
        quota_k, later_k = shard_quota(np.maximum(wanted_k - got_k, 0), here, later.floors)
        n_explored = sum(len(choices) for _, choices in explored)
        most = self.report.unspent - n_explored - later.promised
        plan = reserve(pools, quota_k, most)
        need, kept = plan.need + n_explored, int(later_k.sum())
        return replace(plan, slots=self._share(len(pools), later, need, kept) - n_explored)


def asked_heads(pool: Pool, heads: Mapping[str, Head]) -> dict[str, Head]:
    """The heads that labels of this pool teach.

    Raises:
        Fatal: The pool asks for a dimension without a head.
    """
    if pool.asked is None:
        return dict(heads)
    asked = {pool.asked, *pool.rated}
    if not asked <= heads.keys():
        raise Fatal(
            f"Prompt {pool.prompt_id} asks for {', '.join(sorted(asked))}, and heads are "
            f"{', '.join(heads)}: give each dimension a prior."
        )
    return {name: head for name, head in heads.items() if name in asked}


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
