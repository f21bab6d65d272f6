"""Which pairs of a candidate pool are worth a human label.

    Pool, Posterior ─ gains ─ strategy ─ choose_pairs ─▶ [Choice, ...]

Arrays in, indices out: nothing here knows a lake, a batch or a vendor.
"""

from winnow.select.gains import expected_fisher, info_gain, pair_moments, preference_probability
from winnow.select.greedy import Choice, Rules, choose_for_pools, choose_pairs
from winnow.select.pool import Pool
from winnow.select.strategies import STRATEGIES, PoolView, Strategy

__all__ = [
    "STRATEGIES",
    "Choice",
    "Pool",
    "PoolView",
    "Rules",
    "Strategy",
    "choose_for_pools",
    "choose_pairs",
    "expected_fisher",
    "info_gain",
    "pair_moments",
    "preference_probability",
]
