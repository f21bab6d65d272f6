"""What the answers to rankings say of the responses: ranks and rewards, a row a ranking.

The rewards are those of Plackett and Luce by the answers alone; the reward model has no part in
them, as it has none in the certainty of a pair.

Shapes: k responses of a ranking.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from winnow.label.database import NARROW, add_views
from winnow.label.vendor import RANKED
from winnow.records import COMPARISONS, LISTS, TASKS, to_table
from winnow.reward.plackett_luce import rewards
from winnow.sql import database

_AT_ONCE = 500
_SAME = 1e-6
"""Rewards, logits, that are nearer than this are of responses that are tied."""


def lists_of(rankings: Path, answers: Path) -> pa.Table:
    """What the answers say of each ranking that has one, as `LISTS`, by the id of its prompt.

    Args:
        rankings: Rows of `records.RANKINGS`.
        answers: Rows of `records.ANNOTATIONS`, each of a ranking, every revision.
    """
    tables = {"annotations": answers, "rankings": rankings}
    beside = {"tasks": TASKS.empty_table(), "comparisons": COMPARISONS.empty_table()}
    with database({**tables, **beside}, NARROW) as connection:
        add_views(connection)
        pages = connection.sql(_TOLD).to_arrow_reader(_AT_ONCE)
        found = [to_table((_list(**row) for row in page.to_pylist()), LISTS) for page in pages]
    return pa.concat_tables([LISTS.empty_table(), *found]).combine_chunks()


_TOLD = f"""
WITH said AS (
    SELECT pair_id AS ranking_id, list(choice ORDER BY annotation_id) AS orders,
        list(annotation_id ORDER BY annotation_id) AS ids
    FROM votes WHERE preferred = '{RANKED}' GROUP BY pair_id
)
SELECT ranking_id, prompt_id, response_ids, orders, ids, cost
FROM rankings JOIN said USING (ranking_id) JOIN paid ON paid.pair_id = ranking_id
ORDER BY prompt_id
"""


def _list(
    ranking_id: str,
    prompt_id: str,
    response_ids: list[str],
    orders: list[str],
    ids: list[str],
    cost: int,
) -> Mapping[str, Any]:
    place = {response: n for n, response in enumerate(response_ids)}
    said = [[[place[r] for r in group] for group in json.loads(order)] for order in orders]
    n_responses = len(response_ids)
    reward_k = rewards(said, n_responses)
    falling = sorted(range(n_responses), key=lambda k: -reward_k[k])
    steps = [0, *(int(reward_k[a] - reward_k[b] > _SAME) for a, b in pairwise(falling))]
    level = dict(zip(falling, accumulate(steps), strict=True))
    best = sorted(falling, key=lambda k: (level[k], response_ids[k]))
    return {
        "ranking_id": ranking_id,
        "prompt_id": prompt_id,
        "response_ids": [response_ids[k] for k in best],
        "ranks": [1 + sum(other < level[k] for other in level.values()) for k in best],
        "rewards": [float(reward_k[k]) for k in best],
        "votes": len(orders),
        "annotation_ids": ids,
        "cost": cost,
    }
