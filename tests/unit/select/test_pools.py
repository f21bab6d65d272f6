"""Choosing for many pools: shards learn from the ones before, and their order does not matter."""

from __future__ import annotations

import numpy as np
import pytest

from winnow.errors import Corrupt
from winnow.reward import observe_pairs, prior
from winnow.select import Choice, Pool, Rules, choose_for_pools, choose_pairs

RULES = Rules(2, exploration=0.3)


def pools_of(n_pools: int, seed: int = 0) -> list[Pool]:
    rng = np.random.default_rng(seed)
    return [
        Pool(f"p{k:02d}", [f"p{k}-r{i}" for i in range(5)], rng.normal(size=(5, 4)))
        for k in range(n_pools)
    ]


def differences(pool: Pool, choices: list[Choice]) -> np.ndarray:
    return np.array([pool.features_nd[c.i] - pool.features_nd[c.j] for c in choices])


def test_each_shard_is_chosen_on_the_posterior_that_the_shards_before_left() -> None:
    pools, posterior = pools_of(7), prior(4, 1.0)
    chosen = choose_for_pools(pools, posterior, RULES, shard_size=3)
    assert list(chosen) == [pool.prompt_id for pool in pools]
    for start in (0, 3, 6):
        shard = pools[start : start + 3]
        for pool in shard:
            assert chosen[pool.prompt_id] == choose_pairs(pool, posterior, RULES)
        for pool in shard:
            choices = chosen[pool.prompt_id]
            fisher = np.array([c.fisher for c in choices])
            posterior = observe_pairs(posterior, differences(pool, choices), fisher)


def test_the_order_of_pools_does_not_matter() -> None:
    pools = pools_of(9)
    order = np.random.default_rng(1).permutation(9)
    one = choose_for_pools(pools, prior(4, 1.0), RULES, shard_size=2)
    other = choose_for_pools([pools[k] for k in order], prior(4, 1.0), RULES, shard_size=2)
    assert repr(one) == repr(other)


def test_a_night_of_equal_pools_does_not_ask_the_same_thing_every_time() -> None:
    one = pools_of(1)[0]
    equal = [Pool(f"p{k:02d}", one.response_ids, one.features_nd) for k in range(8)]
    rules = Rules(1, exploration=0.0)
    together = choose_for_pools(equal, prior(4, 0.5), rules, shard_size=8)
    apart = choose_for_pools(equal, prior(4, 0.5), rules, shard_size=1)
    assert len({(c.i, c.j) for choices in together.values() for c in choices}) == 1
    assert len({(c.i, c.j) for choices in apart.values() for c in choices}) >= 4


def test_half_precision_features_are_enough() -> None:
    pools = [
        Pool(p.prompt_id, p.response_ids, p.features_nd.astype(np.float16)) for p in pools_of(3)
    ]
    double = [Pool(p.prompt_id, p.response_ids, p.features_nd.astype(np.float64)) for p in pools]
    assert choose_for_pools(pools, prior(4, 1.0), RULES, 1) == choose_for_pools(
        double, prior(4, 1.0), RULES, 1
    )


def test_pools_without_a_pair_and_no_pools_are_fine() -> None:
    lonely = Pool("p", ["r"], np.ones((1, 4)))
    assert choose_for_pools([lonely], prior(4, 1.0), RULES) == {"p": []}
    assert choose_for_pools([], prior(4, 1.0), RULES) == {}


def test_two_pools_of_one_prompt_are_corrupt() -> None:
    with pytest.raises(Corrupt, match="same prompt id"):
        choose_for_pools(pools_of(2) + pools_of(1), prior(4, 1.0), RULES)
