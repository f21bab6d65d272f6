"""The pairs as LLaMA-Factory reads them, which takes neither of the other views.

Its `sharegpt` format (https://github.com/hiyouga/LLaMA-Factory, data/README.md) has a list of turns
{from, value}, `chosen` and `rejected` as one turn each, and a file `dataset_info.json` that names
the columns. Turns of people and tools must alternate with the model's; it skips other rows, so they
are left out here. A call stays the text that the model wrote.
"""

from __future__ import annotations

import json

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

ALTERNATES = """len(list_filter(
        CASE WHEN messages[1].role = 'system' THEN messages[2:] ELSE messages END,
        lambda turn, place: turn.role = 'system' OR (turn.role = 'assistant') = (place % 2 = 1)
    )) = 0"""
"""SQL: whether the turns of `messages`, a first one of the system aside, alternate as it takes."""

_SAID = "{'from': 'gpt', 'value': %s.message}"
SHAREGPT_COLUMNS = f"""
    list_transform(
        CASE WHEN messages[1].role = 'system' THEN messages[2:] ELSE messages END,
        lambda turn: {{
            'from': CASE turn.role WHEN 'user' THEN 'human' WHEN 'tool' THEN 'observation'
                ELSE 'gpt' END,
            'value': turn.content
        }}
    ) AS conversations,
    {_SAID % "better"} AS chosen, {_SAID % "worse"} AS rejected,
    CASE WHEN messages[1].role = 'system' THEN messages[1].content ELSE '' END AS system,
    coalesce(tools, '') AS tools"""
"""SQL of the columns of `SHAREGPT`, from a prompt's `messages` and the texts `better`, `worse`."""


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
