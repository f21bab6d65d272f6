"""The noisy Bradley-Terry model equals enumeration, and finds planted annotators."""

from __future__ import annotations

from math import exp
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.label.aggregation.noisy_votes import judge
from winnow.label.aggregation.votes import Votes

from ...label_rows import aggregate, judge_batch

Row = dict[str, Any]
CHOICES = ("first", "second", "tie")


def as_votes(found: list[tuple[int, int, int, bool]], n: int, strength: int = -1) -> Votes:
    pair, who, choice = np.array([v[:3] for v in found], dtype=np.intp).reshape(-1, 3).T
    return Votes(
        pair,
        who,
        choice,
        np.array([v[3] for v in found], dtype=np.bool_),
        np.full(len(found), strength, dtype=np.intp),
        n,
        ["a", "b", "c"],
    )


drawn_votes = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 2), st.booleans()), max_size=20
)
log_odds = st.lists(st.floats(-3.0, 3.0), min_size=5, max_size=5)


@given(drawn_votes, log_odds, st.integers(0, 2**20 - 1))
@settings(max_examples=60, deadline=None)
def test_truths_are_bayes_rule_under_the_fitted_annotators(found, odds, mask: int) -> None:
    counts = [bool(mask >> number & 1) for number in range(len(found))]
    judged = judge(as_votes(found, 5), odds, counts_v=counts)
    counted = [each for each, counts_too in zip(found, counts, strict=True) if counts_too]
    for pair in range(5):
        half = judged.slope * odds[pair] / 2
        weights = [exp(half), exp(-half), judged.tie]
        for _, who, choice, swapped in (v for v in counted if v[0] == pair):
            shown = 1 - choice if swapped and choice < 2 else choice
            guess = judged.guess_a[who]
            for truth in range(3):
                guessed = guess * judged.habit_ak[who, shown]
                weights[truth] *= guessed + (1.0 - guess) * (choice == truth)
        expected = np.array(weights) / sum(weights)
        assert judged.p_nk[pair] == pytest.approx(expected, abs=1e-9)
    assert 0.0 <= judged.slope <= 1.0
    assert judged.habit_ak.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-3)


@given(drawn_votes, log_odds)
@settings(max_examples=30, deadline=None)
def test_one_strength_throughout_is_as_none(found, odds) -> None:
    silent, strong = (judge(as_votes(found, 5, s), odds) for s in (-1, 2))
    assert strong.p_nk == pytest.approx(silent.p_nk)


def test_one_vote_moves_an_open_pair_about_as_far_as_one_error_rate_would() -> None:
    [row] = as_rows([("first", False)])
    comparison = {**pair_row(0), "p_first": 0.5}
    by_all, by_rate = (
        aggregate([row], [comparison], m)[0].p_preferred for m in ("bradley_terry", "majority")
    )
    assert by_all == pytest.approx(by_rate, abs=0.04)


def pair_row(pair: int, p_first: float = 0.5) -> Row:
    name = f"pair-{pair:04}"
    return {
        "pair_id": name,
        "prompt_id": "q",
        "first_id": "1",
        "second_id": "2",
        "p_first": p_first,
    }


def as_rows(said: list[tuple[str, bool]], pair: int = 0, who: list[int] | None = None) -> list[Row]:
    return [
        {
            "annotation_id": f"{pair:04}/{n}",
            "revision": 0,
            "task_id": f"{pair:04}/{n}",
            "pair_id": f"pair-{pair:04}",
            "kind": "comparison",
            "annotator": f"ann-{(who or list(range(len(said))))[n]:02}",
            "choice": "tie",
            "swapped": swapped,
            "preferred": preferred,
            "strength": None,
            "status": "submitted",
            "price": 1,
        }
        for n, (preferred, swapped) in enumerate(said)
    ]


def planted(
    seed: int, guess: list[float], habit: list[list[float]], per_pair: int = 3, n: int = 400
):
    """Votes on `n` pairs of known truth by annotators with these shares of guesses and habits."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(3, size=n, p=[0.4, 0.4, 0.2])
    rows = []
    for pair in range(n):
        said, starts = [], rng.random() < 0.5
        who = rng.permutation(len(guess))[:per_pair].tolist()
        for turn, one in enumerate(who):
            swapped, choice = starts != (turn == 1), int(truth[pair])
            if rng.random() < guess[one]:
                shown = int(rng.choice(3, p=habit[one]))
                choice = 1 - shown if swapped and shown < 2 else shown
            said.append((CHOICES[choice], bool(swapped)))
        rows += as_rows(said, pair, who)
    return rows, [pair_row(pair) for pair in range(n)], truth


EVEN = [0.4, 0.4, 0.2]
ONE_SIDED = [0.96, 0.02, 0.02]


def test_planted_skill_spammers_and_side_bias_are_found() -> None:
    guess = [0.1] * 8 + [0.95] * 2 + [0.8] * 2
    rows, comparisons, _ = planted(1, guess, [EVEN] * 10 + [ONE_SIDED] * 2)
    judged = judge_batch(rows, comparisons, {}).judged
    assert judged.guess_a[:8].max() < 0.3
    assert judged.guess_a[8:10].min() > 0.7
    assert judged.guess_a[10:].min() > 0.6
    bias = judged.guess_a * (judged.habit_ak[:, 0] - judged.habit_ak[:, 1])
    assert bias[10:].min() > 0.5
    assert np.abs(bias[:10]).max() < 0.3


def test_side_bias_is_seen_through_where_majority_follows_it() -> None:
    guess, gained = [0.15] * 6 + [0.9] * 5, []
    for seed in range(4):
        rows, comparisons, truth = planted(seed, guess, [EVEN] * 6 + [ONE_SIDED] * 5)
        right = {}
        for method in ("bradley_terry", "majority"):
            found = [CHOICES.index(p.preferred) for p in aggregate(rows, comparisons, method)]
            right[method] = (np.array(found) == truth).mean()
        gained.append(right["bradley_terry"] - right["majority"])
    assert min(gained) > 0.0
    assert np.mean(gained) > 0.03


def test_a_posterior_that_votes_contradict_is_believed_less() -> None:
    rows, comparisons, truth = planted(2, [0.15] * 8, [EVEN] * 8, per_pair=2)
    log_odds = np.array([2.0, -2.0, 0.0])[truth]
    shuffled = np.random.default_rng(0).permutation(log_odds)
    slopes = [
        judge_batch(
            rows,
            [{**c, "p_first": 1 / (1 + exp(-o))} for c, o in zip(comparisons, odds, strict=True)],
            {},
        ).judged.slope
        for odds in (log_odds, shuffled)
    ]
    assert slopes[0] > 0.9
    assert slopes[1] < 0.3


def test_gold_and_repeats_tell_about_annotators_only() -> None:
    rows, comparisons, _ = planted(3, [0.2] * 6, [EVEN] * 6, per_pair=1, n=60)
    gold = [
        {**row, "annotation_id": f"g{n}", "task_id": f"g{n}", "pair_id": f"g{n}", "kind": "gold"}
        for n in range(40)
        for row in as_rows([("second" if n % 2 else "first", False)], who=[0])
    ]
    expected = {f"g{n}": "first" for n in range(40)}
    skill = [
        1.0 - judge_batch(rows + extra, comparisons, expected).judged.guess_a[0]
        for extra in ([], gold)
    ]
    assert skill[1] < skill[0] - 0.15
    known = judge_batch(gold, [], expected).judged.p_nk
    assert known == pytest.approx(np.tile([1.0, 0.0, 0.0], (40, 1)))
    contradicting = [
        {
            **row,
            "annotation_id": f"r{row['annotation_id']}",
            "kind": "repeat",
            "preferred": {"first": "second", "second": "first"}.get(row["preferred"], "first"),
        }
        for row in rows
        if row["annotator"] == "ann-00"
    ]
    contradicted = judge_batch(rows + contradicting, comparisons, {}).judged
    assert 1.0 - contradicted.guess_a[0] < skill[0] - 0.1
