"""Sets of responses that are ranked together: all pairs, no near duplicates, honest chances."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import Corrupt
from winnow.reward import prior
from winnow.select import STRATEGIES, Pool, PoolChooser, Rules, choose_pairs
from winnow.select.budget import NightRules
from winnow.select.ranking_night import RankingNight, pair_weight

RULES = Rules(budget=6, strategy="decision_gain", exploration=0.0, max_pairs_per_response=None)
HEAD = prior(3, 1.0)


def pool(seed: int = 0, n: int = 8, name: str = "p", clusters: list[int] | None = None) -> Pool:
    features = np.random.default_rng(seed).normal(size=(n, 3))
    return Pool(name, [f"r{k:02d}" for k in range(n)], features, clusters=clusters)


def ranked(one: Pool, rules: Rules, size: int = 4) -> list:
    chooser = PoolChooser(one, HEAD, rules)
    chooser.rank(size)
    return chooser.choices


@settings(deadline=None, max_examples=60)
@given(
    strategy=st.sampled_from(sorted(STRATEGIES)),
    exploration=st.sampled_from([0.0, 0.5, 1.0]),
    clusters=st.lists(st.integers(0, 5), min_size=2, max_size=9),
    size=st.integers(4, 9),
    seed=st.integers(0, 1000),
)
def test_all_pairs_of_a_set_of_unlike_responses(
    strategy, exploration, clusters, size, seed
) -> None:
    one = pool(seed, len(clusters), clusters=clusters)
    rules = replace(RULES, strategy=strategy, exploration=exploration, seed=seed)
    choices = ranked(one, rules, size)
    members = sorted({place for each in choices for place in (each.i, each.j)})
    k = min(size, len(set(clusters)))
    assert len(members) == (k if k > 1 else 0)
    assert len({clusters[place] for place in members}) == len(members)
    assert sorted((each.i, each.j) for each in choices) == list(combinations(members, 2))
    assert len({each.kind for each in choices}) <= 1
    assert all((each.propensity is None) == (each.arm == "exploit") for each in choices)


def test_a_pair_is_drawn_as_often_as_it_says() -> None:
    one, n_seeds = pool(n=6, clusters=[0, 0, 1, 2, 3, 4]), 3000
    drawn, stated = Counter[tuple[int, int]](), {}
    for seed in range(n_seeds):
        for each in ranked(one, replace(RULES, exploration=0.5, seed=seed)):
            if each.propensity is not None:
                drawn[each.i, each.j] += 1
                stated.setdefault((each.i, each.j), set()).add(each.propensity)
    assert len(stated) == 14 and all(len(chances) == 1 for chances in stated.values())
    for pair, chances in stated.items():
        [chance] = chances
        spread = (chance * (1 - chance) / n_seeds) ** 0.5
        assert drawn[pair] / n_seeds == pytest.approx(chance, abs=4.5 * spread)
    assert sum(chance for [chance] in stated.values()) == pytest.approx(0.5 * 6)


def test_a_guided_set_begins_with_the_best_pair_and_no_order_matters() -> None:
    one = pool(3)
    [best] = choose_pairs(one, HEAD, replace(RULES, budget=1))
    choices = ranked(one, RULES)
    assert (choices[0].i, choices[0].j) == (best.i, best.j)
    order = [5, 2, 7, 0, 1, 6, 3, 4]
    turned = Pool("p", [one.response_ids[k] for k in order], one.features_nd[order])

    def named(some: Pool) -> list[tuple[str, str]]:
        ids = some.response_ids
        return [(ids[each.i], ids[each.j]) for each in ranked(some, RULES)]

    assert named(one) == named(turned)


def test_a_night_counts_pairs_and_learns_two_over_k_of_each() -> None:
    pools = [pool(k, name=f"p{k}") for k in range(5)]
    rules = NightRules(RULES, 6, 6, shard_size=2)
    night = RankingNight(pools, HEAD, rules, 4, 5)
    assert [len(choices) for _, choices in night] == [6] * 5
    assert (night.report.spent, night.report.unspent) == (30, 0)
    assert [pair_weight(k * (k - 1) // 2) for k in (2, 4, 8, 9)] == [1.0, 0.5, 0.25, 2 / 9]
    with pytest.raises(Corrupt):
        list(RankingNight(pools[::-1], HEAD, rules, 4, 5))
