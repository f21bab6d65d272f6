"""Grounds for `winnow bench sources`: pools of which people and judges can be asked.

    pool     people's votes are drawn from one GPT-4 judge's scores of real responses (as in `winnow
             bench labels`), the judge is another GPT-4 judge of the same responses, which only says
             whether a response beats a weak reference
    swapped  the same with the two judges' parts exchanged: the judge states log-odds
    votes    real votes of people on real pairs, and the verdicts of GPT-4 and GPT-3.5 on them, each
             pair in one order

Always holds: arms of one seed share prompts, votes and verdicts: whoever asks gets the same answer.

Shapes: n responses of a pool, e pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow.parquet as pq

from winnow.arrays import BoolArray, FloatArray, IndexArray
from winnow.expand.pool_features import POOL_FIGURES, pool_figures
from winnow.expand.text_features import text_features
from winnow.ids import content_id, seed_from
from winnow.reward import Block, Blocks, Posterior, centre, fit_projection
from winnow.reward.calibration import log_loss
from winnow.reward.logistic import preference_by_quadrature
from winnow_bench.evaluate import belief_figures, policy_figures
from winnow_bench.labels import Seed, draw
from winnow_bench.world import MAX_COMPONENTS, POOL_FILE, JudgedPool, World, read_worlds

VOTES_FILE, PAIRS_FILE, VERDICTS_FILE = (
    f"{name}.parquet" for name in ("human_votes", "human_pairs", "judge_votes")
)
SECOND = "p_win_v1"
"""Column of the second judge's scores."""
PAIRS_OF_POOL = 16
"""Pairs of one prompt that are a pool of the ground `votes`."""

_LEAST_P, _MOST_ODDS = 1e-7, 8.0
"""Where a score's probability is clipped, and log-odds of a pair, as the vendor `judge` does."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Asking:
    """A pool to ask about: features (n, d), log lengths (n,), and which pairs are open (n, n)."""

    key: str
    features_nd: FloatArray
    length_n: FloatArray
    open_nn: BoolArray


class Answers(NamedTuple):
    """Of pairs (e,): how far each is for the first (1, 1/2, 0) or log-odds, and the side shown."""

    said_e: FloatArray
    side_e: FloatArray


class Drawn(Protocol):
    """One seed of a ground."""

    @property
    def pools(self) -> Sequence[Asking]:
        """What is asked about, in the order of the nights."""

    def people(self, pool: Asking, i: IndexArray, j: IndexArray) -> Answers:
        """A person's vote on each pair."""

    def judge(self, name: str, pool: Asking, i: IndexArray, j: IndexArray) -> Answers:
        """What a judge says of each pair."""

    def figures(self, posterior: Posterior) -> dict[str, float]:
        """What a reward is worth on what nobody was asked about."""


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What can be asked, under one name; `choosing` judges state no probabilities."""

    name: str
    blocks: Blocks
    judges: tuple[str, ...]
    choosing: bool
    draw: Callable[[int], Drawn]


@cache
def read_grounds(folder: Path) -> list[Ground]:
    """The grounds that a folder has the files for, read once in a process."""
    grounds = []
    pools = folder / POOL_FILE
    if pools.exists() and SECOND in pq.read_schema(pools).names:
        world = read_worlds(folder)[0]
        grounds += [_pool_ground(folder, world, swapped) for swapped in (False, True)]
    if all((folder / name).exists() for name in (VOTES_FILE, PAIRS_FILE, VERDICTS_FILE)):
        grounds.append(_votes_ground(folder))
    return grounds


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """A seed of two judges' scores: labels are drawn from one, the other is asked."""

    seed: Seed
    second: Mapping[tuple[str, str], float]
    by_key: Mapping[str, JudgedPool]
    pools: Sequence[Asking]
    swapped: bool

    def people(self, pool: Asking, i: IndexArray, j: IndexArray) -> Answers:
        preferred = self.seed.preferred(self.by_key[pool.key], i, j)
        return Answers(np.asarray(preferred, np.float64), np.zeros(len(i)))

    def judge(self, name: str, pool: Asking, i: IndexArray, j: IndexArray) -> Answers:
        own = self.by_key[pool.key]
        p_n = np.array([self.second[own.prompt_id, each] for each in own.response_ids])
        logit_n = _logit(p_n)
        odds_e = np.clip(logit_n[i] - logit_n[j], -_MOST_ODDS, _MOST_ODDS)
        return Answers(odds_e, np.zeros(len(i)))

    def figures(self, posterior: Posterior) -> dict[str, float]:
        held_out = self.seed.held_out
        rng = np.random.default_rng(seed_from("bench", "pairs", self.seed.seed))
        policy, belief = (
            policy_figures(posterior, held_out),
            belief_figures(posterior, held_out, rng),
        )
        return {
            "win_rate": policy["win_rate"],
            "best_of_pool_win_rate": policy["best_of_pool_win_rate"],
            "pair_accuracy": belief["pair_accuracy"],
            "log_loss": belief["log_loss"],
        }


def _pool_ground(folder: Path, world: World, swapped: bool) -> Ground:
    names = ["prompt_id", "response", "p_win", SECOND]
    rows = pq.read_table(folder / POOL_FILE, columns=names).to_pylist()
    one, other = ("p_win", SECOND)[:: -1 if swapped else 1]
    both = [row for row in rows if row["p_win"] is not None and row[SECOND] is not None]
    first, second = (
        {(str(r["prompt_id"]), content_id("response", r["response"] or "")): r[name] for r in both}
        for name in (one, other)
    )
    pools = [_scored_by(pool, first) for pool in world.pools]
    pools = [pool for pool in pools if (~pool.ignored_n).sum() > 1]
    world = World(world.name, world.features, world.blocks, tuple(pools))

    def drawn(seed: int) -> Drawn:
        own = draw(world, seed)
        by_key = {pool.prompt_id: pool for pool in own.labelled}
        return _Scored(own, second, by_key, [_asking(pool) for pool in own.labelled], swapped)

    name, judge = ("swapped", "gpt-4-turbo") if swapped else ("pool", "gpt-4-v1")
    return Ground(name, world.blocks, (judge,), not swapped, drawn)


def _scored_by(pool: JudgedPool, scores: Mapping[tuple[str, str], float]) -> JudgedPool:
    """The responses of a pool that have a score, judged by it."""
    p_n = [scores.get((pool.prompt_id, each)) for each in pool.response_ids]
    kept = np.array([k for k, p in enumerate(p_n) if p is not None], np.intp)
    return replace(
        pool,
        response_ids=tuple(pool.response_ids[k] for k in kept),
        features_nd=centre(pool.features_nd[kept]),
        p_win_n=np.array([p for p in p_n if p is not None], np.float64),
        length_n=pool.length_n[kept],
        longer_n=pool.longer_n[kept],
        blocked_n=pool.blocked_n[kept],
        ignored_n=pool.ignored_n[kept],
    )


def _asking(pool: JudgedPool) -> Asking:
    open_nn = ~(pool.blocked_n[:, None] | pool.blocked_n)
    ids = np.array(pool.response_ids)
    open_nn &= ids[:, None] != ids
    return Asking(pool.prompt_id, pool.features_nd, pool.length_n, open_nn)


def _logit(p_n: FloatArray) -> FloatArray:
    p_n = np.clip(p_n, _LEAST_P, 1.0 - _LEAST_P)
    return np.asarray(np.log(p_n) - np.log1p(-p_n))


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """Two responses to a prompt, by their rows, with the votes and verdicts on them."""

    key: str
    first: int
    second: int
    votes: Sequence[tuple[float, float]]
    verdicts: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True, eq=False)
class _Voted:
    """A seed of real votes: half of the pairs are asked about, the others judge the reward."""

    seed: int
    pools: Sequence[Asking]
    asked: Mapping[str, Mapping[tuple[int, int], _Pair]]
    held_out: Sequence[_Pair]
    features_rd: FloatArray

    def people(self, pool: Asking, i: IndexArray, j: IndexArray) -> Answers:
        said = []
        for pair in self._pairs(pool, i, j):
            luck = np.random.default_rng(seed_from("vote", self.seed, pair.key))
            said.append(pair.votes[int(luck.integers(len(pair.votes)))])
        return Answers(*np.array(said, np.float64).reshape(-1, 2).T)

    def judge(self, name: str, pool: Asking, i: IndexArray, j: IndexArray) -> Answers:
        said = [pair.verdicts[name] for pair in self._pairs(pool, i, j)]
        return Answers(*np.array(said, np.float64).reshape(-1, 2).T)

    def figures(self, posterior: Posterior) -> dict[str, float]:
        z_ed = np.array(
            [self.features_rd[p.first] - self.features_rd[p.second] for p in self.held_out]
        )
        share_e = np.array([np.mean([vote for vote, _ in pair.votes]) for pair in self.held_out])
        sd_e = np.sqrt(np.einsum("ed,ed->e", z_ed @ posterior.cov_dd, z_ed))
        mu_e = z_ed @ posterior.mean_d
        clear_e = np.abs(share_e - 0.5) > 1e-9
        right_e = (mu_e > 0) == (share_e > 0.5)
        chance_e = preference_by_quadrature(mu_e, sd_e)
        return {
            "pair_accuracy": float(right_e[clear_e].mean()),
            "log_loss": log_loss(chance_e, share_e),
        }

    def _pairs(self, pool: Asking, i: IndexArray, j: IndexArray) -> list[_Pair]:
        own = self.asked[pool.key]
        return [own[min(a, b), max(a, b)] for a, b in zip(i.tolist(), j.tolist(), strict=True)]


_SAID = {"a": 1.0, "b": 0.0}


def _votes_ground(folder: Path) -> Ground:
    verdicts: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for row in pq.read_table(folder / VERDICTS_FILE).to_pylist():
        odds = {"a": 1.0, "b": -1.0}.get(row["choice"], 0.0)
        verdicts[row["pair_id"]][row["judge"]] = odds, _side(row)
    judges = tuple(sorted({name for said in verdicts.values() for name in said}))
    votes: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in pq.read_table(folder / VOTES_FILE).to_pylist():
        votes[row["pair_id"]].append((_SAID.get(row["choice"], 0.5), _side(row)))
    rows = [
        row
        for row in pq.read_table(folder / PAIRS_FILE).to_pylist()
        if len(verdicts[row["pair_id"]]) == len(judges) and votes[row["pair_id"]]
    ]
    place: dict[tuple[str, str], int] = {}
    texts: list[tuple[str, str, str]] = []
    for row in rows:
        for side in ("response_a", "response_b"):
            if (row["prompt_key"], row[side]) not in place:
                place[row["prompt_key"], row[side]] = len(texts)
                texts.append((row["prompt_key"], row["prompt"], row[side]))
    blocks, features_rd = _text_features(texts)
    pairs = [
        _Pair(
            row["pair_id"],
            place[row["prompt_key"], row["response_a"]],
            place[row["prompt_key"], row["response_b"]],
            votes[row["pair_id"]],
            verdicts[row["pair_id"]],
        )
        for row in rows
        if row["response_a"] != row["response_b"]
    ]
    length_r = np.log1p([len(text) for _, _, text in texts])
    prompts_r = [key for key, _, _ in texts]

    def drawn(seed: int) -> Drawn:
        order = np.random.default_rng(seed_from("bench", "votes", seed)).permutation(len(pairs))
        asked = [pairs[k] for k in order[: len(pairs) // 2]]
        held_out = [pairs[k] for k in order[len(pairs) // 2 :]]
        by_prompt: dict[str, list[_Pair]] = defaultdict(list)
        for pair in asked:
            by_prompt[prompts_r[pair.first]].append(pair)
        pools, own = [], {}
        for prompt, some in by_prompt.items():
            for start in range(0, len(some), PAIRS_OF_POOL):
                key = f"{prompt}/{start}"
                pool, own[key] = _of_pairs(
                    key, some[start : start + PAIRS_OF_POOL], features_rd, length_r
                )
                pools.append(pool)
        luck = np.random.default_rng(seed_from("bench", "nights", seed)).permutation(len(pools))
        return _Voted(seed, [pools[k] for k in luck], own, held_out, features_rd)

    return Ground("votes", blocks, judges, True, drawn)


def _side(row: Row) -> float:
    return {"a": 1.0, "b": -1.0}.get(row["shown_left"], 0.0)


def _of_pairs(
    key: str, pairs: Sequence[_Pair], features_rd: FloatArray, length_r: FloatArray
) -> tuple[Asking, dict[tuple[int, int], _Pair]]:
    """A pool of the responses of some pairs, of which those pairs are open."""
    rows = sorted({row for pair in pairs for row in (pair.first, pair.second)})
    at = {row: k for k, row in enumerate(rows)}
    open_nn, own = np.zeros((len(rows), len(rows)), np.bool_), {}
    for pair in pairs:
        i, j = at[pair.first], at[pair.second]
        if i > j:
            pair = _turned(pair)
            i, j = j, i
        own[i, j] = pair
        open_nn[i, j] = open_nn[j, i] = True
    return Asking(key, features_rd[rows], length_r[rows], open_nn), own


def _turned(pair: _Pair) -> _Pair:
    return _Pair(
        pair.key,
        pair.second,
        pair.first,
        [(1.0 - vote, -side) for vote, side in pair.votes],
        {name: (-odds, -side) for name, (odds, side) in pair.verdicts.items()},
    )


def _text_features(texts: Sequence[tuple[str, str, str]]) -> tuple[Blocks, FloatArray]:
    """Blocks and features (r, d), centred within each prompt, of keys, prompts and responses."""
    keys, prompts, responses = (list(each) for each in zip(*texts, strict=True))
    text_rc = text_features(prompts, responses, MAX_COMPONENTS).astype(np.float64)
    style = Block("style", text_rc.shape[1] - MAX_COMPONENTS)
    blocks = (Block("embedding", MAX_COMPONENTS), style, Block("pool", len(POOL_FIGURES)))
    raw_rc = np.zeros((len(texts), text_rc.shape[1] + len(POOL_FIGURES)))
    groups = [np.flatnonzero(np.array(keys) == key) for key in sorted(set(keys))]
    for own in groups:
        figures = pool_figures([responses[k] for k in own], text_rc[own, :MAX_COMPONENTS])
        raw_rc[own] = centre(np.hstack([text_rc[own], figures]))
    projection = fit_projection(raw_rc, blocks, MAX_COMPONENTS)
    features_rd = np.asarray(projection.apply(raw_rc))
    for own in groups:
        features_rd[own] = centre(features_rd[own])
    return projection.blocks, features_rd
