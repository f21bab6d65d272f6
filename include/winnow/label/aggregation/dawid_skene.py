"""Dawid and Skene's model of votes: each annotator has a table of what they say of each truth.

    P(votes, truth k of item n) = π_k · Π_v C_a[k, what v says]

π are the shares of the classes, C_a the confusion of annotator a. Both and the truths are found by
EM, with three differences from the textbook. The first E step takes everyone to be right with one
chance, which is majority voting as a probability. Each table is smoothed towards one accuracy for
all, errors being alike: so an annotator of two votes is no expert in anything. (Smoothing towards
the pooled table lets one class explain every disagreement: 5 points worse on few votes a pair.) And
only items with two or more votes teach π and C: a vote that nobody else can confirm says nothing
about errors, and many of them would drift to one class that explains all.

What always holds: no class or annotator is special, so renaming classes renames the result, and
the order of votes changes nothing but rounding.

Source: Dawid and Skene (1979), "Maximum likelihood estimation of observer error-rates using the EM
algorithm", Applied Statistics 28.

Shapes: v votes, n items, a annotators, k and l classes (true, said).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]

_MAX_ROUNDS = 200
_SETTLED = 1e-3
"""Mean change of an item's truth below which another round cannot matter."""
_LEAST = 1e-12


# How votes are believed before they are seen.
ACCURACY = 0.7
"""Chance to be right that everyone starts with."""
POOLED = 10.0
"""Votes that it is worth for the accuracy of all."""
OWN = 4.0
"""Votes, per true class, that this accuracy is worth for an annotator's table."""
SHARE = 1.0
"""Items that equal shares of the classes are worth."""


@dataclass(frozen=True, slots=True, eq=False)
class Truths:
    """Truths `p_nk`, classes' `share_k`, and each annotator's table `confusion_akl`."""

    p_nk: FloatArray
    share_k: FloatArray
    confusion_akl: FloatArray


def dawid_skene(
    item_v: IntArray,
    annotator_v: IntArray,
    label_v: IntArray,
    sizes: tuple[int, int, int],
) -> Truths:
    """Truths of all items; `sizes` are the numbers of items, annotators and classes.

    An item without votes gets the classes' shares.
    """
    n_items, n_annotators, k = sizes
    confusion_akl = np.broadcast_to(_one_accuracy(ACCURACY, k), (n_annotators, k, k))
    share_k = np.full(k, 1.0 / k)
    # How often each item got each annotator's class: a product adds rows up by item or by cell.
    votes = (np.ones(len(item_v)), (item_v, annotator_v * k + label_v))
    said = csr_array(votes, shape=(n_items, n_annotators * k))
    telling_n = (np.bincount(item_v, minlength=n_items) > 1).astype(np.float64)
    telling = diags_array(telling_n) @ said
    said_by_item, p_nk = telling.T.tocsr(), np.full((n_items, k), 1.0 / k)
    for _ in range(_MAX_ROUNDS):
        # A row per annotator and class said, so that a vote's evidence is one row of the table.
        log_said = np.log(np.maximum(confusion_akl, _LEAST)).transpose(0, 2, 1).reshape(-1, k)
        before_nk, p_nk = p_nk, normalised(np.log(share_k) + said @ log_said)
        share_k = telling_n @ p_nk + SHARE / k
        share_k = share_k / share_k.sum()
        seen_akl = (said_by_item @ p_nk).reshape(n_annotators, k, k).transpose(0, 2, 1)
        right = np.trace(seen_akl.sum(axis=0)) + ACCURACY * POOLED
        accuracy = float(right / (seen_akl.sum() + POOLED))
        table_akl = seen_akl + OWN * _one_accuracy(accuracy, k)
        confusion_akl = table_akl / np.maximum(table_akl.sum(axis=-1, keepdims=True), _LEAST)
        if np.abs(p_nk - before_nk).sum() < _SETTLED * n_items:
            break
    return Truths(p_nk, share_k, confusion_akl)


def _one_accuracy(accuracy: float, k: int) -> FloatArray:
    """The table of who is right with one chance, all errors being alike."""
    table_kl = np.full((k, k), (1.0 - accuracy) / max(1, k - 1))
    np.fill_diagonal(table_kl, accuracy if k > 1 else 1.0)
    return table_kl


def normalised(score_nk: FloatArray) -> FloatArray:
    """Probabilities in proportion to exp(score), row by row."""
    if not score_nk.size:
        return score_nk
    # Class by class: NumPy is slow along an axis of three.
    score_kn = np.ascontiguousarray(score_nk.T)
    p_kn = np.exp(score_kn - score_kn.max(axis=0))
    return np.asarray((p_kn / p_kn.sum(axis=0)).T)
