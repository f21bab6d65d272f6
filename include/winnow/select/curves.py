"""What a batch is expected to gain for each pool size and number of labels per prompt.

`gain_curves` replays selection on pools of the last batch, cut down to smaller pools. The gain of a
design is the share of the decision-relevant uncertainty that the expected labels of the *whole
batch* take away; `best_reward` is the reward expected of the response that the head will recommend
after them. Both are as right as the model, and in its own units.

Always holds: a gain never falls with more labels; smaller pools are nested in larger ones; the
order of prompts and responses does not matter.

Shapes: n responses, m distinct ones, q basis columns, e pairs, s draws, p sampled prompts.

Source: docs/choosing_pairs.md, "A plan".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nlargest, nsmallest
from typing import TypeVar

import numpy as np

from winnow.arrays import FloatArray
from winnow.errors import Corrupt, Fatal
from winnow.ids import content_id
from winnow.reward.posterior import Head, observe_pairs
from winnow.select.belief import policy_covariance
from winnow.select.greedy import choose_pairs
from winnow.select.pool import Pool
from winnow.select.rules import Choice, Rules

_DRAWS = 32
"""Draws of the new mean rewards for each prompt; each is used with both signs."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What a batch of one design (responses and labelled pairs per prompt) is expected to gain.

    Attributes:
        gain: Share of the decision-relevant uncertainty that the labels take away.
        low: Lower end of a 95 % interval of `gain` over the prompts asked about, the labels given.
        high: Upper end.
        best_reward: Expected reward of the recommended response, in logits above its pool's mean;
            the mean over heads.
        n_prompts: Prompts that it was measured on.
        batch_prompts: Prompts of the batch that they stand for.
    """

    pool_size: int
    labels: int
    gain: float
    low: float
    high: float
    best_reward: float
    n_prompts: int
    batch_prompts: int


def gain_curves(
    pools: Iterable[Pool],
    heads: Mapping[str, Head],
    rules: Rules,
    pool_sizes: Iterable[int],
    max_labels: int,
    batch_prompts: int,
    seed: int = 0,
    n_prompts: int = 64,
) -> list[CurvePoint]:
    """Expected gain of each pool size and 1 to `max_labels` labels per prompt, in that order.

    Args:
        pools: Pools as generated: a text drawn twice is in its pool twice.
        heads: What is believed now, by dimension.
        rules: How pairs are chosen; its budget is replaced by `max_labels`.
        pool_sizes: Responses per prompt to consider.
        max_labels: Labels per prompt to consider at most.
        batch_prompts: Prompts that the batch will have.
        seed: Decides which prompts and responses are used.
        n_prompts: Prompts to measure on, drawn from the pools of the largest size or more.

    Raises:
        Fatal: A size or number is out of range, or fewer than two pools hold the largest size.
        Corrupt: Two pools have the same prompt id.
    """
    sizes = sorted(set(pool_sizes))
    if not sizes or sizes[0] < 2 or min(max_labels, batch_prompts) < 1 or n_prompts < 2:
        raise Fatal(
            f"Pool sizes {sizes}, {max_labels} labels, {batch_prompts} prompts, a sample of "
            f"{n_prompts}: sizes and the sample must be at least 2, the others at least 1."
        )
    # A fixed order of the heads, so that the caller's changes no draw.
    heads = dict(sorted(heads.items()))
    most = replace(rules, budget=max_labels)
    drawn = draw_pools(pools, sizes[-1], seed, n_prompts)
    sample = [_Prompt.of(pool, heads, most, seed) for pool in drawn]
    points = []
    for size in sizes:
        rows = [prompt.information(heads, most, size) for prompt in sample]
        for labels in range(1, max_labels + 1):
            learnt = _learnt(heads, rows, labels, batch_prompts / len(sample))
            gain, margin = _share(heads, sample, learnt)
            points.append(
                CurvePoint(
                    size,
                    labels,
                    gain,
                    max(gain - margin, 0.0),
                    min(gain + margin, 1.0),
                    _best_reward(sample, learnt, size),
                    len(sample),
                    batch_prompts,
                )
            )
    return points


@dataclass(frozen=True, slots=True, eq=False)
class _Belief:
    """One head's view of a pool.

    Attributes:
        mean_n: Expected rewards less their mean.
        basis_nq: Rows of the basis.
        matters_qq: M, what the policy makes of uncertainty about the basis weights.
        noise_sq: Standard normal draws, each with its opposite: designs are compared on equal luck.
    """

    mean_n: FloatArray
    basis_nq: FloatArray
    matters_qq: FloatArray
    noise_sq: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Prompt:
    """A sampled prompt; its pool is in the order in which smaller pools are cut from it."""

    pool: Pool
    beliefs: Mapping[str, _Belief]

    @classmethod
    def of(cls, pool: Pool, heads: Mapping[str, Head], rules: Rules, seed: int) -> _Prompt:
        texts_m = pool.distinct()
        features_nd = pool.features_nd.astype(np.float64)
        features_nd = features_nd - features_nd[texts_m].mean(axis=0)
        rng = np.random.default_rng(int(content_id("plan policy", seed, pool.prompt_id), 16))
        draws_sm = _draw_rewards(heads, features_nd[texts_m], rules.n_draws, rng)
        policy_mm = policy_covariance(draws_sm, rules.kappa)
        beliefs = {}
        for name, head in heads.items():
            mean_n, basis_nq = head.mean(features_nd), head.basis(features_nd)
            matters_qq = basis_nq[texts_m].T @ policy_mm @ basis_nq[texts_m]
            noise_sq = rng.standard_normal((_DRAWS, basis_nq.shape[1]))
            noise_sq = np.vstack([noise_sq, -noise_sq])
            mean_n = mean_n - mean_n[texts_m].mean()
            beliefs[name] = _Belief(mean_n, basis_nq, matters_qq, noise_sq)
        return cls(pool, beliefs)

    def information(
        self, heads: Mapping[str, Head], rules: Rules, size: int
    ) -> dict[str, FloatArray]:
        """Rows √ω̄ z (e, q) of each head for the pairs chosen from the first `size` responses.

        A label is expected to add its row's square to the inverse of V.
        """
        choices = choose_pairs(part_of(self.pool, range(size)), heads, rules)
        bought = _as_bought(choices, self.pool.prompt_id)
        first, second = [choice.i for choice in bought], [choice.j for choice in bought]
        fisher_ek = np.array([choice.fishers for choice in bought]).reshape(-1, len(heads))
        return {
            name: np.sqrt(fisher_e)[:, None] * (belief.basis_nq[first] - belief.basis_nq[second])
            for (name, belief), fisher_e in zip(self.beliefs.items(), fisher_ek.T, strict=True)
        }

    def best_reward(self, roots: Mapping[str, FloatArray], size: int) -> float:
        """E max_i m'_i of the summed heads; `roots` are those of V - V' by head."""
        blocked = self.pool.blocked
        rows = np.arange(size) if blocked is None else np.flatnonzero(~blocked[:size])
        if not len(rows):
            return 0.0  # Nothing above the pool's mean can be recommended.
        reward_sn = np.add.reduce(
            [
                belief.mean_n[rows] + belief.noise_sq @ roots[name] @ belief.basis_nq[rows].T
                for name, belief in self.beliefs.items()
            ]
        )
        return float(reward_sn.max(axis=1).mean())


def _draw_rewards(
    heads: Mapping[str, Head], features_md: FloatArray, n_draws: int, rng: np.random.Generator
) -> FloatArray:
    """Joint draws (s, m) of the reward: of a random mix of the heads' where there are several."""
    mix_sk = rng.dirichlet(np.ones(len(heads)), n_draws)
    draws_ksm = np.stack([head.sample(features_md, n_draws, rng) for head in heads.values()])
    return np.asarray(np.einsum("sk,ksm->sm", mix_sk, draws_ksm))


def _as_bought(choices: Sequence[Choice], prompt_id: str) -> list[Choice]:
    """The choices in an order whose every beginning holds about the whole's share of exploration.

    Selection draws all exploration first, as much as the largest number of labels asks for. Here
    the greedy picks keep their order and an exploration pick goes anywhere among them.
    """
    n_best = sum(choice.arm == "exploit" for choice in choices)
    n_drawn = len(choices) - n_best

    def place(choice: Choice) -> float:
        if choice.arm == "exploit":
            return (choice.rank - n_drawn + 0.5) / n_best
        return int(content_id("plan place", prompt_id, choice.rank), 16) / 16.0**32

    return sorted(choices, key=place)


def _learnt(
    heads: Mapping[str, Head],
    rows: Sequence[Mapping[str, FloatArray]],
    labels: int,
    stands_for: float,
) -> dict[str, FloatArray]:
    """V - V' (q, q) of each head after the first `labels` pairs of every prompt of the batch."""
    learnt = {}
    for name, head in heads.items():
        rows_eq = np.vstack([by_head[name][:labels] for by_head in rows])
        after = observe_pairs(head, rows_eq, np.full(len(rows_eq), stands_for))
        learnt[name] = head.cov_qq - after.cov_qq
    return learnt


def _share(
    heads: Mapping[str, Head], sample: Sequence[_Prompt], learnt: Mapping[str, FloatArray]
) -> tuple[float, float]:
    """Share of the uncertainty taken away, and half of its 95 % interval over prompts."""
    before_p = _uncertainty(sample, {name: head.cov_qq for name, head in heads.items()})
    drop_p = _uncertainty(sample, learnt)
    if not before_p.sum() > 0.0:
        return 0.0, 0.0
    gain = float(drop_p.sum() / before_p.sum())
    # Linearised: the spread of a ratio of sums is that of its residuals.
    spread = (drop_p - gain * before_p).std(ddof=1) / before_p.mean()
    return gain, float(1.96 * spread / np.sqrt(len(sample)))


def _uncertainty(sample: Sequence[_Prompt], cov_qq: Mapping[str, FloatArray]) -> FloatArray:
    """tr(M V) of each prompt (p,), summed over heads."""
    return np.array(
        [
            sum(np.vdot(belief.matters_qq, cov_qq[name]) for name, belief in p.beliefs.items())
            for p in sample
        ]
    )


def _best_reward(sample: Sequence[_Prompt], learnt: Mapping[str, FloatArray], size: int) -> float:
    """Mean over prompts of E max_i m'_i among the first `size` responses."""
    roots = {name: _root(learnt_qq) for name, learnt_qq in learnt.items()}
    best_p = [prompt.best_reward(roots, size) for prompt in sample]
    return float(np.mean(best_p)) / len(learnt)


def _root(learnt_qq: FloatArray) -> FloatArray:
    """The symmetric root of V - V', the one that is continuous from design to design."""
    variance_q, vectors_qq = np.linalg.eigh(learnt_qq)
    root_q = np.sqrt(np.maximum(variance_q, 0.0))
    return np.asarray((vectors_qq * root_q) @ vectors_qq.T)


T = TypeVar("T")


def draw_pools(pools: Iterable[Pool], size: int, seed: int, n_prompts: int) -> list[Pool]:
    """Pools of `size` responses or more, drawn by hash, their responses in a drawn order."""
    sizes: dict[str, int] = {}

    def fitting() -> Iterator[Pool]:
        for pool in pools:
            if pool.prompt_id in sizes:
                raise Corrupt(
                    f"Two pools have the prompt id {pool.prompt_id}: join the responses of each."
                )
            sizes[pool.prompt_id] = len(pool.response_ids)
            if len(pool.response_ids) >= size:
                yield pool

    drawn = nsmallest(n_prompts, fitting(), key=lambda p: content_id("plan", seed, p.prompt_id))
    if len(drawn) < 2:
        raise Fatal(
            f"{len(drawn)} of {len(sizes)} pools hold {size} responses, at least two must: "
            f"consider sizes up to {min(nlargest(2, sizes.values()), default=0)}, which two hold."
        )
    return [_shuffled(pool, seed) for pool in drawn]


def _shuffled(pool: Pool, seed: int) -> Pool:
    """The pool in an order drawn by response id; each copy of a text has its own place."""
    copies: Counter[str] = Counter()
    places = []
    for response_id in pool.response_ids:
        places.append(content_id("plan", seed, pool.prompt_id, response_id, copies[response_id]))
        copies[response_id] += 1
    return part_of(pool, sorted(range(len(places)), key=places.__getitem__))


def part_of(pool: Pool, rows: Sequence[int]) -> Pool:
    """The pool of these responses alone, in this order."""
    rows_n = np.array(rows, dtype=np.intp)

    def picked(facts: Sequence[T] | None) -> list[T] | None:
        return None if facts is None else [facts[row] for row in rows]

    return replace(
        pool,
        response_ids=[pool.response_ids[row] for row in rows],
        features_nd=pool.features_nd[rows_n],
        eligible_nn=None if pool.eligible_nn is None else pool.eligible_nn[np.ix_(rows_n, rows_n)],
        clusters=None if pool.clusters is None else np.asarray(pool.clusters)[rows_n],
        blocked=None if pool.blocked is None else pool.blocked[rows_n],
        n_tokens=picked(pool.n_tokens),
        response_strata=picked(pool.response_strata),
    )
