"""A night of rankings: of each prompt a set of responses that are ranked together.

    RankingNight(pools) ─▶ (pool, choices), ... and a NightReport

The choices of a pool are all pairs of its set (`PoolChooser.rank`). What a shard's rankings are
expected to teach is taken off the heads before the next shard. A ranking of K makes K - 1 choices
and not K (K - 1) / 2, so each of its pairs weighs 2 / K of a vote (`pair_weight`).

Always holds: what `Night` does, but for floors, of which there are none; a pool of fewer responses
than asked for gives a shorter ranking, and of fewer than two none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from winnow.reward.posterior import Head
from winnow.select.blas import one_blas_thread
from winnow.select.budget import NightRules
from winnow.select.greedy import Compared, Heads, PoolChooser, by_dimension, taught
from winnow.select.night import NightReport, asked_heads, in_shards
from winnow.select.pool import Pool
from winnow.select.rules import Choice


def pair_weight(n_pairs: int) -> float:
    """What one of all `n_pairs` pairs of a ranking weighs in votes.

    >>> pair_weight(1), pair_weight(6)
    (1.0, 0.5)
    """
    size = (1 + int(np.sqrt(1 + 8 * n_pairs))) // 2
    return 2.0 / size


class RankingNight(Iterator[tuple[Pool, list[Choice]]]):
    """The rankings of a night: iterating over it chooses, once, pool by pool as they come.

    Args:
        pools: `n_pools` of them in rising order of prompt id, one for each prompt.
        heads: What is believed before the night, by dimension.
        rules: How to choose; `total_pairs` and floors say nothing here.
        size: Responses of a ranking.

    Attributes:
        report: What the pools so far did, in pairs.

    Raises:
        Corrupt: While iterating: prompt ids do not rise.
    """

    def __init__(
        self, pools: Iterable[Pool], heads: Heads, rules: NightRules, size: int, n_pools: int
    ) -> None:
        self._heads, self._rules, self._size = dict(by_dimension(heads)), rules, size
        n_pairs = n_pools * size * (size - 1) // 2
        self.report = NightReport(n_pairs, {}, np.zeros(0, np.int64))
        self._chosen = self._shards(iter(pools))

    def __next__(self) -> tuple[Pool, list[Choice]]:
        return next(self._chosen)

    def _shards(self, pools: Iterator[Pool]) -> Iterator[tuple[Pool, list[Choice]]]:
        for shard in in_shards(pools, self._rules.shard_size):
            chosen = self._choose(shard)
            self.report.add(chosen)
            yield from chosen

    def _choose(self, shard: Sequence[Pool]) -> list[tuple[Pool, list[Choice]]]:
        made, rules = [], self._rules.pool_rules
        teaching: dict[tuple[str, ...], list[Compared]] = {}
        with one_blas_thread():
            for pool in shard:
                heads = asked_heads(pool, self._heads)
                chooser = PoolChooser(pool, heads, rules)
                chooser.rank(self._size)
                made.append((pool, chooser.choices))
                if chooser.choices:
                    teaching.setdefault(tuple(heads), []).append(_weighed(chooser.compared()))
            for names, compared in sorted(teaching.items()):
                before: dict[str, Head] = {name: self._heads[name] for name in names}
                self._heads |= taught(before, compared, rules.residual_sd)
        return made


def _weighed(compared: Compared) -> Compared:
    """The choices of a ranking, with the information that one of its pairs brings."""
    weight = pair_weight(len(compared.choices))
    weighed = [
        replace(choice, fishers=tuple(weight * fisher for fisher in choice.fishers))
        for choice in compared.choices
    ]
    return compared._replace(choices=weighed)
