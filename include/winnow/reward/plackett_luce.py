"""Rankings to rewards: the model of Plackett and Luce, one factor a ranking.

    P(order | r) = Π_k exp(r_k) / Σ_{l ≥ k} exp(r_l)

Who ranks picks the best of all, then the best of what is left, and so on: K - 1 choices. Its Fisher
information is the sum over these stages of diag(p) - p pᵀ.

A tie has no stage of its own: all that are tied are picked from what was left before any of them
was (Breslow's rule). What is last and tied weighs one choice less, so that an order of K always
makes K - 1 of them, and two that are tied are two half votes.

Always holds: the names of the responses do not matter, rewards shifted by a constant change
nothing, and the rewards of any orders are finite.

Sources: Plackett (1975), "The analysis of permutations"; Luce (1959); Breslow (1974) for ties.

Shapes: n responses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from winnow.arrays import FloatArray

Order = Sequence[Sequence[int]]
"""Groups of responses, best first; those of a group are tied. Each response is in one of them."""

PRECISION = 1.0
"""Of the prior of each reward: differences of a logit or two are unremarkable."""

_STEPS = 100
_CONVERGED = 1e-12


def log_likelihood(reward_n: FloatArray, order: Order) -> float:
    """Ln P(order | rewards), nats."""
    total = 0.0
    for group, tail, weight in _stages(order):
        total += weight * (reward_n[group].mean() - np.logaddexp.reduce(reward_n[tail]))
    return float(total)


def slopes(reward_n: FloatArray, order: Order) -> tuple[FloatArray, FloatArray]:
    """Gradient (n,) of `log_likelihood`, and the Fisher information (n, n)."""
    gradient_n, fisher_nn = np.zeros(len(reward_n)), np.zeros((len(reward_n),) * 2)
    for group, tail, weight in _stages(order):
        p_n = np.zeros(len(reward_n))
        p_n[tail] = np.exp(reward_n[tail] - np.logaddexp.reduce(reward_n[tail]))
        gradient_n[group] += weight / len(group)
        gradient_n -= weight * p_n
        fisher_nn += weight * (np.diag(p_n) - np.outer(p_n, p_n))
    return gradient_n, fisher_nn


def rewards(orders: Sequence[Order], n: int, precision: float = PRECISION) -> FloatArray:
    """The most probable rewards (n,), logits with mean 0, under N(0, 1 / precision) each."""

    def objective(reward_n: FloatArray) -> float:
        told = sum(log_likelihood(reward_n, order) for order in orders)
        return told - 0.5 * precision * float(reward_n @ reward_n)

    reward_n, value = np.zeros(n), objective(np.zeros(n))
    for _ in range(_STEPS):
        gradient_n, hessian_nn = -precision * reward_n, precision * np.eye(n)
        for order in orders:
            own_n, fisher_nn = slopes(reward_n, order)
            gradient_n, hessian_nn = gradient_n + own_n, hessian_nn + fisher_nn
        step_n = np.linalg.solve(hessian_nn, gradient_n)
        rise, size = float(gradient_n @ step_n), 1.0
        if rise < _CONVERGED:
            break
        while (there := objective(reward_n + size * step_n)) < value + 0.25 * size * rise:
            size *= 0.5
            if size < _CONVERGED:
                break
        reward_n, value = reward_n + size * step_n, there
    return np.asarray(reward_n - reward_n.mean())


def _stages(order: Order) -> Iterator[tuple[list[int], list[int], float]]:
    """Of each group its responses, what they were picked from, and how many choices they are."""
    groups = [list(group) for group in order]
    for k, group in enumerate(groups):
        tail = [response for later in groups[k:] for response in later]
        weight = float(len(group) - (k == len(groups) - 1))
        if weight:
            yield group, tail, weight
