"""What a batch should buy: responses and labels per prompt, priced, and the best within a budget.

Always holds: money is integer micro-dollars, no cost depends on floating-point rounding, the budget
is never exceeded, and no gain is invented where none was measured.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import nan

from winnow.errors import Fatal
from winnow.select.curves import CurvePoint

MICROS_PER_DOLLAR = 1_000_000
"""As `winnow.records.MICROS`, which a library of arrays does not import."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What responses and labels cost; money in integer micro-dollars (1,000,000 = $1).

    Attributes:
        label: One annotation.
        second_vote_share: Annotations beyond the first, per pair: second votes, gold, repeats.
        gpu_hour: One GPU for an hour.
        tokens_per_second: Measured on one GPU.
        tokens_per_response: Measured mean.

    Raises:
        Fatal: A price is negative or the throughput is not above 0.
    """

    label: int
    second_vote_share: float
    gpu_hour: int
    tokens_per_second: float
    tokens_per_response: float

    def __post_init__(self) -> None:
        if min(self.label, self.gpu_hour, self.tokens_per_response, self.second_vote_share) < 0:
            raise Fatal(f"{self}: prices, tokens and shares must be at least 0.")
        if not self.tokens_per_second > 0:
            raise Fatal(f"{self}: give the tokens per second that the last batch measured.")

    @property
    def comparison(self) -> int:
        """Micro-dollars for one pair, with its share of second votes."""
        return round(self.label * (1.0 + self.second_vote_share))

    def hours(self, responses: int) -> Fraction:
        """GPU hours for `responses`, exact so that no price depends on rounding."""
        tokens = responses * Fraction(self.tokens_per_response)
        return tokens / Fraction(self.tokens_per_second) / 3600

    def generation(self, responses: int) -> int:
        """Micro-dollars for `responses`, rounded once for all of them."""
        return round(self.hours(responses) * self.gpu_hour)


@dataclass(frozen=True, slots=True)
class Option:
    """One design, priced for all prompts of the batch; money in micro-dollars.

    `pool_size` and `labels` are per prompt, `affordable` counts the prompts that the budget pays
    for. `label_cost` is an upper bound: pools that run out of pairs cost less. `point`: what it
    gains; None where it was not measured.
    """

    pool_size: int
    labels: int
    prompts: int
    affordable: int
    gpu_hours: float
    generation_cost: int
    label_cost: int
    point: CurvePoint | None

    @property
    def cost(self) -> int:
        """Micro-dollars for everything."""
        return self.generation_cost + self.label_cost

    @property
    def gain(self) -> float:
        """Share of the uncertainty that it takes away; NaN where it was not measured."""
        return self.point.gain if self.point else nan

    @property
    def gain_per_dollar(self) -> float:
        """`gain` for each dollar; NaN where nothing was measured or nothing is paid."""
        return self.gain / self.cost * MICROS_PER_DOLLAR if self.cost else nan


@dataclass(frozen=True, slots=True)
class Plan:
    """The designs that a budget affords, and those that it does not, cheapest first.

    `best` is None when nothing is affordable or no gain was measured.
    """

    budget: int
    options: tuple[Option, ...]
    infeasible: tuple[Option, ...]
    best: Option | None

    @property
    def listed(self) -> tuple[Option, ...]:
        """All of them."""
        return self.options + self.infeasible


def plan(
    curves: Sequence[CurvePoint],
    prices: Prices,
    n_prompts: int,
    budget: int,
    pool_sizes: Iterable[int],
    max_labels: int,
) -> Plan:
    """Every design for all of `n_prompts`, and the affordable one of the highest gain.

    Of equal gains the cheaper design is the best. Designs without a point in `curves`, which are
    what `gain_curves` measured, are priced only. `budget` is micro-dollars for the whole batch.

    Raises:
        Fatal: A number is out of range, or the curves stand for another number of prompts.
    """
    sizes = sorted(set(pool_sizes))
    if not sizes or sizes[0] < 2 or min(max_labels, n_prompts) < 1 or budget < 0:
        raise Fatal(
            f"Pool sizes {sizes}, {max_labels} labels, {n_prompts} prompts, a budget of "
            f"{budget} micro-dollars: sizes must be at least 2, labels and prompts 1, the budget 0."
        )
    if others := {point.batch_prompts for point in curves} - {n_prompts}:
        raise Fatal(
            f"The gains stand for batches of {sorted(others)} prompts, the plan for {n_prompts}: "
            "measure the curves for it, a label gains less the more of them there are."
        )
    points = {(point.pool_size, point.labels): point for point in curves}
    options = [
        _priced(size, labels, prices, n_prompts, budget, points.get((size, labels)))
        for size in sizes
        for labels in range(1, max_labels + 1)
    ]
    options.sort(key=lambda option: (option.cost, option.pool_size))
    within = tuple(option for option in options if option.affordable == n_prompts)
    beyond = tuple(option for option in options if option.affordable < n_prompts)
    measured = [option for option in within if option.point]
    # `max` keeps the first of equals: the cheaper one.
    best = max(measured, key=lambda option: option.gain, default=None)
    return Plan(budget, within, beyond, best)


def _priced(
    size: int,
    labels: int,
    prices: Prices,
    n_prompts: int,
    budget: int,
    point: CurvePoint | None,
) -> Option:
    def cost(prompts: int) -> int:
        return prices.generation(prompts * size) + prompts * labels * prices.comparison

    return Option(
        pool_size=size,
        labels=labels,
        prompts=n_prompts,
        affordable=bisect_right(range(n_prompts + 1), budget, key=cost) - 1,
        gpu_hours=float(prices.hours(n_prompts * size)),
        generation_cost=prices.generation(n_prompts * size),
        label_cost=n_prompts * labels * prices.comparison,
        point=point,
    )
