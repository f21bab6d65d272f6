"""The pairs as LLaMA-Factory reads them, which takes neither of the other views.

Its `sharegpt` format (https://github.com/hiyouga/LLaMA-Factory, data/README.md) has a list of turns
{from, value}, `chosen` and `rejected` as one turn each, and a file `dataset_info.json` that names
the columns. Turns of people and tools must alternate with the model's; it skips other rows, so they
are left out here. A call stays the text that the model wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from winnow.publish.splits import SPLITS

_TURN = pa.struct([("from", pa.string()), ("value", pa.string())])
SHAREGPT = [
    ("conversations", pa.list_(_TURN)),
    ("chosen", _TURN),
    ("rejected", _TURN),
    ("system", pa.string()),
    ("tools", pa.string()),
]
"""Columns that LLaMA-Factory reads; `system` and `tools` are empty where there are none."""

_FROM = {"user": "human", "tool": "observation", "assistant": "gpt"}


def sharegpt_row(pair: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of the `dpo` view in this format, or None if its turns do not alternate."""
    turns = list(pair["prompt"])
    system = turns.pop(0)["content"] if turns[0]["role"] == "system" else ""
    of_model = [turn["role"] == "assistant" for turn in turns]
    alternate = [place % 2 == 1 for place in range(len(turns))]
    if of_model != alternate or any(turn["role"] == "system" for turn in turns):
        return None
    return {
        **pair,
        "conversations": [_turn(turn) for turn in turns],
        "chosen": _turn(pair["chosen"][0]),
        "rejected": _turn(pair["rejected"][0]),
        "system": system,
        "tools": pair["tools"] or "",
    }


def dataset_info(dataset: str) -> bytes:
    """`dataset_info.json` of a version's folder: the dataset, and `DATASET_test`."""
    names = {"train": dataset, "test": f"{dataset}_test"}
    columns = {"messages": "conversations", **{name: name for name, _ in SHAREGPT[1:]}}
    described = {
        names[split]: {
            "file_name": f"data/sharegpt/{split}",
            "formatting": "sharegpt",
            "ranking": True,
            "columns": columns,
        }
        for split in SPLITS
    }
    return json.dumps(described, indent=1).encode()


def _turn(message: Mapping[str, str]) -> dict[str, str]:
    return {"from": _FROM[message["role"]], "value": message["content"]}
