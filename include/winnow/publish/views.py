"""The views of a batch's labels, in the columns that trainers read.

    reward       every decided pair: prompt, chosen, rejected, margin (TRL, OpenRLHF, Axolotl)
    dpo          the decided pairs that are certain enough
    kto          the responses of those pairs one by one: prompt, completion, label
    annotations  every judgement, ties, skips and repeats too; annotators as salted hashes

Texts are conversations: `prompt` is the list of turns, `chosen` and `rejected` hold the
assistant's. Extra columns say where a row comes from. Views hold no times, so the same labels give
the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import pyarrow as pa

from winnow.records import MESSAGES, MICROS, RATINGS, to_table

Row = Mapping[str, Any]

_TRACE = [
    ("prompt_id", pa.string()),
    ("pair_id", pa.string()),
    ("batch", pa.string()),
]
_PREFERENCE = [
    ("prompt", MESSAGES),
    ("chosen", MESSAGES),
    ("rejected", MESSAGES),
    ("margin", pa.float64()),
    ("p_chosen", pa.float64()),
    ("votes", pa.int32()),
    ("agreement", pa.float64()),
    ("dimension", pa.string()),
    ("language", pa.string()),
    ("kind", pa.string()),
    ("strategy", pa.string()),
    ("info_gain", pa.float64()),
    ("propensity", pa.float64()),
    ("cost_usd", pa.float64()),
    ("chosen_id", pa.string()),
    ("rejected_id", pa.string()),
    *_TRACE,
]
VIEWS = {
    "reward": pa.schema(_PREFERENCE),
    "dpo": pa.schema(_PREFERENCE),
    "kto": pa.schema(
        [
            ("prompt", MESSAGES),
            ("completion", MESSAGES),
            ("label", pa.bool_()),
            ("response_id", pa.string()),
            *_TRACE,
        ]
    ),
    "annotations": pa.schema(
        [
            ("prompt", MESSAGES),
            ("first", pa.string()),
            ("second", pa.string()),
            ("kind", pa.string()),
            ("preferred", pa.string()),
            ("choice", pa.string()),
            ("swapped", pa.bool_()),
            ("strength", pa.int32()),
            ("ratings", RATINGS),
            ("rationale", pa.string()),
            ("annotator", pa.string()),
            ("active_seconds", pa.float64()),
            ("annotation_id", pa.string()),
            *_TRACE,
        ]
    ),
}
"""Schema of each view; the first one is what a dataset loads by default."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A batch's rows, by id where they are looked up."""

    batch: str
    prompts: Mapping[str, Row]
    responses: Mapping[str, Row]
    comparisons: Mapping[str, Row]
    preferences: Sequence[Row]
    annotations: Sequence[Row]


def build_views(labelled: Labelled, min_p_chosen: float) -> dict[str, pa.Table]:
    """Every view of a batch; `dpo` and `kto` keep pairs with P(chosen better) >= `min_p_chosen`."""
    decided = [_preference(labelled, row) for row in labelled.preferences if _is_decided(row)]
    certain = [row for row in decided if row["p_chosen"] >= min_p_chosen]
    rows = {
        "reward": decided,
        "dpo": certain,
        "kto": [single for row in certain for single in _singles(row)],
        "annotations": [_annotation(labelled, row) for row in labelled.annotations],
    }
    return {view: to_table(rows[view], schema) for view, schema in VIEWS.items()}


def _is_decided(preference: Row) -> bool:
    return preference["preferred"] in ("first", "second")


def _preference(labelled: Labelled, preference: Row) -> dict[str, Any]:
    ids = preference["first_id"], preference["second_id"]
    chosen, rejected = ids if preference["preferred"] == "first" else ids[::-1]
    p_first = preference["p_preferred"]
    p_chosen = p_first if preference["preferred"] == "first" else 1.0 - p_first
    comparison = labelled.comparisons[preference["pair_id"]]
    prompt = labelled.prompts[preference["prompt_id"]]
    return {
        **{name: comparison[name] for name in ("dimension", "kind", "strategy")},
        **{name: comparison[name] for name in ("info_gain", "propensity")},
        **{name: preference[name] for name in ("votes", "agreement", "pair_id", "prompt_id")},
        "prompt": prompt["messages"],
        "language": prompt["language"],
        "chosen": _turn(labelled.responses[chosen]),
        "rejected": _turn(labelled.responses[rejected]),
        "margin": max(0.0, log(p_chosen / (1.0 - p_chosen))),
        "p_chosen": p_chosen,
        "cost_usd": preference["cost"] / MICROS,
        "chosen_id": chosen,
        "rejected_id": rejected,
        "batch": labelled.batch,
    }


def _singles(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {**row, "completion": row[side], "label": label, "response_id": row[f"{side}_id"]}
        for side, label in (("chosen", True), ("rejected", False))
    ]


def _annotation(labelled: Labelled, annotation: Row) -> dict[str, Any]:
    comparison = labelled.comparisons[annotation["pair_id"]]
    return {
        **annotation,
        "prompt_id": comparison["prompt_id"],
        "prompt": labelled.prompts[comparison["prompt_id"]]["messages"],
        "first": labelled.responses[comparison["first_id"]]["message"],
        "second": labelled.responses[comparison["second_id"]]["message"],
        "batch": labelled.batch,
    }


def _turn(response: Row) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": response["message"]}]
