-- See `winnow.validate.sessions`.

-- fit: of each measure its figures at both ends of a session, and the sums of a straight line
WITH timed AS (
    SELECT *, coalesce(started_at, finished_at) AS began, coalesce(finished_at, started_at) AS ended,
        coalesce(active_seconds, epoch(finished_at) - epoch(started_at)) AS seconds
    FROM answers
    WHERE is_known(annotator) AND coalesce(started_at, finished_at) IS NOT NULL
),
begun AS (
    SELECT *, coalesce(epoch(began) - epoch(max(ended) OVER before) > $gap, true) AS is_first
    FROM timed WINDOW before AS (
        PARTITION BY annotator ORDER BY began, ended, annotation_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),
numbered AS (
    SELECT *, sum(is_first::INT) OVER (
        PARTITION BY annotator ORDER BY began, ended, annotation_id ROWS UNBOUNDED PRECEDING
    ) AS session FROM begun
),
placed AS (
    SELECT *, count(*) OVER (PARTITION BY annotator, session) AS n_answers,
        (row_number() OVER in_turn - 1) / nullif(count(*) OVER (PARTITION BY annotator, session) - 1, 0)
            AS place,
        choice = lag(choice) OVER in_turn AS is_same
    FROM numbered WINDOW in_turn AS (
        PARTITION BY annotator, session ORDER BY began, ended, annotation_id
    )
    QUALIFY n_answers >= $least
),
told AS (
    SELECT 'gold' AS measure, place, (class_of(preferred) = class_of(expected))::INT::DOUBLE AS y
    FROM placed JOIN (SELECT DISTINCT task_id, expected FROM tasks) USING (task_id)
    WHERE kind = 'gold' AND expected IS NOT NULL AND preferred IS NOT NULL
    UNION ALL
    SELECT 'repeats', place, (class_of(again.preferred) = class_of(before.preferred))::INT
    FROM placed AS again JOIN votes AS before USING (pair_id, annotator)
    WHERE again.kind = 'repeat' AND again.preferred IS NOT NULL
    UNION ALL
    SELECT 'agreement', place, agreed::INT FROM placed JOIN sided USING (row_n)
    UNION ALL
    SELECT 'same_choice', place, is_same::INT FROM placed WHERE is_same IS NOT NULL
    UNION ALL
    SELECT 'seconds', place, ln(seconds) FROM placed WHERE seconds > 0
)
SELECT measure, count(*) AS n, regr_slope(y, place) AS slope, regr_sxx(y, place) AS spread,
    greatest(regr_syy(y, place) - coalesce(regr_slope(y, place), 0) * regr_sxy(y, place), 0) AS left_over,
    avg(y) FILTER (place <= 0.25) AS early, count(*) FILTER (place <= 0.25) AS n_early,
    avg(y) FILTER (place >= 0.75) AS late, count(*) FILTER (place >= 0.75) AS n_late,
    (SELECT count(*) FROM placed WHERE place = 0) AS n_sessions,
    (SELECT median(minutes) FROM (
        SELECT (epoch(max(ended)) - epoch(min(began))) / 60 AS minutes
        FROM placed GROUP BY annotator, session
    )) AS minutes
FROM told GROUP BY measure
