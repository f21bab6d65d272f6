"""The tables of the lake: one Arrow schema each, and the typed rows that code builds them from.

Money is in micro-dollars (`winnow.money`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
RATINGS = pa.list_(
    pa.struct([("dimension", pa.string()), ("first", pa.int8()), ("second", pa.int8())])
)

VECTOR = pa.list_(pa.float16())

_TYPES = {
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
    "ranks": pa.list_(pa.int32()),
    "rewards": pa.list_(pa.float64()),
    "bytes": pa.binary(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "time": pa.timestamp("us", tz="UTC"),
    "vector": VECTOR,
    "messages": MESSAGES,
    "ratings": RATINGS,
}


def _schema(columns: str) -> pa.Schema:
    """The schema of columns by name and type, `line:int64`; text where no type is named."""
    parts = (column.partition(":") for column in columns.split())
    return pa.schema([(name, _TYPES[kind or "text"]) for name, _, kind in parts])


PROMPTS = _schema(
    """
    prompt_id messages:messages tools source dimension language tags:texts received_at:time file
    line:int64
    """
)

QUARANTINE = _schema("stage reason detail file line:int64 record_id raw:bytes")

BROUGHT_RESPONSES = _schema(
    """
    prompt_id message model score:float64 logprob:float64 n_tokens:int32 finish_reason vector:vector
    file line:int64 reason detail
    """
)
"""A response that came with a prompt, pool by pool, as its row has it; `score` is what the row says
of it, more is better. One with a `reason` is in no pool and has no message."""

BROUGHT_POOLS = _schema("prompt_id part:int32 n:int32")
"""How many rows of `BROUGHT_RESPONSES` a prompt has, and in which part of it they are, from 0."""

RESPONSES = _schema(
    """
    response_id prompt_id message model sampling seed:int64 finish_reason n_tokens:int32
    logprob:float64 duplicates:int32 near_duplicates:int32 flags:texts
    """
)

FEATURES = _schema("response_id vector:vector feature_version")

CANDIDATES = _schema(
    """
    response_id prompt_id cluster:int32 blocked:bool drawn:int32 n_tokens:int32 flags:texts
    """
)
"""A response of a pool as selection sees it without its features, row by row beside `features`."""

PROFILE = _schema("trait value n:int64")
"""How many responses of the pools have a trait, such as a language or a length."""

COMPARED = pa.unify_schemas([RESPONSES, _schema("language"), FEATURES])
"""A compared response: its row, the language of its prompt, its vector."""

CONTENT = "content "
"""Begins a flag of a response that says what it speaks of."""

COMPARISONS = _schema(
    """
    pair_id prompt_id first_id second_id kind strategy rank:int32 reason info_gain:float64
    decision_gain:float64 score:float64 p_first:float64 contested conflict:bool propensity:float64
    dimension posterior_version expected_cost:int64 sources:texts p_conflict:float64
    """
)
"""Pairs that are asked about. `sources` names who is asked, where a campaign has `label.sources`;
null: people alone. `p_first` is of the dimension of the choice, `contested` that on which a label
says most; `p_conflict` the highest chance that two dimensions with labels prefer different
responses, null where there are no two. Of earlier lakes the table ends before `sources`."""

TASKS = _schema(
    """
    task_id pair_id kind round:int32 expected shown_a shown_b swapped:bool rubric_version
    repetition:int32 vendor vendor_ref submitted_at:time price:int64 taken_from
    by_disagreement:bool
    """
)
"""`by_disagreement` is true of a second vote that was asked because the model expects people to
differ; it is null of all others, and tables from before there were any lack it."""

ASKED = pa.unify_schemas(
    [TASKS, _schema("dimension messages:messages response_a response_b repeats")]
)
"""A task beside what its annotator sees; `repeats` names the task that it asks again."""

RANKINGS = _schema("ranking_id prompt_id dimension kind response_ids:texts")
"""Responses of a prompt that are ranked together, in the order of their ids; all pairs of them are
comparisons of the batch."""

RANKING_TASKS = TASKS.append(pa.field("shown", pa.list_(pa.string())))
"""A task that asks for a ranking: `pair_id` is the ranking's id, `shown` the responses' ids in the
order in which they are shown, `shown_a` and `shown_b` the first and the last of them."""

RANKING_ASKED = pa.unify_schemas([ASKED, _schema("shown:texts texts:texts")])
"""The same beside what its annotator sees: the `texts` of the responses `shown`."""

LISTS = _schema(
    """
    ranking_id prompt_id response_ids:texts ranks:ranks rewards:rewards votes:int32
    annotation_ids:texts cost:int64
    """
)
"""What the answers say of a ranking, best first: `ranks` from 1, equal where tied, and `rewards`,
logits (`winnow.reward.plackett_luce`)."""

ANNOTATIONS = _schema(
    """
    annotation_id revision:int64 task_id pair_id kind annotator choice swapped:bool preferred
    strength:int32 ratings:ratings rationale started_at:time finished_at:time
    active_seconds:float64 status price:int64
    model mode log_odds:float64 order_effect:float64 label_mass:float64
    """
)
"""`model` names the model whose vote it is and is null of a person's, as are the columns behind it:
`log_odds` that `first` is better, `order_effect` of the log-odds of one order for the side shown
first, `label_mass` the chance that the model named a label at all, `mode` how they were found. Of
lakes from before there were judges the table ends with `price`."""

TRAINING = _schema(
    """
    pair_id prompt_id first_id second_id kind dimension annotator preference:float64 swapped:bool
    length:float64 p_first:float64 mu:float64 sd:float64 first:vector second:vector feature_version
    """
)
"""A vote as a refit reads it. `preference` is how far it is for the first response (1, 1/2, 0; of a
rating, whose kind is "rating" and `dimension` the rated one, 0.85 or 0.15 for a grade apart),
`length` the difference of log lengths, `first` and `second` the raw features of both; `mu` and `sd`
are what the batch's model believed of the logit before an exploration vote, at temperature 1."""

RANKED_TRAINING = TRAINING.append(pa.field("weight", pa.float64()))
"""The same of a night of rankings: each pair weighs a part of a vote."""

BROUGHT_LABELS = _schema(
    """
    label_id prompt_id messages:messages tools dimension annotator response_ids:texts texts:texts
    models:texts first:ranks second:ranks preference:rewards weight:rewards file line:int64
    """
)
"""A row of labels that a team brought: responses to a prompt, and votes on some pairs of them.
`first` and `second` are places among the responses, `preference` and `weight` as in
`RANKED_TRAINING`. Equal labels of one annotator have one `label_id`."""

VERDICTS = pa.schema(
    [*TRAINING, *((name, pa.string()) for name in ("model", "mode")), ("log_odds", pa.float64())]
)
"""What a model said of a pair of a batch in which people voted too, as `ANNOTATIONS` have it."""

PREFERENCES = _schema(
    """
    pair_id prompt_id first_id second_id preferred p_preferred:float64 votes:int32
    agreement:float64 cost:int64
    """
)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One row that went no further, with the reason a person can act on."""

    stage: str
    reason: str
    detail: str
    file: str | None = None
    line: int | None = None
    record_id: str | None = None
    raw: bytes | None = None


def to_table(rows: Iterable[Any], schema: pa.Schema) -> pa.Table:
    """Rows (dataclasses or mappings) as an Arrow table of `schema`; absent columns are null."""
    names = schema.names
    records = [
        row if isinstance(row, Mapping) else {n: getattr(row, n, None) for n in names}
        for row in rows
    ]
    return pa.Table.from_pylist(records, schema)
