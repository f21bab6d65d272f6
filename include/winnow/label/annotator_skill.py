"""What all answers of a batch tell of its annotators and pairs: comparisons, gold and repeats.

Each gold task is a pair of its own whose truth is known. A repeat is judged by its pair, which its
annotator has helped to judge, so it tells about the annotator and is no second vote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.label.noisy_votes import Judged, judge
from winnow.label.votes import CHOICE_OF, COMPARISON, GOLD, Row, kind_of, to_votes

P_LIMIT = 0.02
"""The model's probability is cut to [P_LIMIT, 1 - P_LIMIT]: it is no surer than that unasked."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedBatch:
    """`judged` has the comparisons in front, in their order; `annotators` are its `a`."""

    judged: Judged
    annotators: list[str]


def judge_batch(
    answers: Sequence[Row], comparisons: Sequence[Row], expected: Mapping[str, str]
) -> JudgedBatch:
    """Fit the noisy Bradley-Terry model to a batch.

    Args:
        answers: Standing rows of `records.ANNOTATIONS`, of every kind; gold tasks whose answer is
            not `expected`, and repeats of pairs that are not in `comparisons`, are left out.
        comparisons: Rows of `records.COMPARISONS`.
        expected: The known answer to a gold task, by task id.
    """
    position = {row["pair_id"]: n for n, row in enumerate(comparisons)}
    known: list[int] = [-1] * len(position)
    used: list[dict[str, Any]] = []
    for row in answers:
        if kind_of(row) == GOLD:
            if row["task_id"] not in expected:
                continue
            item = f"{GOLD}/{row['task_id']}"
            if item not in position:
                position[item] = len(position)
                known.append(CHOICE_OF[expected[row["task_id"]]])
            used.append({**row, "pair_id": item})
        elif row["pair_id"] in position:
            used.append(dict(row))
    annotators = sorted({row["annotator"] for row in used})
    p_first = np.array([row["p_first"] for row in comparisons], dtype=np.float64)
    p_first = np.clip(p_first, P_LIMIT, 1.0 - P_LIMIT)
    log_odds_n = np.zeros(len(position))
    log_odds_n[: len(p_first)] = np.log(p_first) - np.log1p(-p_first)
    judged = judge(
        to_votes(used, position, annotators),
        log_odds_n,
        counts_v=[kind_of(row) == COMPARISON for row in used],
        known_n=known,
    )
    return JudgedBatch(judged, annotators)
