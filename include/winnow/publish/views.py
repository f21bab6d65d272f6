"""The views of a batch's labels, in the columns that trainers read.

    reward       every decided pair: prompt, chosen, rejected, margin, weight
    dpo          the decided pairs that are certain enough (DPO, IPO, SimPO, ORPO)
    kto          the responses of those pairs, each once: prompt, completion, label
    prompts      the prompts alone, labelled or not, for training on one's own responses (PPO)
    annotations  every judgement, ties, skips and repeats too; annotators as salted hashes, and
                 `model` where a model judged and no person
    sharegpt     the pairs of `dpo` as LLaMA-Factory reads them, which takes neither of the others
    talks        the pairs of `dpo` as whole talks (Axolotl, torchtune, ms-swift), but for those of
                 which one of these would train on other words
    calls        the pairs of `dpo` with calls of tools, which are `tool_calls` here
    dimensions   where dimensions were asked beside the choice: a row for each of a pair on which
                 people prefer a side, which is `chosen` here; pick one by `dimension`
    consistent   of `dpo` the pairs on which no such dimension prefers what is rejected
    listwise     where rankings were bought: their responses with ranks and rewards (InfoNCA, LiPO)

Texts are conversations: `prompt` is the list of turns, `chosen` and `rejected` hold the
assistant's. `tools` is a JSON list of what a prompt lets the model call, or null; TRL reads it so.
LLaMA-Factory (https://github.com/hiyouga/LLaMA-Factory, data/README.md) has turns {from, value},
one each for `chosen` and `rejected`; rows whose turns do not alternate it skips, so they are left
out. Pairs that are left out of `sharegpt` and `talks` are counted by reason (`left_out`). Extra
columns say where a row comes from. Views hold no times and have a fixed order, so the same labels
give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from winnow.publish.labelled import Labelled
from winnow.publish.splits import SPLITS, place
from winnow.records import MESSAGES, RATINGS
from winnow.sql import literal_path, statements

FRAMES = """
<s>[SYSTEM_PROMPT][/SYSTEM_PROMPT]<s> [INST] [[dummy_message]] [/INST]
<s><|im_start|>system
You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>
<|im_start|>user
[[dummy_message]]<|im_end|>
<|im_start|>assistant
<think>

</think>

<|begin_of_text|><|start_header_id|>system<|end_header_id|>

Cutting Knowledge Date: December 2023
Today Date: 0 1 2 3 4 5 6 7 8 9 Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec

<|eot_id|><|start_header_id|>user<|end_header_id|>

[[dummy_message]]<|eot_id|><|start_header_id|>assistant<|end_header_id|>

<bos><start_of_turn>user
[[dummy_message]]<end_of_turn>
<start_of_turn>model
<s>### Instruction:
[[dummy_message]]

### Response:
<|user|><|end|><|assistant|><|model|><|turn><turn|><|header_start|><|header_end|><|eot|>
<|START_OF_TURN_TOKEN|><|USER_TOKEN|><|END_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><|CHATBOT_TOKEN|>
<｜begin▁of▁sentence｜><｜User｜><｜Assistant｜>[|user|][|endofturn|]
<|startoftext|><|bom|><|system|> <|eom|><|bom|><|user|> [[dummy_message]]<|eom|>
"""
"""What chat templates put before an answer to `[[dummy_message]]`, as Axolotl 0.19 renders it. Not
the pages that a few (Command A, Mistral Small 3, Metharme) have as their own system prompt."""
_TURN = pa.struct([("from", pa.string()), ("value", pa.string())])
SHAREGPT = [
    ("conversations", pa.list_(_TURN)),
    ("chosen", _TURN),
    ("rejected", _TURN),
    ("system", pa.string()),
    ("tools", pa.string()),
]
"""Columns that LLaMA-Factory reads; `system` and `tools` are empty where there are none."""


def _texts(*names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, pa.string()) for name in names]


_ASKED = [("prompt", MESSAGES), *_texts("tools")]
_TRACE = _texts("prompt_id", "pair_id", "batch")
_SAID = pa.struct(
    [
        *_texts("dimension", "preferred"),
        *((name, pa.int32()) for name in ("chosen_votes", "rejected_votes", "ties")),
    ]
)
"""What people said of a pair on a dimension: `preferred` is chosen, rejected or tie, as more than
half of them have it."""
_PREFERENCE = [
    ("prompt", MESSAGES),
    ("chosen", MESSAGES),
    ("rejected", MESSAGES),
    *_texts("tools"),
    ("margin", pa.float64()),
    ("weight", pa.float64()),
    ("p_chosen", pa.float64()),
    ("votes", pa.int32()),
    ("agreement", pa.float64()),
    *_texts("dimension", "language", "kind", "strategy"),
    ("info_gain", pa.float64()),
    ("propensity", pa.float64()),
    ("cost_usd", pa.float64()),
    ("dimensions", pa.list_(_SAID)),
    ("conflict", pa.bool_()),
    *_texts("chosen_id", "rejected_id"),
    *_TRACE,
]
_TALKS = [
    ("chosen", MESSAGES),
    ("rejected", MESSAGES),
    *_texts("tools"),
    ("margin", pa.float64()),
    *_texts("language", "chosen_id", "rejected_id"),
    *_TRACE,
]
_FUNCTION = pa.struct(_texts("name", "arguments"))
_CALLED = pa.list_(
    pa.struct(
        [
            *_texts("role", "content"),
            ("tool_calls", pa.list_(pa.struct([*_texts("type"), ("function", _FUNCTION)]))),
        ]
    )
)
"""Turns as OpenAI writes them: `arguments` is JSON, for no two tools have the same."""
_CALLS = [*((name, _CALLED) for name in ("prompt", "chosen", "rejected")), *_TALKS[2:]]
_PROMPTS = [
    *_ASKED,
    *_texts("data_source", "ability"),
    ("reward_model", pa.struct(_texts("style", "ground_truth"))),
    ("extra_info", pa.struct([*_texts("prompt_id"), ("index", pa.int64())])),
    *_texts("dimension", "language", "prompt_id", "batch"),
]
"""The prompts, with what verl asks of a row."""
_DIMENSIONS = [
    ("prompt", MESSAGES),
    ("chosen", MESSAGES),
    ("rejected", MESSAGES),
    *_texts("tools", "dimension"),
    ("votes", pa.int32()),
    ("agreement", pa.float64()),
    ("lead", pa.float64()),
    *_texts("language", "kind", "strategy", "chosen_id", "rejected_id"),
    *_TRACE,
]
_KTO = [
    ("prompt", MESSAGES),
    ("completion", MESSAGES),
    ("label", pa.bool_()),
    *_texts("tools", "response_id", "prompt_id"),
    ("pair_ids", pa.list_(pa.string())),
    *_texts("batch"),
]
_ANNOTATIONS = [
    *_ASKED,
    *_texts("first", "second", "kind", "preferred", "choice"),
    ("swapped", pa.bool_()),
    ("strength", pa.int32()),
    ("ratings", RATINGS),
    *_texts("rationale", "annotator"),
    ("active_seconds", pa.float64()),
    *_texts("model", "mode"),
    *((name, pa.float64()) for name in ("log_odds", "order_effect", "label_mass")),
    *_texts("annotation_id"),
    *_TRACE,
]
_LISTWISE = [
    ("prompt", MESSAGES),
    ("responses", pa.list_(MESSAGES)),
    ("ranks", pa.list_(pa.int32())),
    ("rewards", pa.list_(pa.float64())),
    *_texts("tools"),
    ("weight", pa.float64()),
    ("votes", pa.int32()),
    *_texts("dimension", "language", "kind", "strategy"),
    ("cost_usd", pa.float64()),
    ("response_ids", pa.list_(pa.string())),
    ("annotation_ids", pa.list_(pa.string())),
    *_texts("prompt_id", "ranking_id", "batch"),
]
LISTWISE = "listwise"
"""The view that only batches of rankings have."""
OPTIONAL = ("calls", "dimensions", "consistent", LISTWISE)
"""Views that are told of only where they have rows."""
VIEWS = {
    "reward": pa.schema(_PREFERENCE),
    "dpo": pa.schema(_PREFERENCE),
    "kto": pa.schema(_KTO),
    "prompts": pa.schema(_PROMPTS),
    "annotations": pa.schema(_ANNOTATIONS),
    "sharegpt": pa.schema([*SHAREGPT, *_TRACE]),
    "talks": pa.schema(_TALKS),
    "calls": pa.schema(_CALLS),
    "dimensions": pa.schema(_DIMENSIONS),
    "consistent": pa.schema(_PREFERENCE),
    LISTWISE: pa.schema(_LISTWISE),
}
"""Schema of each view; the first one is what a dataset loads by default."""

SLICE = 10_000
"""Prompts whose responses are counted at once."""

BLOCK = 2_000
"""Prompts whose rows are joined with their texts at once, so that memory does not grow with a
batch. A view's rows come block after block."""

_SQL = statements(__file__)
_CONSISTENT = "(FROM certain WHERE NOT conflict)"


def _judged(pairs: str) -> str:
    return _SQL["judged"].format(rows=_SQL["pairs"].format(pairs=pairs))


BLOCK_OF = _SQL["block"]
"""SQL: the prompts of a block and their texts, which each view's query goes on with."""
QUERIES = {
    "reward": (_judged("decided"), "n"),
    "dpo": (_judged("certain"), "n"),
    "kto": (_SQL["kto"], "response_id"),
    "prompts": (_SQL["prompts"], "q"),
    "annotations": (_SQL["annotations"], "annotation_id, revision"),
    "sharegpt": (_SQL["sharegpt"], "n"),
    "talks": (_SQL["talks"], "n"),
    "calls": (_SQL["calls"], "n"),
    "dimensions": (_SQL["pairs"].format(pairs="by_dimension"), "n, dimension"),
    "consistent": (_judged(_CONSISTENT), "n"),
    LISTWISE: (_SQL["listwise"], "q"),
}
"""What each view selects of a block of prompts, and its order in there."""

_USED = {
    "reward": "decided",
    "dpo": "certain",
    "kto": "singles",
    "prompts": "asked",
    "annotations": "answered",
    "sharegpt": "certain JOIN asked AS turns USING (q) WHERE alternates",
    "talks": "certain JOIN sides USING (pair_id) WHERE fault IS NULL",
    "dimensions": "by_dimension",
    "consistent": _CONSISTENT,
}
"""Where each view's prompts are found without its texts."""


def prepare(labelled: Labelled, min_p_chosen: float) -> None:
    """Make what the views are read from; certain is P(chosen is better) >= `min_p_chosen`."""
    database = labelled.database
    database.register("given_places", pa.Table.from_batches(_places(labelled), _PLACES))
    for name in ("macros", "asked", "rated"):
        database.execute(_SQL[name])
    if labelled.rows("FROM rated LIMIT 1"):
        _in_slices(labelled, "judged_dimensions", "told_pairs")
    for name in ("by_dimension", "decided", "no_singles"):
        database.execute(_SQL[name])
    if labelled.has_lists:
        database.execute(_SQL["listed"])
    _deal_texts(database)
    database.execute(_SQL["certain"], {"certain": min_p_chosen})
    database.execute(_SQL["spoken"], {"frames": FRAMES})
    database.execute(_SQL["left_out"])
    database.execute(_SQL["expected"], {"certain": min_p_chosen})
    _in_slices(labelled, "singles")
    database.execute(_SQL["answered"])


def _in_slices(labelled: Labelled, *names: str) -> None:
    for start in range(0, _n_prompts(labelled), SLICE):
        for name in names:
            labelled.database.execute(_SQL[name], {"start": start, "end": start + SLICE})


def _deal_texts(database: duckdb.DuckDBPyConnection) -> None:
    """Make `texts`, in files of the folder that is gone with the database."""
    [(place,)] = database.sql("SELECT current_setting('temp_directory')").fetchall()
    folder = Path(place) / "texts"
    whole, files = (each.replace("'", "''") for each in (str(folder), literal_path(folder)))
    [(n,)] = database.execute(_SQL["dealt"].format(folder=whole, block=BLOCK)).fetchall()
    database.execute(_SQL["texts" if n else "no_texts"].format(files=files))


def highest_places(labelled: Labelled) -> list[float]:
    """The highest place of the prompts of each view that has rows; see `winnow.publish.splits`."""
    used_by = [*_USED.values(), *(["listed"] if labelled.has_lists else [])]
    highest = [
        labelled.rows(f"SELECT max(place) AS place FROM asked WHERE q IN (SELECT q FROM {used})")
        for used in used_by
    ]
    return [rows[0]["place"] for rows in highest if rows[0]["place"] is not None]


def expected_rows(labelled: Labelled) -> dict[str, int]:
    """How many rows each view must have, counted in the batch's tables by `prepare`."""
    expected = dict(labelled.rows("FROM expected")[0])
    if labelled.has_lists:
        [row] = labelled.rows(_SQL["expected_lists"])
        expected[LISTWISE] = row["n"]
    return expected


def left_out(labelled: Labelled) -> dict[str, int]:
    """How many pairs of `dpo` the views of certain trainers lack, by `VIEW: REASON`."""
    query = (
        "SELECT of_view || ': ' || reason AS why, count(*) AS n FROM left_out GROUP BY 1 ORDER BY 1"
    )
    return {row["why"]: row["n"] for row in labelled.rows(query)}


def read_view(
    labelled: Labelled, view: str, places: tuple[float, float], n_rows: int
) -> Iterator[pa.Table]:
    """The rows of a view whose prompts' places are in [low, high), in tables of `n_rows` rows."""
    schema = VIEWS[view]
    held: list[pa.Table] = []
    for block in _blocks(labelled, view, places):
        held.append(block)
        while sum(each.num_rows for each in held) >= n_rows:
            table = pa.concat_tables(held)
            yield table.slice(0, n_rows).cast(schema)
            held = [table.slice(n_rows)]
    if any(each.num_rows for each in held):
        yield pa.concat_tables(held).cast(schema)


def _blocks(labelled: Labelled, view: str, places: tuple[float, float]) -> Iterator[pa.Table]:
    query, order = QUERIES[view]
    wanted = ", ".join(name for name in VIEWS[view].names if name != "batch")
    statement = f"{BLOCK_OF} SELECT {wanted}, $batch AS batch FROM ({query}) ORDER BY {order}"
    for start in range(0, _n_prompts(labelled), BLOCK):
        bounds = {"start": start, "end": start + BLOCK, "low": places[0], "high": places[1]}
        relation = labelled.database.sql(statement, params={**bounds, "batch": labelled.batch})
        yield relation.to_arrow_table().select(VIEWS[view].names)


def _n_prompts(labelled: Labelled) -> int:
    """One more than the highest `q`."""
    [row] = labelled.rows("SELECT coalesce(max(q), -1) + 1 AS n FROM asked")
    return int(row["n"])


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


_PLACES = pa.schema([("prompt_id", pa.string()), ("place", pa.float64())])


def _places(labelled: Labelled) -> Iterator[pa.RecordBatch]:
    prompts = labelled.database.sql("SELECT prompt_id, messages FROM prompts")
    for batch in prompts.to_arrow_reader(10_000):
        placed = np.array([place(messages) for messages in batch["messages"].to_pylist()])
        yield pa.record_batch([batch["prompt_id"], placed], schema=_PLACES)
