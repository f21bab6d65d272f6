"""What judges are asked beside people: by what an answer is worth for its price.

Rewards of a pool as people have them, and as each judge has them (`winnow.reward.judges`), are one
Gaussian of (1 + s) n values with covariance C. A is what matters to the policy, of people's rewards
alone, and G = C·A ·C with the columns and rows of people's. An answer of any teacher about a pair,
of the difference x of its own two values, lowers what is uncertain and matters, tr(A C), by

    ω xᵀG x / (1 + ω xᵀC x),

with ω = ω̄ for a person's vote (`expected_fisher`) and the inverse variance of what
a judge errs on a pair alone. That over its price is highest for the judge that is asked next; then
C and G shrink as if the answer had come. So a judge is asked no more once what is uncertain is its
taste. What people are asked is settled before, as if no judge had spoken, for a judge errs where
its model does not say so (docs/choosing_pairs.md, "Judges"): it shrinks C and G first.

Always holds: a pair is asked of a judge once; what is chosen costs no more than the budget; a judge
that says nothing of people's reward is not asked; equal values go to the first pair.

Shapes: n responses, q weights of people and of judges' tastes, s judges, N = (1 + s) n.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from winnow.arrays import BoolArray, FloatArray, IndexArray
from winnow.ids import PEOPLE
from winnow.reward.judges import Joint
from winnow.select.belief import policy_covariance
from winnow.select.gains import expected_fisher
from winnow.select.packing import (
    packed_forms,
    packed_pairs,
    packed_place,
    pairs_of_each,
    shrink_pairs,
)
from winnow.select.rules import Rules


class Asked(NamedTuple):
    """Responses i and j of a pool, shown to people or a judge; `gain` is the drop of tr(A C)."""

    teacher: str
    i: int
    j: int
    gain: float
    price: int


def ask_judges(
    features_nd: FloatArray,
    length_n: FloatArray,
    open_nn: BoolArray,
    joint: Joint,
    rules: Rules,
    prices: Mapping[str, int],
    budget: int,
    noise_sq: FloatArray,
    known: Sequence[Asked],
) -> list[Asked]:
    """The answers of judges worth asking for about one pool, in the order chosen.

    Args:
        features_nd: Centred within the prompt.
        length_n: Log lengths of the responses.
        open_nn: Pairs that may be asked about; symmetric.
        joint: What is believed of people and judges.
        rules: κ, the residual and the cap on a judge's pairs of a response are read.
        prices: Micro-dollars of an answer, by judge; those that have none are not asked.
        budget: Micro-dollars for these answers.
        noise_sq: Standard normal draws (draws, d) for people's weights.
        known: Answers of people and judges that will come anyway.
    """
    state = _State(features_nd, length_n, open_nn, joint, rules, prices, noise_sq, known)
    return state.choose(budget)


class _State:
    """C and G by the forms of their pairs, N (N - 1) / 2 each (`winnow.select.belief`)."""

    def __init__(
        self,
        features_nd: FloatArray,
        length_n: FloatArray,
        open_nn: BoolArray,
        joint: Joint,
        rules: Rules,
        prices: Mapping[str, int],
        noise_sq: FloatArray,
        known: Sequence[Asked],
    ) -> None:
        people, n = joint.people, len(features_nd)
        judges = [judge for judge in joint.judges if judge.name in prices]
        self._n, self._names = n, [PEOPLE, *(judge.name for judge in judges)]
        self._prices = {judge.name: prices[judge.name] for judge in judges}
        self._fishers = [0.0, *(judge.own_sd**-2 for judge in judges)]
        self._cap = rules.max_pairs_per_response
        self._uses_kn = np.zeros((len(self._names), n), np.int64)
        own = np.zeros((n, len(joint.cov)))
        own[:, : features_nd.shape[1]] = features_nd
        basis = np.vstack([own, *(joint.basis(judge, features_nd, length_n) for judge in judges)])
        cov = basis @ joint.cov @ basis.T
        pooled = [rules.residual_sd**2, *(judge.response_sd**2 for judge in judges)]
        cov[np.diag_indices_from(cov)] += np.repeat(pooled, n)
        self._mean_n = people.mean(features_nd)
        root_nq = features_nd @ np.linalg.cholesky(people.cov_dd)
        policy_nn = policy_covariance(self._mean_n + noise_sq @ root_nq.T, rules.kappa)
        impact = cov[:, :n] @ policy_nn @ cov[:n]
        self._var_e, self._impact_e = packed_forms(cov), packed_forms(impact)
        self._places_ke = _places(n, len(self._names))
        self._open_ke = np.stack([open_nn[packed_pairs(n)]] * len(self._names))
        for asked in known:
            if asked.teacher in self._names:
                self._take(asked)

    def choose(self, budget: int) -> list[Asked]:
        """Answers one after the other, until none is worth anything or the budget is spent."""
        chosen: list[Asked] = []
        while (asked := self._best(budget)) is not None:
            self._take(asked)
            chosen.append(asked)
            budget -= asked.price
        return chosen

    def _best(self, budget: int) -> Asked | None:
        """The answer of the highest value for its price that the budget still pays."""
        found: tuple[float, Asked] | None = None
        for k, (name, price) in enumerate(self._prices.items(), 1):
            if price > budget:
                continue
            place_e, fisher = self._places_ke[k], self._fishers[k]
            gain_e = fisher * self._impact_e[place_e] / (1.0 + fisher * self._var_e[place_e])
            at = int(np.where(self._open_ke[k], gain_e, 0.0).argmax())
            gain = gain_e.item(at) if self._open_ke[k, at] else 0.0
            worth = gain / price if price else np.inf
            if gain > 0.0 and (found is None or worth > found[0]):
                i, j = (ends.item(at) for ends in packed_pairs(self._n))
                found = worth, Asked(name, i, j, gain, price)
        return None if found is None else found[1]

    def _take(self, asked: Asked) -> None:
        """Shrink C and G as if the answer had come."""
        k, n = self._names.index(asked.teacher), self._n
        i, j = sorted((asked.i, asked.j))
        pair = packed_place(i, j, n)
        fisher = self._fishers[k]
        if not k:
            sd = np.sqrt(self._var_e[self._places_ke[0, pair]])
            fisher = float(expected_fisher(self._mean_n[i] - self._mean_n[j], sd))
        n_all = len(self._names) * n
        shrink_pairs(self._var_e, self._impact_e, n_all, k * n + i, k * n + j, fisher)
        self._open_ke[k, pair] = False
        for end in (i, j):
            self._uses_kn[k, end] += 1
            if self._cap is not None and self._uses_kn[k, end] >= self._cap:
                self._open_ke[k, pairs_of_each(n)[end]] = False


@lru_cache(maxsize=64)
def _places(n: int, n_blocks: int) -> IndexArray:
    """Where the pairs of each block of n stand among the pairs of all blocks, (k, e)."""
    first_e, second_e = packed_pairs(n)
    start_k = n * np.arange(n_blocks)[:, None]
    i_ke, j_ke, n_all = first_e + start_k, second_e + start_k, n * n_blocks
    places_ke: IndexArray = i_ke * (2 * n_all - i_ke - 1) // 2 + j_ke - i_ke - 1
    return places_ke
