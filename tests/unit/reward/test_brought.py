"""Labels that were brought count as far as own votes bear them out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.reward import Block, Condensed, condense, fit_with_annotators
from winnow.reward.brought import MOST_VOTES, SHARES, at_weight, weighed
from winnow.reward.logistic import sigmoid

D = 5
BLOCKS = (Block("all", D),)
WANTED = np.array([1.2, -0.8, 0.5, 0.0, 0.3])


def votes(n: int, seed: int, sign: float = 1.0) -> tuple[Any, ...]:
    """Votes as `winnow.reward.fit` takes them, by people who want `WANTED`, or the contrary."""
    rng = np.random.default_rng(seed)
    z_ed, side_e = rng.normal(size=(n, D)), rng.choice([-1.0, 1.0], n)
    preferred_e = (rng.random(n) < sigmoid(sign * (z_ed @ WANTED))).astype(float)
    return z_ed, preferred_e, np.ones(n), side_e, rng.normal(size=n)


def labels(n: int, sign: float = 1.0) -> Condensed:
    z_ed, preferred_e, _, side_e, length_e = given = votes(n, 1, sign)
    people = ["brought"] * n
    head, epsilon = fit_with_annotators(*given, people, blocks=BLOCKS)
    return condense(head, epsilon, z_ed, preferred_e, side_e, length_e, people)


NO_VOTES = votes(0, 0)


@pytest.mark.parametrize("n", [100, 4 * MOST_VOTES])
def test_before_own_votes_they_count_once_each_and_for_no_more_than_the_most(n: int) -> None:
    found = weighed(labels(n), *NO_VOTES, BLOCKS)
    assert found.weight == min(1.0, MOST_VOTES / n)
    assert found.votes is not None and found.votes.n_labels == min(n, MOST_VOTES)
    head, _ = fit_with_annotators(*NO_VOTES, [], blocks=BLOCKS, older=found.votes)
    assert np.corrcoef(head.mean_d, WANTED)[0, 1] > 0.7
    assert (head.side, head.length) == (0.0, 0.0), "these are of those who gave the labels"


def test_own_votes_give_wrong_labels_up_and_keep_right_ones() -> None:
    right, wrong = labels(400), labels(400, -1.0)
    for n in (200, 400):
        own = votes(n, 2)
        assert weighed(right, *own, BLOCKS).weight == 1.0
        assert weighed(wrong, *own, BLOCKS).weight <= SHARES[2]
    given_up = weighed(wrong, *own, BLOCKS)
    with_wrong, alone = (
        fit_with_annotators(*own, ["a"] * n, blocks=BLOCKS, older=older)[0]
        for older in (given_up.votes, None)
    )
    assert np.linalg.norm(with_wrong.mean_d - alone.mean_d) < 0.2
    few = votes(15, 3)
    helped, cold = (
        fit_with_annotators(*few, ["a"] * 15, blocks=BLOCKS, older=older)[0]
        for older in (weighed(right, *few, BLOCKS).votes, None)
    )
    off, cold_off = (np.linalg.norm(head.mean_d - WANTED) for head in (helped, cold))
    assert off < 0.6 * cold_off


def test_own_votes_that_are_condensed_give_wrong_labels_up_too() -> None:
    z_ed, preferred_e, weight_e, side_e, length_e = own = votes(400, 2)
    head, epsilon = fit_with_annotators(*own, ["a"] * 400, blocks=BLOCKS)
    older = condense(head, epsilon, z_ed, preferred_e, side_e, length_e, ["a"] * 400, weight_e)
    wrong = labels(400, -1.0)
    assert weighed(wrong, *NO_VOTES, BLOCKS, older).weight <= SHARES[2]
    assert weighed(labels(400), *NO_VOTES, BLOCKS, older).weight == 1.0


@given(order=st.permutations(range(12)), turned=st.lists(st.booleans(), min_size=12, max_size=12))
def test_neither_the_order_of_own_votes_nor_their_orientation_matters(
    order: list[int], turned: list[bool]
) -> None:
    z_ed, preferred_e, weight_e, side_e, length_e = own = votes(12, 4, -1.0)
    sign_e = np.where(turned, -1.0, 1.0)
    same = (
        (z_ed * sign_e[:, None])[order],
        np.where(turned, 1.0 - preferred_e, preferred_e)[order],
        weight_e[order],
        (side_e * sign_e)[order],
        (length_e * sign_e)[order],
    )
    brought = labels(60)
    assert weighed(brought, *same, BLOCKS).weight == weighed(brought, *own, BLOCKS).weight


def test_the_evidence_is_that_of_a_grid() -> None:
    """In one direction the integral over the weight is done by hand."""
    rng = np.random.default_rng(6)
    block = (Block("all", 1),)

    def drawn(n: int, slope: float) -> tuple[Any, ...]:
        z_e1 = rng.normal(size=(n, 1))
        preferred_e = (rng.random(n) < sigmoid(slope * z_e1[:, 0])).astype(float)
        return z_e1, preferred_e, np.ones(n), np.zeros(n), np.zeros(n)

    for slope in (-2.0, 0.3, 1.0):
        theirs, own = drawn(80, 1.0), drawn(25, slope)
        people = ["brought"] * 80
        head, epsilon = fit_with_annotators(*theirs, people, blocks=block)
        brought = condense(head, epsilon, theirs[0], theirs[1], theirs[3], theirs[4], people)
        w_g = np.linspace(-12.0, 12.0, 4001)
        log_own_g = -np.logaddexp(0.0, np.outer(w_g, (1 - 2 * own[1]) * own[0][:, 0])).sum(axis=1)
        told = []
        for share in SHARES:
            said = at_weight(brought, share).loss
            log_g = -np.array([said.of(np.array([w, 0.0, 0.0])) for w in w_g])
            older = at_weight(brought, share) if share else None
            own_head, _ = fit_with_annotators(
                *own, ["a"] * 25, blocks=block, older=older, known_epsilon={"a": 0.0}
            )
            log_g += -0.5 * own_head.precision_d[0] * w_g**2
            total = [np.logaddexp.reduce(log_g + more) for more in (log_own_g, 0.0)]
            step = 0.5 * np.log(share or SHARES[-2] / 4)
            told.append(float(total[0] - total[1]) + step)
        assert weighed(brought, *own, block).weight == SHARES[int(np.argmax(told))]
