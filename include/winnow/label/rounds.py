"""What the first answers call for: a third vote where two cancel, and what nobody answered.

A third vote is asked where one annotator prefers the first response and another the second, and
nobody else said anything: the two votes leave the pair where it was, and a third decides. A tie
beside a preference is no such case: the pair leans already, and a third vote moves it no more than
a first vote moves a pair that nobody judged. Gold and repeats are not bought again; what they tell
of an annotator, others tell as well.

What always holds: pure and deterministic, and no id is one that was asked before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.campaign import Label
from winnow.ids import task_id
from winnow.label.aggregation.votes import by_pair, votes_of
from winnow.label.database import NARROW, opened
from winnow.pieces import fitted, read_pieces
from winnow.records import ASKED, RANKING_ASKED
from winnow.sql import Source

Row = Mapping[str, Any]


def follow_up(
    asked: Source,
    annotations: Source,
    unanswered: Source,
    label: Label,
    round: int,
    most: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """Tasks of round number `round`, those bought again first, then third votes.

    In that order a budget that ends early leaves the fewest pairs without any vote.

    Args:
        asked: All that was asked so far, rows of `records.ASKED` or `records.RANKING_ASKED`.
        annotations: Rows of `records.ANNOTATIONS`, every revision.
        unanswered: Ids of tasks that nobody answered, `task_id`; of the round before, they are
            bought again if the campaign says so.
        label: Says whether there are third votes, and what becomes of `unanswered`.
        round: Of the new tasks, 1 or more.
        most: Tasks at most; None: any number.
    """
    given = {
        "round": round,
        "again": label.unanswered == "buy_again",
        "third": label.third_votes,
        "most": most,
    }
    tables = {"annotations": annotations, "asked": asked, "unanswered": unanswered}
    with opened(tables, NARROW) as connection:
        chosen = connection.sql(_FOLLOW_UP, params=given).to_arrow_table()
    # Bought again first: both parts are in the order of `asked`, which is read once for each.
    for part in (0, 1):
        some = chosen.filter(pc.equal(chosen["part"], part))
        row_t, numbers = some["row_n"].to_numpy(), some["number"].cast(pa.int32())
        end = 0
        for page in read_pieces(asked, _PAGE) if len(some) else ():
            start, end = end, end + len(page)
            first, last = np.searchsorted(row_t, [start, end])
            schema = RANKING_ASKED if "shown" in page.schema.names else ASKED
            rows = pa.Table.from_batches([fitted(page, schema)])
            rows = rows.take(pa.array(row_t[first:last] - start))
            if len(rows):
                yield from _numbered(rows, numbers.slice(first, last - first), round).to_batches()


def _numbered(rows: pa.Table, numbers: pa.ChunkedArray, round: int) -> pa.Table:
    """The tasks again under the numbers of a pair's that are free, with ids of their own."""
    names = ("pair_id", "shown_a", "shown_b", "rubric_version")
    columns = [rows[name].to_pylist() for name in names]
    changed = {
        "task_id": list(map(task_id, *columns, numbers.to_pylist())),
        "repetition": numbers,
        "round": [round] * len(rows),
        "vendor_ref": [None] * len(rows),
        "submitted_at": [None] * len(rows),
    }
    return pa.table([changed.get(n, rows[n]) for n in rows.column_names], schema=rows.schema)


_PAGE = 2_000
# A third vote shows the sides of the first task of its pair: they were random, and say nothing of
# how the two votes went. Of a pair that held one vote before anything was asked it is the second
# vote; a pair that held two was asked its third one. Each has the next free number of its pair.
_FOLLOW_UP = """
WITH again AS (
    SELECT pair_id, row_n FROM asked WHERE $again AND kind = 'comparison' AND round = $round - 1
        AND task_id IN (SELECT task_id FROM unanswered)
),
contested AS (
    SELECT pair_id FROM votes WHERE $third GROUP BY pair_id
    HAVING count(*) = 2 AND count(*) FILTER (preferred = 'first') = 1
        AND count(*) FILTER (preferred = 'second') = 1 AND count(DISTINCT annotator) = 2
),
third AS (
    SELECT pair_id, row_n FROM asked WHERE kind = 'comparison' AND repetition < 2
        AND pair_id IN (SELECT pair_id FROM contested)
        AND pair_id NOT IN (SELECT pair_id FROM again)
    QUALIFY row_number() OVER (PARTITION BY pair_id ORDER BY repetition, row_n) = 1
),
new AS (SELECT 0 AS part, * FROM again UNION ALL SELECT 1, * FROM third),
next_free AS (SELECT pair_id, max(repetition) + 1 AS number FROM asked GROUP BY pair_id)
SELECT row_n, part,
    number + row_number() OVER (PARTITION BY pair_id ORDER BY part, row_n) - 1 AS number
FROM new JOIN next_free USING (pair_id) ORDER BY part, row_n LIMIT $most
"""


def contested_pairs(annotations: Sequence[Row]) -> set[str]:
    """Pairs with two votes, one for each side, by two people."""
    votes = by_pair(votes_of(annotations))
    return {
        pair
        for pair, rows in votes.items()
        if len(rows) == 2
        and {row["preferred"] for row in rows} == {"first", "second"}
        and rows[0]["annotator"] != rows[1]["annotator"]
    }
