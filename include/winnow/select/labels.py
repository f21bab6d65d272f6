"""What one label for one pair is expected to say, dimension by dimension.

The formulas are those of `winnow.select.gains`, compiled for single pairs: arrays would cost many
times the arithmetic, and every chosen pair is asked about.

Shapes: k dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, compress
from math import erf, exp, pi, sqrt
from typing import NamedTuple

from winnow.arrays import FloatArray
from winnow.compiled import compiled
from winnow.select.gains import (
    CELLS,
    COLUMNS_PER_R,
    LOGISTIC_VARIANCE,
    MIXTURE,
    ROWS_PER_RATIO,
    info_gain_table,
)

CONFLICT = 0.3
"""Chance of two dimensions preferring different responses above which they conflict."""


_NORMALS = tuple((weight / sqrt(2.0 * pi), narrow) for weight, narrow in MIXTURE)
_TOTAL_WEIGHT = sum(weight for weight, _ in MIXTURE)


class Prospects(NamedTuple):
    """What is expected of the label of a pair.

    Attributes:
        info_gain: Expected information, nats, summed over dimensions.
        decision_gain: Expected fall of the policy-weighted variance, squared logits, summed over
            dimensions; None under a strategy that does not work it out.
        contested: The dimension on which the label is expected to say most.
        fisher: ω̄ on the contested dimension, the weight of its expected update.
        fishers: ω̄ on every dimension, in the order of the heads.
        p_first: Chance that i is preferred to j on the dimension of the choice, or on the contested
            one where annotators judge every dimension.
        p_conflict: The highest chance that two dimensions, of which both have labels, prefer
            different responses; None where there are no two.
        conflict: Whether it is above `CONFLICT`.
    """

    info_gain: float
    decision_gain: float | None
    contested: str
    fisher: float
    fishers: tuple[float, ...]
    p_first: float
    p_conflict: float | None
    conflict: bool


def label_prospects(
    dimensions: Sequence[str],
    mu_k: Sequence[float],
    var_k: Sequence[float],
    impact_k: Sequence[float] | None,
    asked: str | None = None,
    n_labels_k: Sequence[int] = (),
) -> Prospects:
    """Prospects of a pair from means (logits) and variances of its reward differences.

    `impact_k` is cᵀAc as in `winnow.select.state`; None when not worked out. `asked` is the
    dimension of the choice, `n_labels_k` how many labels each has; without them all have some.
    """
    table = info_gain_table()
    labels = [one_label(mu, var, table) for mu, var in zip(mu_k, var_k, strict=True)]
    info_gains, fishers, chances = zip(*labels, strict=True)
    said_k = [var * fisher for var, fisher in zip(var_k, fishers, strict=True)]
    contested = said_k.index(max(said_k))
    decision_gain = None
    if impact_k is not None:
        facts = zip(impact_k, fishers, said_k, strict=True)
        decision_gain = sum([fisher * impact / (1.0 + said) for impact, fisher, said in facts])
    main = contested if asked not in dimensions else dimensions.index(asked)
    p_conflict = _conflict(mu_k, var_k, n_labels_k) if len(labels) > 1 else None
    return Prospects(
        info_gain=sum(info_gains),
        decision_gain=decision_gain,
        contested=dimensions[contested],
        fisher=fishers[contested],
        fishers=fishers,
        p_first=chances[main],
        p_conflict=p_conflict,
        conflict=p_conflict is not None and p_conflict > CONFLICT,
    )


@compiled
def one_label(mu: float, var: float, table: FloatArray) -> tuple[float, float, float]:
    """EIG, ω̄ and the chance that the first response is preferred."""
    p_first = 0.0
    for weight, narrow in MIXTURE:
        p_first += weight * _normal(mu, var + narrow)
    return one_info_gain(mu, var, table), one_expected_fisher(mu, var), p_first / _TOTAL_WEIGHT


@compiled
def one_expected_fisher(mu: float, var: float) -> float:
    """ω̄ of one pair."""
    total, exponent = 0.0, -0.5 * mu * mu
    for weight, narrow in _NORMALS:
        variance = var + narrow
        total += weight * exp(exponent / variance) / sqrt(variance)
    return total


@compiled
def one_info_gain(mu: float, var: float, table: FloatArray) -> float:
    """EIG of one pair, nats, from `info_gain_table()`."""
    r = 1.0 / sqrt(var + LOGISTIC_VARIANCE)
    row, column = min(abs(mu) * r * ROWS_PER_RATIO, float(CELLS)), r * COLUMNS_PER_R
    i, j = min(int(row), CELLS - 1), min(int(column), CELLS - 1)
    corner = i * (CELLS + 1) + j
    below = corner + CELLS + 1
    upper = table[corner] + (column - j) * (table[corner + 1] - table[corner])
    lower = table[below] + (column - j) * (table[below + 1] - table[below])
    share = max(1.0 - LOGISTIC_VARIANCE * (r * r), 0.0)
    return float(share * (upper + (row - i) * (lower - upper)))


def _conflict(
    mu_k: Sequence[float], var_k: Sequence[float], n_labels_k: Sequence[int]
) -> float | None:
    """The highest chance that the difference has another sign in two dimensions with labels."""
    positive: Iterable[float] = map(_normal, mu_k, var_k)
    if n_labels_k:
        positive = compress(positive, n_labels_k)
    differ = (p * (1.0 - q) + q * (1.0 - p) for p, q in combinations(positive, 2))
    return max(differ, default=None)


@compiled
def _normal(mu: float, var: float) -> float:
    """Chance that a normal of this mean and variance is positive; half when it is exactly 0."""
    if var <= 0.0:
        return 0.5 if mu == 0.0 else 1.0 if mu > 0.0 else 0.0
    return 0.5 * (1.0 + erf(mu / sqrt(2.0 * var)))
