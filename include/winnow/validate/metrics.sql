-- See `winnow.validate.metrics`.

-- query: figures of a batch's annotations
WITH known AS (
    SELECT class_of(judged.preferred) = class_of(tasks.expected) AS passed
    FROM judged JOIN tasks USING (task_id)
    WHERE judged.kind = 'gold' AND tasks.expected IS NOT NULL
),
repeated AS (
    SELECT class_of(again.preferred) = class_of(before.preferred) AS consistent
    FROM judged AS again JOIN votes AS before USING (pair_id, annotator)
    WHERE again.kind = 'repeat'
),
shares AS (
    SELECT count(*) / (SELECT count(*) FROM votes) AS share FROM votes
    WHERE is_known(annotator) GROUP BY annotator
)
SELECT
    (SELECT count(*) FROM annotations) AS n_annotations,
    (SELECT CASE WHEN n > 0 OR every = 0 THEN n END FROM (
        SELECT count(*) AS every, count(DISTINCT annotator) FILTER (is_known(annotator)) AS n
        FROM every_annotation WHERE model IS NULL
    )) AS n_annotators,
    (SELECT count(DISTINCT task_id) FROM standing) / nullif((SELECT count(*) FROM tasks), 0)
        AS completion,
    (SELECT avg((preferred IN ('tie', 'both_bad'))::INT) FROM votes) AS tie_rate,
    (SELECT abs(avg((choice = 'a')::INT) - 0.5) FROM votes WHERE choice IN ('a', 'b'))
        AS side_bias,
    (SELECT count(*) FROM known) AS n_gold,
    (SELECT count(*) FROM known WHERE passed) AS n_gold_passed,
    (SELECT count(*) FROM repeated) AS n_repeats,
    (SELECT avg(consistent::INT) FROM repeated) AS repeat_consistency,
    (SELECT max(share) FROM shares) AS largest_annotator_share
