"""The peers' rules choose what their papers say, and keep what every strategy promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from winnow.campaign import Select
from winnow.errors import Fatal
from winnow.ids import seed_from
from winnow.reward import Posterior, centre
from winnow.select import STRATEGIES, Choice, Pool, Rules, choose_pairs
from winnow_bench.peers import PEERS, REDRAWS
from winnow_bench.verdicts import OURS

EVERY_PEER = sorted(PEERS)


def posterior_of(d: int = 6, seed: int = 0) -> Posterior:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(d, d))
    return Posterior(0.5 * rng.normal(size=d), root @ root.T / d + 0.05 * np.eye(d), 1.0)


def pool_of(n: int, d: int = 6, seed: int = 0) -> Pool:
    rng = np.random.default_rng(seed)
    blocked = rng.random(n) < 0.2
    clusters = rng.integers(0, 2 * n, n).tolist()
    ids = [f"r{k:03d}" for k in range(n)]
    return Pool("p", ids, rng.normal(size=(n, d)), clusters=clusters, blocked=blocked)


def chosen(pool: Pool, peer: str, seed: int, **rules: object) -> list[Choice]:
    asked = replace(Rules(4, peer, 0.0, seed=seed), **rules)  # type: ignore[arg-type]
    return choose_pairs(pool, posterior_of(seed=seed), asked, PEERS)


class Obvious:
    """One pick by the sentences of the papers, response by response, from the weights."""

    def __init__(
        self, pool: Pool, posterior: Posterior, rules: Rules, used: list[set[int]]
    ) -> None:
        features = centre(pool.features_nd)
        self.r, self.cov = features @ posterior.mean_d, features @ posterior.cov_dd @ features.T
        self.s = [float(np.sqrt(max(self.cov[i, i], 0.0))) for i in range(len(self.r))]
        self.rng = np.random.default_rng(seed_from("peer", rules.seed, pool.prompt_id, len(used)))
        assert pool.blocked is not None and pool.clusters is not None
        uses = [sum(i in pair for pair in used) for i in range(len(self.r))]
        cap = rules.max_pairs_per_response or np.inf
        self.usable = [i for i, n in enumerate(uses) if n < cap and not pool.blocked[i]]
        fresh = [i for i in self.usable if not uses[i]]
        self.playing = fresh if rules.fresh_first and len(fresh) > 1 else self.usable
        between = [{pool.clusters[i] for i in pair} for pair in used]
        self.open = {
            (i, j)
            for i, j in permutations(self.usable, 2)
            if pool.clusters[i] != pool.clusters[j] and {i, j} not in used
            if {pool.clusters[i], pool.clusters[j]} not in between
        }
        if rules.fresh_first:
            self.open = {pair for pair in self.open if {*pair} <= {*fresh}} or self.open

    def upper(self, i: int) -> float:
        return float(self.r[i] + self.s[i])

    def lower(self, i: int) -> float:
        return float(self.r[i] - self.s[i])

    def sd(self, i: int, j: int) -> float:
        return float(np.sqrt(max(self.cov[i, i] + self.cov[j, j] - 2 * self.cov[i, j], 0.0)))

    def gap(self, i: int, j: int) -> float:
        most, least = self.upper(i) - self.lower(j), self.lower(i) - self.upper(j)
        return float(expit(most) - expit(least))

    def lcb(self, i: int, j: int) -> float:
        return self.lower(i) - self.upper(j)

    def luck(self) -> np.ndarray:
        return np.array([r + z * s for r, z, s in self._with(self.rng.uniform(-1, 1, len(self.s)))])

    def _with(self, z: np.ndarray) -> list[tuple[float, float, float]]:
        return list(zip(self.r, z, self.s, strict=True))

    def joint(self) -> np.ndarray:
        z = self.rng.standard_normal(len(self.s))
        jitter = 1e-9 * np.trace(self.cov) * np.eye(len(self.s))
        return np.asarray(self.r + np.linalg.cholesky(self.cov + jitter) @ z)

    def best_pair(self, score: Callable[[int, int], float]) -> set[int]:
        return set(max(sorted(self.open), key=lambda pair: score(*pair)))

    def first_then(
        self, first: Callable[[int], float], second: Callable[[int, int], float]
    ) -> set[int]:
        for i in sorted(self.usable, key=first, reverse=True):
            rivals = [j for j in self.usable if (i, j) in self.open]
            if rivals:
                return {i, max(rivals, key=lambda j: second(i, j))}
        raise AssertionError("no pair is open")

    def thompson(self, one: Callable[[], np.ndarray], other: Callable[[], np.ndarray]) -> set[int]:
        def best(draw: np.ndarray) -> int:
            return max(self.playing, key=lambda i: float(draw[i]))

        first, second = one(), other()
        for _ in range(REDRAWS):
            if best(first) == best(second):
                second = other()
        return self.first_then(lambda i: first[i], lambda _, j: second[j])

    def pick(self, peer: str) -> set[int]:
        may_win = [
            i for i in self.playing if all(self.upper(i) >= self.lower(j) for j in self.playing)
        ]

        def worst(i: int) -> float:
            return min((self.lcb(i, j) for j in may_win if j != i), default=np.inf)

        draw = self.luck if "Ultra" in peer else self.joint
        match peer.partition(" (")[0]:
            case "deltaucb":
                return self.best_pair(lambda i, j: self.upper(i) - self.lower(j))
            case "infomax":
                return self.best_pair(self.gap)
            case "ucb duel":
                return self.best_pair(lambda i, j: self.r[i] + self.r[j] + self.sd(i, j))
            case "infogain":
                first = draw()
                return self.first_then(lambda i: first[i], self.gap)
            case "bai-ts":
                first = draw()
                return self.first_then(lambda i: first[i], self.sd)
            case "dts" | "ee-ts":
                return self.thompson(draw, draw)
            case "drts":
                return self.thompson(draw, lambda: -draw())
            case "rucb":
                luck = self.rng.random(len(self.r))
                return self.first_then(
                    lambda i: luck[i] + (i in may_win), lambda _, j: self.upper(j)
                )
            case "maxminlcb":
                return self.first_then(
                    worst,
                    lambda i, j: -self.lcb(i, j) - (0.0 if j in may_win else 1e6),
                )
        raise AssertionError(peer)


@pytest.mark.parametrize("peer", EVERY_PEER)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(3, 9),
    cap=st.sampled_from([None, 2]),
    fresh_first=st.booleans(),
)
def test_each_rule_chooses_what_its_paper_says(
    peer: str, seed: int, n: int, cap: int | None, fresh_first: bool
) -> None:
    pool, posterior = pool_of(n, seed=seed), posterior_of(seed=seed)
    rules = Rules(8, peer, 0.0, max_pairs_per_response=cap, fresh_first=fresh_first, seed=seed)
    used: list[set[int]] = []
    for choice in choose_pairs(pool, posterior, rules, PEERS):
        assert {choice.i, choice.j} == Obvious(pool, posterior, rules, used).pick(peer)
        z = pool.features_nd[choice.i] - pool.features_nd[choice.j]
        precision = np.linalg.inv(posterior.cov_dd) + choice.fisher * np.outer(z, z)
        posterior = replace(posterior, cov_dd=np.linalg.inv(precision))
        used.append({choice.i, choice.j})
    assert len(used) == 8 or not Obvious(pool, posterior, rules, used).open


@settings(max_examples=60, deadline=None)
@given(
    peer=st.sampled_from(EVERY_PEER),
    seed=st.integers(0, 10_000),
    n=st.integers(1, 12),
    exploration=st.sampled_from([0.0, 0.5]),
    cap=st.sampled_from([None, 1, 2]),
)
def test_no_pair_is_of_one_response_a_blocked_one_or_a_cluster(
    peer: str, seed: int, n: int, exploration: float, cap: int | None
) -> None:
    pool = pool_of(n, seed=seed)
    assert pool.blocked is not None and pool.clusters is not None
    choices = chosen(pool, peer, seed, exploration=exploration, max_pairs_per_response=cap)
    for choice in choices:
        assert pool.clusters[choice.i] != pool.clusters[choice.j]
        assert not pool.blocked[choice.i] and not pool.blocked[choice.j]
    assert len({(choice.i, choice.j) for choice in choices}) == len(choices)
    if cap is None and not exploration:
        open_pairs = {
            frozenset((pool.clusters[i], pool.clusters[j]))
            for i, j in combinations(np.flatnonzero(~pool.blocked).tolist(), 2)
        }
        assert len(choices) == min(4, sum(len(pair) == 2 for pair in open_pairs))


@pytest.mark.parametrize("peer", EVERY_PEER)
def test_the_order_of_responses_and_copies_of_a_text_change_no_pick(peer: str) -> None:
    pool = pool_of(12, seed=3)

    def ids(among: Pool, seed: int = 3) -> list[tuple[str, str]]:
        choices = chosen(among, peer, seed, exploration=0.3)
        return [(among.response_ids[c.i], among.response_ids[c.j]) for c in choices]

    order = [*np.random.default_rng(1).permutation(12).tolist(), 4, 7]
    assert pool.blocked is not None and pool.clusters is not None
    shuffled = replace(
        pool,
        response_ids=[pool.response_ids[k] for k in order],
        features_nd=pool.features_nd[order],
        clusters=[pool.clusters[k] for k in order],
        blocked=pool.blocked[order],
    )
    assert ids(shuffled) == ids(pool) == ids(pool)


def test_a_response_that_is_surely_worse_duels_only_when_no_other_is_left() -> None:
    pool = Pool("p", ["a", "b", "c"], np.array([[5.0, 0.0], [5.1, 0.1], [-9.0, 0.0]]))
    sure = Posterior(np.array([1.0, 0.0]), 1e-3 * np.eye(2), 1.0)
    for peer in ("maxminlcb (ActiveUltraFeedback)", "rucb (ActiveUltraFeedback)"):
        first, second = choose_pairs(pool, sure, Rules(2, peer, 0.0), PEERS)
        assert {first.i, first.j} == {0, 1}
        assert 2 in (second.i, second.j)


def test_no_campaign_can_name_a_peer_and_our_rule_is_the_default() -> None:
    assert not set(PEERS) & set(STRATEGIES)
    assert Select().strategy == OURS
    with pytest.raises(Fatal, match="unknown"):
        choose_pairs(pool_of(4), posterior_of(), Rules(1, EVERY_PEER[0]))
