"""Choosing for many pools: shards learn from the ones before, in no more memory than a shard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from winnow.errors import Corrupt
from winnow.reward import Posterior, observe_pairs, prior
from winnow.select import Choice, Pool, Rules, choose_for_pools, choose_pairs, observe

RULES = Rules(2, exploration=0.3)


def pools_of(n_pools: int, seed: int = 0) -> list[Pool]:
    rng = np.random.default_rng(seed)
    return [
        Pool(f"p{k:02d}", [f"p{k}-r{i}" for i in range(5)], rng.normal(size=(5, 4)))
        for k in range(n_pools)
    ]


def differences(pool: Pool, choices: list[Choice]) -> np.ndarray:
    return np.array([pool.features_nd[c.i] - pool.features_nd[c.j] for c in choices])


def chosen_from(pools: list[Pool], heads: object, **how: int) -> list[tuple[str, list[Choice]]]:
    found = choose_for_pools(pools, heads, how.pop("rules", RULES), **how)
    return [(pool.prompt_id, choices) for pool, choices in found]


def test_each_shard_is_chosen_on_the_posterior_that_the_shards_before_left() -> None:
    pools, posterior = pools_of(7), prior(4, 1.0)
    chosen = dict(chosen_from(pools, posterior, shard_size=3))
    assert list(chosen) == [pool.prompt_id for pool in pools]
    for start in (0, 3, 6):
        shard = pools[start : start + 3]
        for pool in shard:
            expected = choose_pairs(pool, posterior, RULES)
            assert [(c.i, c.j) for c in chosen[pool.prompt_id]] == [(c.i, c.j) for c in expected]
            scores = [c.score for c in chosen[pool.prompt_id]]
            assert scores == pytest.approx([c.score for c in expected], rel=1e-9)
        for pool in shard:
            choices = chosen[pool.prompt_id]
            fisher = np.array([c.fisher for c in choices])
            posterior = observe_pairs(posterior, differences(pool, choices), fisher)


def test_every_dimension_observes_with_its_own_weight() -> None:
    heads = {
        "right": Posterior(np.array([3.0, 0.0, 1.0, 0.0]), np.eye(4), 1.0),
        "safe": Posterior(np.array([0.0, 1.0, 0.0, 2.0]), 0.2 * np.eye(4), 1.0),
    }
    pools = pools_of(3)
    chosen = [(pool, choose_pairs(pool, heads, RULES)) for pool in pools]
    after = observe(heads, chosen)
    assert list(after) == ["right", "safe"]
    for k, (name, head) in enumerate(heads.items()):
        precision = np.linalg.inv(head.cov_dd)
        for pool, choices in chosen:
            for z, choice in zip(differences(pool, choices), choices, strict=True):
                precision = precision + choice.fishers[k] * np.outer(z, z)
        np.testing.assert_allclose(after[name].cov_qq, np.linalg.inv(precision), atol=1e-10)
        np.testing.assert_array_equal(after[name].mean_d, head.mean_d)


@pytest.mark.parametrize("residual_sd", [0.5, 2.0])
def test_labels_teach_less_of_the_weights_where_residuals_blur_them(residual_sd: float) -> None:
    """Against the joint posterior of weights and residuals, of which the weights are read."""
    pool, head = pools_of(1)[0], prior(4, 0.5)
    rules = replace(RULES, residual_sd=residual_sd, max_pairs_per_response=1)
    choices = choose_pairs(pool, head, rules)
    after = observe(head, [(pool, choices)], residual_sd)["reward"]
    ends = np.eye(5)[[c.i for c in choices]] - np.eye(5)[[c.j for c in choices]]
    z = np.hstack([differences(pool, choices), ends])
    precision = np.diag([*[0.5] * 4, *[residual_sd**-2] * 5])
    joint = np.linalg.inv(precision + (z.T * [c.fisher for c in choices]) @ z)
    np.testing.assert_allclose(after.cov_qq, joint[:4, :4], atol=1e-10)
    assert np.linalg.eigvalsh(head.cov_qq - after.cov_qq).min() > -1e-12


def test_nothing_chosen_teaches_nothing() -> None:
    head = prior(4, 1.0)
    assert observe(head, [(pools_of(1)[0], [])]) == {"reward": head}


def test_pools_come_back_in_order_and_are_read_no_further_than_a_shard() -> None:
    read = []

    def stream() -> Iterator[Pool]:
        for pool in pools_of(10):
            read.append(pool.prompt_id)
            yield pool

    found = choose_for_pools(stream(), prior(4, 1.0), RULES, shard_size=4)
    assert not read
    first, _ = next(found)
    assert first.prompt_id == "p00"
    assert len(read) == 4
    assert [pool.prompt_id for pool, _ in found] == read[1:]
    assert len(read) == 10


@pytest.mark.parametrize("strategy", ["decision_gain", "random"])
def test_two_threads_choose_what_one_does(strategy: str) -> None:
    rules = replace(RULES, strategy=strategy)
    one = chosen_from(pools_of(9), prior(4, 1.0), rules=rules, shard_size=4)
    two = chosen_from(pools_of(9), prior(4, 1.0), rules=rules, shard_size=4, threads=2)
    assert repr(one) == repr(two)


def test_a_night_of_equal_pools_does_not_ask_the_same_thing_every_time() -> None:
    one = pools_of(1)[0]
    equal = [Pool(f"p{k:02d}", one.response_ids, one.features_nd) for k in range(8)]
    rules = Rules(1, exploration=0.0)
    together = chosen_from(equal, prior(4, 0.5), rules=rules, shard_size=8)
    apart = chosen_from(equal, prior(4, 0.5), rules=rules, shard_size=1)
    assert len({(c.i, c.j) for _, choices in together for c in choices}) == 1
    assert len({(c.i, c.j) for _, choices in apart for c in choices}) >= 4


def test_half_precision_features_are_enough() -> None:
    pools = [replace(pool, features_nd=pool.features_nd.astype(np.float16)) for pool in pools_of(3)]
    double = [replace(pool, features_nd=pool.features_nd.astype(np.float64)) for pool in pools]
    assert chosen_from(pools, prior(4, 1.0), shard_size=1) == chosen_from(
        double, prior(4, 1.0), shard_size=1
    )


def test_pools_without_a_pair_and_no_pools_are_fine() -> None:
    lonely = Pool("p", ["r"], np.ones((1, 4)))
    assert chosen_from([lonely], prior(4, 1.0)) == [("p", [])]
    assert chosen_from([], prior(4, 1.0)) == []


def test_two_pools_of_one_prompt_are_corrupt() -> None:
    twice = [*pools_of(2), pools_of(2)[1]]
    with pytest.raises(Corrupt, match="same prompt id p01"):
        chosen_from(twice, prior(4, 1.0))
    with pytest.raises(Corrupt, match="same prompt id p01"):
        chosen_from(twice, prior(4, 1.0), shard_size=2)
