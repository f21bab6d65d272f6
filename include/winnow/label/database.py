"""A batch's annotations in DuckDB, and which of them count.

Views beside the tables:

    latest    of each annotation its highest revision
    standing  of those, what was not rejected or retracted, skips included
    answers   of those, what people said; all that follows is about people, except for `verdicts`
    judged    of those, what is no skip
    votes     of those, comparisons: what preferences are made of
    verdicts  what models said of comparisons, skips left out
    first_votes   row, pair, annotator and what was preferred of those that were asked whatever was
              said: no third vote, which is asked because two differ, and no second vote that is
              asked because the model expects that; either would make people look as if they
              agreed less
    sided     each two of these on one pair, by two people who both name a side, from either's end
    judged_pairs  the comparisons that have a vote, in their order, numbered from 0 by `n`
    paid          what the annotations of each pair cost, micro-dollars

`class_of` tells first, second and no difference apart: 0, 1, 2, as `aggregation.votes` does.
`is_known` is false for an answer of whom nothing is known.

What is kept are numbers of rows: of what the tables say only what a query asks for is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb

from winnow.label.annotation import UNKNOWN
from winnow.records import ANNOTATIONS, COMPARISONS, TASKS
from winnow.sql import MEMORY, Source, database

SCHEMAS = {"annotations": ANNOTATIONS, "tasks": TASKS, "comparisons": COMPARISONS}

NARROW = "200MB"
"""What DuckDB may hold where no text is read but those of votes: more lies on disk."""

_VIEWS = f"""
CREATE TEMP MACRO is_known(annotator) AS NOT starts_with(annotator, '{UNKNOWN}');
CREATE TEMP MACRO class_of(said) AS CASE said WHEN 'first' THEN 0 WHEN 'second' THEN 1 ELSE 2 END;
-- Of a batch from before there were judges the table lacks these columns.
CREATE TEMP TABLE of_models (model VARCHAR, mode VARCHAR, log_odds DOUBLE, order_effect DOUBLE,
    label_mass DOUBLE);
CREATE TEMP VIEW every_annotation AS FROM annotations UNION ALL BY NAME FROM of_models;
CREATE TEMP TABLE superseded AS SELECT row_n FROM annotations
    QUALIFY row_number() OVER (PARTITION BY annotation_id ORDER BY revision DESC, row_n) > 1;
CREATE TEMP VIEW latest AS
    SELECT * EXCLUDE (rationale) FROM every_annotation ANTI JOIN superseded USING (row_n);
CREATE TEMP VIEW standing AS SELECT * FROM latest WHERE status NOT IN ('rejected', 'retracted');
CREATE TEMP VIEW answers AS SELECT * FROM standing WHERE model IS NULL;
CREATE TEMP VIEW judged AS SELECT * FROM answers WHERE preferred IS NOT NULL;
CREATE TEMP VIEW votes AS SELECT * FROM judged WHERE kind = 'comparison';
CREATE TEMP VIEW verdicts AS SELECT * FROM standing
    WHERE model IS NOT NULL AND kind = 'comparison' AND preferred IS NOT NULL;
CREATE TEMP TABLE of_difficulty (by_disagreement BOOLEAN);
CREATE TEMP TABLE later_votes AS SELECT votes.row_n FROM votes LEFT JOIN (
        SELECT task_id, any_value(repetition) AS asked, any_value(by_disagreement) AS sought
        FROM (FROM tasks UNION ALL BY NAME FROM of_difficulty) GROUP BY task_id
    ) USING (task_id)
    QUALIFY rank() OVER (PARTITION BY pair_id ORDER BY coalesce(asked, 0)) > 2 OR sought;
CREATE TEMP VIEW first_votes AS
    SELECT row_n, pair_id, annotator, preferred FROM votes ANTI JOIN later_votes USING (row_n);
CREATE TEMP VIEW sided AS SELECT one.row_n, one.annotator, other.annotator AS other,
        one.preferred = other.preferred AS agreed
    FROM first_votes AS one JOIN first_votes AS other
        ON one.pair_id = other.pair_id AND one.annotator <> other.annotator
    WHERE one.preferred IN ('first', 'second') AND other.preferred IN ('first', 'second');
CREATE TEMP TABLE judged_rows AS
    SELECT row_n, row_number() OVER (ORDER BY row_n) - 1 AS n FROM comparisons
    WHERE pair_id IN (SELECT pair_id FROM votes);
CREATE TEMP VIEW judged_pairs AS
    SELECT row_n, pair_id, n, prompt_id, first_id, second_id, p_first
    FROM comparisons JOIN judged_rows USING (row_n);
CREATE TEMP VIEW paid AS SELECT pair_id, sum(price)::BIGINT AS cost FROM latest
    WHERE kind = 'comparison' GROUP BY pair_id;
"""


def add_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the views, where the tables of `SCHEMAS` are."""
    connection.execute(_VIEWS)


@contextmanager
def opened(
    tables: Mapping[str, Source], memory: str = MEMORY
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of the tables of `SCHEMAS` with the views; a table that is not given is empty."""
    absent = {name: schema.empty_table() for name, schema in SCHEMAS.items() if name not in tables}
    with database({**tables, **absent}, memory) as connection:
        add_views(connection)
        yield connection
