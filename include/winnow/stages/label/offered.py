"""What a batch offers to be asked: its pairs, or rankings, with the texts that are shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow as pa

from winnow.batch import Batch, table_files
from winnow.errors import Corrupt
from winnow.ids import PEOPLE
from winnow.label.shown import ShownPair, ShownRanking, of_comparison
from winnow.label.tasks import messages_of
from winnow.pieces import read_pieces
from winnow.sql import database
from winnow.stages.compared import compared_source
from winnow.text import plain_text


@contextmanager
def _beside_texts(batch: Batch, table: str) -> Iterator[tuple[Path, duckdb.DuckDBPyConnection]]:
    """A table of `select`, and a database of it with `prompts` and `compared`."""
    stored = {
        table: batch.require("select").outputs[table],
        "prompts": batch.require("ingest").outputs["prompts"],
    }
    with (
        table_files(batch.lake, stored) as files,
        compared_source(batch.lake, batch.campaign.name, batch.key) as compared,
        database({**files, "compared": compared}) as connection,
    ):
        yield files[table], connection


def offered(batch: Batch, source: str = PEOPLE) -> Iterator[tuple[int, ShownPair]]:
    """Each pair that a source is asked beside its place, those of a prompt one after another."""
    query = _OFFERED
    if batch.campaign.label.sources:
        query = query.replace("ORDER BY", f"AND {_ASKED} ORDER BY")
    with _beside_texts(batch, "comparisons") as (_, connection):
        # Texts of all pairs together would not fit: some prompts at a time.
        found = connection.sql(_STARTS, params={"pairs": _PAIRS}).fetchall()
        starts = [prompt for (prompt,) in found]
        for start, end in pairwise([*starts, None]):
            given = {"start": start, "end": end}
            given |= {"source": source} if batch.campaign.label.sources else {}
            for row in connection.sql(query, params=given).to_arrow_table().to_pylist():
                sides = {"first_id": "first", "second_id": "second"}
                # What is absent has no row; a response without a text is one that says nothing.
                texts = {
                    row[k]: plain_text(row[of]) for k, of in sides.items() if row[of] is not None
                }
                turns = row["messages"]
                said = {} if turns is None else {row["prompt_id"]: messages_of(turns, row["tools"])}
                yield row["row_n"], of_comparison(row, texts, said)


def offered_rankings(batch: Batch) -> Iterator[ShownRanking]:
    """Each ranking of the batch, by the id of its prompt."""
    with _beside_texts(batch, "rankings") as (rankings, connection):
        for page in read_pieces(rankings, _RANKINGS):
            connection.register("page", pa.Table.from_batches([page]))
            for row in connection.sql(_OFFERED_RANKINGS).to_arrow_table().to_pylist():
                texts = dict(zip(row["found"], row["texts"], strict=True))
                absent = [name for name in row["response_ids"] if name not in texts]
                if absent or row["messages"] is None:
                    raise Corrupt(
                        f"Ranking {row['ranking_id']} names responses or a prompt that the batch "
                        "does not hold; run the batch again from expand_pools."
                    )
                yield ShownRanking(
                    ranking_id=row["ranking_id"],
                    messages=messages_of(row["messages"], row["tools"]),
                    response_ids=tuple(row["response_ids"]),
                    texts=tuple(plain_text(texts[name]) for name in row["response_ids"]),
                    dimension=row["dimension"] or "helpfulness",
                )
            connection.unregister("page")


_ASKED = f"coalesce(list_contains(sources, $source), $source = '{PEOPLE}')"
_RANKINGS = 1_000
"""Rankings whose texts are read at once."""
_OFFERED_RANKINGS = """
WITH texts AS (
    SELECT prompt_id, list(response_id) AS found, list(coalesce(message, '')) AS texts
    FROM compared WHERE prompt_id IN (SELECT prompt_id FROM page) GROUP BY prompt_id
)
SELECT page.*, coalesce(found, []) AS found, coalesce(texts, []) AS texts, messages, tools
FROM page LEFT JOIN texts USING (prompt_id) LEFT JOIN (
    SELECT prompt_id, messages, tools FROM prompts WHERE prompt_id IN (SELECT prompt_id FROM page)
) USING (prompt_id) ORDER BY prompt_id
"""
_PAIRS = 10_000
"""Pairs whose texts are read at once, about."""
_STARTS = """
SELECT DISTINCT prompt_id FROM (
    SELECT prompt_id, row_number() OVER (ORDER BY prompt_id) - 1 AS n FROM comparisons
) WHERE n % $pairs = 0 ORDER BY prompt_id
"""
_OFFERED = """
WITH texts AS (
    SELECT response_id, coalesce(message, '') AS message FROM compared
    WHERE prompt_id >= $start AND ($end IS NULL OR prompt_id < $end)
)
SELECT row_n, pair_id, comparisons.prompt_id, first_id, second_id, dimension, p_first,
    one.message AS first, other.message AS second, messages, tools
FROM comparisons
LEFT JOIN texts AS one ON one.response_id = first_id
LEFT JOIN texts AS other ON other.response_id = second_id
LEFT JOIN (
    SELECT prompt_id, messages, tools FROM prompts
    WHERE prompt_id >= $start AND ($end IS NULL OR prompt_id < $end)
) AS prompts ON prompts.prompt_id = comparisons.prompt_id
WHERE comparisons.prompt_id >= $start AND ($end IS NULL OR comparisons.prompt_id < $end)
ORDER BY comparisons.prompt_id, row_n
"""
