"""The views of a batch's labels, in the columns that trainers read.

    reward       every decided pair: prompt, chosen, rejected, margin, weight
    dpo          the decided pairs that are certain enough (DPO, IPO, SimPO, ORPO)
    kto          the responses of those pairs, each once: prompt, completion, label
    prompts      the prompts alone, labelled or not, for training on one's own responses (PPO)
    annotations  every judgement, ties, skips and repeats too; annotators as salted hashes
    sharegpt     the pairs of `dpo` as LLaMA-Factory reads them

Texts are conversations: `prompt` is the list of turns, `chosen` and `rejected` hold the
assistant's. `tools` is a JSON list of what a prompt lets the model call, or null; TRL reads it so.
Extra columns say where a row comes from. Views hold no times and have a fixed order, so the same
labels give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from winnow.publish.formats import ALTERNATES, SHAREGPT, SHAREGPT_COLUMNS
from winnow.publish.labelled import Labelled
from winnow.publish.splits import place
from winnow.records import MESSAGES, MICROS, RATINGS

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

SLICE = 10_000
"""Prompts whose responses are counted at once."""

BLOCK = 2_000
"""Prompts whose rows are joined with their texts at once, so that memory does not grow with a
batch. A view's rows come block after block."""

_ASKED = f"""
CREATE OR REPLACE TEMP TABLE asked AS
SELECT prompts.prompt_id, row_n AS q, messages, tools, dimension, language, place,
    {ALTERNATES} AS alternates
FROM prompts JOIN given_places USING (prompt_id) ORDER BY q
"""
# Sorted, so that a block's texts lie together.
_TEXTS = """
CREATE OR REPLACE TEMP TABLE texts AS
SELECT q, response_id, message FROM responses JOIN (SELECT q, prompt_id FROM asked)
USING (prompt_id)
WHERE response_id IN (SELECT unnest([first_id, second_id]) FROM comparisons) ORDER BY q
"""
_DECIDED = f"""
CREATE OR REPLACE TEMP TABLE decided AS
SELECT q, p.row_n AS n, p.pair_id, p.prompt_id, p.votes, p.agreement,
    p.cost / {MICROS} AS cost_usd, chosen_id, rejected_id, p_chosen,
    greatest(0.0, ln(p_chosen / (1.0 - p_chosen))) AS margin,
    greatest(0.0, 2.0 * p_chosen - 1.0) AS weight,
    c.dimension, c.kind, c.strategy, c.info_gain, c.propensity
FROM (
    SELECT *, CASE WHEN preferred = 'first' THEN first_id ELSE second_id END AS chosen_id,
        CASE WHEN preferred = 'first' THEN second_id ELSE first_id END AS rejected_id,
        CASE WHEN preferred = 'first' THEN p_preferred ELSE 1.0 - p_preferred END AS p_chosen
    FROM preferences WHERE preferred IN ('first', 'second')
) AS p JOIN comparisons AS c USING (pair_id)
JOIN (SELECT q, prompt_id FROM asked) AS asked ON asked.prompt_id = p.prompt_id ORDER BY q
"""
_CERTAIN = """
CREATE OR REPLACE TEMP TABLE certain AS
SELECT * FROM decided WHERE p_chosen >= $certain ORDER BY q
"""
_NO_SINGLES = """
CREATE OR REPLACE TEMP TABLE singles
    (q BIGINT, response_id VARCHAR, prompt_id VARCHAR, pair_ids VARCHAR[], favour DOUBLE)
"""
# One row a pair and side would tell a trainer that a response which wins one pair and loses another
# is both good and bad, so the log-odds of its pairs are added up. In the order of ids, which are
# hashes: TRL's KTO takes the answers of neighbours for answers to other prompts. Slice by slice:
# lists that grow beside each other are what DuckDB cannot put aside.
_SINGLES = """
INSERT INTO singles
SELECT q, response_id, any_value(prompt_id) AS prompt_id, list(pair_id ORDER BY n) AS pair_ids,
    list_sum(list(favour ORDER BY n)) AS favour
FROM (
    SELECT q, n, pair_id, prompt_id, chosen_id AS response_id, margin AS favour FROM certain
    UNION ALL SELECT q, n, pair_id, prompt_id, rejected_id, -margin FROM certain
)
WHERE q >= $start AND q < $end
GROUP BY q, response_id HAVING favour <> 0.0 ORDER BY q
"""
_ANSWERED = """
CREATE OR REPLACE TEMP TABLE answered AS
SELECT q, a.* EXCLUDE (row_n), c.prompt_id, first_id, second_id
FROM annotations AS a JOIN comparisons AS c USING (pair_id)
JOIN (SELECT q, prompt_id FROM asked) AS asked ON asked.prompt_id = c.prompt_id
WHERE a.kind IS DISTINCT FROM 'gold' ORDER BY q
"""

# What is joined is cut down to a block first: its prompts and their texts.
BLOCK_OF = """
WITH block AS (FROM asked WHERE q >= $start AND q < $end AND place >= $low AND place < $high),
told AS (FROM texts WHERE q >= $start AND q < $end)
"""
_PAIRS = """
SELECT block.messages AS prompt, [{{'role': 'assistant', 'content': better.message}}] AS chosen,
    [{{'role': 'assistant', 'content': worse.message}}] AS rejected, tools, language,
    pairs.*
FROM {of} AS pairs JOIN block USING (q) JOIN told AS better ON better.response_id = chosen_id
JOIN told AS worse ON worse.response_id = rejected_id
WHERE pairs.q >= $start AND pairs.q < $end
"""
QUERIES = {
    "reward": (_PAIRS.format(of="decided"), "n"),
    "dpo": (_PAIRS.format(of="certain"), "n"),
    "kto": (
        """
        SELECT block.messages AS prompt, [{'role': 'assistant', 'content': message}] AS completion,
            favour > 0.0 AS label, tools, response_id, singles.prompt_id, pair_ids
        FROM singles JOIN block USING (q) JOIN told USING (response_id)
        WHERE singles.q >= $start AND singles.q < $end
        """,
        "response_id",
    ),
    "prompts": ("SELECT *, messages AS prompt FROM block", "q"),
    "annotations": (
        """
        SELECT a.* EXCLUDE (prompt_id), block.messages AS prompt, tools, block.prompt_id,
            one.message AS first, other.message AS second
        FROM answered AS a JOIN block USING (q)
        JOIN told AS one ON one.response_id = first_id
        JOIN told AS other ON other.response_id = second_id
        WHERE a.q >= $start AND a.q < $end
        """,
        "annotation_id, revision",
    ),
    "sharegpt": (
        f"""
        SELECT {SHAREGPT_COLUMNS}, certain.*
        FROM certain JOIN block USING (q)
        JOIN told AS better ON better.response_id = chosen_id
        JOIN told AS worse ON worse.response_id = rejected_id
        WHERE alternates AND certain.q >= $start AND certain.q < $end
        """,
        "n",
    ),
}
"""What each view selects of a block of prompts, and its order in there."""

_USED = {
    "reward": "decided",
    "dpo": "certain",
    "kto": "singles",
    "prompts": "asked",
    "annotations": "answered",
    "sharegpt": "certain JOIN asked AS turns USING (q) WHERE alternates",
}
"""Where each view's prompts are found without its texts."""


def prepare(labelled: Labelled, min_p_chosen: float) -> None:
    """Make what the views are read from; certain is P(chosen is better) >= `min_p_chosen`."""
    database = labelled.database
    places = pa.Table.from_batches(_places(labelled), _PLACES)
    database.register("given_places", places)
    for statement in (_ASKED, _TEXTS, _DECIDED):
        database.execute(statement)
    database.execute(_CERTAIN, {"certain": min_p_chosen})
    database.execute(_NO_SINGLES)
    for start in range(0, _n_prompts(labelled), SLICE):
        database.execute(_SINGLES, {"start": start, "end": start + SLICE})
    database.execute(_ANSWERED)


def highest_places(labelled: Labelled) -> list[float]:
    """The highest place of the prompts of each view that has rows; see `winnow.publish.splits`."""
    found = [
        labelled.rows(f"SELECT max(place) AS place FROM asked WHERE q IN (SELECT q FROM {used})")
        for used in _USED.values()
    ]
    return [rows[0]["place"] for rows in found if rows[0]["place"] is not None]


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
        told = {"start": start, "end": start + BLOCK, "low": places[0], "high": places[1]}
        found = labelled.database.sql(statement, params={**told, "batch": labelled.batch})
        yield found.to_arrow_table().select(VIEWS[view].names)


def _n_prompts(labelled: Labelled) -> int:
    """One more than the highest `q`."""
    [asked] = labelled.rows("SELECT coalesce(max(q), -1) + 1 AS n FROM asked")
    return int(asked["n"])


_PLACES = pa.schema([("prompt_id", pa.string()), ("place", pa.float64())])


def _places(labelled: Labelled) -> Iterator[pa.RecordBatch]:
    found = labelled.database.sql("SELECT prompt_id, messages FROM prompts")
    for batch in found.to_arrow_reader(10_000):
        placed = np.array([place(messages) for messages in batch["messages"].to_pylist()])
        yield pa.record_batch([batch["prompt_id"], placed], schema=_PLACES)
