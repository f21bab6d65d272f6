-- shared: ids that stand on answers to several tasks in one revision
SELECT DISTINCT annotation_id FROM read
GROUP BY annotation_id, revision HAVING count(DISTINCT task_id) > 1

-- compared: which records say something of their own, what vanished, and what is a second answer
CREATE TEMP MACRO counts(status) AS status NOT IN ('rejected', 'retracted');
CREATE TEMP MACRO finished(moment) AS coalesce(moment, TIMESTAMPTZ '9999-12-31 23:59:59.999999+00');
-- Each annotation and revision, the first of its records, and whether these differ at all. What
-- they say is long, and left where it lies: the same again is told by a digest.
CREATE TEMP TABLE told AS
SELECT annotation_id, revision, min(row_n) AS row_n, count(*) AS n,
    min(md5_number(raw)) <> max(md5_number(raw)) AS differ
FROM read GROUP BY annotation_id, revision;
-- Of those that differ one record, by content and not by arrival.
CREATE TEMP TABLE first_of AS
SELECT annotation_id, revision, row_n FROM read
WHERE (annotation_id, revision) IN (SELECT (annotation_id, revision) FROM told WHERE differ)
QUALIFY row_number() OVER (PARTITION BY annotation_id, revision ORDER BY raw, row_n) = 1;
CREATE TEMP VIEW distinct_ones AS
SELECT * FROM read
WHERE row_n IN (SELECT row_n FROM told WHERE NOT differ UNION ALL SELECT row_n FROM first_of);
-- The others say the same in other words, or something else.
CREATE TEMP TABLE others AS
SELECT other.row_n, (
        other.task_id, other.pair_id, other.kind, other.annotator, other.choice, other.swapped,
        other.preferred, other.strength, other.ratings, other.rationale, other.started_at,
        other.finished_at, other.active_seconds, other.status, other.price,
        other.model, other.mode, other.log_odds, other.order_effect, other.label_mass
    ) IS NOT DISTINCT FROM (
        held.task_id, held.pair_id, held.kind, held.annotator, held.choice, held.swapped,
        held.preferred, held.strength, held.ratings, held.rationale, held.started_at,
        held.finished_at, held.active_seconds, held.status, held.price,
        held.model, held.mode, held.log_odds, held.order_effect, held.label_mass
    ) AS is_same
FROM read AS other
JOIN first_of USING (annotation_id, revision)
JOIN (SELECT * FROM read WHERE row_n IN (SELECT row_n FROM first_of)) AS held
    ON held.row_n = first_of.row_n
WHERE other.row_n <> first_of.row_n;
-- Annotations that the last look at their source did not bring again.
CREATE TEMP TABLE gone AS
SELECT annotation_id FROM read LEFT JOIN looks USING (source)
GROUP BY annotation_id HAVING bool_and(look < coalesce(last, 0));
CREATE TEMP TABLE last_of_gone AS
SELECT max_by(row_n, revision) AS row_n FROM distinct_ones
WHERE annotation_id IN (SELECT annotation_id FROM gone) GROUP BY annotation_id;
CREATE TEMP VIEW vanished AS
SELECT * REPLACE (revision + 1 AS revision, 'retracted' AS status, 0 AS price) FROM read
WHERE row_n IN (SELECT row_n FROM last_of_gone) AND status <> 'retracted';
-- Of a person's standing answers to a task all but the first, a skip after what says something.
CREATE TEMP TABLE repeated AS
SELECT annotation_id FROM (
    SELECT annotation_id, task_id, annotator, preferred, finished_at, status FROM (
        SELECT * FROM distinct_ones UNION ALL SELECT * FROM vanished
    ) QUALIFY row_number() OVER (PARTITION BY annotation_id ORDER BY revision DESC) = 1
) WHERE counts(status)
QUALIFY row_number() OVER (
    PARTITION BY task_id, annotator
    ORDER BY preferred IS NULL, finished(finished_at), annotation_id
) > 1;
CREATE TEMP VIEW kept AS
SELECT * FROM distinct_ones WHERE annotation_id NOT IN (SELECT annotation_id FROM repeated);

-- conflicting: records that claim an annotation and revision of another one
SELECT raw, source, line, look, annotation_id FROM read
WHERE row_n IN (SELECT row_n FROM others WHERE NOT is_same) ORDER BY row_n

-- repeated: records of a person's further answers to a task
SELECT raw, source, line, look, annotation_id FROM distinct_ones
WHERE annotation_id IN (SELECT annotation_id FROM repeated) ORDER BY row_n

-- counts: kept, vanished and redelivered
SELECT (SELECT count(*) FROM kept), (SELECT count(*) FROM vanished),
    (SELECT coalesce(sum(n - 1), 0)::BIGINT FROM told WHERE NOT differ)
        + (SELECT count(*) FROM others WHERE is_same)

-- of_teams: tasks of a vendor that names nobody, each of whose rounds has one id on its answers
-- Rounds 0 and 1 are at one vendor, each other at its own.
WITH party AS (
    SELECT task_id, any_value(round) AS round, greatest(any_value(round), 1) AS party
    FROM tasks GROUP BY task_id HAVING list_contains($unnamed, any_value(round))
),
named AS (
    SELECT party FROM (
        SELECT task_id, annotator FROM kept UNION ALL SELECT task_id, annotator FROM vanished
    ) JOIN party USING (task_id)
    WHERE NOT starts_with(annotator, 'unknown-')
    GROUP BY party, round HAVING count(DISTINCT annotator) > 1
)
SELECT task_id FROM party WHERE party NOT IN (FROM named)

-- standing: the annotations
SELECT * EXCLUDE (source, line, look, raw, row_n) FROM kept
UNION ALL SELECT * EXCLUDE (source, line, look, raw, row_n) FROM vanished

-- one_vote_each: by id and revision; a person's second judgement of a pair is a repeat
WITH every AS (
    SELECT * EXCLUDE (row_n), row_n, true AS is_own FROM standing
    -- By name: what was taken over may be of a time before there were judges.
    UNION ALL BY NAME SELECT * EXCLUDE (row_n), row_n, false AS is_own FROM taken
),
-- What an annotation says last, it says: a revision may name another task than those before it.
latest AS (
    SELECT * FROM every QUALIFY row_number() OVER (
        PARTITION BY annotation_id ORDER BY revision DESC, is_own DESC, row_n DESC
    ) = 1
),
later AS (
    SELECT annotation_id FROM latest
    WHERE kind = 'comparison' AND status NOT IN ('rejected', 'retracted')
    QUALIFY row_number() OVER (
        PARTITION BY pair_id, annotator
        ORDER BY preferred IS NULL,
            coalesce(finished_at, TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'), annotation_id
    ) > 1
)
SELECT * EXCLUDE (row_n, is_own) REPLACE (
    CASE WHEN kind = 'comparison' AND annotation_id IN (SELECT annotation_id FROM later)
        THEN 'repeat' ELSE kind END AS kind
) FROM every ORDER BY annotation_id, revision, is_own, row_n
