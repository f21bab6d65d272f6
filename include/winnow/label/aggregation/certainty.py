"""How sure votes are, from how often people were seen to agree.

With probability e a vote names the wrong side, so two people agree on a decisive pair with
probability a = (1 - e)^2 + e^2. From the pairs that two judged follows a posterior over e; what is
sure is its expectation, and never the value at one best e, which would be too sure of few pairs.
Nothing else makes a published pair certain: not the reward model's own belief. A label is worth
buying because it can contradict the model; were the model's odds added to it, a lone vote would
count as sure where it repeats the model, as doubtful where it does not, and the next model would be
fitted to the selection of its predecessor.

Before anything was measured, each value of (1 - 2e)^(3/2) within [0, 1] is as likely as the next.
So a is expected to be 0.71, which is about what crowds show on model responses, and one vote to be
0.80 sure; that expectation is worth less than the first few pairs: where 3 of 5 agreed, one vote is
0.75 sure, where 60 of 100 did, 0.71.

Known limits: one e for everybody and every pair. Where pairs differ in how hard they are, single
votes are right a little less often than is said (by 3 points on a crowd's votes on chat responses,
by none where three careful people judged); where annotators differ, `bradley_terry` and
`dawid_skene` tell whose votes are worth more, but not how often people are right altogether.

Shapes: n pairs, g values of e, k choices (first, second, no difference).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit, softmax

from winnow.label.aggregation.votes import N_CHOICES

FloatArray = NDArray[np.float64]

_PRIOR_POWER = 1.5
"""(1 - 2e) to this power is uniform on [0, 1] before any pair was judged twice."""
_MEANT_G = ((np.arange(200) + 0.5) / 200) ** (1.0 / _PRIOR_POWER)
"""Values of 1 - 2e, each as likely as the next before anything was measured."""
_MOST = 1.0 - 1e-6
_HALVINGS = 50


ErrorRates = tuple[FloatArray, FloatArray]
"""Values of e, and how likely each is."""


def error_rates(n_agreed: int, n_pairs: int) -> ErrorRates:
    """What is believed of e after `n_agreed` of `n_pairs` pairs of votes named one side."""
    agreement_g = 0.5 * (1.0 + _MEANT_G**2)
    log_g = n_agreed * np.log(agreement_g) + (n_pairs - n_agreed) * np.log1p(-agreement_g)
    return 0.5 * (1.0 - _MEANT_G), softmax(log_g)


def estimate_error_rate(n_agreed: int, n_pairs: int) -> float:
    """The expected e: one vote is 1 - e sure.

    >>> round(estimate_error_rate(0, 0), 3), round(estimate_error_rate(82, 100), 3)
    (0.2, 0.105)
    """
    rate_g, chance_g = error_rates(n_agreed, n_pairs)
    return float(rate_g @ chance_g)


def probability_first(counts_nk: ArrayLike, rates: ErrorRates) -> FloatArray:
    """P(first response preferred) of each pair by its votes for first, second, no difference.

    Votes for no difference pull it to one half, by their share.

    >>> probability_first([[1, 0, 0], [0, 2, 0], [0, 0, 1]], error_rates(0, 0)).round(3).tolist()
    [0.8, 0.101, 0.5]
    """
    first_n, second_n, none_n = np.asarray(counts_nk, dtype=np.float64).reshape(-1, N_CHOICES).T
    lead, lead_n = np.unique(first_n - second_n, return_inverse=True)
    rate_g, chance_g = rates
    per_vote_g = np.log1p(-rate_g) - np.log(rate_g)
    # Odd in the lead to the last bit, so that exchanging first and second mirrors the result.
    sure = 0.5 * np.tanh(0.5 * lead[:, None] * per_vote_g) @ chance_g
    decisive_n = (first_n + second_n) / np.maximum(1.0, first_n + second_n + none_n)
    return np.asarray(np.clip(0.5 + decisive_n * sure[lead_n], 1.0 - _MOST, _MOST))


def no_surer_than(p_n: ArrayLike, measured_n: ArrayLike) -> FloatArray:
    """P(first) as sure on average as `measured_n` at most: log-odds times one factor within [0, 1].

    `measured_n` is `probability_first` of the same pairs. Who knows annotators may say which pairs
    are surer than others, not that people are right more often than their agreement allows.

    >>> no_surer_than([0.9, 0.8, 0.5], [0.7, 0.7, 0.5]).round(3).tolist()
    [0.74, 0.66, 0.5]
    """
    p_n = np.clip(np.asarray(p_n, dtype=np.float64), 1.0 - _MOST, _MOST)
    sided_n = np.abs(p_n - 0.5) > 1e-9
    side_n = np.where(p_n > 0.5, 1.0, -1.0)
    gain_n = np.maximum(0.0, side_n * (np.asarray(measured_n, dtype=np.float64) - 0.5))
    allowed = gain_n[sided_n].sum()
    half_n = 0.5 * logit(p_n)
    if np.abs(p_n - 0.5).sum() <= allowed:
        return p_n
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        factor = 0.5 * (low + high)
        is_surer = 0.5 * np.abs(np.tanh(factor * half_n)).sum() > allowed
        low, high = (low, factor) if is_surer else (factor, high)
    return np.asarray(0.5 + 0.5 * np.tanh(low * half_n))
