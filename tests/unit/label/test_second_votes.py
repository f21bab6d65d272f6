"""Second votes by disagreement: as many as drawn evenly, and figures that still speak of all."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.label.database import opened
from winnow.label.second_votes import even_share, second_vote_chances
from winnow.records import TASKS, to_table
from winnow.validate import metrics

from ...label_rows import label_figures
from .task_batches import LABEL, build_many

SOUGHT = LABEL.model_copy(update={"second_votes": "disagreement", "second_vote_share": 0.5})

chances = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40)


@given(chances, st.floats(0.0, 1.0), st.randoms(use_true_random=False))
def test_the_same_number_is_bought_and_the_likelier_to_differ_the_likelier(
    p_first: list[float], share: float, random: Any
) -> None:
    label = SOUGHT.model_copy(update={"second_vote_share": share})
    found = second_vote_chances(np.array(p_first), label)
    assert found.mean() == pytest.approx(share)
    assert (found >= even_share(label) - 1e-12).all() and (found <= 1.0).all()
    nearest = np.argsort(np.abs(np.array(p_first) - 0.5))
    assert (np.diff(found[nearest]) <= 1e-12).all()
    order = random.sample(range(len(p_first)), len(p_first))
    assert (second_vote_chances(np.array(p_first)[order], label) == found[order]).all()


def test_a_model_that_knows_nothing_draws_evenly() -> None:
    # The pairs of `build_many` have every chance from 0 to 1.
    by_model = second_vote_chances(np.linspace(0.0, 1.0, 9), SOUGHT)
    assert by_model.max() > 1.2 * by_model.min()
    unknown = second_vote_chances(np.full(9, 0.5), SOUGHT)
    assert unknown == pytest.approx(np.full(9, 0.5))


def test_agreement_is_that_of_all_pairs_and_not_of_those_that_were_sought() -> None:
    n = 12_000
    built = build_many(n, SOUGHT)
    tasks = [task for task in built.tasks if task.kind == "comparison"]
    second = {task.pair_id: task for task in tasks if task.repetition == 1}
    assert abs(len(second) / n - 0.5) < 0.02
    assert 0.2 < sum(bool(task.by_disagreement) for task in second.values()) / len(second) < 0.8
    rng = np.random.default_rng(0)
    # The chance of each pair by its place, as `build_many` has it.
    place = {text: i for i, text in enumerate(f"answer {i:04}" for i in range(n + 1))}
    rows, told = [], []
    agrees: dict[str, list[str]] = defaultdict(list)
    for task, request in zip(built.tasks, built.requests, strict=True):
        p = min(place[request.response_a], place[request.response_b]) / n
        said = "first" if rng.random() < p else "second"
        agrees[task.pair_id].append(said)
        told.append({"task_id": task.task_id, "repetition": task.repetition, "kind": task.kind})
        told[-1]["by_disagreement"] = task.by_disagreement
        rows.append(
            {
                "annotation_id": task.task_id,
                "revision": 0,
                "task_id": task.task_id,
                "pair_id": task.pair_id,
                "kind": task.kind,
                "annotator": f"person-{task.repetition}",
                "preferred": said,
                "choice": "a",
                "status": "submitted",
            }
        )
    figures = label_figures(rows, told)
    of_all = 2.0 / 3.0  # The mean of p² + (1 - p)² over p in [0, 1].
    assert figures.agreement_low is not None and figures.agreement_high is not None
    assert figures.agreement_low < of_all < figures.agreement_high
    # Krippendorff's alpha of two fair classes: 2 a - 1.
    assert figures.alpha_low is not None and figures.alpha_high is not None
    assert figures.alpha_low < 2.0 * of_all - 1.0 < figures.alpha_high
    every = [said[0] == said[1] for said in agrees.values() if len(said) == 2]
    assert np.mean(every) < figures.agreement_low


def test_tasks_of_before_there_were_such_votes_are_read() -> None:
    tasks = to_table([{"task_id": "t", "repetition": 0}], TASKS).drop_columns("by_disagreement")
    with opened({"tasks": tasks}) as connection:
        assert metrics.label_figures(connection).n_agreement == 0
