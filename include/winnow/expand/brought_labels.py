"""Labels that a team brought become training rows: features of both sides, as a refit reads them.

It is done piece by piece, in the process that generates, because its networks read the responses.
The responses of a row are a pool of their own, mostly of two, so that what a response is within its
pool (`winnow.expand.pool_features`) is told of those; a response's log-probability is not known.

    campaigns/NAME/brought/FEATURES/ROWS-3.json    piece 3 of some rows is read: its training rows

Always holds: a piece is stored once, whoever reads it; the same rows and settings give equal bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log1p
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.batch import Artifact, store, table_bytes, table_file
from winnow.campaign import Expand
from winnow.errors import Fatal
from winnow.expand.features import Embed, feature_vectors, feature_version, stored_blocks
from winnow.expand.pool_features import in_pool_version
from winnow.expand.samplers import models_of
from winnow.expand.vectors import HalfArray, new_columns
from winnow.ids import content_id, pair_id
from winnow.lake import Lake
from winnow.records import RANKED_TRAINING, to_table
from winnow.stored import as_json, parsed, reader, sealed_json

ROWS = 1_000
"""Rows of labels in a piece."""

KIND = "brought"
"""Of training rows."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows of a stored table of labels, by the number of their row group."""

    rows: Artifact
    number: int


@dataclass(frozen=True, slots=True)
class ReadPiece:
    """What a piece gave: training rows, and how many rows have a response without features."""

    training: Artifact
    unread: int


def columns_version(settings: Expand) -> str:
    """Identity of the columns that training rows are made in."""
    return in_pool_version(feature_version(settings), models_of(settings))


def folder_of(campaign: str) -> str:
    """Where a campaign's labels lie."""
    return f"campaigns/{campaign}/brought"


def read_piece(lake: Lake, campaign: str, piece: Piece, settings: Expand) -> ReadPiece | None:
    """What a piece gave; None while it is not read."""
    try:
        return parsed(lake, _path(campaign, piece, settings), reader(ReadPiece))
    except FileNotFoundError:
        return None


def read_features(
    lake: Lake, campaign: str, piece: Piece, settings: Expand, embed: Embed
) -> ReadPiece:
    """Make the training rows of a piece, unless they are there."""
    done = read_piece(lake, campaign, piece, settings)
    if done is not None:
        return done
    with table_file(lake, piece.rows) as stored, pq.ParquetFile(stored, pre_buffer=False) as file:
        rows = file.read_row_group(piece.number).to_pylist()
    made, unread = training_rows(rows, settings, embed)
    path = _path(campaign, piece, settings)
    data = table_bytes(made)
    training = store(lake, path.removesuffix(".json"), "parquet", data, made.num_rows)
    lake.create(path, sealed_json(as_json(ReadPiece(training, unread))))
    found = read_piece(lake, campaign, piece, settings)
    if found is None:
        raise Fatal(f"{lake.uri}/{path} was written and is gone.")
    return found


def training_rows(rows: Sequence[Row], settings: Expand, embed: Embed) -> tuple[pa.Table, int]:
    """`BROUGHT_LABELS` as `RANKED_TRAINING`, and how many have a response without features."""
    prompts = [row for row in rows for _ in row["texts"]]
    texts = [text for row in rows for text in row["texts"]]
    features = feature_vectors(prompts, texts, embed)
    blocks = stored_blocks(features.blocks, features.vectors_nc.shape[1])
    columns = new_columns(feature_version(settings), blocks, settings)
    made, unread, start = list[dict[str, Any]](), 0, 0
    for row in rows:
        places = range(start, start + len(row["texts"]))
        start = places.stop
        if not features.faults.keys().isdisjoint(places):
            unread += 1
            continue
        pool = [
            {"message": text, "model": model, "logprob": None, "n_tokens": 0}
            for text, model in zip(row["texts"], row["models"], strict=True)
        ]
        vectors = columns.of_pool(pool, features.vectors_nc[places.start : places.stop])
        made += _votes(row, vectors, columns.version)
    return to_table(made, RANKED_TRAINING), unread


def _votes(row: Row, vectors: HalfArray, version: str) -> Iterator[dict[str, Any]]:
    said = zip(row["first"], row["second"], row["preference"], row["weight"], strict=True)
    for first, second, preference, weight in said:
        ids = [row["response_ids"][place] for place in (first, second)]
        lengths = [log1p(len(row["texts"][place])) for place in (first, second)]
        yield {
            "pair_id": pair_id(*ids),
            "prompt_id": row["prompt_id"],
            "first_id": ids[0],
            "second_id": ids[1],
            "kind": KIND,
            "dimension": row["dimension"],
            "annotator": row["annotator"],
            "preference": preference,
            "swapped": False,
            "length": lengths[0] - lengths[1],
            "first": vectors[first],
            "second": vectors[second],
            "feature_version": version,
            "weight": weight,
        }


def _path(campaign: str, piece: Piece, settings: Expand) -> str:
    features = content_id("features", columns_version(settings))[:16]
    return f"{folder_of(campaign)}/{features}/{piece.rows.sha256[:32]}-{piece.number}.json"
