"""Alpha equals its definition over pairs of votes, and its interval covers what was planted."""

from __future__ import annotations

from itertools import permutations
from time import perf_counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.intervals import wilson
from winnow.label.aggregation.agreement import agreement, alpha

from ...label_rows import batch_agreement

votes_on_pairs = st.lists(st.tuples(st.integers(0, 5), st.sampled_from("xyz")), max_size=25)


def by_definition(votes: list[tuple[int, str]]) -> float | None:
    """1 - D_o / D_e over ordered pairs of votes: those on one pair, and those on any."""
    by_pair: dict[int, list[str]] = {}
    for pair, label in votes:
        by_pair.setdefault(pair, []).append(label)
    pairable = [labels for labels in by_pair.values() if len(labels) > 1]
    everything = [label for labels in pairable for label in labels]
    n = len(everything)
    observed = sum(
        sum(x != y for x, y in permutations(labels, 2)) / (len(labels) - 1) for labels in pairable
    )
    expected = sum(x != y for x, y in permutations(everything, 2))
    return None if expected == 0 else 1.0 - (observed / n) / (expected / (n * (n - 1)))


@given(votes_on_pairs)
def test_alpha_is_its_definition(votes: list[tuple[int, str]]) -> None:
    found = alpha([pair for pair, _ in votes], [label for _, label in votes])
    expected = by_definition(votes)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_alpha_of_krippendorffs_own_example() -> None:
    """Krippendorff (2011), section C: four observers, twelve units, 0.743."""
    observers = [
        ["1", "2", "3", "3", "2", "1", "4", "1", "2", ".", ".", "."],
        ["1", "2", "3", "3", "2", "2", "4", "1", "2", "5", ".", "3"],
        [".", "3", "3", "3", "2", "3", "4", "2", "2", "5", "1", "."],
        ["1", "2", "3", "3", "2", "4", "4", "1", "2", "5", "1", "."],
    ]
    votes = [(u, said) for row in observers for u, said in enumerate(row) if said != "."]
    assert alpha(*zip(*votes, strict=True)) == pytest.approx(0.743, abs=5e-4)


@given(votes_on_pairs, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_names_and_lonely_votes_change_nothing(votes, rng) -> None:
    plain = alpha([p for p, _ in votes], [c for _, c in votes])
    changed = [(f"pair-{p}", c.upper()) for p, c in rng.sample(votes, len(votes))]
    changed += [("lonely", "X"), ("alone", "W")]
    found = alpha([p for p, _ in changed], [c for _, c in changed])
    assert found == (None if plain is None else pytest.approx(plain, abs=1e-12))


def test_what_cannot_be_measured_is_none() -> None:
    rng = np.random.default_rng(0)
    for pairs, labels in (([], []), ([0, 1], ["x", "y"]), ([0, 0, 1, 1], ["x"] * 4)):
        found = agreement(pairs, labels, rng)
        assert (found.alpha, found.low, found.high) == (None, None, None)
    assert agreement([0, 0, 1, 1], ["x"] * 4, rng).n_votes == 4


def crowd(rng: np.random.Generator, n: int, p_same: float) -> tuple[np.ndarray, np.ndarray]:
    """Two votes on each of `n` pairs: equal with chance `p_same`, else drawn apart."""
    first = rng.integers(2, size=n)
    other = np.where(rng.random(n) < p_same, first, rng.integers(2, size=n))
    return np.repeat(np.arange(n), 2), np.stack([first, other], axis=1).ravel()


def test_the_interval_covers_the_planted_alpha_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    found = [agreement(*crowd(rng, 150, 0.5), rng) for _ in range(120)]
    covered = sum(each.low < 0.5 < each.high for each in found)
    assert 106 <= covered <= 120
    widths = [agreement(*crowd(rng, n, 0.5), rng) for n in (100, 10_000)]
    assert widths[0].high - widths[0].low > 5 * (widths[1].high - widths[1].low)


def test_a_hundred_thousand_votes_take_well_under_a_second() -> None:
    pairs, labels = crowd(np.random.default_rng(0), 50_000, 0.3)
    started = perf_counter()
    alpha(pairs, labels)
    assert perf_counter() - started < 1.0


def row(annotation: str, preferred: str | None, **changes: Any) -> dict[str, Any]:
    base = {
        "annotation_id": annotation,
        "revision": 0,
        "pair_id": annotation.split("/")[0],
        "kind": "comparison",
        "preferred": preferred,
        "status": "submitted",
    }
    return {**base, **changes}


def test_a_batch_agrees_on_what_stands_of_its_comparisons() -> None:
    rows = [
        row("p/1", "first"),
        row("p/2", "second"),
        row("p/2", "first", revision=1),
        row("q/1", "tie"),
        row("q/2", "both_bad"),
        row("q/3", "first", status="rejected"),
        row("q/4", None),
        row("q/5", "second", kind="repeat"),
        row("g/1", "second", kind="gold"),
    ]
    found = batch_agreement(rows, np.random.default_rng(0))
    assert (found.alpha, found.n_pairs, found.n_votes) == (1.0, 2, 4)
    assert found.as_dict()["alpha"] == 1.0


@given(st.integers(1, 200), st.data())
def test_wilson_bounds_hold_the_share(n: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, n))
    low, high = wilson(hits, n)
    assert 0.0 <= low <= hits / n + 1e-12
    assert hits / n - 1e-12 <= high <= 1.0
