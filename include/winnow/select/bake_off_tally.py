"""The bake-off's sums, which add up over batches, and the figures that follow from them.

Votes of one prompt are one cluster. Of each cluster three numbers a strategy are kept, Σ w, Σ w Y
of information and Σ w Y of what was taught, and over clusters their sums and products. A ratio V =
Σ u / Σ w has the linearised error √(Σ_c (u_c - V w_c)²) / Σ w. Intervals are Student's, with the
effective number of clusters (Σ w)² / Σ w² less one as degrees of freedom.

Always holds: tallies of batches add up in any order, to the same figures as all votes together; a
strategy with too few effective clusters has no figures, never ones that look measured.

Source: Cochran (1977), "Sampling techniques", section 6.2, for the error of a ratio.

Shapes: c clusters, s strategies, k = 3 s sums.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from winnow.arrays import FloatArray
from winnow.errors import Corrupt
from winnow.ids import canonical_json
from winnow.select.bake_off import COMPARED, UNIFORM, Explored, Worth

MIN_CLUSTERS = 20
"""Effective prompts below which a strategy has no figures."""


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Sums over the prompts of some batches: of every strategy's three sums, and their products."""

    names: tuple[str, ...]
    n_prompts: int
    n_votes: int
    sum_k: FloatArray
    product_kk: FloatArray

    def to_bytes(self) -> bytes:
        """As JSON."""
        return canonical_json(
            {
                "names": list(self.names),
                "n_prompts": self.n_prompts,
                "n_votes": self.n_votes,
                "sums": self.sum_k.tolist(),
                "products": self.product_kk.tolist(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Tally:
        """Read back what `to_bytes` wrote.

        Raises:
            Corrupt: It is no tally.
        """
        try:
            content = json.loads(data)
            names = tuple(map(str, content["names"]))
            sum_k = np.array(content["sums"], dtype=np.float64)
            product_kk = np.array(content["products"], dtype=np.float64)
            if sum_k.shape != (3 * len(names),) or product_kk.shape != 2 * sum_k.shape:
                raise ValueError(f"{len(names)} strategies and sums of shape {sum_k.shape}")
            return cls(names, content["n_prompts"], content["n_votes"], sum_k, product_kk)
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"{len(data)} bytes are not a bake-off's tally: {error}.") from error


@dataclass(frozen=True, slots=True)
class Measured:
    """A mean with its 95 % interval; all None where too few prompts speak of it."""

    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Contender:
    """What a strategy's picks were worth.

    Attributes:
        strategy: Its name.
        prompts: Effective number of prompts behind the figures.
        information: Nats that a vote on its picks moved the model.
        taught: Nats that such a vote took off the log-loss of the other votes.
        gain: `taught` less that of a uniform draw on the same votes.
    """

    strategy: str
    prompts: float
    information: Measured
    taught: Measured
    gain: Measured


def tally(votes: Sequence[Explored], found: Worth) -> Tally:
    """The sums over some votes; those of one batch, since each batch has a model of its own."""
    n_s = len(COMPARED)
    if not votes:
        return Tally(COMPARED, 0, 0, np.zeros(3 * n_s), np.zeros((3 * n_s, 3 * n_s)))
    weight_vs = np.stack([vote.weight_s for vote in votes])
    own_vk = np.hstack(
        [
            weight_vs,
            weight_vs * found.information_v[:, None],
            weight_vs * found.taught_v[:, None] + found.judged_vs,
        ]
    )
    prompts, prompt_v = np.unique([vote.prompt_id for vote in votes], return_inverse=True)
    sum_ck = np.zeros((len(prompts), 3 * n_s))
    np.add.at(sum_ck, prompt_v, own_vk)
    return Tally(COMPARED, len(prompts), len(votes), sum_ck.sum(axis=0), sum_ck.T @ sum_ck)


def together(tallies: Iterable[Tally]) -> Tally:
    """The tally of several batches; those of another set of strategies are left out."""
    same = [each for each in tallies if each.names == COMPARED]
    nothing = tally([], Worth(np.zeros(0), np.zeros(0), np.zeros((0, len(COMPARED)))))
    return Tally(
        COMPARED,
        sum(each.n_prompts for each in same),
        sum(each.n_votes for each in same),
        sum((each.sum_k for each in same), nothing.sum_k),
        sum((each.product_kk for each in same), nothing.product_kk),
    )


def contenders(of: Tally) -> list[Contender]:
    """Every strategy with its figures, the one that taught most first; unmeasured ones last."""
    n_s, uniform = len(of.names), of.names.index(UNIFORM)
    square_s = of.product_kk.diagonal()[:n_s]
    weight_s = of.sum_k[:n_s]
    effective_s = np.divide(weight_s**2, square_s, out=np.zeros(n_s), where=square_s > 0.0)
    measured = []
    for s, name in enumerate(of.names):
        n = float(effective_s[s])
        information = _measured(of, n, _direction(of, s, 1))
        taught = _measured(of, n, _direction(of, s, 2))
        gain = Measured(None, None, None)
        if s != uniform and effective_s[uniform] >= MIN_CLUSTERS:
            mean_s, toward_s = _direction(of, s, 2)
            mean_u, toward_u = _direction(of, uniform, 2)
            gain = _measured(of, n, (mean_s - mean_u, toward_s - toward_u))
        measured.append(Contender(name, n, information, taught, gain))
    return sorted(
        measured, key=lambda c: (c.taught.mean is None, -(c.taught.mean or 0.0), c.strategy)
    )


def _direction(of: Tally, s: int, which: int) -> tuple[float, FloatArray]:
    """V of one strategy, and the direction (k,) in the sums along which V errs."""
    n_s = len(of.names)
    weight, toward_k = of.sum_k[s], np.zeros(3 * n_s)
    if weight <= 0.0:
        return 0.0, toward_k
    mean = float(of.sum_k[which * n_s + s] / weight)
    toward_k[which * n_s + s] = 1.0 / weight
    toward_k[s] = -mean / weight
    return mean, toward_k


def _measured(of: Tally, effective: float, estimate: tuple[float, FloatArray]) -> Measured:
    if effective < MIN_CLUSTERS:
        return Measured(None, None, None)
    mean, toward_k = estimate
    squares = float(toward_k @ of.product_kk @ toward_k)
    error = float(np.sqrt(max(squares, 0.0) * of.n_prompts / (of.n_prompts - 1)))
    half = float(stdtrit(effective - 1.0, 0.975)) * error
    return Measured(mean, mean - half, mean + half)


def as_figures(found: Sequence[Contender], n_batches: int, of: Tally) -> dict[str, Any]:
    """For a manifest: numbers of six digits, small enough to keep for every night."""
    return {
        "batches": n_batches,
        "prompts": of.n_prompts,
        "votes": of.n_votes,
        "strategies": [
            {
                "strategy": each.strategy,
                "prompts": round(each.prompts, 1),
                "information": _digits(each.information),
                "taught": _digits(each.taught),
                "gain": _digits(each.gain),
            }
            for each in found
        ],
    }


def _digits(value: Measured) -> list[float] | None:
    if value.mean is None or value.low is None or value.high is None:
        return None
    return [float(f"{number:.5g}") for number in (value.mean, value.low, value.high)]
