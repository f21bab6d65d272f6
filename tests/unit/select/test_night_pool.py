"""What a night knows of one pool: how much it can still give, and what its pairs are worth."""

from __future__ import annotations

import numpy as np
import pytest

from winnow.reward import Posterior
from winnow.select import Pool, Rules
from winnow.select.budget import NightRules
from winnow.select.night_pool import NightPool

REFUSAL = "failure:refusal"
HEADS = {"reward": Posterior(np.zeros(3), np.eye(3), 1.0, n_labels=100)}


def pool_of(n: int) -> Pool:
    flags = [frozenset([REFUSAL] if k == 0 else []) for k in range(n)]
    features = np.random.default_rng(0).normal(size=(n, 3))
    return Pool("p", [f"r{k}" for k in range(n)], features, response_strata=flags)


def night_pool(strategy: str = "info_gain", cap: int | None = 2, least: int = 0) -> NightPool:
    rules = Rules(2, strategy, exploration=0.0, max_pairs_per_response=cap)
    return NightPool(pool_of(4), HEADS, NightRules(rules, least, 9, floors={REFUSAL: 1}))


def take_best(pool: NightPool) -> None:
    best = pool.chooser.best()
    assert best is not None
    pool.take(best, "best")


def test_room_falls_by_one_with_each_pair_however_caps_close_others() -> None:
    pool = night_pool()
    rooms = [pool.room]
    while pool.chooser.best() is not None:
        take_best(pool)
        rooms.append(pool.room)
    assert rooms == [4, 3, 2, 1, 0]


def test_without_a_cap_all_pairs_are_room() -> None:
    assert night_pool(cap=None).room == 6


def test_supply_counts_open_pairs_and_what_a_minimum_brings_in_any_case() -> None:
    supply = night_pool(cap=None, least=2).supply()
    assert (supply.most_k.tolist(), supply.least_k.tolist()) == ([3], [0])
    few = NightPool(
        pool_of(3), HEADS, NightRules(Rules(3, exploration=0.0), 3, 9, floors={REFUSAL: 1})
    ).supply()
    assert (few.most_k.tolist(), few.least_k.tolist()) == ([2], [2])


def test_classes_split_the_open_pairs_by_the_floors_that_they_serve() -> None:
    pool = night_pool(cap=None)
    classes = pool.classes()
    assert [int(mask.sum()) for mask in classes] == [3, 3]
    assert [pool.floors_of(int(mask.argmax())).tolist() for mask in classes] == [[], [0]]
    assert not (classes[0] & classes[1]).any()


@pytest.mark.parametrize(
    ("strategy", "field"),
    [
        ("decision_gain", "decision_gain"),
        ("hybrid", "decision_gain"),
        ("dts", "info_gain"),
        ("traditional", "info_gain"),
    ],
)
def test_relative_scores_are_no_worth(strategy: str, field: str) -> None:
    pool = night_pool(strategy)
    best = pool.chooser.best()
    assert best is not None
    assert pool.worth(best) == getattr(best.prospects, field)


@pytest.mark.parametrize("strategy", ["info_gain", "diversity", "uncertainty", "random", "delta"])
def test_absolute_scores_are_worth_themselves(strategy: str) -> None:
    pool = night_pool(strategy)
    best = pool.chooser.best()
    assert best is not None
    assert pool.worth(best) == best.score
