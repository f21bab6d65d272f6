"""Choosing a batch of pairs: exploration first, then the best pair again and again.

After each pick the covariance shrinks as if the pair's label had arrived, so that the next pick
asks something else.

Always holds: the same pools, heads, rules and seed give the same pairs, in whatever order responses
arrive; two copies of a text, and two texts of one cluster, are never paired; an exploration pick
was drawn uniformly from the eligible pairs with the propensity that it carries. The caps on pairs
per response (`Rules`) and per two clusters (1) bind the greedy part, which counts exploration picks
too. Of equal scores the first pair by response ids wins.

Shapes: m distinct responses in order of their ids, e = m (m - 1) / 2 pairs in order of (i, j),
k dimensions, d features.

Source: docs/choosing_pairs.md, "A batch".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np

from winnow.arrays import BoolArray, FloatArray, IndexArray
from winnow.errors import Corrupt
from winnow.reward.posterior import Head, observe_pairs
from winnow.select.blas import one_blas_thread
from winnow.select.contest import SLACK
from winnow.select.packing import has_copies, packed_place, pairs_of_each
from winnow.select.pool import Pool
from winnow.select.rules import UNGUIDED, Candidate, Choice, Rules
from winnow.select.state import EVERY, PoolState, Rows
from winnow.select.strategies import STRATEGIES, Strategy, strategy_named

Heads = Mapping[str, Head] | Head
Strategies = Mapping[str, Strategy]

RANKED = "ranking"
"""Why a pair is taken that is of a ranking which was not drawn to explore."""

_REACH = 0.05
"""How far below the highest bound a score is looked for first."""


class PoolChooser:
    """One pool being chosen from.

    Call `explore` first, then `best` and `take` in turn. Callers that want the same bytes on every
    machine hold `one_blas_thread` around all of it, as `choose_pairs` does.

    Args:
        strategies: What the rules may name, for a caller with strategies of their own.

    Attributes:
        choices: What was chosen so far, in order.
    """

    def __init__(
        self, pool: Pool, heads: Heads, rules: Rules, strategies: Strategies = STRATEGIES
    ) -> None:
        self._rules, self._strategy = rules, strategy_named(rules.strategy, strategies)
        state = PoolState(pool, by_dimension(heads), rules, self._strategy.with_policy)
        self._state = state
        open_e = pool.open_pairs(state.order_m)
        self._penalty_e = np.where(open_e, 0.0, -np.inf)
        self._spreads = rules.fresh_first and rules.strategy not in UNGUIDED
        # The open pairs of which no response was chosen yet.
        self._fresh_e = self._penalty_e.copy()
        self._uses_m = [0] * len(state.order_m)
        self._cluster_m: IndexArray | None = None
        if pool.clusters is not None:
            self._cluster_m = np.asarray(pool.clusters, dtype=np.intp)[state.order_m]
            self._has_likes_m = has_copies(self._cluster_m)
        self._last_e: FloatArray | None = None
        self.choices: list[Choice] = []

    @cached_property
    def pairs_e2(self) -> IndexArray:
        """Indices in the pool of each packed pair, the smaller response id first."""
        order_m, state = self._state.order_m, self._state
        return np.stack([order_m[state.first_e], order_m[state.second_e]], axis=1)

    @property
    def open_e(self) -> BoolArray:
        """Which packed pairs may still be taken."""
        return np.asarray(self._penalty_e == 0.0)

    @property
    def n_open(self) -> int:
        """Pairs that may still be taken."""
        return int(np.count_nonzero(self.open_e))

    def contested(self) -> IndexArray:
        """Position of the dimension on which a label of each packed pair would say most."""
        return np.asarray((self._state.var_ke * self._state.fisher()).argmax(axis=0))

    def explore(self) -> list[Choice]:
        """Take pairs drawn uniformly without replacement, each with its propensity.

        The number drawn is ρb rounded up or down at random with mean ρb, so that the chance of
        each pair is ρb / |E|.
        """
        if not self._rules.exploration:
            return []
        open_pairs = np.flatnonzero(self.open_e)
        expected = self._rules.exploration * min(self._rules.budget, len(open_pairs))
        rng = self._state.rng
        n_drawn = int(expected) + int(rng.random() < expected % 1.0)
        if not n_drawn:
            return []
        drawn = open_pairs[rng.choice(len(open_pairs), n_drawn, replace=False)].tolist()
        propensity = expected / len(open_pairs)

        return [self._add(self._scored(pair), "exploration", propensity) for pair in drawn]

    def best(self, among_e: BoolArray | None = None) -> Candidate | None:
        """The open pair of the highest score, if any is left.

        Args:
            among_e: Restricts the answer to some of the packed pairs.
        """
        penalty_e = self._penalty_e
        if self._spreads:
            open_to = self._fresh_e if among_e is None else self._fresh_e[among_e]
            penalty_e = self._fresh_e if open_to.max(initial=-np.inf) == 0.0 else penalty_e
        if among_e is not None:
            penalty_e = np.where(among_e, penalty_e, -np.inf)
        if self._strategy.weights is not None:
            best = self._state.best_pair(self._strategy.weights(self._state), penalty_e)
        else:
            if not self._strategy.falls or self._last_e is None:
                self._last_e = self._strategy.score(self._state, EVERY)
            # What a score does not exceed.
            best = self._best_of_many(self._last_e + penalty_e)
        return None if best[0] < 0 else self._candidate(*best)

    def _best_of_many(self, bound_e: FloatArray) -> tuple[int, float]:
        """The best pair and its score, scoring at once all whose bounds come near the highest.

        -1 where every bound is -inf.
        """
        highest = float(bound_e.max(initial=-np.inf))
        if highest == -np.inf:
            return -1, highest
        reached = highest - _REACH * abs(highest)
        while True:
            contenders = np.flatnonzero(bound_e >= reached - SLACK * abs(reached))
            score_c = self._score(contenders)
            winner = int(score_c.argmax())
            score = float(score_c[winner])
            if score >= reached:
                return int(contenders[winner]), score
            reached = score

    def _candidate(self, pair: int, score: float) -> Candidate:
        state = self._state
        i, j = state.ends(pair)
        order_m, prospects = state.order_m, state.prospects(pair)
        return Candidate(pair, order_m.item(i), order_m.item(j), score, prospects)

    def take(self, candidate: Candidate, reason: str = "best") -> Choice:
        """Choose `candidate`: covariances shrink and caps apply."""
        return self._add(candidate, reason, None)

    def rank(self, size: int) -> None:
        """Take all pairs of `size` responses, or of as many as can be compared with each other.

        With a chance of `Rules.exploration` the responses are drawn, near duplicates as one, and
        each pair carries the chance that it is among them; for a strategy that draws they are drawn
        anyhow. Else they begin with the best pair, and each further one is that whose pair with one
        of them is the best then.
        """
        explores = self._state.rng.random() < self._rules.exploration
        if explores or self._rules.strategy in UNGUIDED:
            self._rank_drawn(size, explores)
            return
        open_mm = self._open_mm()
        best = self.best()
        if best is None:
            return
        members = list(self._state.ends(best.pair))
        self.take(best, RANKED)
        while len(members) < size:
            is_free_m = open_mm[members].all(axis=0)
            among_e = np.zeros(len(self._penalty_e), np.bool_)
            among_e[self._pairs_between(members, np.flatnonzero(is_free_m).tolist())] = True
            best = self.best(among_e)
            if best is None:
                return
            [new] = set(self._state.ends(best.pair)) - set(members)
            self.take(best, RANKED)
            for pair in self._pairs_between(members, [new]):
                if pair != best.pair:
                    self._add(self._scored(pair), RANKED, None)
            members.append(new)

    def _rank_drawn(self, size: int, explores: bool) -> None:
        """Take all pairs of responses of clusters that are drawn, one of each at random."""
        state = self._state
        usable_m = np.flatnonzero(self._open_mm().any(axis=0))
        cluster_m = np.arange(len(state.order_m)) if self._cluster_m is None else self._cluster_m
        clusters = np.unique(cluster_m[usable_m])
        n, k = len(clusters), min(size, len(clusters))
        of = {c: usable_m[cluster_m[usable_m] == c] for c in clusters.tolist()}
        drawn = [of[c] for c in state.rng.permutation(clusters).tolist()[:k]]
        members = sorted(int(state.rng.choice(alike)) for alike in drawn)
        chance = self._rules.exploration * k * (k - 1) / max(n * (n - 1), 1)
        for first, m in enumerate(members):
            for pair in self._pairs_between([m], members[first + 1 :]):
                one, other = (len(of[int(cluster_m[end])]) for end in state.ends(pair))
                self._add(
                    self._scored(pair),
                    "exploration" if explores else RANKED,
                    chance / (one * other) if explores else None,
                )

    def _open_mm(self) -> BoolArray:
        """Which responses may be compared with each other."""
        state, m = self._state, len(self._state.order_m)
        open_mm = np.zeros((m, m), np.bool_)
        open_mm[state.first_e, state.second_e] = self.open_e
        return open_mm | open_mm.T

    def _pairs_between(self, some: Iterable[int], others: Iterable[int]) -> list[int]:
        """Packed positions of the pairs of one of `some` and one of `others`, all different."""
        m = len(self._state.order_m)
        ends = (sorted((one, other)) for one in some for other in others)
        return [packed_place(i, j, m) for i, j in ends]

    def _scored(self, pair: int) -> Candidate:
        return self._candidate(pair, float(self._score(slice(pair, pair + 1))[0]))

    def compared(self) -> Compared:
        """What was chosen so far, as heads learn from it."""
        picked = self._state.picked
        ends_2e = np.array([self._state.first_e[picked], self._state.second_e[picked]], np.intp)
        return Compared(self.choices, self._state.features_md[ends_2e])

    def _score(self, rows: Rows) -> FloatArray:
        score_c = self._strategy.score(self._state, rows)
        if self._last_e is not None:
            self._last_e[rows] = score_c
        return score_c

    def _add(self, candidate: Candidate, reason: str, propensity: float | None) -> Choice:
        choice = Choice(
            i=candidate.i,
            j=candidate.j,
            arm="exploit" if propensity is None else "explore",
            rank=len(self.choices),
            score=candidate.score,
            propensity=propensity,
            reason=reason,
            **candidate.prospects._asdict(),
        )
        self.choices.append(choice)
        self._state.take(candidate.pair, candidate.prospects.fishers)
        self._close(candidate.pair)
        return choice

    def _close(self, pair: int) -> None:
        """Take a chosen pair, and the pairs that its responses' caps forbid, out of the open."""
        state, cap = self._state, self._rules.max_pairs_per_response
        self._penalty_e[pair] = -np.inf
        positions = state.ends(pair)
        for m in positions:
            self._uses_m[m] += 1
            self._fresh_e[pairs_of_each(len(state.order_m))[m]] = -np.inf
            if cap is not None and self._uses_m[m] >= cap:
                self._penalty_e[pairs_of_each(len(state.order_m))[m]] = -np.inf
        cluster_m = self._cluster_m
        # Of two that are like no other, the pair itself is all that their clusters close.
        if cluster_m is not None and any(self._has_likes_m[m] for m in positions):
            one_m, other_m = (cluster_m == cluster_m[m] for m in positions)
            for penalty_e in (self._penalty_e, self._fresh_e):
                penalty_e[one_m[state.first_e] & other_m[state.second_e]] = -np.inf
                penalty_e[other_m[state.first_e] & one_m[state.second_e]] = -np.inf


def by_dimension(heads: Heads) -> Mapping[str, Head]:
    """A lone head as the head of one dimension, "reward"."""
    return heads if isinstance(heads, Mapping) else {"reward": heads}


def choose_pairs(
    pool: Pool, heads: Heads, rules: Rules, strategies: Strategies = STRATEGIES
) -> list[Choice]:
    """The pairs of one pool worth a label, in the order chosen.

    Fewer than the budget come back when the eligible pairs or a cap run out.
    """
    with one_blas_thread():
        return compared_in(pool, heads, rules, strategies).choices


class Compared(NamedTuple):
    """Choices of a pool, and centred features (2, e, d) of each one's first and second response."""

    choices: list[Choice]
    compared_2ed: FloatArray


def compared_in(
    pool: Pool,
    heads: Heads,
    rules: Rules,
    strategies: Strategies = STRATEGIES,
    reason: str = "best",
) -> Compared:
    """`choose_pairs`, for callers that hold `one_blas_thread` and go on to teach the heads.

    `reason`: why those are taken that were not drawn.
    """
    chooser = PoolChooser(pool, heads, rules, strategies)
    chooser.explore()
    while len(chooser.choices) < rules.budget:
        candidate = chooser.best()
        if candidate is None:
            break
        chooser.take(candidate, reason)
    return chooser.compared()


def observe(
    heads: Heads, chosen: Iterable[tuple[Pool, Sequence[Choice]]], residual_sd: float = 0.0
) -> dict[str, Head]:
    """The heads expected after the labels of the chosen pairs, by dimension.

    A label speaks of the reward that features tell and of two residuals τ, so it weighs
    ω̄ / (1 + 2 τ² ω̄) for the head.
    """
    return taught(
        by_dimension(heads),
        [Compared(list(made), _compared(pool, made)) for pool, made in chosen if made],
        residual_sd,
    )


def _compared(pool: Pool, choices: Sequence[Choice]) -> FloatArray:
    """Centred features (2, e, d) of the first and the second response of each choice."""
    order_m = pool.distinct()
    origin_d = pool.features_nd[order_m].mean(axis=0, dtype=np.float64)
    pairs_2e = [[choice.i for choice in choices], [choice.j for choice in choices]]
    return np.asarray(pool.features_nd[np.array(pairs_2e, dtype=np.intp)] - origin_d)


def taught(
    heads: Mapping[str, Head], chosen: Sequence[Compared], residual_sd: float
) -> dict[str, Head]:
    """`observe`, from the centred features of what was compared."""
    if not any(choices for choices, _ in chosen):
        return dict(heads)
    first_ed, second_ed = np.concatenate([ends_2ed for _, ends_2ed in chosen], axis=1)
    fishers_ek = np.array([choice.fishers for choices, _ in chosen for choice in choices])
    weight_ek = fishers_ek / (1.0 + 2.0 * residual_sd**2 * fishers_ek)
    return {
        name: observe_pairs(head, head.basis(first_ed) - head.basis(second_ed), weight_ek[:, k])
        for k, (name, head) in enumerate(heads.items())
    }


def choose_for_pools(
    pools: Iterable[Pool],
    heads: Heads,
    rules: Rules,
    shard_size: int = 64,
    threads: int = 1,
    strategies: Strategies = STRATEGIES,
) -> Iterator[tuple[Pool, list[Choice]]]:
    """The pairs of many pools, which the caller passes in order of prompt id.

    What a shard's labels are expected to teach is taken off the heads before the next shard, so
    that a night's batch does not ask one thing a thousand times. No more than a shard is held.

    Raises:
        Corrupt: Two pools that follow each other have the same prompt id.
    """
    remaining, last_id = iter(pools), None
    heads = by_dimension(heads)
    while shard := list(islice(remaining, shard_size)):
        for pool in shard:
            if pool.prompt_id == last_id:
                raise Corrupt(
                    f"Two pools have the same prompt id {last_id}: join the responses of each "
                    "prompt."
                )
            last_id = pool.prompt_id
        chosen = _choose_shard(shard, heads, rules, threads, strategies)
        heads = taught(heads, chosen, rules.residual_sd)
        yield from ((pool, choices) for pool, (choices, _) in zip(shard, chosen, strict=True))


def _choose_shard(
    shard: Sequence[Pool],
    heads: Mapping[str, Head],
    rules: Rules,
    threads: int,
    strategies: Strategies,
) -> list[Compared]:
    def choose(pool: Pool) -> Compared:
        return compared_in(pool, heads, rules, strategies)

    with one_blas_thread():
        if threads == 1:
            return [choose(pool) for pool in shard]
        with ThreadPoolExecutor(threads) as executor:
            return list(executor.map(choose, shard))
