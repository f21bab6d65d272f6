"""The tables of the lake: one Arrow schema each, and the typed rows that code builds them from.

Money is kept in integer micro-dollars (1,000,000 = $1), so that costs add up to the cent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

MICROS = 1_000_000
"""Micro-dollars in a dollar."""

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

PROMPTS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("messages", MESSAGES),
        ("tools", pa.string()),
        ("source", pa.string()),
        ("dimension", pa.string()),
        ("language", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("received_at", pa.timestamp("us", tz="UTC")),
        ("file", pa.string()),
        ("line", pa.int64()),
    ]
)

QUARANTINE = pa.schema(
    [
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("record_id", pa.string()),
        ("raw", pa.binary()),
    ]
)

RESPONSES = pa.schema(
    [
        ("response_id", pa.string()),
        ("prompt_id", pa.string()),
        ("message", pa.string()),
        ("model", pa.string()),
        ("sampling", pa.string()),
        ("seed", pa.int64()),
        ("finish_reason", pa.string()),
        ("n_tokens", pa.int32()),
        ("logprob", pa.float64()),
        ("duplicates", pa.int32()),
        ("near_duplicates", pa.int32()),
        ("flags", pa.list_(pa.string())),
    ]
)

FEATURES = pa.schema(
    [
        ("response_id", pa.string()),
        ("vector", pa.list_(pa.float16())),
        ("feature_version", pa.string()),
    ]
)

COMPARISONS = pa.schema(
    [
        ("pair_id", pa.string()),
        ("prompt_id", pa.string()),
        ("first_id", pa.string()),
        ("second_id", pa.string()),
        ("kind", pa.string()),
        ("strategy", pa.string()),
        ("rank", pa.int32()),
        ("reason", pa.string()),
        ("info_gain", pa.float64()),
        ("decision_gain", pa.float64()),
        ("score", pa.float64()),
        ("p_first", pa.float64()),
        ("contested", pa.string()),
        ("conflict", pa.bool_()),
        ("propensity", pa.float64()),
        ("dimension", pa.string()),
        ("posterior_version", pa.string()),
        ("expected_cost", pa.int64()),
    ]
)

RATINGS = pa.list_(
    pa.struct([("dimension", pa.string()), ("first", pa.int8()), ("second", pa.int8())])
)

TASKS = pa.schema(
    [
        ("task_id", pa.string()),
        ("pair_id", pa.string()),
        ("kind", pa.string()),
        ("round", pa.int32()),
        ("expected", pa.string()),
        ("shown_a", pa.string()),
        ("shown_b", pa.string()),
        ("swapped", pa.bool_()),
        ("rubric_version", pa.string()),
        ("repetition", pa.int32()),
        ("vendor", pa.string()),
        ("vendor_ref", pa.string()),
        ("submitted_at", pa.timestamp("us", tz="UTC")),
        ("price", pa.int64()),
        ("taken_from", pa.string()),
    ]
)

ANNOTATIONS = pa.schema(
    [
        ("annotation_id", pa.string()),
        ("revision", pa.int64()),
        ("task_id", pa.string()),
        ("pair_id", pa.string()),
        ("kind", pa.string()),
        ("annotator", pa.string()),
        ("choice", pa.string()),
        ("swapped", pa.bool_()),
        ("preferred", pa.string()),
        ("strength", pa.int32()),
        ("ratings", RATINGS),
        ("rationale", pa.string()),
        ("started_at", pa.timestamp("us", tz="UTC")),
        ("finished_at", pa.timestamp("us", tz="UTC")),
        ("active_seconds", pa.float64()),
        ("status", pa.string()),
        ("price", pa.int64()),
    ]
)

PREFERENCES = pa.schema(
    [
        ("pair_id", pa.string()),
        ("prompt_id", pa.string()),
        ("first_id", pa.string()),
        ("second_id", pa.string()),
        ("preferred", pa.string()),
        ("p_preferred", pa.float64()),
        ("votes", pa.int32()),
        ("agreement", pa.float64()),
        ("cost", pa.int64()),
    ]
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
        {n: row.get(n) for n in names}
        if isinstance(row, Mapping)
        else {n: getattr(row, n, None) for n in names}
        for row in rows
    ]
    return pa.Table.from_pylist(records, schema)
