"""What models said: a preference where no person voted, and figures of each model.

A model's log-odds are the mean over both orders, as it told them (`winnow.label.vendors.judge`), of
several models the mean. They are raw: nothing here makes them as sure as the model is right. Of a
pair that people judged they change nothing.
"""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

TOLD = 1.0986122886681098
"""Log-odds of a model that names a side and tells none: ln 3."""


def judged_alone(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """Preferences of the comparisons that models judged and no person, with their row `row_n`.

    `votes` is 0 and `agreement` null: both are of people. `preferred` is what the models say where
    they agree, else the side of their mean log-odds.
    """
    return connection.sql(_ALONE).to_arrow_table()


def judge_figures(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """A row a model, of a batch in a database of `winnow.label.database`.

    `verdicts` counts those on comparisons, `skips` what was no verdict; `flips` is the share of
    verdicts whose two orders name different sides, `order_effect` the mean log-odds for the side
    shown first, `label_mass` the mean chance of the labels; `gold_accuracy` is of `n_gold` gold
    tasks, `agreement` of the `n_agreement` votes of people who named a side of a pair of which the
    model named one too. What cannot be measured is None.
    """
    return list(connection.sql(_FIGURES).to_arrow_table().to_pylist())


_ALONE = f"""
WITH said AS (
    SELECT pair_id, preferred, coalesce(
        log_odds, CASE class_of(preferred) WHEN 0 THEN {TOLD} WHEN 1 THEN -{TOLD} ELSE 0.0 END
    ) AS log_odds
    FROM verdicts WHERE pair_id NOT IN (SELECT pair_id FROM votes)
),
told AS (
    SELECT pair_id, avg(log_odds) AS log_odds,
        min(class_of(preferred)) AS least, max(class_of(preferred)) AS most
    FROM said GROUP BY pair_id
)
SELECT row_n, pair_id, prompt_id, first_id, second_id,
    CASE WHEN least = most THEN ['first', 'second', 'tie'][least + 1]
        WHEN log_odds > 1e-9 THEN 'first' WHEN log_odds < -1e-9 THEN 'second'
        ELSE 'tie' END AS preferred,
    1.0 / (1.0 + exp(-log_odds)) AS p_preferred,
    0::INT AS votes, NULL::DOUBLE AS agreement, cost
FROM told JOIN comparisons USING (pair_id) JOIN paid USING (pair_id) ORDER BY row_n
"""
_FIGURES = """
WITH known AS (
    SELECT model, count(*) AS n_gold,
        avg((class_of(preferred) = class_of(expected))::INT) AS gold_accuracy
    FROM standing JOIN tasks USING (task_id)
    WHERE model IS NOT NULL AND standing.kind = 'gold' AND preferred IS NOT NULL
        AND expected IS NOT NULL
    GROUP BY model
),
beside AS (
    SELECT verdicts.model, count(*) AS n_agreement,
        avg((verdicts.preferred = votes.preferred)::INT) AS agreement
    FROM verdicts JOIN votes USING (pair_id)
    WHERE verdicts.preferred IN ('first', 'second') AND votes.preferred IN ('first', 'second')
    GROUP BY verdicts.model
)
SELECT model, list_sort(list(DISTINCT mode) FILTER (mode IS NOT NULL)) AS modes,
    count(*) FILTER (kind = 'comparison' AND preferred IS NOT NULL) AS verdicts,
    count(*) FILTER (preferred IS NULL) AS skips,
    avg((preferred IN ('tie', 'both_bad'))::INT) AS tie_rate,
    avg((abs(order_effect) > abs(log_odds))::INT) AS flips,
    avg(order_effect) AS order_effect, avg(label_mass) AS label_mass,
    any_value(gold_accuracy) AS gold_accuracy, coalesce(any_value(n_gold), 0) AS n_gold,
    any_value(agreement) AS agreement, coalesce(any_value(n_agreement), 0) AS n_agreement
FROM standing LEFT JOIN known USING (model) LEFT JOIN beside USING (model)
WHERE model IS NOT NULL GROUP BY model ORDER BY model
"""
