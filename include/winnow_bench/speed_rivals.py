"""Other ways to choose the same pairs, for speed and quality side by side.

A loop over pairs in plain Python with the exact integrals, and BatchBALD of scikit-activeml on
draws of the same posterior: an independent implementation of greedy joint information.

Shapes: n responses, e pairs, s draws.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from itertools import combinations, product
from typing import Any

import numpy as np

from winnow.arrays import FloatArray
from winnow.reward import Posterior
from winnow.select import Pool, PoolState, Rules, choose_pairs, one_blas_thread
from winnow.select.belief import policy_covariance
from winnow.select.gains import exact_expected_fisher

Pair = tuple[int, int]

N_DRAWS = 200
"""Posterior draws given to BatchBALD."""

N_JUDGING = 4000
"""Other draws, on which the joint information of both choices is taken."""


def against_loop(pool: Pool, head: Posterior, picks: int) -> dict[str, Any]:
    """Time of `decision_gain` for one pool, and of a loop over its pairs that chooses the same."""
    rules = Rules(picks, "decision_gain", exploration=0.0, max_pairs_per_response=None)
    fast_seconds, chosen = _timed_choice(pool, head, rules)
    start = time.perf_counter()
    looped = _loop(pool, head, rules)
    loop_seconds = time.perf_counter() - start
    return {
        "pool": len(pool.response_ids),
        "dimension": len(head.mean_d),
        "picks": picks,
        "loop_seconds_per_prompt": loop_seconds,
        "seconds_per_prompt": fast_seconds,
        "ratio": loop_seconds / fast_seconds,
        "same_pairs": len(set(chosen) & set(looped)),
    }


def against_batchbald(pool: Pool, head: Posterior, picks: int) -> dict[str, Any]:
    """Time and joint information of `info_gain` and of BatchBALD, for one pool."""
    try:
        rival = import_module("skactiveml.pool._bald")
    except ImportError as error:
        return {"skipped": f"{error}: install the dev extra to compare with scikit-activeml"}
    pairs = list(combinations(range(len(pool.response_ids)), 2))
    rules = Rules(picks, "info_gain", exploration=0.0, max_pairs_per_response=None)
    seconds, ours = _timed_choice(pool, head, rules)
    rng, features_nd = np.random.default_rng(0), pool.features_nd.astype(np.float64)
    p_se = _probabilities(head.sample(features_nd, N_DRAWS, rng), pairs)
    start = time.perf_counter()
    with one_blas_thread():
        utility_be = rival.batch_bald(np.stack([p_se, 1.0 - p_se], axis=2), picks, random_state=0)
    rival_seconds = time.perf_counter() - start
    theirs = [pairs[int(e)] for e in np.nanargmax(utility_be, axis=1)]
    judging = head.sample(features_nd, N_JUDGING, rng)
    information = joint_information(ours, judging)
    return {
        "pool": len(pool.response_ids),
        "dimension": len(head.mean_d),
        "picks": picks,
        "draws": N_DRAWS,
        "seconds": seconds,
        "batchbald_seconds": rival_seconds,
        "time_ratio": rival_seconds / seconds,
        "same_pairs": len(set(ours) & set(theirs)),
        "joint_information": information,
        "batchbald_joint_information": joint_information(theirs, judging),
    }


def joint_information(pairs: Sequence[Pair], rewards_sn: FloatArray) -> float:
    """Mutual information, in nats, of the labels of a few `pairs` with the rewards drawn."""
    p_se = _probabilities(rewards_sn, pairs)
    total = 0.0
    for labels in product([True, False], repeat=len(pairs)):
        p = float(np.where(labels, p_se, 1.0 - p_se).prod(axis=1).mean())
        total -= p * np.log(p)
    entropy_se = -p_se * np.log(p_se) - (1.0 - p_se) * np.log1p(-p_se)
    return total - float(entropy_se.sum(axis=1).mean())


def _timed_choice(pool: Pool, head: Posterior, rules: Rules) -> tuple[float, list[Pair]]:
    choices = choose_pairs(pool, head, rules)
    start = time.perf_counter()
    choose_pairs(pool, head, rules)
    return time.perf_counter() - start, [(choice.i, choice.j) for choice in choices]


def _loop(pool: Pool, head: Posterior, rules: Rules) -> list[Pair]:
    """Greedy `decision_gain`, one pair at a time."""
    state = PoolState(pool, {"reward": head}, rules, with_policy=False)
    policy_nn = policy_covariance(state.draws_sm, rules.kappa)
    mean_n, cov_nn = head.mean(state.features_md), head.cov(state.features_md)
    chosen: list[Pair] = []
    while len(chosen) < rules.budget:
        best: tuple[float, Pair, float] | None = None
        for i, j in combinations(range(len(mean_n)), 2):
            projected_n = cov_nn[i] - cov_nn[j]
            variance = projected_n[i] - projected_n[j]
            fisher = float(exact_expected_fisher(mean_n[i] - mean_n[j], np.sqrt(variance)))
            share = fisher / (1.0 + fisher * variance)
            gain = share * float(projected_n @ policy_nn @ projected_n)
            if (i, j) not in chosen and (best is None or gain > best[0]):
                best = gain, (i, j), share
        if best is None:
            break
        _, (i, j), share = best
        projected_n = cov_nn[i] - cov_nn[j]
        cov_nn = cov_nn - share * np.outer(projected_n, projected_n)
        chosen.append((i, j))
    return chosen


def _probabilities(rewards_sn: FloatArray, pairs: Sequence[Pair]) -> FloatArray:
    first, second = np.array(pairs).T
    difference_se = rewards_sn[:, first] - rewards_sn[:, second]
    return np.clip(1.0 / (1.0 + np.exp(-difference_se)), 1e-12, 1.0 - 1e-12)
