"""Which pairs of a candidate pool are worth a human label.

    Pool, heads ─ PoolState ─ strategy ─ PoolChooser ─▶ [Choice, ...]

Arrays in, indices out: nothing here knows a lake, a batch or a vendor.
"""

from winnow.select.blas import one_blas_thread
from winnow.select.gains import expected_fisher, info_gain, pair_moments, preference_by_mixture
from winnow.select.greedy import PoolChooser, choose_for_pools, choose_pairs, observe
from winnow.select.pool import Pool
from winnow.select.rules import Candidate, Choice, Rules
from winnow.select.state import PoolState
from winnow.select.strategies import STRATEGIES, Strategy

__all__ = [
    "STRATEGIES",
    "Candidate",
    "Choice",
    "Pool",
    "PoolChooser",
    "PoolState",
    "Rules",
    "Strategy",
    "choose_for_pools",
    "choose_pairs",
    "expected_fisher",
    "info_gain",
    "observe",
    "one_blas_thread",
    "pair_moments",
    "preference_by_mixture",
]
