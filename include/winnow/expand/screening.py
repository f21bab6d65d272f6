"""What selection asks of a response that its texts alone tell: is it fit, and who is like it?

It is worked out once, when pools are gathered, and stored as `winnow.records.CANDIDATES` beside the
whole vectors. Where the campaign's settings ask for another answer, as pools taken over from
another campaign may, and for batches of versions before 0.5, it is worked out when they are read.

Always holds: the answer depends on the part's pools and the settings alone.

Shapes: r responses of a part, n of one prompt, c raw feature columns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.arrays import BoolArray, IndexArray
from winnow.campaign import Campaign
from winnow.expand.samplers import models_of
from winnow.expand.vectors import Columns
from winnow.reward.blocks import width
from winnow.select.screen import answers_nothing, near_duplicates

Row = Mapping[str, Any]

UNFIT = frozenset({"looping", "echo", "injection"})
"""Flags of responses that are part of no pair."""


@dataclass(frozen=True, slots=True, eq=False)
class Screened:
    """Some responses, whole pools of them.

    Attributes:
        blocked_r: Those that are part of no pair.
        clusters_r: Number of each one's near-duplicate cluster among those to its prompt.
        raw_rc: Whole vectors, float16.
    """

    blocked_r: BoolArray
    clusters_r: IndexArray
    raw_rc: NDArray[np.float16]


def screen(
    rows: Sequence[Row],
    stored_rc: NDArray[np.float16],
    asked: Mapping[str, str],
    columns: Columns,
    near_duplicate: float,
    *,
    fit: Collection[str] = (),
) -> Screened:
    """Screen the responses of some prompts.

    Args:
        rows: Of the `responses` table.
        stored_rc: What is stored of their vectors.
        asked: What each prompt says.
        columns: What the whole vectors are.
        near_duplicate: Cosine of embeddings from which two responses may be one.
        fit: Responses, by id, that are blocked for nothing.
    """
    prompt_of = [row["prompt_id"] for row in rows]
    blocked_r = np.array([not UNFIT.isdisjoint(row["flags"] or ()) for row in rows], np.bool_)
    blocked_r |= answers_nothing(
        prompt_of,
        [row["message"] for row in rows],
        [row["model"] for row in rows],
        [row["duplicates"] + row["near_duplicates"] for row in rows],
        [asked[prompt] for prompt in prompt_of],
    )
    blocked_r &= np.array([row["response_id"] not in fit for row in rows], np.bool_)
    raw_rc = np.zeros((len(rows), width(columns.blocks)), np.float16)
    clusters_r = np.zeros(len(rows), np.intp)
    for places in rows_by_prompt(prompt_of).values():
        pool = [rows[place] for place in places]
        raw_rc[places] = columns.of_pool(pool, stored_rc[places])
        embedding_nh = stored_rc[places, : columns.n_embedding]
        texts = [row["message"] for row in pool]
        clusters_r[places] = near_duplicates(embedding_nh, near_duplicate, texts)
    return Screened(blocked_r, clusters_r, raw_rc)


def how_screened(campaign: Campaign) -> dict[str, Any]:
    """What the answer of `screen` depends on, beside the pools."""
    return {
        "near_duplicate": campaign.select.near_duplicate,
        "models": list(models_of(campaign.expand)),
    }


def rows_by_prompt(prompt_of: Sequence[str]) -> dict[str, list[int]]:
    """Row numbers of each prompt's responses, in rising order of prompt id."""
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, prompt in enumerate(prompt_of):
        rows_of[prompt].append(row)
    return dict(sorted(rows_of.items()))
