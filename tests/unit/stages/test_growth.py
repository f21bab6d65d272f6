"""Pools go on while what they promise costs more in labels than in tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from winnow.campaign import Expand, Select
from winnow.expand.growth import PoolSoFar
from winnow.expand.pool_features import in_pool_blocks
from winnow.reward import OVERALL, Block, Posterior, RewardModel, fit_projection
from winnow.stages.select.growth import growth_rule, promise
from winnow.style import style_names

H = 12
SELECT = Select(pairs_per_prompt=3)
PRICE = 100_000  # $0.10


def settings_of(**changes) -> Expand:
    asked = {"model": "m", "pool_size": 64, "first_round": 8, **changes}
    return Expand(**asked)


def pool_of(directions, duplicates=None, flags=None, prompt="p", tokens=100.0) -> PoolSoFar:
    """Responses whose embeddings are these rows brought to length one."""
    rows = np.asarray(directions, dtype=np.float64)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    style = np.zeros((len(rows), len(style_names())))
    said = [{"message": f"answer {k}", "logprob": None, "n_tokens": 9} for k in range(len(rows))]
    return PoolSoFar(
        prompt,
        said,
        [f"{prompt}-{k}" for k in range(len(rows))],
        duplicates or [1] * len(rows),
        flags or [[] for _ in rows],
        np.hstack([rows, style]).astype(np.float16),
        tokens,
    )


def spread(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, H))


def told(pool: PoolSoFar, size: int = 16, model=None, **changes):
    return promise(pool, size, settings_of(**changes), SELECT, PRICE, model)


def test_a_fixed_pool_has_no_rule():
    assert growth_rule(settings_of(first_round=None), SELECT, PRICE, None) is None


def test_a_pool_of_unlike_texts_promises_more_than_tokens_cost():
    found = told(pool_of(spread(8)))
    assert found.gain > found.growth > 0.0
    assert found.new_texts == pytest.approx(8.0)
    assert found.cost == pytest.approx(8 * 100 * 1.0)  # $1 a million tokens: a micro-dollar each
    assert found.worth == pytest.approx(3 * found.growth / found.gain * PRICE)
    assert found.is_worth_it


def test_scores_behind_the_style_are_no_embedding():
    pool = pool_of(spread(8))
    scores = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float16)
    blocks = (Block("embedding", H), Block("style", len(style_names())), Block("score:r", 3))
    scored = replace(pool, vectors_nc=np.hstack([pool.vectors_nc, scores]), blocks=blocks)
    assert told(scored) == told(pool)


def test_a_pool_stops_where_tokens_are_dear():
    pool = pool_of(spread(8))
    assert told(pool, usd_per_million_tokens=1.0).is_worth_it
    assert not told(pool, usd_per_million_tokens=1000.0).is_worth_it


def test_a_pool_of_copies_stops_whatever_tokens_cost():
    pool = pool_of(spread(2), duplicates=[5, 3])
    found = told(pool, usd_per_million_tokens=0.0)
    assert found.new_texts == 0.0
    assert not found.is_worth_it


def test_near_duplicates_promise_nothing():
    base = np.ones((8, H)) + 1e-3 * spread(8)
    found = told(pool_of(base), usd_per_million_tokens=0.0)
    assert found.gain == found.growth == found.worth == 0.0
    assert not found.is_worth_it


def test_longer_responses_cost_more_and_later_rounds_promise_less():
    assert told(pool_of(spread(8), tokens=300.0)).cost == 3 * told(pool_of(spread(8))).cost
    shares = [told(pool_of(spread(n)), 2 * n).worth for n in (8, 16, 32, 64)]
    assert shares == sorted(shares, reverse=True)


def test_responses_that_are_part_of_no_pair_are_left_out():
    directions = np.vstack([np.ones((4, H)) + 1e-3 * spread(4), spread(4, seed=1)])
    flags = [[]] * 4 + [["looping"], ["echo", "truncated"], ["injection"], ["echo"]]
    assert told(pool_of(directions, flags=flags)).gain == 0.0
    assert told(pool_of(directions, flags=[["truncated"]] * 8)).gain > 0.0


def test_the_answer_depends_on_the_pool_alone():
    rule = growth_rule(settings_of(usd_per_million_tokens=40.0), SELECT, PRICE, None)
    pools = [pool_of(spread(8, seed), prompt=f"p{seed}") for seed in range(20)]
    answers = rule(pools, 16)
    assert answers == [rule([pool], 16)[0] for pool in pools]
    assert answers == rule(pools[::-1], 16)[::-1]


def test_a_trusted_model_decides_what_a_difference_is_worth():
    """A model that is certain has nothing left to ask about."""
    raw = np.hstack([spread(64), np.zeros((64, len(style_names())))])
    blocks = (Block("embedding", H), Block("style", len(style_names())))
    blocks += in_pool_blocks(["m"])
    raw = np.hstack([raw, np.zeros((64, sum(block.size for block in blocks) - raw.shape[1]))])
    projection = fit_projection(raw, blocks, H)
    d = projection.n_features
    sure, unsure = (
        RewardModel(
            projection,
            {OVERALL: Posterior(np.zeros(d), np.eye(d) * variance, np.ones(d), n_labels=500)},
            "v",
        )
        for variance in (1e-8, 1.0)
    )
    pool = pool_of(spread(16))
    assert told(pool, 32, sure).gain < 1e-4 < told(pool, 32, unsure).gain


def test_a_model_of_stored_columns_alone_steers_on():
    """A batch that release 0.3 began goes on by the model that its first shard was given."""
    stored = np.hstack([spread(64), np.zeros((64, len(style_names())))])
    blocks = (Block("embedding", H), Block("style", len(style_names())))
    projection = fit_projection(stored, blocks, H)
    d = projection.n_features
    head = Posterior(np.zeros(d), np.eye(d), np.ones(d), n_labels=500)
    before = RewardModel(projection, {OVERALL: head}, "v")
    assert told(pool_of(spread(16)), 32, before).gain > 0.0
