"""The chance of a preference, against a fine numerical integral."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.reward import preference_by_quadrature


def fine_integral(mu: float, s: float) -> float:
    u = np.linspace(-9.0, 9.0, 20_001)
    density = np.exp(-0.5 * u**2)
    return float(density @ (0.5 + 0.5 * np.tanh(0.5 * (mu + s * u))) / density.sum())


@pytest.mark.parametrize("s", [0.0, 0.3, 2.0, 7.9, 8.1, 30.0, 300.0])
@pytest.mark.parametrize("mu", [-6.0, -0.7, 0.0, 2.0, 40.0])
def test_the_chance_is_the_integral(mu: float, s: float) -> None:
    assert preference_by_quadrature(mu, s) == pytest.approx(fine_integral(mu, s), abs=1e-3)


@given(mu=st.floats(-1e3, 1e3), s=st.floats(0, 1e3))
def test_the_two_answers_share_all_the_chance(mu: float, s: float) -> None:
    one, other = preference_by_quadrature([mu, -mu], [s, s])
    assert one + other == pytest.approx(1.0)
    assert 0.0 <= one <= 1.0


def test_doubt_pulls_the_chance_towards_a_half() -> None:
    chances = preference_by_quadrature(np.full(5, 2.0), [0.0, 1.0, 3.0, 9.0, 27.0])
    assert (np.diff(chances) < 0).all()
    assert chances[-1] > 0.5
