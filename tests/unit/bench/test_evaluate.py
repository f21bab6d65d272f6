"""Figures of the bench against slow references and against cases with known answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from winnow.reward import Posterior, prior
from winnow_bench.evaluate import (
    RESPONSE_EFFECT,
    Bought,
    belief_figures,
    label_chance,
    policy_figures,
    published_figures,
    response_effects,
)
from winnow_bench.world import JudgedPool, read_worlds


def known(d: int, quality_d: np.ndarray, certainty: float = 1e6) -> Posterior:
    return Posterior(quality_d, np.eye(d) / certainty, certainty)


def pool_of(p_win: list[float], blocked: list[bool] | None = None, name: str = "p") -> JudgedPool:
    """Responses whose only feature is their true quality; each as long as the next."""
    p_win_n = np.array(p_win)
    n = len(p_win)
    quality = np.log(p_win_n) - np.log1p(-p_win_n)
    return JudgedPool(
        name,
        tuple(f"{name}{k}" for k in range(n)),
        (quality - quality.mean())[:, None],
        p_win_n,
        np.zeros(n),
        np.linspace(-0.5, 0.5, n),
        np.array(blocked or [False] * n),
        np.array(blocked or [False] * n),
    )


def test_a_reward_that_knows_picks_the_best_open_response() -> None:
    pools = [pool_of([0.1, 0.9, 0.4], [False, True, False]), pool_of([0.2, 0.3, 0.6])]
    figures = policy_figures(known(1, np.array([50.0])), pools)
    assert figures["best_of_pool_win_rate"] == pytest.approx(0.5)
    assert figures["win_rate"] == pytest.approx(0.5, abs=1e-6)


def test_a_reward_that_knows_nothing_gives_the_mean() -> None:
    pools = [pool_of([0.1, 0.2, 0.6]), pool_of([0.3, 0.5, 0.1])]
    assert policy_figures(prior(1, 1.0), pools)["win_rate"] == pytest.approx(0.3)


def test_length_control_takes_back_what_length_alone_won() -> None:
    """Where length decides everything, picking the longest is worth as much as any pick."""
    slope, longer = 3.0, np.linspace(-1.0, 1.0, 5)
    p_win = 1.0 / (1.0 + np.exp(-slope * longer))
    none = np.zeros(5, dtype=np.bool_)
    pools = [
        JudgedPool(f"p{k}", tuple("abcde"), longer[:, None], p_win, longer, longer, none, none)
        for k in range(4)
    ]
    figures = policy_figures(known(1, np.array([50.0])), pools)
    assert figures["best_of_pool_win_rate"] > 0.9
    assert figures["length_controlled_win_rate"] == pytest.approx(0.5, abs=0.02)


def test_beliefs_that_are_true_are_calibrated(judged_folder: Path) -> None:
    pools = [
        pool_of(p.p_win_n.tolist(), name=p.prompt_id) for p in read_worlds(judged_folder)[0].pools
    ]
    rng = np.random.default_rng(0)
    true = belief_figures(known(1, np.array([1 / 2.42])), pools, rng)
    boasting = belief_figures(known(1, np.array([8.0])), pools, np.random.default_rng(0))
    assert true["pair_accuracy"] == 1.0
    assert true["ece"] < 1e-3
    assert boasting["ece"] > 0.1
    assert true["log_loss"] < boasting["log_loss"]


def test_published_quality_is_that_of_the_winners_and_of_the_recommended() -> None:
    pool = pool_of([0.1, 0.2, 0.6, 0.9], [False, False, False, True])
    labels = {"p": [Bought(0, 1, False), Bought(1, 2, True)]}
    figures = published_figures(
        known(1, np.array([50.0])), [pool], labels, {"p": np.array([0, 1, 3])}
    )
    assert figures == {
        "recommended_p_win": 0.2,
        "recommended_of_all_p_win": 0.6,
        "winners_p_win": pytest.approx(0.2),
        "label_accuracy": 0.5,
    }


@example([(1, 3, False), (3, 1, False), (3, 1, False), (3, 1, False)])  # Newton overshoots.
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()).filter(
            lambda row: row[0] != row[1]
        ),
        min_size=1,
        max_size=8,
    )
)
def test_effects_are_the_most_probable_ones(rows: list[tuple[int, int, bool]]) -> None:
    mean_n = np.array([0.5, -1.0, 0.0, 2.0, 0.3])

    def loss(u: np.ndarray) -> float:
        total = 0.5 * float(u @ u) / RESPONSE_EFFECT**2
        for i, j, preferred in rows:
            logit = mean_n[i] + u[i] - mean_n[j] - u[j]
            total += float(np.logaddexp(0.0, -logit if preferred else logit))
        return total

    found = response_effects(mean_n, [Bought(*row) for row in rows])
    step = 1e-5
    for k in range(5):  # The loss is strictly convex: where it is flat is its only minimum.
        nudge = step * np.eye(5)[k]
        assert loss(found + nudge) - loss(found - nudge) == pytest.approx(0.0, abs=step * 1e-4)


def test_two_labels_of_a_pair_agree_as_people_do() -> None:
    chance = label_chance(np.array([2.0, 0.0]), 0, 1)
    assert chance == pytest.approx(1.0 / (1.0 + np.exp(-2.0 / 2.42)))
