"""Our aggregations of a table of votes, as the votes bench times them: schema `vote_data.VOTES`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.label.aggregation.dawid_skene import dawid_skene
from winnow_bench.vote_data import Fold

Labels = Mapping[str, str]


def majority_labels(votes: pa.Table) -> Labels:
    """The commonest label of each item, the first by name among equals."""
    (items, item_v), (labels, label_v) = coded(votes, "item"), coded(votes, "label")
    counts = np.bincount(item_v * len(labels) + label_v, minlength=len(items) * len(labels))
    return _named(items, labels, counts.reshape(len(items), -1))


def dawid_skene_labels(votes: pa.Table) -> Labels:
    """The likeliest label of each item by Dawid and Skene."""
    (items, item_v), (labels, label_v) = coded(votes, "item"), coded(votes, "label")
    annotators, annotator_v = coded(votes, "annotator")
    sizes = (len(items), len(annotators), len(labels))
    return _named(items, labels, dawid_skene(item_v, annotator_v, label_v, sizes).p_nk)


def as_rows(fold: Fold) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A fold of pairs as rows of annotations and of comparisons."""
    annotations = [
        {
            "annotation_id": f"{number:09}",
            "revision": 0,
            "task_id": f"{number:09}",
            "pair_id": row["item"],
            "kind": "comparison",
            "annotator": row["annotator"],
            "choice": "tie",
            "swapped": row["swapped"],
            "preferred": row["label"],
            "strength": None,
            "status": "submitted",
            "price": 0,
        }
        for number, row in enumerate(fold.votes.to_pylist())
    ]
    comparisons = [
        {
            "pair_id": item,
            "prompt_id": item,
            "first_id": f"{item}/first",
            "second_id": f"{item}/second",
            "p_first": fold.p_first.get(item, 0.5),
        }
        for item in sorted(fold.truth)
    ]
    return annotations, comparisons


def coded(votes: pa.Table, column: str) -> tuple[list[str], NDArray[np.intp]]:
    """Sorted values and the position of each row's."""
    coded = votes[column].combine_chunks().dictionary_encode()
    values = np.array(coded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(values)
    place = np.empty(len(order), dtype=np.intp)
    place[order] = np.arange(len(order))
    return values[order].tolist(), place[coded.indices.to_numpy()]


def _named(items: list[str], labels: list[str], score_nk: NDArray[Any]) -> Labels:
    best = [labels[k] for k in score_nk.argmax(axis=1).tolist()]
    return dict(zip(items, best, strict=True))
