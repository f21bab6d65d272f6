"""Which pools go on growing: those whose next round promises more than its tokens cost.

After a round of n responses the best b pairs of a prompt are expected to tell G(n) nats, b being
the pairs that a prompt gets. Halves of the pool, drawn at random, tell what the last doubling
brought, G(n) - G(n/2); gains rise by less and less, so the next doubling is expected to bring no
more. In labels that is b (G(n) - G(n/2)) / G(n): so many more would have to be bought for as much.
A pool goes on while these labels cost more than the round's tokens, and while a new text is to be
expected at all: by Good and Turing's estimate, the share of texts that were drawn just once.

The gain is the information gain whatever the campaign's strategy is: it belongs to a pair, where
the decision gain is measured against the policy over the very pool that grows.

Always holds: the answer depends on the pools, the reward model and the settings alone.

Shapes: n distinct responses, c raw feature columns, h columns of an embedding, d features.

Source: Good (1953), "The population frequencies of species and the estimation of population
parameters".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from winnow.campaign import Expand, Select
from winnow.expand.features import n_embedding, stored_blocks
from winnow.expand.growth import Grows, PoolSoFar
from winnow.expand.pool_features import in_pool
from winnow.expand.samplers import models_of
from winnow.expand.screening import UNFIT
from winnow.ids import content_id
from winnow.money import MICROS
from winnow.reward import Head, RewardModel, centre, prior
from winnow.select import Pool, Rules, choose_pairs
from winnow.select.screen import near_duplicates

_SPLITS = 3
"""How often a pool is cut into halves."""

_PRIOR_PRECISION = 0.25
"""Of the weights before any label: embeddings have length one, so that rewards of unlike responses
differ by a few logits."""


@dataclass(frozen=True, slots=True)
class Promise:
    """What the next round is expected to bring to one pool, and to cost.

    Attributes:
        gain: Information of the best pairs now, nats.
        growth: What the last doubling brought, nats.
        new_texts: Texts not seen yet that the round is expected to draw.
        worth: Price of as much information in labels, micro-dollars.
        cost: Price of the round's tokens, micro-dollars.
    """

    gain: float
    growth: float
    new_texts: float
    worth: float
    cost: float

    @property
    def is_worth_it(self) -> bool:
        """Whether the pool should go on."""
        return self.new_texts >= 1.0 and self.worth > self.cost


def growth_rule(
    settings: Expand, select: Select, label_price: int, model: RewardModel | None
) -> Grows | None:
    """Whether pools of `settings` go on; None where they do not adapt.

    Args:
        settings: First round, pool size and the price of tokens.
        select: Pairs per prompt, and from which likeness two responses are one.
        label_price: Price of an annotation, micro-dollars.
        model: The night's reward model, where it is trusted.
    """
    if settings.first_round is None:
        return None

    def grows(pools: Sequence[PoolSoFar], size: int) -> list[bool]:
        return [
            promise(pool, size, settings, select, label_price, model).is_worth_it for pool in pools
        ]

    return grows


def promise(
    pool: PoolSoFar,
    size: int,
    settings: Expand,
    select: Select,
    label_price: int,
    model: RewardModel | None,
) -> Promise:
    """What to expect of a pool that goes on to `size` responses."""
    more = max(size - pool.n_sampled, 0)
    fit = [k for k, flags in enumerate(pool.flags) if UNFIT.isdisjoint(flags)]
    gain_of = _gain(pool, settings, select, model)
    gain = gain_of(fit)
    growth = max(gain - _gain_of_halves(pool, fit, gain_of), 0.0)
    labels = select.pairs_per_prompt * growth / gain if gain > 0.0 else 0.0
    once = sum(count == 1 for count in pool.duplicates)
    return Promise(
        gain=gain,
        growth=growth,
        new_texts=more * once / max(pool.n_sampled, 1),
        worth=labels * label_price,
        cost=more * pool.mean_tokens * settings.usd_per_million_tokens * MICROS / 1e6,
    )


def _gain(
    pool: PoolSoFar, settings: Expand, select: Select, model: RewardModel | None
) -> Callable[[Sequence[int]], float]:
    """Information of the best pairs among some responses of a pool, nats."""
    stored_nc = pool.vectors_nc.astype(np.float64)
    blocks = stored_blocks(pool.blocks, stored_nc.shape[1])
    embedding_nh = stored_nc[:, : n_embedding(blocks)]
    heads: Mapping[str, Head] = {"prior": prior(embedding_nh.shape[1], _PRIOR_PRECISION)}
    features_nd = centre(embedding_nh)
    if model is not None:
        beside = in_pool(pool.rows, embedding_nh, models_of(settings))
        raw_nc = np.hstack([stored_nc, beside])
        heads, features_nd = model.heads, model.features(raw_nc[:, : model.n_columns])
    clusters = near_duplicates(embedding_nh, select.near_duplicate)
    rules = Rules(select.pairs_per_prompt, "info_gain", exploration=0.0, seed=select.seed)

    def gain(rows: Sequence[int]) -> float:
        part = Pool(
            pool.prompt_id,
            [pool.response_ids[row] for row in rows],
            features_nd[list(rows)],
            clusters=clusters[list(rows)].tolist(),
        )
        return sum(choice.info_gain for choice in choose_pairs(part, heads, rules))

    return gain


def _gain_of_halves(
    pool: PoolSoFar, fit: Sequence[int], gain_of: Callable[[Sequence[int]], float]
) -> float:
    """Mean gain of half as many draws: each copy of a text has its own place in the order."""
    draws = [row for row in fit for _ in range(pool.duplicates[row])]
    seed = content_id("halves", pool.prompt_id, len(draws))
    rng = np.random.default_rng(int(seed, 16))
    orders = [rng.permutation(draws) for _ in range(_SPLITS)]
    halves = [half for order in orders for half in np.array_split(order, 2)]
    return float(np.mean([gain_of(sorted(set(half.tolist()))) for half in halves]))
