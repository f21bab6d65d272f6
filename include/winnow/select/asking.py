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
from typing import NamedTuple

import numpy as np

from winnow.arrays import BoolArray, FloatArray
from winnow.ids import PEOPLE
from winnow.reward.judges import Joint
from winnow.select.belief import policy_covariance
from winnow.select.gains import expected_fisher, pair_moments
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
        self._cov = basis @ joint.cov @ basis.T
        pooled = [rules.residual_sd**2, *(judge.response_sd**2 for judge in judges)]
        self._cov[np.diag_indices_from(self._cov)] += np.repeat(pooled, n)
        mean_n = people.mean(features_nd)
        root_nq = features_nd @ np.linalg.cholesky(people.cov_dd)
        policy_nn = policy_covariance(mean_n + noise_sq @ root_nq.T, rules.kappa)
        self._impact = self._cov[:, :n] @ policy_nn @ self._cov[:n]
        self._mean_n = mean_n
        self._open = np.stack([np.triu(open_nn, 1)] * len(self._names))
        for asked in known:
            if asked.teacher in self._names:
                self._take(asked)
        # Of people nothing more is asked.
        self._open[0] = False

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
            gain_nn = np.where(self._open[k], self._gain(k), 0.0)
            at = int(gain_nn.argmax())
            gain = gain_nn.item(at)
            worth = gain / price if price else np.inf
            if gain > 0.0 and (found is None or worth > found[0]):
                found = worth, Asked(name, *divmod(at, self._n), gain, price)
        return None if found is None else found[1]

    def _take(self, asked: Asked) -> None:
        """Shrink C and G as if the answer had come."""
        k, n = self._names.index(asked.teacher), self._n
        i, j = k * n + asked.i, k * n + asked.j
        c = self._cov[:, i] - self._cov[:, j]
        h = self._impact[:, i] - self._impact[:, j]
        v, g = c[i] - c[j], h[i] - h[j]
        fisher = self._fisher(k)[asked.i, asked.j]
        part = fisher / (1.0 + fisher * v)
        self._cov -= part * np.outer(c, c)
        mixed = part * np.outer(c, h)
        self._impact += part**2 * g * np.outer(c, c) - mixed - mixed.T
        self._open[k, min(asked.i, asked.j), max(asked.i, asked.j)] = False
        if self._cap is not None:
            self._uses_kn[k, [asked.i, asked.j]] += 1
            used = self._uses_kn[k] >= self._cap
            self._open[k][used] = self._open[k][:, used] = False

    def _gain(self, k: int) -> FloatArray:
        place, fisher_nn = self._place(k), self._fisher(k)
        v_nn = pair_moments(self._mean_n, self._cov[place, place])[1]
        g_nn = pair_moments(self._mean_n, self._impact[place, place])[1]
        return np.asarray(fisher_nn * g_nn / (1.0 + fisher_nn * v_nn))

    def _fisher(self, k: int) -> FloatArray:
        if k:
            return np.full((self._n, self._n), self._fishers[k])
        mu_nn, var_nn = pair_moments(self._mean_n, self._cov[: self._n, : self._n])
        return expected_fisher(mu_nn, np.sqrt(var_nn))

    def _place(self, k: int) -> slice:
        return slice(k * self._n, (k + 1) * self._n)
