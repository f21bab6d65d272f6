"""Dawid and Skene's model equals a plain loop over its formulas, and finds planted annotators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.label.aggregation.dawid_skene import ACCURACY, OWN, POOLED, SHARE, Truths, dawid_skene

Vote = tuple[int, int, int]


@st.composite
def votes(draw: st.DrawFn) -> tuple[list[Vote], tuple[int, int, int]]:
    sizes = draw(st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(2, 4)))
    one = st.tuples(*(st.integers(0, size - 1) for size in sizes))
    return draw(st.lists(one, max_size=25)), sizes


def fitted(found: list[Vote], sizes: tuple[int, int, int]) -> Truths:
    item, annotator, label = np.array(found, dtype=np.intp).reshape(-1, 3).T
    return dawid_skene(item, annotator, label, sizes)


def by_loops(found: list[Vote], sizes: tuple[int, int, int]) -> list[list[float]]:
    """The model read off its formulas, one vote at a time."""
    n, a, k = sizes
    of_item = [[vote for vote in found if vote[0] == item] for item in range(n)]

    def one_accuracy(accuracy: float) -> list[list[float]]:
        wrong = (1.0 - accuracy) / (k - 1)
        return [[accuracy if truth == said else wrong for said in range(k)] for truth in range(k)]

    confusion = [one_accuracy(ACCURACY) for _ in range(a)]
    share, p = [1.0 / k] * k, [[1.0 / k] * k for _ in range(n)]
    for _ in range(200):
        before, p = p, []
        for item in range(n):
            score = list(share)
            for _, who, said in of_item[item]:
                score = [score[truth] * confusion[who][truth][said] for truth in range(k)]
            p.append([s / sum(score) for s in score])
        seen = [[[0.0] * k for _ in range(k)] for _ in range(a)]
        share = [SHARE / k] * k
        for item in range(n):
            if len(of_item[item]) < 2:
                continue
            share = [share[truth] + p[item][truth] for truth in range(k)]
            for _, who, said in of_item[item]:
                for truth in range(k):
                    seen[who][truth][said] += p[item][truth]
        share = [s / sum(share) for s in share]
        right = sum(seen[who][truth][truth] for who in range(a) for truth in range(k))
        total = sum(sum(sum(row) for row in table) for table in seen)
        base = one_accuracy(
            (right + ACCURACY * POOLED) / (total + POOLED),
        )
        for who in range(a):
            for truth in range(k):
                row = [seen[who][truth][said] + OWN * base[truth][said] for said in range(k)]
                confusion[who][truth] = [value / sum(row) for value in row]
        moved = np.abs(np.array(p) - np.array(before)).sum()
        if moved < 1e-3 * n:
            break
    return p


@given(votes())
@settings(max_examples=60, deadline=None)
def test_truths_equal_a_loop_over_the_formulas(drawn: tuple[list[Vote], tuple]) -> None:
    found, sizes = drawn
    assert fitted(found, sizes).p_nk == pytest.approx(np.array(by_loops(found, sizes)), abs=1e-6)


@given(votes(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_renaming_classes_renames_truths_and_tables_are_probabilities(drawn, rng) -> None:
    found, sizes = drawn
    renamed = rng.sample(range(sizes[2]), sizes[2])
    plain = fitted(found, sizes)
    other = fitted([(item, who, renamed[said]) for item, who, said in found], sizes)
    assert other.p_nk[:, renamed] == pytest.approx(plain.p_nk, abs=1e-6)
    for table in (plain.p_nk, plain.confusion_akl):
        assert table.sum(axis=-1) == pytest.approx(np.ones(table.shape[:-1]))
    assert plain.share_k.sum() == pytest.approx(1.0)


def crowd(rng: np.random.Generator, tables: np.ndarray, per_item: int = 5, n: int = 800):
    """Votes of annotators with these tables (a, k, k), and the truths."""
    n_annotators, k, _ = tables.shape
    truth = rng.integers(k, size=n)
    who = np.argsort(rng.random((n, n_annotators)), axis=1)[:, :per_item]
    chances = tables[who, truth[:, None]].cumsum(axis=2)
    said = (rng.random((n, per_item, 1)) > chances).sum(axis=2)
    item = np.repeat(np.arange(n), per_item)
    return (item, who.ravel(), said.ravel(), (n, n_annotators, k)), truth


def test_planted_confusions_are_found_and_spammers_outvoted() -> None:
    careful = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
    confuses = np.array([[0.2, 0.7, 0.1], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    always_last = np.tile([0.0, 0.0, 1.0], (3, 1))
    tables = np.stack([careful] * 6 + [confuses] * 2 + [always_last] * 4)
    given_votes, truth = crowd(np.random.default_rng(7), tables)
    found = dawid_skene(*given_votes)
    item, _, said, sizes = given_votes
    counts = np.zeros((sizes[0], 3))
    np.add.at(counts, (item, said), 1)
    majority = (counts.argmax(axis=1) == truth).mean()
    accuracy = (found.p_nk.argmax(axis=1) == truth).mean()
    assert accuracy > majority + 0.1
    assert np.abs(found.confusion_akl[:6] - careful).max() < 0.15
    assert np.abs(found.confusion_akl[6:8] - confuses).max() < 0.2
    assert found.confusion_akl[8:, :, 2].min() > 0.9


def test_items_judged_once_say_nothing_about_errors() -> None:
    lonely = [(item, item % 3, item % 2) for item in range(40)]
    found = fitted(lonely, (40, 3, 2))
    assert found.share_k == pytest.approx([0.5, 0.5])
    assert found.confusion_akl[:, 0, 0] == pytest.approx(ACCURACY)
    assert found.p_nk.max(axis=1) == pytest.approx(ACCURACY)


def test_without_votes_everything_is_as_likely() -> None:
    found = fitted([], (2, 0, 3))
    assert found.p_nk == pytest.approx(np.full((2, 3), 1 / 3))
    assert fitted([], (0, 0, 3)).p_nk.shape == (0, 3)
