"""When the reward model has not earned trust, selection says so and does without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.reward import GateState, Posterior, prior
from winnow.select import Rules
from winnow.select.fallback import (
    effective_dimension,
    effective_rules,
    untrusted_because,
)

RULES = Rules(4, "info_gain", exploration=0.15, seed=3)
FALLBACK = replace(RULES, strategy="diversity", exploration=0.5)


def test_a_trusted_model_leaves_the_rules_alone() -> None:
    assert effective_rules(RULES, 200, 100.0, "open") == (RULES, "")
    assert effective_rules(RULES, 100_000, 100.0, "undecided") == (RULES, "")


@pytest.mark.parametrize(("n_labels", "share"), [(200, 0.5), (400, 0.25), (600, 1 / 6)])
def test_an_undecided_gate_lets_the_model_choose_and_explores_less_the_more_labels(
    n_labels: int, share: float
) -> None:
    rules, reason = effective_rules(RULES, n_labels, 100.0, "undecided")
    assert rules == replace(RULES, exploration=rules.exploration)
    assert rules.exploration == pytest.approx(share)
    assert reason.startswith(f"Pairs are chosen by info_gain with {share:.0%} drawn uniformly")
    assert "the gate is undecided" in reason and "the 15% asked for" in reason
    assert untrusted_because(n_labels, 100.0, "undecided") == ""


def test_an_undecided_gate_changes_nothing_about_what_no_model_guides() -> None:
    for strategy in ("random", "traditional"):
        rules = replace(RULES, strategy=strategy, exploration=0.0)
        assert effective_rules(rules, 200, 100.0, "undecided") == (rules, "")


@settings(max_examples=60, deadline=None)
@given(
    own=st.floats(0.0, 1.0),
    labels=st.lists(st.integers(0, 5000), min_size=2, max_size=6),
    dimension=st.floats(0.0, 300.0),
)
def test_the_share_never_falls_below_the_campaigns_nor_rises_with_labels(
    own: float, labels: list[int], dimension: float
) -> None:
    rules = replace(RULES, exploration=own)
    shares = []
    for n_labels in sorted(labels):
        tonight, reason = effective_rules(rules, n_labels, dimension, "undecided")
        assert tonight.exploration >= own
        assert (tonight == rules) == (not reason) or own >= 0.5
        shares.append(tonight.exploration)
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize(
    ("n_labels", "dimension", "needed"), [(0, 0.0, "100"), (99, 30.0, "100"), (299, 150.0, "300")]
)
def test_too_few_labels_fall_back_and_say_how_many_are_needed(
    n_labels: int, dimension: float, needed: str
) -> None:
    rules, reason = effective_rules(RULES, n_labels, dimension, "open")
    assert rules == FALLBACK
    assert f"{n_labels} labels" in reason and needed in reason and "diversity" in reason


def test_a_score_guides_from_the_first_night_on_and_says_so_but_a_closed_gate_stays_shut() -> None:
    rules, reason = effective_rules(RULES, 0, 0.0, "undecided", has_score=True)
    assert rules == replace(RULES, exploration=0.5)
    assert "info_gain with 50%" in reason and "0 labels" in reason and "the score" in reason
    closed, reason = effective_rules(RULES, 0, 0.0, "closed", has_score=True)
    assert closed == FALLBACK and "the score" not in reason
    for has_score in (False, True):
        enough = effective_rules(RULES, 300, 150.0, "undecided", has_score=has_score)
        assert "the score" not in enough[1]


def test_labels_are_enough_from_the_needed_number_on() -> None:
    assert effective_rules(RULES, 300, 150.0, "open") == (RULES, "")


def test_a_closed_gate_falls_back_and_says_so() -> None:
    rules, reason = effective_rules(RULES, 10_000, 50.0, "closed")
    assert rules == FALLBACK
    assert "gate is closed" in reason


@pytest.mark.parametrize("gate_state", ["open", "closed"])
def test_more_exploration_than_the_fallback_is_kept(gate_state: str) -> None:
    rules, reason = effective_rules(replace(RULES, exploration=0.8), 0, 0.0, gate_state)
    assert rules.exploration == 0.8
    assert "80%" in reason


@settings(max_examples=100, deadline=None)
@given(
    strategy=st.sampled_from(["random", "traditional", "diversity"]),
    own=st.floats(0.0, 1.0),
    n_labels=st.integers(0, 5000),
    gate_state=st.sampled_from(["open", "closed", "undecided"]),
    has_score=st.booleans(),
)
def test_what_reads_no_model_does_what_it_says_from_the_first_night(
    strategy: str, own: float, n_labels: int, gate_state: GateState, has_score: bool
) -> None:
    rules = replace(RULES, strategy=strategy, exploration=own)
    assert effective_rules(rules, n_labels, 100.0, gate_state, has_score=has_score) == (rules, "")


@settings(max_examples=100, deadline=None)
@given(
    n_labels=st.integers(0, 5000),
    gate_state=st.sampled_from(["open", "closed", "undecided"]),
    has_score=st.booleans(),
)
def test_no_exploration_by_name_stays_none(
    n_labels: int, gate_state: GateState, has_score: bool
) -> None:
    rules = replace(RULES, exploration=0.0)
    tonight, reason = effective_rules(rules, n_labels, 100.0, gate_state, has_score=has_score)
    assert tonight.exploration == 0.0
    starts_on_score = has_score and gate_state != "closed"
    replaced = bool(untrusted_because(n_labels, 100.0, gate_state)) and not starts_on_score
    assert tonight.strategy == ("diversity" if replaced else "info_gain")
    assert bool(reason) == replaced
    if replaced:
        assert "diversity with 0% drawn uniformly" in reason


# The effective dimension.


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n_labels=st.integers(0, 30))
def test_the_dimension_counts_directions_by_their_share_of_information(
    seed: int, n_labels: int
) -> None:
    rng = np.random.default_rng(seed)
    z_ed, precision = rng.normal(size=(n_labels, 5)), float(rng.uniform(0.1, 10.0))
    information = 0.2 * z_ed.T @ z_ed
    covariance = np.linalg.inv(information + precision * np.eye(5))
    posterior = Posterior(np.zeros(5), covariance, precision, n_labels)
    gamma = np.maximum(np.linalg.eigvalsh(information), 0.0)
    expected = float((gamma / (gamma + precision)).sum())
    assert effective_dimension(posterior) == pytest.approx(expected, abs=1e-9)
    assert effective_dimension(posterior) <= min(5, n_labels) + 1e-9


def test_no_label_pins_nothing_and_rounding_never_leaves_the_range() -> None:
    assert effective_dimension(prior(7, 0.3)) == pytest.approx(0.0, abs=1e-12)
    assert effective_dimension(prior(7, 0.3)) >= 0.0
    sure = Posterior(np.zeros(7), np.zeros((7, 7)), 0.3)
    assert effective_dimension(sure) == 7.0
