"""The views of a batch's labels, in the columns that trainers read.

    reward       every decided pair: prompt, chosen, rejected, margin, weight
    dpo          the decided pairs that are certain enough (DPO, IPO, SimPO, ORPO)
    kto          the responses of those pairs, each once: prompt, completion, label
    prompts      the prompts alone, labelled or not, for training on one's own responses (PPO)
    annotations  every judgement, ties, skips and repeats too; annotators as salted hashes
    sharegpt     the pairs of `dpo` as LLaMA-Factory reads them

Texts are conversations: `prompt` is the list of turns, `chosen` and `rejected` hold the
assistant's. `tools` is a JSON list of what a prompt lets the model call, or null; TRL reads it so.
Extra columns say where a row comes from. Views hold no times, so the same labels give the same
bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import pyarrow as pa

from winnow.publish.formats import SHAREGPT, sharegpt_row
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
    ("tools", pa.string()),
    ("margin", pa.float64()),
    ("weight", pa.float64()),
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
            ("tools", pa.string()),
            ("response_id", pa.string()),
            ("prompt_id", pa.string()),
            ("pair_ids", pa.list_(pa.string())),
            ("batch", pa.string()),
        ]
    ),
    "prompts": pa.schema(
        [
            ("prompt", MESSAGES),
            ("tools", pa.string()),
            ("dimension", pa.string()),
            ("language", pa.string()),
            ("prompt_id", pa.string()),
            ("batch", pa.string()),
        ]
    ),
    "annotations": pa.schema(
        [
            ("prompt", MESSAGES),
            ("tools", pa.string()),
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
    "sharegpt": pa.schema([*SHAREGPT, *_TRACE]),
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
    """Every view of a batch; `dpo`, `kto` and `sharegpt` hold the certain pairs.

    Certain is P(chosen is better) >= `min_p_chosen`.
    """
    decided = [_preference(labelled, row) for row in labelled.preferences if _is_decided(row)]
    certain = [row for row in decided if row["p_chosen"] >= min_p_chosen]
    rows = {
        "reward": decided,
        "dpo": certain,
        "kto": _singles(certain),
        "prompts": [_prompt(labelled, prompt_id) for prompt_id in labelled.prompts],
        "annotations": [_annotation(labelled, row) for row in labelled.annotations],
        "sharegpt": [row for pair in certain if (row := sharegpt_row(pair)) is not None],
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
        "tools": prompt["tools"],
        "language": prompt["language"],
        "chosen": _turn(labelled.responses[chosen]),
        "rejected": _turn(labelled.responses[rejected]),
        "margin": max(0.0, log(p_chosen / (1.0 - p_chosen))),
        "weight": max(0.0, 2.0 * p_chosen - 1.0),
        "p_chosen": p_chosen,
        "cost_usd": preference["cost"] / MICROS,
        "chosen_id": chosen,
        "rejected_id": rejected,
        "batch": labelled.batch,
    }


def _singles(pairs: Sequence[Row]) -> list[dict[str, Any]]:
    """Each response of the pairs once, good if the log-odds of its pairs add up in its favour.

    One row a pair and side would tell a trainer that a response which wins one pair and loses
    another is both good and bad. They are ordered by their ids, which are hashes: TRL's KTO reads
    them in order and takes the answers of neighbours for answers to other prompts.
    """
    rows: dict[str, dict[str, Any]] = {}
    favour: dict[str, float] = defaultdict(float)
    for pair in pairs:
        for side, sign in (("chosen", 1.0), ("rejected", -1.0)):
            response = pair[f"{side}_id"]
            row = {**pair, "completion": pair[side], "response_id": response, "pair_ids": []}
            rows.setdefault(response, row)["pair_ids"].append(pair["pair_id"])
            favour[response] += sign * pair["margin"]
    return [{**rows[r], "label": favour[r] > 0.0} for r in sorted(rows) if favour[r] != 0.0]


def _prompt(labelled: Labelled, prompt_id: str) -> dict[str, Any]:
    prompt = labelled.prompts[prompt_id]
    return {
        **prompt,
        "prompt": prompt["messages"],
        "prompt_id": prompt_id,
        "batch": labelled.batch,
    }


def _annotation(labelled: Labelled, annotation: Row) -> dict[str, Any]:
    comparison = labelled.comparisons[annotation["pair_id"]]
    prompt = labelled.prompts[comparison["prompt_id"]]
    return {
        **annotation,
        "prompt_id": comparison["prompt_id"],
        "prompt": prompt["messages"],
        "tools": prompt["tools"],
        "first": labelled.responses[comparison["first_id"]]["message"],
        "second": labelled.responses[comparison["second_id"]]["message"],
        "batch": labelled.batch,
    }


def _turn(response: Row) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": response["message"]}]
