"""The best pair is the one that scoring every pair finds, and bounds are bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from winnow.select.contest import Ceilings, Moments, Weights, best_pair, inverse_fisher_floor
from winnow.select.gains import (
    expected_fisher_of_variance,
    info_gain_of_variance,
    info_gain_table,
)


def numbers(low: float, high: float, shape: tuple[int, ...]):
    return arrays(np.float64, shape, elements=st.floats(low, high, allow_subnormal=False))


@st.composite
def contests(draw):
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 20)))
    moments = Moments(*(draw(numbers(*r, shape)) for r in ((-9, 9), (1e-9, 20), (0, 5))))
    penalty_e = draw(arrays(np.float64, shape[1], elements=st.sampled_from([0.0, -np.inf])))
    factor_e = draw(numbers(0.0, 2.0, shape[1:]))
    decision, info = draw(st.sampled_from([(1.0, 0.0), (0.0, 1.0), (0.9, 0.1)]))
    return moments, penalty_e, Weights(decision, info, factor_e)


def scores_of(moments: Moments, weights: Weights, penalty_e):
    fisher_ke = expected_fisher_of_variance(moments.mu_ke, moments.var_ke)
    decision_e = (fisher_ke * moments.impact_ke / (1 + fisher_ke * moments.var_ke)).sum(axis=0)
    info_e = info_gain_of_variance(moments.mu_ke, moments.var_ke).sum(axis=0)
    return (weights.decision * decision_e + weights.info * info_e) * weights.factor_e + penalty_e


@settings(deadline=None)  # The first call compiles.
@given(contests())
def test_the_best_pair_is_that_of_scoring_all(contest):
    moments, penalty_e, weights = contest
    info_e = info_gain_of_variance(moments.mu_ke, moments.var_ke).sum(axis=0)
    ceilings = Ceilings(*inverse_fisher_floor(moments.mu_ke, moments.var_ke), info_e)
    best, score = best_pair(moments, ceilings, weights, penalty_e, info_gain_table())
    score_e = scores_of(moments, weights, penalty_e)
    if np.isneginf(score_e).all():
        assert best == -1
        return
    assert penalty_e[best] == 0.0
    assert score == pytest.approx(score_e[best], rel=1e-9, abs=1e-12)
    assert score_e[best] == pytest.approx(score_e.max(), rel=1e-6, abs=1e-9)


def test_no_pair_is_none():
    nothing = np.empty((1, 0))
    moments = Moments(nothing, nothing, nothing)
    ceilings = Ceilings(nothing, nothing, nothing[0])
    assert best_pair(moments, ceilings, Weights(1.0, 0.0), nothing[0], info_gain_table())[0] == -1


@settings(deadline=None)
@given(numbers(-9, 9, (2, 7)), numbers(1e-9, 50, (2, 7)), numbers(0, 1, (2, 7)))
def test_the_inverse_of_fisher_stays_above_its_floor_as_variances_fall(mu_ke, var_ke, left_ke):
    slope_ke, base_ke = inverse_fisher_floor(mu_ke, var_ke)
    later_ke = left_ke * var_ke
    gain_ke = 1.0 / (1.0 / expected_fisher_of_variance(mu_ke, later_ke) + later_ke)
    bound_ke = 1.0 / (slope_ke * later_ke + base_ke)
    assert (gain_ke <= bound_ke * (1 + 1e-9)).all()
